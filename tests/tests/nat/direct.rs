//! Hosts that begin by their relay, and end up without it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Flow, Internet, Nat, until_within};

use super::{LIMIT, Scene};

/// Waits for a direct path of a kind and gives the address at the other end, as A tells it.
fn direct(scene: &Scene, kind: &str) -> Result<String> {
    let path = scene.wait_for_path(kind)?;
    Ok(path["address"].as_str().context("no address")?.to_owned())
}

#[test]
fn two_hosts_behind_cone_nats_punch_a_hole_and_go_on_without_the_relay() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    let address = direct(&scene, "udp")?;
    ensure!(address.starts_with("/ip4/203.0.113.2/udp/41820"), "the other end is {address}");
    ensure!(scene.b.wait_for("a", |peer| peer["path"]["kind"] == "udp").is_ok(), "{}", scene.logs());
    scene.transfer(1_000_000)?;
    // Frames go on whatever becomes of the relay.
    let flow = Flow::start(&scene.host_a, &scene.host_b, scene.ids.b.ipv4.into(), 200, Duration::from_millis(5))?;
    scene.relay.kill()?;
    let tally = flow.finish()?;
    ensure!(tally.lost == 0, "{} packets were lost with the relay", tally.lost);
    scene.transfer(1_000_000)
}

#[test]
fn two_hosts_that_move_at_the_same_time_find_each_other_again() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    direct(&scene, "udp")?;
    let flow = Flow::start(&scene.host_a, &scene.host_b, scene.ids.b.ipv4.into(), 200, Duration::from_millis(5))?;
    until_within("packets arrive", LIMIT, || flow.arrived() > 100)?;
    scene.routers[0].renumber(101)?;
    scene.routers[1].renumber(102)?;
    let arrived = flow.arrived();
    until_within("packets arrive again", 2 * LIMIT, || flow.arrived() > arrived + 200).with_context(|| scene.logs())?;
    until_within("the path leads to B's new address", 2 * LIMIT, || {
        let path = scene.a.peer_named("b").map(|mut peer| peer["path"].take());
        path.is_ok_and(|path| {
            path["kind"] == "udp" && path["address"].as_str().is_some_and(|to| to.starts_with("/ip4/203.0.113.102/"))
        })
    })
    .with_context(|| scene.logs())?;
    ensure!(flow.finish()?.repeated == 0);
    scene.transfer(1_000_000)
}

#[test]
fn where_udp_is_blocked_at_one_side_a_hole_is_punched_for_tcp() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::UdpBlocked, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    let address = direct(&scene, "stream")?;
    ensure!(address.starts_with("/ip4/203.0.113.2/tcp/"), "the other end is {address}");
    scene.transfer(1_000_000)
}

#[test]
fn two_hosts_behind_one_nat_meet_in_their_own_network() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let routers = [internet.router(1, Nat::Cone)?, internet.router(2, Nat::Cone)?];
    let hosts = [routers[0].host()?, routers[0].host()?];
    let mut scene = Scene::between(internet, routers, hosts)?;
    scene.start()?;
    let address = direct(&scene, "udp")?;
    ensure!(address.starts_with("/ip4/10.1.0.3/"), "the other end is {address}");
    scene.transfer(1_000_000)
}

#[test]
fn a_relay_that_was_restarted_keeps_places_again() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    scene.start()?;
    scene.wait_for_path("relay")?;
    let places = scene.b.logged("a relay keeps a place for this host");
    // Its peers learn at their next packet that their connections are of its former life.
    scene.relay.kill()?;
    scene.relay.start()?;
    until_within("the relay keeps a place for B again", LIMIT, || {
        scene.b.logged("a relay keeps a place for this host") > places && scene.a.logged("connection down") > 0
    })
    .with_context(|| scene.logs())?;
    scene.wait_for_path("relay")?;
    scene.transfer(100_000)?;
    let status = scene.b.ask("status")?;
    let health = status["health"].as_array().context("no list")?;
    ensure!(!health.iter().any(|item| item["code"] == "relay"), "B complains: {health:?}");
    Ok(())
}

#[test]
fn a_symmetric_nat_keeps_nobody_from_a_host_whose_port_is_forwarded() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Forwarding)? else { return Ok(()) };
    scene.start()?;
    let address = direct(&scene, "udp")?;
    ensure!(address.starts_with("/ip4/203.0.113.2/udp/41820"), "the other end is {address}");
    scene.transfer(1_000_000)
}
