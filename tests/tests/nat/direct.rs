//! Hosts that begin by their relay, and end up without it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Flow, Identity, Internet, Nat, Peering, Transfer, pattern, until_within};
use serde_json::Value;

use super::{LIMIT, RELAY, Scene};

/// Waits for a direct path of a kind and gives the address at the other end, as A tells it.
fn direct(scene: &Scene, kind: &str) -> Result<String> {
    let path = scene.wait_for_path(kind)?;
    Ok(path["address"].as_str().context("no address")?.to_owned())
}

/// How many connections from host to host there ever were to another, whether or not anything used them, and how many of
/// these ended.
fn connections(daemon: &Daemon, other: &Identity) -> (usize, usize) {
    let log = daemon.log();
    let direct = log.lines().filter(|line| line.contains(&other.id) && !line.contains("p2p-circuit"));
    let count = |what| direct.clone().filter(|line| line.contains(what)).count();
    (count("a connection stands"), count("a connection ended"))
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
    scene.transfer(1_000_000)?;
    // Frames may find the hole before QUIC does. Once both say what became of their tries no other is under way.
    let sides = [(&scene.a, &scene.ids.b), (&scene.b, &scene.ids.a)];
    until_within("of what both tried one connection stands", 2 * LIMIT, || {
        sides.iter().all(|(daemon, other)| {
            let (begun, ended) = connections(daemon, other);
            daemon.logged("a hole was punched") > 0 && begun == ended + 1
        })
    })
    .with_context(|| scene.logs())
}

#[test]
fn two_hosts_whose_frames_go_by_streams_alone_punch_a_hole_and_go_on_without_the_relay() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    for daemon in [&scene.a, &scene.b] {
        daemon.prefix("carrier = \"stream\"\n")?;
    }
    scene.start()?;
    let address = direct(&scene, "stream")?;
    ensure!(address.starts_with("/ip4/203.0.113.2/"), "the other end is {address}");
    scene.b.wait_for("a", |peer| peer["path"]["kind"] == "stream").with_context(|| scene.logs())?;
    let length = 1_000_000;
    let to = scene.ids.b.ipv4.into();
    let transfer = Transfer::start(&scene.host_b, &scene.host_a, to, pattern(length), Duration::from_secs(2))?;
    until_within("the transfer is under way", LIMIT, || transfer.arrived() > 0)?;
    scene.relay.kill()?;
    ensure!(transfer.arrived() < length as u64, "the transfer was over before the relay was");
    transfer.finish().with_context(|| scene.logs())?;
    let path = scene.wait_for_path("stream")?;
    ensure!(path["not_direct"]["code"] == "carrier", "{path}");
    Ok(())
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
fn a_host_that_moves_alone_is_found_again_whichever_it_is() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    direct(&scene, "udp")?;
    let to = scene.ids.b.ipv4.into();
    let flow = Flow::start(&scene.host_a, &scene.host_b, to, 200, Duration::from_millis(5))?;
    let back = Flow::start(&scene.host_b, &scene.host_a, scene.ids.a.ipv4.into(), 200, Duration::from_millis(5))?;
    // The one or the other dialled the connection that stands, and its QUIC moves only that one's end.
    for (router, number) in [(0, 101), (1, 102)] {
        until_within("packets arrive", LIMIT, || flow.arrived() > 100 && back.arrived() > 100)?;
        scene.routers[router].renumber(number)?;
        let place = format!("/ip4/203.0.113.{number}/");
        let (other, name) = if router == 0 { (&scene.b, "a") } else { (&scene.a, "b") };
        until_within("the path leads to the new address", 2 * LIMIT, || {
            let path = other.peer_named(name).map(|mut peer| peer["path"].take());
            path.is_ok_and(|path| {
                path["kind"] == "udp" && path["address"].as_str().is_some_and(|to| to.starts_with(&place))
            })
        })
        .with_context(|| scene.logs())?;
        let arrived = (flow.arrived(), back.arrived());
        until_within("packets arrive both ways", LIMIT, || {
            flow.arrived() > arrived.0 + 100 && back.arrived() > arrived.1 + 100
        })
        .with_context(|| scene.logs())?;
    }
    ensure!(flow.finish()?.repeated == 0 && back.finish()?.repeated == 0);
    scene.transfer(1_000_000)
}

#[test]
fn what_a_host_behind_a_nat_sends_to_an_open_one_is_not_lost_when_its_router_gets_another_address() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Forwarding)? else { return Ok(()) };
    scene.start()?;
    direct(&scene, "udp")?;
    let flow = Flow::start(&scene.host_a, &scene.host_b, scene.ids.b.ipv4.into(), 200, Duration::from_millis(5))?;
    until_within("packets arrive", LIMIT, || flow.arrived() > 100)?;
    scene.routers[0].renumber_without_a_gap(101)?;
    until_within("B follows", LIMIT, || {
        let path = scene.b.peer_named("a").map(|mut peer| peer["path"].take());
        path.is_ok_and(|path| path["address"].as_str().is_some_and(|to| to.starts_with("/ip4/203.0.113.101/udp/")))
    })
    .with_context(|| scene.logs())?;
    let arrived = flow.arrived();
    until_within("and more arrive", LIMIT, || flow.arrived() > arrived + 100)?;
    let tally = flow.finish()?;
    ensure!(tally.lost == 0 && tally.repeated == 0, "{tally:?}\n{}", scene.logs());
    scene.transfer(1_000_000)
}

#[test]
fn a_host_behind_a_nat_keeps_its_connection_when_its_router_gets_another_address() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let (router, host_open) = (internet.router(1, Nat::Cone)?, internet.host(RELAY)?);
    let (inside, folder) = (router.host()?, tempfile::tempdir()?);
    let (id_open, id) = (Identity::new(1)?, Identity::new(2)?);
    let known = Peering { peer: &id, name: "inside", addresses: &[] };
    let mut open = Daemon::new(&host_open, folder.path().join("open"), &id_open, &[known])?;
    let quic = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1");
    let known = Peering { peer: &id_open, name: "open", addresses: &[&quic] };
    let mut host = Daemon::new(&inside, folder.path().join("host"), &id, &[known])?;
    open.start()?;
    host.start()?;
    host.wait_for("open", |peer| peer["path"]["kind"] == "udp")?;
    let flow = Flow::start(&inside, &host_open, id_open.ipv4.into(), 200, Duration::from_millis(5))?;
    router.renumber_without_a_gap(101)?;
    open.wait_for("inside", |peer| {
        peer["path"]["address"].as_str().is_some_and(|at| at.starts_with("/ip4/203.0.113.101/udp/"))
    })?;
    // Handshakes go by the connection itself.
    let rotations = host.peer()?["rotations"].as_u64();
    host.ask("rotate")?;
    host.wait_for("open", |peer| peer["rotations"].as_u64() > rotations)?;
    flow.finish()?;
    let count = |what| [&host, &open].map(|daemon| daemon.logged(what));
    ensure!(count("connection up") == [1, 1] && count("connection down") == [0, 0], "{}\n{}", host.log(), open.log());
    Ok(())
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
fn where_routers_answer_what_comes_too_early_the_relay_carries_everything_until_there_is_a_hole() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Answering, Nat::Answering)? else { return Ok(()) };
    scene.start()?;
    let connected = || scene.a.peer_named("b").is_ok_and(|peer| peer["state"] == "connected");
    until_within("A and B are connected", LIMIT, connected).with_context(|| scene.logs())?;
    // Both sides try, and perhaps in vain.
    until_within("tries are over", 2 * LIMIT, || {
        let direct = scene.a.peer_named("b").is_ok_and(|peer| peer["path"]["kind"] == "udp");
        direct || scene.a.logged("no hole could be punched") + scene.b.logged("no hole could be punched") > 0
    })
    .with_context(|| scene.logs())?;
    ensure!(connected(), "{}", scene.logs());
    scene.transfer(1_000_000)
}

#[test]
fn two_hosts_behind_one_nat_that_have_the_same_port_both_reach_a_third() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let (router, host_open) = (internet.router(1, Nat::Cone)?, internet.host(RELAY)?);
    let (hosts, folder) = ([router.host()?, router.host()?], tempfile::tempdir()?);
    let ids = [Identity::new(1)?, Identity::new(2)?, Identity::new(3)?];
    let known = [("first", &ids[1]), ("second", &ids[2])].map(|(name, peer)| Peering { peer, name, addresses: &[] });
    let mut open = Daemon::new(&host_open, folder.path().join("open"), &ids[0], &known)?;
    open.start()?;
    let quic = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1");
    let mut daemons = Vec::new();
    for (host, (id, name)) in hosts.iter().zip([(&ids[1], "first"), (&ids[2], "second")]) {
        let known = Peering { peer: &ids[0], name: "open", addresses: &[&quic] };
        let mut daemon = Daemon::new(host, folder.path().join(name), id, &[known])?;
        daemon.start()?;
        daemons.push(daemon);
    }
    let at = |name| open.peer_named(name).map(|mut peer| peer["path"].take()).unwrap_or_default();
    until_within("both go by datagrams", LIMIT, || {
        ["first", "second"].iter().all(|name| at(name)["kind"] == "udp")
            && daemons.iter().all(|daemon| daemon.peer().is_ok_and(|peer| peer["path"]["kind"] == "udp"))
    })
    .with_context(|| open.log())?;
    ensure!(at("first")["address"] != at("second")["address"], "each has a port of its own at the router");
    let flows: Vec<_> = hosts
        .iter()
        .map(|host| Flow::start(host, &host_open, ids[0].ipv4.into(), 200, Duration::from_millis(5)))
        .collect::<std::io::Result<_>>()?;
    until_within("packets arrive from both", LIMIT, || flows.iter().all(|flow| flow.arrived() > 200))?;
    for flow in flows {
        let tally = flow.finish()?;
        ensure!(tally.lost == 0 && tally.repeated == 0, "{tally:?}");
    }
    Ok(())
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
fn two_hosts_behind_one_nat_that_may_not_speak_inside_meet_at_its_outer_address() -> Result<()> {
    let Some(internet) = Internet::new()? else { return Ok(()) };
    let routers = [internet.router(1, Nat::Hairpin)?, internet.router(2, Nat::Cone)?];
    let (host_b, host_a) = (routers[0].host()?, routers[0].host()?);
    for (host, other) in [(&host_a, 2), (&host_b, 3)] {
        let apart = format!("chain i {{ type filter hook input priority 0; ip saddr 10.1.0.{other} drop; }}");
        host.firewall(&format!("table ip apart {{ {apart}; }}"))?.context("no nft")?;
    }
    let mut scene = Scene::between(internet, routers, [host_a, host_b])?;
    scene.start()?;
    let address = direct(&scene, "udp")?;
    ensure!(address.starts_with("/ip4/203.0.113.1/udp/41820"), "the other end is {address}");
    let at_router = |peer: &Value| {
        let path = &peer["path"];
        path["kind"] == "udp" && path["address"].as_str().is_some_and(|at| at.starts_with("/ip4/203.0.113.1/udp/"))
    };
    scene.b.wait_for("a", at_router).with_context(|| scene.logs())?;
    scene.relay.kill()?;
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
