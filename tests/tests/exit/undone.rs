//! The host is as it was when there is no exit any more, whatever ended it.

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::frame::Frame;
use cryprq_tests::extension::{Extension, Way};
use cryprq_tests::lab::until;
use cryprq_tests::shuttle::Link;
use nix::sys::signal::Signal;

use super::scene::{FAR, SECOND, Scene, ensure_same, sh, state};
use super::traffic::{through, through_one_at};

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

#[test]
fn another_exit_takes_the_place_of_the_first_and_down_leaves_the_host_as_it_was() -> Result<()> {
    for way in [Way::Interface, Way::Shuttle] {
        let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
        let (_host, mut second) = scene.second_gateway()?;
        second.start()?;
        scene.connect()?;
        let before = state(&scene.host_client)?;
        scene.exit_chosen()?;
        through(&scene)?;
        for (name, at) in [("second", SECOND), ("gateway", scene.at), ("second", SECOND)] {
            scene.client.cli(&["up", "--exit", name], "")?;
            scene.wait_active()?;
            let status = scene.client.ask("status")?["exit"].take();
            ensure!(status["name"] == name, "{status}");
            until("the internet sees the other one", || through_one_at(&scene, at).is_ok())?;
        }
        // What is not the exit may go without a trace.
        scene.gateway.kill()?;
        through_one_at(&scene, SECOND)?;
        scene.down()?;
        ensure_same("down", &before, &state(&scene.host_client)?)?;
        ensure!(second.stop()?.success());
    }
    Ok(())
}

/// What the extension's system did stays while no daemon says otherwise; a daemon that is stopped says so in time.
#[test]
fn attack_16_over_the_shuttle_the_host_is_as_it_was_whatever_ended_the_daemon() -> Result<()> {
    whatever_ended_the_daemon(Way::Shuttle)
}

#[test]
fn attack_16_over_the_swift_pump_the_host_is_as_it_was_whatever_ended_the_daemon() -> Result<()> {
    whatever_ended_the_daemon(Way::Swift)
}

fn whatever_ended_the_daemon(way: Way) -> Result<()> {
    let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
    scene.connect()?;
    let before = state(&scene.host_client)?;
    for remedy in ["SIGTERM", "SIGKILL and the next start", "SIGKILL and --cleanup"] {
        scene.exit_chosen()?;
        through(&scene)?;
        let led = state(&scene.host_client)?;
        if remedy == "SIGTERM" {
            ensure!(scene.client.stop()?.success());
            scene.wait_in_force()?;
            ensure_same(remedy, &before, &state(&scene.host_client)?)?;
        } else {
            scene.client.kill()?;
            if remedy.ends_with("--cleanup") {
                scene.client.cleanup()?;
            }
            let what = format!("{remedy}: all traffic is still led into the tunnel");
            ensure_same(&what, &led, &state(&scene.host_client)?)?;
        }
        scene.client.start()?;
        scene.client.wait_connected()?;
        scene.wait_active().context(remedy)?;
        through(&scene).context(remedy)?;
        scene.down()?;
        ensure_same(remedy, &before, &state(&scene.host_client)?)?;
    }
    Ok(())
}

/// Reads until settings come that lead all traffic into the tunnel, or do not any more; those on the way are put in force.
fn settings(played: &mut Link, lead_all: bool) -> Result<u32> {
    loop {
        let (header, body) = played.frame().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let Frame::TunnelSettings(settings) = Frame::read(&header, &played.incoming.memory()[body])? else { continue };
        if settings.included.iter().any(|net| net.length() == 0) == lead_all {
            return Ok(header.id);
        }
        played.send(header.id, &Frame::Ready)?;
    }
}

#[test]
fn attack_16_a_daemon_that_is_stopped_waits_for_its_extension_to_undo_what_it_did_but_not_for_long() -> Result<()> {
    for answers in [true, false] {
        let Some(mut scene) = Scene::by(Way::Shuttle)? else { return Ok(()) };
        scene.gateway.start()?;
        scene.client.start()?;
        let opened = Link::open(&scene.client.tun_socket());
        let mut played = opened.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let first = settings(&mut played, false)?;
        played.send(first, &Frame::Ready)?;
        scene.client.wait_connected()?;
        scene.client.cli(&["up", "--exit", "gateway"], "")?;
        let number = settings(&mut played, true)?;
        played.send(number, &Frame::Ready)?;
        scene.wait_active()?;
        scene.client.signal(Signal::SIGTERM)?;
        let number = settings(&mut played, false)?;
        if answers {
            played.send(number, &Frame::Ready)?;
        }
        ensure!(scene.client.wait()?.success());
        let complaints = scene.client.logged("does not say that traffic is led elsewhere again");
        ensure!(complaints == usize::from(!answers), "{complaints} complaints:\n{}", scene.client.log());
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_stopped_for_good_takes_the_shuttle_along_and_the_host_is_as_it_was() -> Result<()> {
    let Some(mut scene) = Scene::by(Way::Shuttle)? else { return Ok(()) };
    let before = state(&scene.host_client)?;
    scene.exit()?;
    scene.client.signal(Signal::SIGINT)?;
    ensure!(scene.client.wait()?.success());
    let Some(Extension::Shuttle(shuttle)) = &mut scene.extension else { anyhow::bail!("no shuttle") };
    ensure!(shuttle.wait()?.success(), "{:?}", shuttle.said());
    ensure_same("SIGINT", &before, &state(&scene.host_client)?)
}

#[test]
fn attack_16_an_extension_that_is_killed_is_missed_and_the_next_one_leads_all_traffic_again() -> Result<()> {
    for way in [Way::Shuttle, Way::Swift] {
        let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
        let before = state(&scene.host_client)?;
        scene.exit()?;
        let killed = scene.extension.take().context("one is attached")?;
        killed.signal(Signal::SIGKILL)?;
        until("it is missed", || {
            scene.client.ask("status").is_ok_and(|status| status["exit"]["state"] == "waiting")
                && scene.client.health().is_ok_and(|codes| codes.contains(&"extension_absent".into()))
        })?;
        drop(killed);
        // The system undoes what it did for an extension; on this one nobody does.
        sh(
            &scene.host_client,
            "while ip rule del priority 5300 2>/dev/null; do true; done; \
             while ip -6 rule del priority 5300 2>/dev/null; do true; done; \
             ip route flush table 25459; ip -6 route flush table 25459; \
             mv /etc/resolv.conf.before-cryprq /etc/resolv.conf",
        )?;
        ensure_same(&format!("{way:?}"), &before, &state(&scene.host_client)?)?;
        scene.attach()?;
        scene.wait_active()?;
        through(&scene)?;
    }
    Ok(())
}
