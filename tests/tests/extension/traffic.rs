//! What passes.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use cryprq_tests::lab::{SHUTTLED, Shuttle, Transfer, pattern, ping};

use super::{LIMIT, PATIENCE, connected, pair, passes};

#[test]
fn both_families_pass_between_a_shuttle_and_an_interface_both_ways() -> Result<()> {
    let Some((pair, _shuttle)) = connected()? else { return Ok(()) };
    passes(&pair)?;
    let body = pattern(3_000_000);
    let (a, b) = (&pair.host_a, &pair.host_b);
    let ways: [(_, _, IpAddr); 4] = [
        (b, a, pair.id_b.ipv4.into()),
        (b, a, pair.id_b.ipv6.into()),
        (a, b, pair.id_a.ipv4.into()),
        (a, b, pair.id_a.ipv6.into()),
    ];
    for (server, client, address) in ways {
        let transfer = Transfer::start(server, client, address, body.clone(), Duration::ZERO)?;
        transfer.finish().with_context(|| format!("from {address}"))?;
    }
    Ok(())
}

#[test]
fn two_shuttles_reach_each_other() -> Result<()> {
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.b.take_from_extension()?;
    // Shuttles that are there before their daemons.
    let shuttles = [
        Shuttle::start(&pair.host_a, &pair.a, SHUTTLED, PATIENCE)?,
        Shuttle::start(&pair.host_b, &pair.b, SHUTTLED, PATIENCE)?,
    ];
    pair.connect()?;
    shuttles.iter().try_for_each(|shuttle| shuttle.wait_said("settings", 1))?;
    passes(&pair)?;
    ping(&pair.host_b, pair.id_a.ipv6.into(), LIMIT)?;
    Ok(())
}
