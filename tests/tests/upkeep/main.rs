//! What an administrator does to a daemon that runs, and what its host does to it.

mod disk;
mod files;
mod health;
mod log;
mod memory;
mod obstacles;
mod peers;
mod service;
mod surroundings;

use anyhow::{Context, Result};
use cryprq_tests::lab::{Daemon, Host, Identity, Pair, Peering, programs, until};

/// Where B, the second host, is reached.
const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
/// The same by TCP.
const B_TCP: &str = "/ip4/192.0.2.2/tcp/41820";

/// What needs hosts here.
const WHOM: &str = "tests of a daemon's upkeep";

/// Two joined hosts with daemons that know nobody yet. Nothing is started.
fn strangers() -> Result<Option<Pair>> {
    Pair::new(WHOM, &[], &[])
}

/// A pair whose tunnel stands: B is reached, and each has the other in its configuration.
fn friends(log_level: &str) -> Result<Option<Pair>> {
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let b = Peering { peer: &id_b, name: "gateway-of-b", addresses: &[B_QUIC] };
    let a = Peering { peer: &id_a, name: "laptop-of-a", addresses: &[] };
    let Some(mut pair) = Pair::new(WHOM, &[b], &[a])? else { return Ok(None) };
    pair.a = pair.a.env("CRYPRQ_LOG", log_level);
    pair.b = pair.b.env("CRYPRQ_LOG", log_level);
    pair.connect()?;
    Ok(Some(pair))
}

/// A host without a cable, on the files of this machine.
fn host() -> Option<Host> {
    Host::several(WHOM).map(|[host]| host)
}

/// A host with files of its own.
fn host_with_files() -> Result<Option<Host>> {
    let host = Host::named("upkeep", &programs()?);
    Ok(host.inspect_err(|error| println!("skipped: {WHOM}: {error:#}")).ok())
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

/// The group of the control socket does not exist on every machine that runs tests.
fn of_root_alone(daemon: &Daemon) -> Result<()> {
    daemon.configure("[ipc]\ngroup = \"root\"\n")
}
