//! Where no packet passes from host to host.

use anyhow::{Context, Result, anyhow, ensure};
use cryprq_tests::lab::{Nat, until_within};
use cryprq_tests::swift;

use super::{LIMIT, Scene};

#[test]
fn two_hosts_behind_symmetric_nats_reach_each_other_by_their_relay() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    scene.start()?;
    let path = scene.wait_for_path("relay")?;
    let address = path["address"].as_str().unwrap_or_default();
    ensure!(address.contains(&format!("/p2p/{}/p2p-circuit", scene.ids.relay.id)), "the path is {path}");
    ensure!(path["relay"] == scene.ids.relay.id && path["not_direct"]["code"] == "relayed", "the path is {path}");
    for words in [&["status"][..], &["peers", "b"]] {
        let shown = scene.a.cli(words, "")?;
        ensure!(shown.contains(" relay by relay /ip4/203.0.113."), "{words:?}: {shown}");
    }
    scene.transfer(1_000_000)
}

#[test]
fn a_hole_that_cannot_be_punched_costs_nothing_but_the_tries() -> Result<()> {
    // Both scenes wait for time to pass.
    std::thread::scope(|scope| {
        let scenes = [(Nat::Symmetric, Nat::Cone), (Nat::Cone, Nat::Symmetric)];
        let runs = scenes.map(|(nat_a, nat_b)| scope.spawn(move || tries_in_vain(nat_a, nat_b)));
        runs.into_iter().try_for_each(|run| run.join().map_err(|_| anyhow!("a scene panicked"))?)
    })
}

fn tries_in_vain(nat_a: Nat, nat_b: Nat) -> Result<()> {
    let Some(mut scene) = Scene::new(nat_a, nat_b)? else { return Ok(()) };
    scene.start()?;
    scene.wait_for_path("relay")?;
    // B begins: it waits for A in vain.
    until_within("a try is over", LIMIT, || scene.b.logged("dialling failed") > 0).with_context(|| scene.logs())?;
    ensure!(scene.a.logged("connection down") == 0, "the relayed connection stands: {}", scene.logs());
    scene.wait_for_path("relay")?;
    scene.transfer(100_000)
}

#[test]
fn the_menu_shows_a_relayed_peer_as_such() -> Result<()> {
    let Some(program) = swift::program("menu-rows") else { return Ok(()) };
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    scene.start()?;
    scene.wait_for_path("relay")?;
    scene.a.wait_for("b", |peer| peer["path"]["rtt_ms"].is_f64())?;
    let shown = swift::menu(&program, Some(&scene.host_a), &[], &scene.a.socket(), &[])?;
    let row = format!("plain: b: connected (relayed, N ms) [disconnect(peer: \"{}\")]", scene.ids.b.id);
    ensure!(shown.contains(&row), "{shown:#?}");
    Ok(())
}
