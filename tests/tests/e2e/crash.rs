//! Daemons that die.

use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Daemon, Flow, until, until_within};
use nix::sys::signal::Signal;
use os::journal::{Change, Journal};

use super::{B_QUIC, Pair, Transfer, connected_by, logs, pair, pattern};

/// The protocol promises 3 s; a busy machine gets three times as much.
const BACK: Duration = Duration::from_secs(9);

/// While A downloads from B and numbered packets go both ways, `dies` is killed and started again.
fn outlives(way: Way, dies: impl Fn(&mut Pair) -> &mut Daemon) -> Result<()> {
    let Some(mut pair) = connected_by(way, &[B_QUIC])? else { return Ok(()) };
    let (a, b) = (IpAddr::from(pair.id_a.ipv4), IpAddr::from(pair.id_b.ipv6));
    let transfer =
        Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(400_000), Duration::from_secs(6))?;
    let pace = Duration::from_millis(10);
    let flows = [
        Flow::start(&pair.host_a, &pair.host_b, b, 100, pace)?,
        Flow::start(&pair.host_b, &pair.host_a, a, 100, pace)?,
    ];
    until_within("packets flow", BACK, || flows.iter().all(|flow| flow.arrived() > 50))?;
    dies(&mut pair).kill()?;
    ensure!(!transfer.is_finished(), "the download was still on its way");
    dies(&mut pair).start()?;
    let before = flows.each_ref().map(Flow::arrived);
    until_within("packets flow again", BACK, || flows.iter().zip(before).all(|(flow, before)| flow.arrived() > before))
        .with_context(|| logs(&pair))?;
    transfer.finish()?;
    for flow in flows {
        ensure!(flow.finish()?.repeated == 0, "no packet came twice");
    }
    Ok(())
}

#[test]
fn a_connection_outlives_the_death_of_the_daemon_that_dials() -> Result<()> {
    outlives(Way::Interface, |pair| &mut pair.a)
}

#[test]
fn a_connection_through_the_shuttle_outlives_the_death_of_the_daemon_behind_it() -> Result<()> {
    outlives(Way::Shuttle, |pair| &mut pair.a)
}

#[test]
fn a_connection_through_the_swift_pump_outlives_the_death_of_the_daemon_behind_it() -> Result<()> {
    outlives(Way::Swift, |pair| &mut pair.a)
}

#[test]
fn a_connection_outlives_the_death_of_the_daemon_that_is_dialled() -> Result<()> {
    outlives(Way::Interface, |pair| &mut pair.b)
}

#[test]
fn a_connection_through_the_shuttle_outlives_the_death_of_the_peers_daemon() -> Result<()> {
    outlives(Way::Shuttle, |pair| &mut pair.b)
}

/// What the daemon of A noted in its journal.
fn journal(pair: &Pair) -> Result<Vec<Change>> {
    Ok(Journal::open(&pair.a.folder().join("state/journal.jsonl"))?.changes().to_vec())
}

#[test]
fn attack_16_what_a_killed_daemon_left_is_undone_by_the_next_start_and_by_cleanup() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    let before = pair.host_a.state()?;
    for undone_by in ["--cleanup", "the next start"] {
        pair.a.start()?;
        pair.a.kill()?;
        ensure!(journal(&pair)? == [Change::Link { name: "cryprq0".into() }], "the journal tells what was changed");
        until("the kernel took the interface away", || pair.host_a.state().is_ok_and(|now| now == before))?;
        if undone_by == "--cleanup" {
            // Once more does no harm.
            for _ in 0..2 {
                pair.a.cleanup()?;
                ensure!(pair.host_a.state()? == before && journal(&pair)?.is_empty(), "{undone_by}");
            }
        } else {
            pair.a.start()?;
            ensure!(pair.a.stop()?.success());
            ensure!(pair.host_a.state()? == before && journal(&pair)?.is_empty(), "{undone_by}");
        }
    }
    Ok(())
}

#[test]
fn attack_16_an_interface_that_somebody_made_after_the_daemon_died_is_left_alone() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.a.start()?;
    pair.a.kill()?;
    pair.host_a.add_link("cryprq0")?;
    let theirs = pair.host_a.state()?;
    pair.a.cleanup()?;
    ensure!(pair.host_a.state()? == theirs && journal(&pair)?.is_empty(), "--cleanup");
    pair.host_a.remove_link("cryprq0")?;
    pair.a.start()?;
    pair.a.kill()?;
    pair.host_a.add_link("cryprq0")?;
    let theirs = pair.host_a.state()?;
    pair.a.start()?;
    ensure!(pair.a.health()?.contains(&"no_tun".into()), "{:?}", pair.a.health());
    ensure!(pair.a.stop()?.success());
    ensure!(pair.host_a.state()? == theirs, "the next start");
    Ok(())
}

#[test]
fn attack_16_a_fault_ends_the_daemon_at_once_and_tells_nothing_that_it_carried() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    let before = pair.host_a.state()?;
    pair.a = pair.a.run_by("cryprqd-lab");
    pair.a.start()?;
    pair.a.signal(Signal::SIGUSR1)?;
    let status = pair.a.wait()?;
    ensure!(status.signal() == Some(Signal::SIGABRT as i32), "it ended with {status}");
    let log = pair.a.log();
    ensure!(log.contains("internal fault at") && !log.contains("nobody may read"), "{log}");
    ensure!(!journal(&pair)?.is_empty(), "the journal is whole");
    pair.a = pair.a.run_by("cryprqd");
    pair.a.start()?;
    ensure!(pair.a.stop()?.success());
    ensure!(pair.host_a.state()? == before, "the next start and stop leave the system as it was");
    Ok(())
}
