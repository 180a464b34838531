//! Daemons that are killed at each step of what they do to the host.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, until};
use nix::sys::signal::Signal;

use super::scene::{Scene, ensure_same, state};

/// More steps than there are.
const MANY: usize = 200;

/// Starts a daemon that dies at a step, asks it to stop once it is `ready`, and says whether it outlived that.
fn lives(daemon: &mut Daemon, ready: impl Fn(&Daemon) -> bool) -> Result<bool> {
    // It may be dead before it answers.
    let _ = daemon.start();
    let mut asked = false;
    until("it is ready or dead", || {
        asked = ready(daemon);
        asked || !daemon.is_running()
    })?;
    if asked {
        daemon.signal(Signal::SIGTERM)?;
    }
    let status: ExitStatus = daemon.wait()?;
    let killed = status.signal() == Some(Signal::SIGKILL as i32);
    ensure!(killed || status.success(), "it ended with {status}: {}", daemon.log());
    Ok(!killed)
}

/// What undoes what a killed daemon left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undone {
    ByCleanup,
    ByTheNextStart,
}

/// Kills a daemon at every other step from its start to its stop: at those between for [`Undone::ByTheNextStart`].
fn matrix(
    daemon: &mut Daemon,
    host: &Host,
    before: &[String],
    by: Undone,
    ready: impl Fn(&Daemon) -> bool,
) -> Result<usize> {
    let first = if by == Undone::ByCleanup { 1 } else { 2 };
    for step in (first..MANY).step_by(2) {
        daemon.set_program("cryprqd-lab");
        daemon.set_env("CRYPRQD_LAB", format!("dies:{step}"));
        if lives(daemon, &ready).with_context(|| format!("step {step}"))? {
            ensure_same("after the last step", before, &state(host)?)?;
            return Ok(step);
        }
        daemon.set_program("cryprqd");
        undo(daemon, host, before, by, step)?;
    }
    anyhow::bail!("no end after {MANY} steps")
}

/// What was left after a step is undone.
fn undo(daemon: &mut Daemon, host: &Host, before: &[String], by: Undone, step: usize) -> Result<()> {
    match by {
        Undone::ByTheNextStart => {
            daemon.start()?;
            ensure!(daemon.stop()?.success());
            ensure_same(&format!("step {step}, the next start and stop"), before, &state(host)?)
        }
        // Once more does no harm.
        Undone::ByCleanup => (0..2).try_for_each(|_| {
            daemon.cleanup()?;
            ensure_same(&format!("step {step}, --cleanup"), before, &state(host)?)
        }),
    }
}

/// Kills a client that runs and is connected at every other step of `up --exit` and then `down`.
fn live(by: Undone) -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let before = state(&scene.host_client)?;
    scene.gateway.start()?;
    let first = if by == Undone::ByCleanup { 1 } else { 2 };
    let mut killed = 0;
    for step in (first..MANY).step_by(2) {
        // A choice that was kept would be followed at the start, whose steps are those of the other tests.
        let _ = std::fs::remove_file(scene.client.state().join("wishes.toml"));
        scene.client.set_program("cryprqd-lab");
        scene.client.set_env("CRYPRQD_LAB", format!("dies:{step}"));
        let _ = scene.client.start();
        let connected = |daemon: &Daemon| daemon.peer().is_ok_and(|peer| peer["state"] == "connected");
        let mut ready = false;
        until("it is connected or dead", || {
            ready = connected(&scene.client);
            ready || !scene.client.is_running()
        })?;
        let asked = [r#"{"v":1,"cmd":"up","exit":"gateway"}"#, r#"{"v":1,"cmd":"down"}"#];
        // One that dies does not answer.
        let outlived = ready && asked.iter().all(|line| scene.client.request(line).is_ok());
        if outlived {
            scene.client.signal(Signal::SIGKILL)?;
        }
        scene.client.wait()?;
        scene.client.set_program("cryprqd");
        undo(&mut scene.client, &scene.host_client, &before, by, step)?;
        if outlived {
            ensure!(killed > 20, "only {killed} steps");
            return Ok(());
        }
        killed += usize::from(ready);
    }
    anyhow::bail!("no end after {MANY} steps")
}

fn client(by: Undone) -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let before = state(&scene.host_client)?;
    scene.exit()?;
    ensure!(scene.client.stop()?.success());
    ensure_same("stopped", &before, &state(&scene.host_client)?)?;
    let active = |daemon: &Daemon| daemon.ask("status").is_ok_and(|status| status["exit"]["state"] == "active");
    let steps = matrix(&mut scene.client, &scene.host_client, &before, by, active)?;
    ensure!(steps > 40, "only {steps} steps");
    Ok(())
}

fn gateway(by: Undone) -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let before = state(&scene.host_gateway)?;
    let answers = |daemon: &Daemon| daemon.ask("hello").is_ok();
    let steps = matrix(&mut scene.gateway, &scene.host_gateway, &before, by, answers)?;
    ensure!(steps > 10, "only {steps} steps");
    Ok(())
}

#[test]
fn attack_16_a_client_that_is_killed_at_every_other_step_is_put_right_by_cleanup() -> Result<()> {
    client(Undone::ByCleanup)
}

#[test]
fn attack_16_a_client_that_is_killed_at_the_steps_between_is_put_right_by_the_next_start() -> Result<()> {
    client(Undone::ByTheNextStart)
}

#[test]
fn attack_16_a_gateway_that_is_killed_at_every_other_step_is_put_right_by_cleanup() -> Result<()> {
    gateway(Undone::ByCleanup)
}

#[test]
fn attack_16_a_gateway_that_is_killed_at_the_steps_between_is_put_right_by_the_next_start() -> Result<()> {
    gateway(Undone::ByTheNextStart)
}

#[test]
fn attack_16_a_client_that_runs_and_is_killed_at_every_other_step_of_up_and_down_is_put_right_by_cleanup() -> Result<()>
{
    live(Undone::ByCleanup)
}

#[test]
fn attack_16_a_client_that_runs_and_is_killed_at_the_steps_between_is_put_right_by_the_next_start() -> Result<()> {
    live(Undone::ByTheNextStart)
}
