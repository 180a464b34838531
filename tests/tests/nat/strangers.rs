//! A relay serves its own peers and nobody else.

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Identity, Internet, Nat, Peering, until_within};

use super::{LIMIT, RELAY, Scene};

#[test]
fn a_relay_keeps_no_place_for_a_stranger() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let (host_relay, host_b) = (internet.host(RELAY)?, internet.host(2)?);
    let folder = tempfile::tempdir()?;
    let (id_relay, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let mut relay = Daemon::new(&host_relay, folder.path().join("relay"), &id_relay, &[])?;
    relay.configure("[relay]\nserve = true\n[network]\ningress = \"none\"\n")?;
    let mut b = Daemon::new(&host_b, folder.path().join("b"), &id_b, &[])?;
    let address = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1/p2p/{}", id_relay.id);
    b.configure(&format!("[relay]\nuse = [\"{address}\"]\n"))?;
    relay.start()?;
    b.start()?;
    until_within("B is refused again and again, and says so", LIMIT, || {
        let health = b.ask("status").map(|mut status| status["health"].take());
        b.logged("no place at a relay") >= 3
            && health.is_ok_and(|health| health.as_array().is_some_and(|all| all.iter().any(|i| i["code"] == "relay")))
    })
    .with_context(|| b.log())?;
    ensure!(b.logged("a relay keeps a place for this host") == 0);
    Ok(())
}

#[test]
fn a_host_that_does_not_serve_keeps_no_place_even_for_a_peer() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let (host_relay, host_b) = (internet.host(RELAY)?, internet.host(2)?);
    let folder = tempfile::tempdir()?;
    let (id_relay, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let peer_b = Peering { peer: &id_b, name: "b", addresses: &[] };
    let mut relay = Daemon::new(&host_relay, folder.path().join("relay"), &id_relay, &[peer_b])?;
    let quic = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1");
    let peer_relay = Peering { peer: &id_relay, name: "relay", addresses: &[&quic] };
    let mut b = Daemon::new(&host_b, folder.path().join("b"), &id_b, &[peer_relay])?;
    b.configure(&format!("[relay]\nuse = [\"{quic}/p2p/{}\"]\n", id_relay.id))?;
    relay.start()?;
    b.start()?;
    b.wait_connected()?;
    until_within("B is refused", LIMIT, || b.logged("no place at a relay") >= 2).with_context(|| b.log())?;
    ensure!(b.peer()?["state"] == "connected", "the tunnel to the host itself stands all the same");
    Ok(())
}

#[test]
fn a_circuit_to_a_host_that_is_no_peer_of_ours_carries_nothing() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    // A knows B and where it waits, and both are the relay's; but B does not know A.
    let folder = scene.b.folder().to_owned();
    let config = std::fs::read_to_string(folder.join("cryprq.toml"))?;
    let (before, _) = config.split_once(&format!("[[peer]]\nid = \"{}\"", scene.ids.a.id)).context("A stands there")?;
    let (_, relay) = config.split_once("[relay]").context("the relay stands there")?;
    std::fs::write(folder.join("cryprq.toml"), format!("{before}[relay]{relay}"))?;
    scene.start()?;
    until_within("A is sent away again and again", LIMIT, || {
        let log = scene.a.log();
        log.matches("not reached").count() + log.matches("connection down").count() >= 3
    })
    .with_context(|| scene.logs())?;
    let b = scene.a.peer_named("b")?;
    ensure!(b["state"] == "connecting" && b["rx_bytes"] == 0 && b["rotations"] == 0, "A sees {b}");
    Ok(())
}
