//! Whether a host can be reached from outside, and what its network allows.

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Identity, Internet, Nat, Peering, Router, until_within};
use serde_json::Value;

use super::{LIMIT, RELAY, Scene};

/// Where a host is reached whose router passes its port on.
const FORWARDED: &str = "/ip4/203.0.113.1/udp/41820/quic-v1";

/// A host behind a router, one in the open that it dials, and one that it waits for in vain.
struct Checked {
    open: Daemon,
    host: Daemon,
    _router: Router,
    internet: Internet,
    folder: tempfile::TempDir,
}

fn checked(nat: Nat) -> Result<Option<Checked>> {
    let Some(internet) = Internet::new()? else { return Ok(None) };
    let (host_open, router) = (internet.host(RELAY)?, internet.router(1, nat)?);
    let inside = router.host()?;
    let folder = tempfile::tempdir()?;
    let (id_open, id_host, id_away) = (Identity::new(1)?, Identity::new(2)?, Identity::new(4)?);
    let known = Peering { peer: &id_host, name: "host", addresses: &[] };
    let mut open = Daemon::new(&host_open, folder.path().join("open"), &id_open, &[known])?;
    let quic = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1");
    let known = Peering { peer: &id_open, name: "open", addresses: &[&quic] };
    let away = Peering { peer: &id_away, name: "away", addresses: &[] };
    let mut host = Daemon::new(&inside, folder.path().join("host"), &id_host, &[known, away])?;
    host.configure("[ipc]\ngroup = \"root\"\n")?;
    open.start()?;
    host.start()?;
    Ok(Some(Checked { open, host, _router: router, internet, folder }))
}

/// Waits until what the host says of whether it can be reached is so.
fn wait_until_reachable(lab: &Checked, what: &str, is_so: impl Fn(&str) -> bool) -> Result<Value> {
    let mut check = Value::Null;
    until_within(what, LIMIT, || {
        check = lab.host.ask("netcheck").unwrap_or_default();
        check["reachable"].as_str().is_some_and(&is_so)
    })
    .with_context(|| format!("{check}\nhost:\n{}\nopen:\n{}", lab.host.log(), lab.open.log()))?;
    Ok(check)
}

fn wait_until_tried(lab: &Checked) -> Result<Value> {
    wait_until_reachable(lab, "somebody tried to reach the host", |reachable| reachable != "unknown")
}

fn wait_until_reached(lab: &Checked) -> Result<Value> {
    wait_until_reachable(lab, "the host knows that it can be reached", |reachable| reachable == "yes")
}

#[test]
fn a_check_from_another_port_is_not_fooled_by_the_hole_that_our_own_dial_made() -> Result<()> {
    let Some(lab) = checked(Nat::Cone)? else { return Ok(()) };
    let check = wait_until_tried(&lab)?;
    ensure!(check["reachable"] == "no" && check["udp"] == "works" && check["nat"] == "some", "{check}");
    let advice = check["advice"].as_array().context("no list")?;
    ensure!(advice.iter().any(|line| line.as_str().is_some_and(|line| line.contains("forward UDP port"))), "{check}");
    // The check left the tunnel alone.
    ensure!(
        lab.host.peer_named("open")?["state"] == "connected" && lab.host.logged("connection down") == 0,
        "{}",
        lab.host.log()
    );
    ensure!(lab.open.logged("connection down") == 0, "{}", lab.open.log());
    Ok(())
}

#[test]
fn a_host_whose_port_is_forwarded_can_be_reached() -> Result<()> {
    let Some(lab) = checked(Nat::Forwarding)? else { return Ok(()) };
    wait_until_reached(&lab)?;
    ensure!(lab.host.health()?.is_empty(), "{:?}", lab.host.health()?);
    ensure!(lab.host.logged("connection down") == 0 && lab.open.logged("connection down") == 0, "{}", lab.host.log());
    let shown = lab.host.cli(&["netcheck"], "")?;
    ensure!(shown.contains("reachable  yes") && shown.contains(FORWARDED), "{shown}");
    Ok(())
}

#[test]
fn the_ticket_of_a_host_that_was_reached_from_outside_leads_a_stranger_there() -> Result<()> {
    let Some(lab) = checked(Nat::Forwarding)? else { return Ok(()) };
    wait_until_reached(&lab)?;
    let made = lab.host.ask("invite")?;
    let leads = made["addresses"].as_array().is_some_and(|all| all.iter().any(|at| at == FORWARDED));
    ensure!(made["reachable"] == "yes" && leads, "{made}");
    let host = lab.internet.host(77)?;
    let mut stranger = Daemon::new(&host, lab.folder.path().join("stranger"), &Identity::new(3)?, &[])?;
    stranger.start()?;
    stranger.cli(&["join", "-"], made["ticket"].as_str().context("no ticket")?)?;
    stranger.wait_connected().with_context(|| format!("{}\n{}", stranger.log(), lab.host.log()))
}

#[test]
fn who_invites_to_a_host_that_was_not_reached_or_waits_for_a_peer_there_is_told() -> Result<()> {
    let Some(lab) = checked(Nat::Cone)? else { return Ok(()) };
    wait_until_tried(&lab)?;
    let made = lab.host.ask("invite")?;
    ensure!(made["reachable"] == "no" && made["ticket"].is_string(), "{made}");
    let health = lab.host.ask("status")?["health"].take();
    let text = health[0]["text"].as_str().context("a text")?;
    ensure!(lab.host.health()? == ["unreachable"] && text.ends_with("and away has to dial it"), "{health}");
    Ok(())
}

#[test]
fn where_udp_does_not_pass_netcheck_says_so_and_what_helps() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::UdpBlocked, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    let mut check = Value::Null;
    until_within("A was seen, by TCP alone", LIMIT, || {
        check = scene.a.ask("netcheck").unwrap_or_default();
        check["udp"] == "blocked" && check["tcp"] == "works"
    })
    .with_context(|| format!("{check}\n{}", scene.logs()))?;
    let shown = scene.a.cli(&["netcheck"], "")?;
    ensure!(shown.contains("UDP does not pass, so packets go by TCP"), "{shown}");
    Ok(())
}

/// What A says of its network once it is connected to B by the relay.
fn netcheck_of_a(nat: Nat) -> Result<Option<Value>> {
    let Some(mut scene) = Scene::new(nat, Nat::Forwarding)? else { return Ok(None) };
    scene.start()?;
    let mut check = Value::Null;
    // The relay and B both see it.
    until_within("two hosts see A", LIMIT, || {
        check = scene.a.ask("netcheck").unwrap_or_default();
        check["nat"].as_str().is_some_and(|nat| nat.starts_with("endpoint_"))
    })
    .with_context(|| format!("{check}\n{}", scene.logs()))?;
    Ok(Some(check))
}

#[test]
fn what_two_hosts_see_tells_a_cone_from_a_symmetric_nat() -> Result<()> {
    for (nat, kind) in [(Nat::Cone, "endpoint_independent"), (Nat::Symmetric, "endpoint_dependent")] {
        let Some(check) = netcheck_of_a(nat)? else { return Ok(()) };
        ensure!(check["nat"] == kind && check["udp"] == "works" && check["ipv6"] == "none", "{nat:?}: {check}");
    }
    Ok(())
}

#[test]
fn hosts_behind_symmetric_nats_pair_by_the_relay_that_both_are_peers_of() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let routers = [internet.router(1, Nat::Symmetric)?, internet.router(2, Nat::Symmetric)?];
    let hosts = [routers[0].host()?, routers[1].host()?];
    let mut scene = Scene::between(internet, routers, hosts)?;
    // Neither knows the other yet.
    for (daemon, other) in [(&scene.a, &scene.ids.b), (&scene.b, &scene.ids.a)] {
        let path = daemon.folder().join("cryprq.toml");
        let config = std::fs::read_to_string(&path)?;
        let (before, rest) =
            config.split_once(&format!("[[peer]]\nid = \"{}\"", other.id)).context("it stands there")?;
        let relay = rest.split_once("[relay]").map(|(_, relay)| format!("[relay]{relay}")).unwrap_or_default();
        std::fs::write(path, format!("{before}{relay}"))?;
    }
    scene.start()?;
    until_within("B has a place at the relay", LIMIT, || {
        scene.b.ask("netcheck").is_ok_and(|check| check["relays"][0]["reserved"] == true)
    })
    .with_context(|| scene.logs())?;
    scene.a.wait_connected()?;
    let refused = scene.b.cli(&["invite", "--relay", "nobody"], "");
    ensure!(refused.is_err_and(|error| error.to_string().contains("no relay of relay.use")));
    let ticket = scene.b.cli(&["invite", "--relay", "relay"], "")?;
    scene.a.cli(&["join", "-"], &ticket).with_context(|| scene.logs())?;
    until_within("A and B are connected by the relay", LIMIT, || {
        let peers = scene.a.ask("peers").map(|mut peers| peers["peers"].take()).unwrap_or_default();
        let b = peers.as_array().and_then(|all| all.iter().find(|peer| peer["id"] == *scene.ids.b.id)).cloned();
        b.is_some_and(|b| b["state"] == "connected" && b["path"]["kind"] == "relay")
    })
    .with_context(|| scene.logs())?;
    scene.transfer(100_000)
}
