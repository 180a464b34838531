//! What garbage at the daemon's port costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use node::epoch::Cipher;

use super::tcp::{self, Direction};
use super::{Figures, Measure, Plan};
use crate::measure::middle;
use crate::rig::contenders::{Contender, Cryprqd};
use crate::rig::site::{Cores, Side};

/// Frames a second, and the share of them that the sender has to reach.
const PACE: f64 = 100_000.0;
const REACHED: f64 = 0.9;
const LENGTH: usize = 128;
const FRAMES: usize = 32;
/// What a data frame begins with (protocol.md 7.1).
const DATA: u8 = 0x10;
/// The daemon's port, and one where nobody listens.
const USED: u16 = 41_820;
const UNUSED: u16 = 41_821;
/// Comparisons, in turns.
const PAIRS: usize = 5;

/// Our daemon under frames of no tunnel.
///
/// # Errors
/// When the tunnel does not come up, or the flood does not reach its pace.
pub fn flood(plan: Plan) -> anyhow::Result<Figures> {
    let (site, running) = Cryprqd::new(Cipher::Aes256Gcm).up(Cores::Shared)?;
    let under = |port: u16| -> anyhow::Result<f64> {
        let over = Arc::new(AtomicBool::new(false));
        let to = SocketAddr::from((Side::B.outer(), port));
        // It lasts as long as the stream, whose end is not known to the millisecond.
        let long = plan.tcp() + Duration::from_secs(20);
        let sender = super::datagrams::send(site.host(Side::A), to, garbage()?, Some(PACE), long, Arc::clone(&over));
        let begun = std::time::Instant::now();
        let transfer = tcp::run(&site, &running, 1, Direction::AToB, plan.tcp());
        over.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let pace = sent as f64 / begun.elapsed().as_secs_f64();
        ensure!(pace >= REACHED * PACE, "the flood reached {pace:.0} frames a second only");
        Ok(transfer?.gbits())
    };
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let beside = under(UNUSED)?;
        ratios.push(under(USED)? / beside);
    }
    Ok([(Measure::FloodThroughput, middle(ratios))].into())
}

/// Frames that look like data of tunnels that do not exist.
fn garbage() -> anyhow::Result<Vec<Vec<u8>>> {
    let frame = |_| {
        let mut frame = vec![0; LENGTH];
        aws_lc_rs::rand::fill(&mut frame).map_err(|_| anyhow::anyhow!("no randomness"))?;
        frame[..4].copy_from_slice(&[DATA, 0, 0, 0]);
        Ok(frame)
    };
    (0..FRAMES).map(frame).collect()
}
