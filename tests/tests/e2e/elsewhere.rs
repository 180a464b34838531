//! Frames that somebody caught on their way and delivers from elsewhere.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Flow, Identity, Peering, Seen, switch, until};
use serde_json::Value;

use super::{B_QUIC, hosts};

/// B's firewall drops what A sends; a capture sees it all the same.
const CAUGHT: &str = "table ip caught { chain i { type filter hook input priority 0; ip saddr 192.0.2.1 drop; }; }";
const LET_GO: &str = "delete table ip caught";
const TO_B: &str = "192.0.2.2:41820";

/// What is inside the Ethernet, IPv4 and UDP headers of those that carry frames of packets.
fn frames(seen: &Seen) -> Vec<Vec<u8>> {
    let datagrams = seen.packets().filter(|frame| frame[12..14] == [8, 0] && frame.get(23) == Some(&17));
    let datagrams = datagrams.filter(|frame| frame.get(26..30) == Some(&[192, 0, 2, 1]));
    datagrams
        .filter_map(|frame| frame.get(42..))
        .filter(|frame| frame.starts_with(&[0x10, 0, 0, 0]))
        .map(Vec::from)
        .collect()
}

/// How many bytes of datagrams one host sent another.
fn bytes(seen: &Seen, from: [u8; 4], to: [u8; 4]) -> usize {
    let between = |frame: &&[u8]| frame[12..14] == [8, 0] && frame.get(26..34) == Some(&[from, to].concat());
    seen.packets().filter(between).map(|frame| usize::from(u16::from_be_bytes([frame[16], frame[17]]))).sum()
}

#[test]
fn captured_frames_from_another_address_move_nothing_and_are_not_answered_with_more() -> Result<()> {
    let Some([host_a, host_b, host_c]) = hosts() else { return Ok(()) };
    let _switch = switch(&[&host_a, &host_b, &host_c])?;
    let folder = tempfile::tempdir()?;
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let knows = |peer, name, addresses| [Peering { peer, name, addresses }];
    let mut a = Daemon::new(&host_a, folder.path().join("a"), &id_a, &knows(&id_b, "b", &[B_QUIC]))?;
    let mut b = Daemon::new(&host_b, folder.path().join("b"), &id_b, &knows(&id_a, "a", &[]))?;
    a.start()?;
    b.start()?;
    let address = |daemon: &Daemon| daemon.peer().map(|mut peer| peer["path"]["address"].take()).unwrap_or(Value::Null);
    let is_at_a = || address(&b) == "/ip4/192.0.2.1/udp/41820";
    until("frames go by datagrams", || is_at_a() && address(&a) == "/ip4/192.0.2.2/udp/41820")
        .with_context(|| format!("{}\n{}", a.log(), b.log()))?;
    let count = |daemon: &Daemon, what: &str| daemon.peer().ok().and_then(|peer| peer[what].as_u64()).unwrap_or(0);
    let flow = Flow::start(&host_a, &host_b, id_b.ipv4.into(), 300, Duration::from_millis(2))?;
    until("packets arrive", || flow.arrived() > 50)?;

    // A fast one: what it delivers is authentic and new to B.
    let catch = Capture::start(&host_b)?;
    if host_b.firewall(CAUGHT)?.is_none() {
        println!("skipped: frames delivered from elsewhere: this machine has no nft");
        return Ok(());
    }
    let sent = count(&a, "tx_packets");
    until("A sends some more", || count(&a, "tx_packets") > sent + 50)?;
    let caught = frames(&catch.finish()?);
    let (around_c, received) = (Capture::start(&host_c)?, count(&b, "rx_packets"));
    let injected = caught.clone();
    let delivered = host_c.run(move || -> Result<usize> {
        let socket = UdpSocket::bind("192.0.2.3:0")?;
        injected.iter().map(|frame| Ok(socket.send_to(frame, TO_B)?)).sum()
    })?;
    until("B takes them", || count(&b, "rx_packets") >= received + 20).with_context(|| b.log())?;
    let is_at_c = || address(&b).as_str().is_some_and(|at| at.contains("192.0.2.3"));
    ensure!(!is_at_c(), "B moved to {}", address(&b));
    host_b.firewall(LET_GO)?;

    // A slow one: B knows them.
    let replayed = || b.peer().ok().and_then(|peer| peer["drops"]["frame_replayed"].as_u64()).unwrap_or(0);
    let other = || b.ask("status").ok().and_then(|status| status["drops"]["frame_replayed"].as_u64()).unwrap_or(0);
    let before = replayed() + other();
    let again = host_c.run(move || -> Result<usize> {
        let socket = UdpSocket::bind("192.0.2.3:0")?;
        caught.iter().map(|frame| Ok(socket.send_to(frame, TO_B)?)).sum()
    })?;
    until("B drops them", || replayed() + other() >= before + 20).with_context(|| b.log())?;
    let arrived = flow.arrived();
    until("the flow goes on", || flow.arrived() > arrived + 100).with_context(|| b.log())?;
    ensure!(!is_at_c(), "B moved to {}", address(&b));
    // A that was caught for long gave datagrams up for a moment, and B with it.
    until("B sends to A as before", is_at_a).with_context(|| b.log())?;
    let seen = around_c.finish()?;
    let (b_to_c, c_to_b) = (bytes(&seen, [192, 0, 2, 2], [192, 0, 2, 3]), bytes(&seen, [192, 0, 2, 3], [192, 0, 2, 2]));
    ensure!(delivered + again > 10_000 && c_to_b > delivered + again, "{delivered} and {again} bytes were sent");
    ensure!(b_to_c <= c_to_b, "B sent {b_to_c} bytes for {c_to_b}");
    println!("B sent {b_to_c} bytes for {c_to_b}");
    ensure!(flow.finish()?.repeated == 0);
    Ok(())
}
