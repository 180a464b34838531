//! Peers on the same network, without addresses of each other.

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Identity, Peering, switch};

use super::hosts;

const SEARCH: &str = "[discovery]\nmdns = true\n";

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
