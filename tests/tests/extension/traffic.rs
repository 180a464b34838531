//! What passes.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Flow, SHUTTLED, Shuttle, Transfer, pattern, ping, until_within};

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

#[test]
fn rotations_back_to_back_lose_and_repeat_no_packet() -> Result<()> {
    const ROTATIONS: u64 = 100;
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.a = pair.a.run_by("cryprqd-lab");
    pair.b = pair.b.run_by("cryprqd-lab");
    pair.connect()?;
    let shuttle = Shuttle::start(&pair.host_a, &pair.a, SHUTTLED, PATIENCE)?;
    shuttle.wait_said("settings", 1)?;
    passes(&pair)?;
    let pace = Duration::from_millis(1);
    let flows = [
        Flow::start(&pair.host_a, &pair.host_b, pair.id_b.ipv4.into(), 200, pace)?,
        Flow::start(&pair.host_b, &pair.host_a, pair.id_a.ipv6.into(), 200, pace)?,
    ];
    until_within("so many rotations", Duration::from_secs(60), || {
        pair.a.peer().is_ok_and(|peer| peer["rotations"].as_u64() >= Some(ROTATIONS))
    })
    .with_context(|| pair.a.log())?;
    for flow in flows {
        let tally = flow.finish()?;
        ensure!(tally.lost == 0 && tally.repeated == 0 && tally.sent > ROTATIONS, "{tally:?}");
    }
    Ok(())
}
