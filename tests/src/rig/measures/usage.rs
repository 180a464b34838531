//! CPU time: of the VPN, of this rig, and of everything else.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};

use crate::lab::{cpu, from_ticks};

/// The parent of every thread of the kernel.
const KTHREADD: u64 = 2;

/// CPU time used up to a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    at: Instant,
    vpn: Duration,
    /// Neither the VPN's, nor the rig's, nor the kernel's own.
    others: Duration,
}

impl Usage {
    /// Up to now.
    pub(super) fn now(vpn: &[u32]) -> anyhow::Result<Self> {
        let vpn = vpn.iter().copied().map(cpu).sum::<anyhow::Result<Duration>>()?;
        let mut ours = Duration::ZERO;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let used = getrusage(who)?;
            for time in [used.user_time(), used.system_time()] {
                ours += Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec())?);
            }
        }
        let busy = from_ticks(busy(&fs::read_to_string("/proc/stat")?)?)?;
        let others = busy.saturating_sub(vpn + ours + kernel()?);
        Ok(Self { at: Instant::now(), vpn, others })
    }

    pub(super) fn vpn_since(&self, before: &Self) -> Duration {
        self.vpn.saturating_sub(before.vpn)
    }

    /// In percent of one core.
    pub(super) fn others_since(&self, before: &Self) -> f64 {
        let time = (self.at - before.at).as_secs_f64();
        100.0 * self.others.saturating_sub(before.others).as_secs_f64() / time
    }
}

/// Ticks of user, nice and system time of the whole machine. Interrupts are nobody's.
fn busy(stat: &str) -> anyhow::Result<u64> {
    let fields = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no line cpu")?;
    fields.split_whitespace().take(3).map(|field| Ok(field.parse::<u64>()?)).sum()
}

/// What the kernel's threads used: they work for whoever sends.
fn kernel() -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        // A process may end while it is looked at.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .skip(1)
            .map_while(|field| field.parse::<i64>().ok().map(i64::unsigned_abs))
            .collect();
        if let (Some(&KTHREADD), Some(user), Some(system)) = (fields.first(), fields.get(10), fields.get(11)) {
            ticks += user + system;
        }
    }
    from_ticks(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_user_nice_and_system() {
        assert_eq!(busy("cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4\n").unwrap(), 60);
        assert!(busy("").is_err());
    }

    #[test]
    fn work_of_the_vpn_is_not_the_work_of_others() {
        let before = Usage { at: Instant::now(), vpn: Duration::from_secs(1), others: Duration::from_secs(10) };
        let after = Usage {
            at: before.at + Duration::from_secs(4),
            vpn: Duration::from_secs(4),
            others: Duration::from_secs(11),
        };
        assert_eq!(after.vpn_since(&before), Duration::from_secs(3));
        assert_eq!(after.others_since(&before), 25.0);
    }
}
