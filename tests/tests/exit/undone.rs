//! The host is as it was when there is no exit any more, whatever ended it.

use anyhow::{Result, ensure};
use cryprq_tests::lab::until;

use super::scene::{FAR, Scene, ensure_same, state};

#[test]
fn down_leaves_the_host_as_it_was() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.connect()?;
    let before = state(&scene.host_client)?;
    scene.client.cli(&["up", "--exit", "gateway"], "")?;
    scene.wait_active()?;
    ensure!(state(&scene.host_client)? != before, "the comparison sees a change");
    scene.client.cli(&["down"], "")?;
    ensure_same("down", &before, &state(&scene.host_client)?)?;
    ensure!(scene.client.ask("status")?["exit"].is_null());
    ensure!(scene.seen(FAR[0], "-4")?.to_string() == "192.0.2.1", "the client goes its own way");
    Ok(())
}

#[test]
fn sigterm_leaves_both_hosts_as_they_were_and_the_next_start_goes_on() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let hosts = [scene.host_client.clone(), scene.host_gateway.clone()];
    let before = [state(&hosts[0])?, state(&hosts[1])?];
    scene.exit()?;
    ensure!(state(&hosts[1])? != before[1], "the comparison sees a change");
    ensure!(scene.client.stop()?.success());
    ensure_same("SIGTERM, client", &before[0], &state(&hosts[0])?)?;
    // The choice is kept.
    scene.client.start()?;
    scene.wait_active()?;
    ensure!(scene.client.stop()?.success() && scene.gateway.stop()?.success());
    for ((host, before), name) in hosts.iter().zip(&before).zip(["client", "gateway"]) {
        ensure_same(&format!("SIGTERM, {name}"), before, &state(host)?)?;
    }
    Ok(())
}

#[test]
fn who_is_not_forwarded_any_more_is_told_and_the_gateway_is_as_it_was() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let config = scene.gateway.folder().join("cryprq.toml");
    scene.exit()?;
    let text = std::fs::read_to_string(&config)?;
    let forwarding = state(&scene.host_gateway)?;
    std::fs::write(&config, text.replace("forward = true", "forward = false"))?;
    scene.gateway.cli(&["config", "reload"], "")?;
    until("the client is told", || scene.client.health().is_ok_and(|codes| codes.contains(&"exit".into())))?;
    let status = scene.client.ask("status")?["exit"].take();
    ensure!(status["state"] == "active" && status["ipv4"] == false && status["ipv6"] == false, "{status}");
    let now = state(&scene.host_gateway)?;
    ensure!(now != forwarding && !now.iter().any(|line| line.contains("table inet cryprq")), "{now:#?}");
    std::fs::write(&config, text)?;
    scene.gateway.cli(&["config", "reload"], "")?;
    scene.wait_active()?;
    ensure!(!scene.client.health()?.contains(&"exit".into()));
    Ok(())
}
