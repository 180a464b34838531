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
        match by {
            Undone::ByTheNextStart => {
                daemon.start()?;
                ensure!(daemon.stop()?.success());
                ensure_same(&format!("step {step}, the next start and stop"), before, &state(host)?)?;
            }
            // Once more does no harm.
            Undone::ByCleanup => {
                for _ in 0..2 {
                    daemon.cleanup()?;
                    ensure_same(&format!("step {step}, --cleanup"), before, &state(host)?)?;
                }
            }
        }
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
