//! A link on the way that takes shorter packets than those at the ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Flow, Nat, until_within};

use super::{LIMIT, Scene};

/// Waits until a host's packets to its peer are kept to an MTU in this range.
fn kept_to(scene: &Scene, (host, peer): (&Daemon, &str), range: std::ops::RangeInclusive<u64>) -> Result<()> {
    let mut mtu = None;
    until_within(&format!("packets are kept to {range:?} bytes"), LIMIT, || {
        mtu = host.peer_named(peer).ok().and_then(|peer| peer["path"]["mtu"].as_u64());
        mtu.is_some_and(|mtu| range.contains(&mtu))
    })
    .with_context(|| format!("{mtu:?}\n{}", scene.logs()))
}

#[test]
fn packets_are_kept_to_what_a_link_on_the_way_takes() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.routers[0].set_wire_mtu(1380)?;
    scene.start()?;
    scene.wait_for_path("udp")?;
    // 1380 less 60 bytes of IPv4, UDP and frame.
    kept_to(&scene, (&scene.a, "b"), 1316..=1320)?;
    scene.transfer(2_000_000)?;
    ensure!(scene.a.peer_named("b")?["path"]["kind"] == "udp", "{}", scene.logs());
    // A sender of longer packets is told at the first, and sends the others in two parts.
    let flow = Flow::start(&scene.host_a, &scene.host_b, scene.ids.b.ipv4.into(), 1380, Duration::from_millis(5))?;
    until_within("packets arrive", LIMIT, || flow.arrived() > 100)?;
    let tally = flow.finish()?;
    ensure!(tally.lost <= 1 && tally.repeated == 0, "{tally:?}");
    ensure!(scene.a.peer_named("b")?["drops"]["out_too_long"].as_u64() > Some(0));
    Ok(())
}

#[test]
fn a_path_that_becomes_shorter_carries_a_flow_on() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.start()?;
    scene.wait_for_path("udp")?;
    kept_to(&scene, (&scene.a, "b"), 1420..=1420)?;
    scene.routers[1].set_wire_mtu(1400)?;
    scene.transfer(2_000_000)?;
    kept_to(&scene, (&scene.b, "a"), 1336..=1340)
}

#[test]
fn where_not_even_the_least_mtu_passes_the_stream_carries_everything() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    scene.routers[0].set_wire_mtu(1280)?;
    scene.start()?;
    until_within("both know that the path is narrow", LIMIT, || {
        [&scene.a, &scene.b]
            .iter()
            .all(|daemon| daemon.health().is_ok_and(|codes| codes.iter().any(|c| c == "narrow_path")))
    })
    .with_context(|| scene.logs())?;
    scene.wait_for_path("stream")?;
    kept_to(&scene, (&scene.a, "b"), 1420..=1420)?;
    scene.transfer(2_000_000)
}
