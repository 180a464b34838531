//! Where no packet passes from host to host.

use anyhow::{Result, ensure};
use cryprq_tests::lab::Nat;

use super::Scene;

#[test]
fn two_hosts_behind_symmetric_nats_reach_each_other_by_their_relay() -> Result<()> {
    let Some(mut scene) = Scene::new(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    scene.start()?;
    let path = scene.wait_for_path("relay")?;
    let address = path["address"].as_str().unwrap_or_default();
    ensure!(address.contains(&format!("/p2p/{}/p2p-circuit", scene.ids.relay.id)), "the path is {path}");
    scene.transfer(1_000_000)
}
