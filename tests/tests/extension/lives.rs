//! Either side dies, sleeps, changes its mind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Flow, Identity, SHUTTLED, Shuttle, until};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{PATIENCE, connected, pair, passes};

/// How often A and B agreed on keys, and began anew.
fn session(daemon: &Daemon) -> Result<(usize, Value)> {
    Ok((daemon.logged("new keys"), daemon.peer()?["chain_resets"].take()))
}

#[test]
fn a_daemon_dies_and_its_shuttle_comes_back_to_the_next_with_the_same_interface() -> Result<()> {
    let Some((mut pair, shuttle)) = connected()? else { return Ok(()) };
    passes(&pair)?;
    let flow = Flow::start(&pair.host_a, &pair.host_b, pair.id_b.ipv4.into(), 100, Duration::from_millis(10))?;
    let before = pair.host_a.state()?;
    pair.a.kill()?;
    shuttle.wait_said("away", 1)?;
    ensure!(pair.host_a.state()? == before, "the interface is kept as it was");
    pair.a.start()?;
    shuttle.wait_said("settings", 2)?;
    pair.a.wait_connected()?;
    passes(&pair)?;
    let before = flow.arrived();
    until("the flow goes on", || flow.arrived() > before).with_context(|| pair.a.log())?;
    ensure!(flow.finish()?.repeated == 0);
    // A service manager's signal is no farewell either, a person's is.
    ensure!(pair.a.stop()?.success());
    shuttle.wait_said("away", 2)?;
    pair.a.start()?;
    shuttle.wait_said("settings", 3)?;
    let mut shuttle = shuttle;
    pair.a.signal(Signal::SIGINT)?;
    ensure!(pair.a.wait()?.success());
    ensure!(shuttle.wait()?.success() && shuttle.times("stopped DaemonStopping") == 1, "{:?}", shuttle.said());
    ensure!(!pair.a.tun_socket().exists(), "the socket went with the daemon");
    Ok(())
}

#[test]
fn a_shuttle_dies_and_the_next_finds_the_session_that_there_was() -> Result<()> {
    let Some((pair, mut shuttle)) = connected()? else { return Ok(()) };
    passes(&pair)?;
    let before = session(&pair.a)?;
    ensure!(!pair.a.health()?.contains(&"extension_absent".to_owned()));
    shuttle.signal(Signal::SIGKILL)?;
    shuttle.wait()?;
    until("it is missed", || pair.a.health().is_ok_and(|codes| codes.contains(&"extension_absent".to_owned())))?;
    // What comes for it meanwhile is dropped and counted.
    let _lost = Flow::start(&pair.host_b, &pair.host_a, pair.id_a.ipv4.into(), 100, Duration::from_millis(10))?;
    until("drops are counted", || pair.a.peer().is_ok_and(|peer| peer["drops"]["extension_away"].as_u64() > Some(0)))?;
    for times in 1..=3 {
        let mut next = Shuttle::start(&pair.host_a, &pair.a, SHUTTLED, PATIENCE)?;
        next.wait_said("settings", 1).with_context(|| format!("shuttle {times}"))?;
        passes(&pair)?;
        // The system ends an extension; the daemon is told so, and the next one does not have to wait.
        next.signal(Signal::SIGTERM)?;
        ensure!(next.wait()?.success());
    }
    let after = session(&pair.a)?;
    ensure!(after == before, "{before:?} became {after:?}:\n{}", pair.a.log());
    Ok(())
}

#[test]
fn a_shuttle_that_sleeps_gets_nothing_and_one_that_wakes_does() -> Result<()> {
    let Some((pair, shuttle)) = connected()? else { return Ok(()) };
    passes(&pair)?;
    shuttle.signal(Signal::SIGUSR1)?;
    let flow = Flow::start(&pair.host_b, &pair.host_a, pair.id_a.ipv4.into(), 100, Duration::from_millis(10))?;
    until("packets are held back", || {
        pair.a.peer().is_ok_and(|peer| peer["drops"]["extension_away"].as_u64() > Some(0))
    })
    .with_context(|| pair.a.log())?;
    shuttle.signal(Signal::SIGUSR2)?;
    let before = flow.arrived();
    until("packets come again", || flow.arrived() > before).with_context(|| pair.a.log())?;
    ensure!(shuttle.times("settings") == 1 && shuttle.times("away") == 0, "it was attached all the time");
    Ok(())
}

#[test]
fn a_peer_that_is_added_or_removed_changes_the_routes_of_the_interface() -> Result<()> {
    let Some((pair, shuttle)) = connected()? else { return Ok(()) };
    let third = Identity::new(3)?.id;
    let routed = || pair.host_a.state().is_ok_and(|lines| lines.iter().any(|line| line.contains("10.99.7.0")));
    ensure!(!routed());
    let add = format!(r#"{{"v":1,"cmd":"peer_add","peer":"{third}","name":"c","allowed_ips":["10.99.7.0/24"]}}"#);
    let added = pair.a.request(&add)?;
    ensure!(added["error"].is_null(), "{added}");
    shuttle.wait_said("settings", 2)?;
    ensure!(routed(), "{:?}", pair.host_a.state()?);
    pair.a.request(&format!(r#"{{"v":1,"cmd":"peer_remove","peer":"{third}"}}"#))?;
    shuttle.wait_said("settings", 3)?;
    ensure!(!routed());
    passes(&pair)
}

#[test]
fn without_a_daemon_a_shuttle_gives_up_in_the_end() -> Result<()> {
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.a.start()?;
    ensure!(pair.a.stop()?.success());
    let mut shuttle = Shuttle::start(&pair.host_a, &pair.a, SHUTTLED, 1)?;
    let status = shuttle.wait()?;
    ensure!(status.code() == Some(2) && shuttle.times("no daemon") == 1, "{status}: {:?}", shuttle.said());
    Ok(())
}
