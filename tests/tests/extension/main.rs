//! A daemon behind the packet socket, with the reference shuttle in the place of the extension, carries what one with an
//! interface of its own carries, and survives what an extension does.

mod abuse;
mod attacks;
mod lives;
mod traffic;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use cryprq_tests::lab::{Pair, SHUTTLED, Shuttle, ping};

const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
/// How long a shuttle looks for a daemon here.
const PATIENCE: u64 = 60;
/// The time that a busy machine gets for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(9);

/// A, behind a shuttle, and B, with an interface of its own. Nothing is started.
fn pair() -> Result<Option<Pair>> {
    let Some(pair) = Pair::of_peers("extension tests", &[B_QUIC], &[])? else { return Ok(None) };
    pair.a.take_from_extension()?;
    Ok(Some(pair))
}

/// Such a pair whose tunnel stands, and the shuttle, whose settings are in force.
fn connected() -> Result<Option<(Pair, Shuttle)>> {
    let Some(mut pair) = pair()? else { return Ok(None) };
    pair.connect()?;
    let shuttle = Shuttle::start(&pair.host_a, &pair.a, SHUTTLED, PATIENCE)?;
    shuttle.wait_said("settings", 1).with_context(|| pair.a.log())?;
    Ok(Some((pair, shuttle)))
}

/// B answers A at both of its addresses.
fn passes(pair: &Pair) -> Result<()> {
    for address in [IpAddr::from(pair.id_b.ipv4), pair.id_b.ipv6.into()] {
        ping(&pair.host_a, address, LIMIT).with_context(|| format!("A pings {address}:\n{}", pair.a.log()))?;
    }
    Ok(())
}

/// Another shuttle finds the daemon as good as new.
fn passes_after_another(pair: &Pair) -> Result<()> {
    let next = Shuttle::start(&pair.host_a, &pair.a, "shuttle2", PATIENCE)?;
    next.wait_said("settings", 1).with_context(|| pair.a.log())?;
    passes(pair)
}
