//! The daemon as a process: its rights, its end, what it leaves behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::until_within;
use nix::sys::signal::Signal;

use super::{B_QUIC, pair};

#[test]
fn a_running_daemon_holds_one_capability() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.a.start()?;
    let pid = pair.a.pid().context("it runs")?;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // CAP_NET_ADMIN is number 12.
        ensure!(field("CapEff:") == Some("0000000000001000"), "effective: {:?}", field("CapEff:"));
        ensure!(field("CapPrm:") == Some("0000000000001000"), "permitted: {:?}", field("CapPrm:"));
        ensure!(field("NoNewPrivs:") == Some("1"));
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_asked_to_stop_does_so_at_once_and_leaves_nothing_behind() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.b.start()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let before = pair.host_a.state()?;
        pair.a.start()?;
        pair.a.wait_connected()?;
        ensure!(pair.host_a.state()? != before, "interface, addresses and routes are seen");
        pair.a.signal(signal)?;
        // The promise is 1 s; a busy machine gets three times as much.
        let socket = pair.a.socket();
        until_within("the daemon is gone", Duration::from_secs(3), || !socket.exists())?;
        let status = pair.a.wait()?;
        ensure!(status.success(), "{signal} ends it with {status}");
        ensure!(pair.host_a.state()? == before, "{signal}: the system is as it was");
    }
    Ok(())
}
