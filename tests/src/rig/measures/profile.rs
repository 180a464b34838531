//! Where the time of a contender's processes goes, where `perf` is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::Plan;
use super::tcp::{self, Direction};
use crate::rig::contenders::Running;
use crate::rig::site::{Side, Site};

/// Records both ends' processes under one TCP stream into `file`, and gives the functions that take the most.
///
/// # Errors
/// When `perf` is missing or refuses.
pub fn profile(site: &Site, running: &Running, plan: Plan, file: &Path) -> anyhow::Result<String> {
    let [a, b] = running.pids().context("there is no process to look at")?;
    let mut record = Command::new("perf");
    record.args(["record", "--freq", "999", "--call-graph", "fp", "--quiet", "--pid", &format!("{a},{b}")]);
    record.arg("--output").arg(file).args(["--", "sleep", &plan.seconds.to_string()]);
    let load = tcp::Client::start(site, running, 1, Direction::AToB, plan.tcp())?;
    let output = site.host(Side::A).output(record).context("perf does not run: apt-get install linux-perf")?;
    load.finish()?;
    ensure!(output.status.success(), "perf: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-children", "--call-graph", "none", "--percent-limit", "1", "--input"]);
    let output = report.arg(file).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    Ok(told.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect::<Vec<_>>().join("\n"))
}
