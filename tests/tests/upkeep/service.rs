//! What systemd is told, and what it asks for.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Identity, until};
use nix::sys::signal::Signal;

use super::host;

#[test]
fn the_service_manager_hears_of_each_step_and_that_the_daemon_lives() -> Result<()> {
    let Some(host) = host() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let socket = UnixDatagram::bind(folder.path().join("notify"))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let hear = || -> Result<String> {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).context("nothing was said")?;
        Ok(String::from_utf8_lossy(&message[..length]).trim().to_owned())
    };
    let next = || -> Result<String> {
        loop {
            let message = hear()?;
            if message != "WATCHDOG=1" {
                return Ok(message);
            }
        }
    };
    let mut daemon = Daemon::new(&host, folder.path().join("a"), &Identity::new(1)?, &[])?
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("WATCHDOG_USEC", "400000");
    daemon.start()?;
    ensure!(next()? == "READY=1");
    for _ in 0..3 {
        ensure!(hear()? == "WATCHDOG=1");
    }
    for more in ["", "nonsense = 1\n"] {
        daemon.configure(more)?;
        daemon.signal(Signal::SIGHUP)?;
        let reloading = next()?;
        ensure!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        ensure!(next()? == "READY=1", "a refused configuration ends a reload too");
    }
    daemon.signal(Signal::SIGTERM)?;
    ensure!(next()? == "STOPPING=1");
    ensure!(daemon.wait()?.success());
    Ok(())
}

#[test]
fn lines_for_the_journal_carry_their_priority() -> Result<()> {
    let Some(host) = host() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let daemon = Daemon::new(&host, folder.path().join("a"), &Identity::new(1)?, &[])?;
    let mut daemon = daemon.env("JOURNAL_STREAM", "8:1234");
    daemon.start()?;
    until("it is ready", || daemon.log().lines().any(|line| line == "<6> INFO ready"))
}
