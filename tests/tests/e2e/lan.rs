//! Peers on the same network, without addresses of each other.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Identity, Peering, memory, switch, until};
use libp2p::PeerId;
use node::drops::DropReason;

use super::hosts;

const SEARCH: &str = "[discovery]\nmdns = true\n";
/// Hosts that a stranger invents.
const STRANGERS: usize = 20_000;

#[test]
fn peers_on_one_network_find_each_other_and_tell_no_inner_address() -> Result<()> {
    let Some(hosts) = hosts::<3>() else { return Ok(()) };
    let _switch = switch(&hosts.each_ref())?;
    let folder = tempfile::tempdir()?;
    let ids = [Identity::new(1)?, Identity::new(2)?, Identity::new(3)?];
    let daemon = |own: usize, knows: usize| -> Result<Daemon> {
        let known = [Peering { peer: &ids[knows], name: "other", addresses: &[] }];
        let daemon = Daemon::new(&hosts[own], folder.path().join(own.to_string()), &ids[own], &known)?;
        daemon.configure(SEARCH)?;
        Ok(daemon)
    };
    // The third searches too, and is nobody's peer.
    let (mut a, mut b, mut c) = (daemon(0, 1)?, daemon(1, 0)?, daemon(2, 0)?);
    let capture = Capture::start(&hosts[0])?;
    for daemon in [&mut c, &mut a, &mut b] {
        daemon.start()?;
    }
    a.wait_connected()?;
    b.wait_connected()?;
    ensure!(a.logged("connection up") > 0 && c.peer()?["state"] == "connecting", "{}", c.log());
    let seen = capture.finish()?;
    ensure!(seen.holds(b"/ip4/192.0.2.1/udp/41820"), "the outer address is announced: {}", a.log());
    for id in &ids {
        for inner in [format!("/ip4/{}", id.ipv4), format!("/ip6/{}", id.ipv6)] {
            ensure!(!seen.holds(inner.as_bytes()), "{inner} is announced");
        }
    }
    let dialled = format!("/p2p/{}", ids[2].id);
    ensure!(!a.log().lines().any(|line| line.contains("connection up") && line.contains(&dialled)), "A dialled C");
    a.stop().context("A stops").map(drop)
}

#[test]
fn a_stranger_that_announces_peers_without_end_costs_no_memory_and_peers_are_found_after_it() -> Result<()> {
    let Some(hosts) = hosts::<3>() else { return Ok(()) };
    let _switch = switch(&hosts.each_ref())?;
    let folder = tempfile::tempdir()?;
    let ids = [Identity::new(1)?, Identity::new(2)?];
    let daemon = |own: usize, knows: usize| -> Result<Daemon> {
        let known = [Peering { peer: &ids[knows], name: "other", addresses: &[] }];
        let daemon = Daemon::new(&hosts[own], folder.path().join(own.to_string()), &ids[own], &known)?;
        daemon.configure(SEARCH)?;
        Ok(daemon)
    };
    let (mut a, mut b) = (daemon(0, 1)?, daemon(1, 0)?);
    a.start()?;
    let pid = a.pid().context("A runs")?;
    let before = memory(pid, "VmHWM")?;
    hosts[2].run(|| announce(STRANGERS))?;
    let counter = DropReason::AnnouncedMany.name();
    until("A hears no more than it can", || {
        a.ask("status").is_ok_and(|status| status["drops"][counter].as_u64() > Some(0))
    })?;
    let grown = memory(pid, "VmHWM")? - before;
    ensure!(grown < 8.0, "A grew by {grown} MiB");
    b.start()?;
    a.wait_connected()?;
    b.wait_connected()?;
    a.stop().context("A stops").map(drop)
}

/// Says of so many hosts that each is here, at several ports, and for ever.
fn announce(strangers: usize) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 3), 0))?;
    for _ in 0..strangers {
        socket.send_to(&announcement(&PeerId::random())?, (Ipv4Addr::new(224, 0, 0, 251), 5353))?;
    }
    Ok(())
}

fn announcement(peer: &PeerId) -> Result<Vec<u8>> {
    /// `_p2p._udp.local`, whose place in the message is known.
    const SERVICE: &[u8] = b"\x04_p2p\x04_udp\x05local\0";
    const ADDRESSES: u8 = 8;
    let mut message = [&[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, ADDRESSES], SERVICE].concat();
    // PTR to "x" below the service.
    message.extend([0, 12, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 4]);
    let host = u8::try_from(message.len())?;
    message.extend([1, b'x', 0xc0, 12]);
    for port in 1..=ADDRESSES {
        let text = format!("dnsaddr=/ip4/192.0.2.9/tcp/{port}/p2p/{peer}");
        let length = u8::try_from(text.len())?;
        message.extend([0xc0, host, 0, 16, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, length + 1, length]);
        message.extend(text.bytes());
    }
    Ok(message)
}
