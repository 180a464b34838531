//! Who starts first does not matter.

use anyhow::Result;
use cryprq_tests::lab::until;

use super::{A_QUIC, B_QUIC, Pair, Transfer, pair, pattern};

fn carries(pair: &Pair) -> Result<()> {
    pair.a.wait_connected()?;
    pair.b.wait_connected()?;
    let time = std::time::Duration::ZERO;
    Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(50_000), time)?.finish()
}

#[test]
fn a_host_that_dialled_in_vain_for_a_while_is_connected_by_the_one_that_comes_later() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[A_QUIC])? else { return Ok(()) };
    pair.a.start()?;
    until("A dialled in vain", || pair.a.logged("not reached") >= 2)?;
    pair.b.start()?;
    carries(&pair)
}

#[test]
fn a_host_that_only_waits_is_connected_whenever_the_other_comes() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.b.start()?;
    until("B listens", || {
        pair.b.ask("status").is_ok_and(|status| !status["listen"].as_array().is_none_or(Vec::is_empty))
    })?;
    pair.a.start()?;
    carries(&pair)
}
