//! Links that fail, and networks that let only some things pass.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Daemon, Identity, Peering, join, until, until_within};
use nix::sys::signal::Signal;

use super::{B_QUIC, B_TCP, Transfer, connected, connected_by, hosts, logs, pair_by, pattern, under_way};

/// How often a stranger has to be sent away before the test believes it.
const REFUSALS: usize = 4;

#[test]
fn where_udp_is_blocked_tcp_carries_the_tunnel() -> Result<()> {
    tcp_carries_the_tunnel(Way::Interface)
}

#[test]
fn where_udp_is_blocked_tcp_carries_the_tunnel_of_the_shuttle_too() -> Result<()> {
    tcp_carries_the_tunnel(Way::Shuttle)
}

fn tcp_carries_the_tunnel(way: Way) -> Result<()> {
    let Some(mut pair) = pair_by(way, &[B_QUIC, B_TCP])? else { return Ok(()) };
    const RULES: &str = "table ip t { chain c { type filter hook input priority 0; udp dport 41820 drop; }; }";
    if pair.host_b.firewall(RULES)?.is_none() {
        println!("skipped: UDP blocked: this machine has no nft");
        return Ok(());
    }
    pair.b.start()?;
    pair.a.start()?;
    pair.attach()?;
    // The protocol promises 5 s; a busy machine gets three times as much.
    until_within("TCP carries the tunnel", Duration::from_secs(15), || {
        pair.a.peer().is_ok_and(|peer| peer["state"] == "connected")
    })?;
    let path = pair.a.peer()?["path"]["address"].take();
    ensure!(path.as_str().is_some_and(|path| path.contains("/tcp/")), "the path is {path}");
    Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(10_000), Duration::ZERO)?.finish()
}

#[test]
fn a_link_that_comes_back_carries_the_same_connection() -> Result<()> {
    outlives_the_link(Way::Interface)
}

#[test]
fn a_link_that_comes_back_carries_the_same_connection_through_the_shuttle() -> Result<()> {
    outlives_the_link(Way::Shuttle)
}

fn outlives_the_link(way: Way) -> Result<()> {
    let Some(pair) = connected_by(way, &[B_QUIC])? else { return Ok(()) };
    let transfer = under_way(&pair)?;
    pair.host_b.set_wire(false)?;
    until("the silence is seen", || pair.a.peer().is_ok_and(|peer| peer["state"] != "connected"))?;
    pair.host_b.set_wire(true)?;
    transfer.finish()
}

#[test]
fn a_link_that_was_down_until_both_sides_gave_up_carries_the_same_connection() -> Result<()> {
    let Some(pair) = connected(&[B_QUIC])? else { return Ok(()) };
    let transfer = under_way(&pair)?;
    pair.host_b.set_wire(false)?;
    // About half a minute: both gave the connection up, and a new one was tried and failed.
    let long = Duration::from_secs(120);
    until_within("A gives the connection up", long, || pair.a.logged("connection down") > 0)?;
    until_within("B gives the connection up", long, || pair.b.logged("connection down") > 0)?;
    let failed = pair.a.logged("not reached");
    until_within("A tries again", long, || pair.a.logged("not reached") > failed)?;
    ensure!(!transfer.is_finished(), "nothing passes a link that is down");
    pair.host_b.set_wire(true)?;
    transfer.finish()
}

#[test]
fn a_host_that_slept_until_its_peer_gave_it_up_carries_the_same_connection() -> Result<()> {
    let Some(pair) = connected(&[B_QUIC])? else { return Ok(()) };
    let transfer = under_way(&pair)?;
    pair.a.signal(Signal::SIGSTOP)?;
    until_within("B gives the connection up", Duration::from_secs(120), || pair.b.logged("connection down") > 0)?;
    ensure!(!transfer.is_finished(), "nothing passes a daemon that does not run");
    pair.a.signal(Signal::SIGCONT)?;
    transfer.finish().with_context(|| logs(&pair))
}

#[test]
fn a_host_that_is_no_peer_gets_nothing() -> Result<()> {
    let Some([host_a, host_b]) = hosts() else { return Ok(()) };
    join(&host_a, &host_b)?;
    let folder = tempfile::tempdir()?;
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let peers = [Peering { peer: &id_b, name: "b", addresses: &[B_QUIC, B_TCP] }];
    let mut a = Daemon::new(&host_a, folder.path().join("a"), &id_a, &peers)?;
    let mut b = Daemon::new(&host_b, folder.path().join("b"), &id_b, &[])?;
    b.start()?;
    a.start()?;
    // Each attempt ends either before or just after the transport's own handshake.
    until("A is sent away again and again", || a.logged("not reached") + a.logged("connection down") >= REFUSALS)
        .with_context(|| a.log())?;
    ensure!(a.peer()?["state"] == "connecting", "a stranger is not let in");
    ensure!(a.peer()?["rx_bytes"] == 0 && a.peer()?["rotations"] == 0);
    ensure!(b.ask("status")?["peers"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}
