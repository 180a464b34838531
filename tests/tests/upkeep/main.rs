//! What an administrator does to a daemon that runs, and what its host does to it.

mod disk;
mod files;
mod health;
mod log;
mod memory;
mod peers;
mod service;

use std::path::PathBuf;

use anyhow::{Context, Result};
use cryprq_tests::lab::{Daemon, Host, Identity, Peering, join, programs, until};

/// Where B, the second host, is reached.
const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";

/// Two joined hosts with daemons that know nobody yet.
struct Pair {
    a: Daemon,
    b: Daemon,
    host_a: Host,
    host_b: Host,
    id_a: Identity,
    id_b: Identity,
    _folder: tempfile::TempDir,
}

/// The hosts, or `None` with a line that says why this machine has none. Nothing is started yet.
fn strangers() -> Result<Option<Pair>> {
    pair(&[], &[])
}

/// A dials B, and each has the other in its configuration.
fn friends(log_level: &str) -> Result<Option<Pair>> {
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let b = Peering { peer: &id_b, name: "gateway-of-b", addresses: &[B_QUIC] };
    let a = Peering { peer: &id_a, name: "laptop-of-a", addresses: &[] };
    let Some(mut pair) = pair(&[b], &[a])? else { return Ok(None) };
    pair.a = pair.a.env("CRYPRQ_LOG", log_level);
    pair.b = pair.b.env("CRYPRQ_LOG", log_level);
    pair.a.start()?;
    pair.b.start()?;
    pair.a.wait_connected()?;
    pair.b.wait_connected()?;
    Ok(Some(pair))
}

fn pair(peers_of_a: &[Peering<'_>], peers_of_b: &[Peering<'_>]) -> Result<Option<Pair>> {
    let (Some(host_a), Some(host_b)) = (host()?, host()?) else { return Ok(None) };
    join(&host_a, &host_b)?;
    let folder = tempfile::tempdir()?;
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let a = Daemon::new(&host_a, folder.path().join("a"), &id_a, peers_of_a)?;
    let b = Daemon::new(&host_b, folder.path().join("b"), &id_b, peers_of_b)?;
    Ok(Some(Pair { a, b, host_a, host_b, id_a, id_b, _folder: folder }))
}

/// A host without a cable, on the files of this machine.
fn host() -> Result<Option<Host>> {
    made(Host::new())
}

/// A host with files of its own.
fn host_with_files() -> Result<Option<Host>> {
    made(Host::named("upkeep", &programs()?))
}

fn made(host: Result<Host>) -> Result<Option<Host>> {
    match host {
        Ok(host) => Ok(Some(host)),
        Err(error) => {
            println!("skipped: tests of a daemon's upkeep: {error:#}");
            Ok(None)
        }
    }
}

/// Waits until the daemon has exactly these health items.
fn until_health(daemon: &Daemon, codes: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    until("the health items", || {
        last = daemon.health().unwrap_or_default();
        last == codes
    })
    .with_context(|| format!("it has {last:?}, not {codes:?}\n{}", daemon.log()))
}

/// Appends to the daemon's configuration.
fn configure(daemon: &Daemon, more: &str) -> Result<()> {
    let file = daemon.folder().join("cryprq.toml");
    let text = std::fs::read_to_string(&file)? + more;
    Ok(std::fs::write(file, text)?)
}

/// The group of the control socket does not exist on every machine that runs tests.
fn of_root_alone(daemon: &Daemon) -> Result<()> {
    configure(daemon, "[ipc]\ngroup = \"root\"\n")
}

fn state_of(daemon: &Daemon) -> PathBuf {
    daemon.folder().join("state")
}
