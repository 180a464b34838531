//! What processes use.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// CPU time that a process has used with all its threads.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("a name in brackets")?.split_whitespace().collect();
    let (user, system) = (fields.get(11).context("no user time")?, fields.get(12).context("no system time")?);
    from_ticks(user.parse::<u64>()? + system.parse::<u64>()?)
}

/// The kernel's unit of CPU time.
///
/// # Errors
/// When the system does not tell it.
pub fn from_ticks(ticks: u64) -> anyhow::Result<Duration> {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("a clock")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// A line of `/proc/PID/status`, in MiB.
///
/// # Errors
/// When there is no such process or line.
pub fn memory(pid: u32, line: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let value = status.lines().find_map(|l| l.strip_prefix(line)).context("no such line")?;
    Ok(value.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_uses_time_and_memory() {
        let own = std::process::id();
        assert!(memory(own, "VmHWM").unwrap() > 0.1);
        assert!(cpu(own).unwrap() < Duration::from_secs(3600));
        assert!(cpu(u32::MAX).is_err());
    }
}
