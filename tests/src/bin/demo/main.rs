//! The demo: two hosts on this machine, two daemons, one tunnel. `tests/demo` builds and runs it.
//!
//! Everything lives in namespaces and goes with the program.

#![forbid(unsafe_code)]

mod control;
mod download;
mod secrets;
mod story;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use cryprq_tests::lab::clean_up_when_interrupted;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// How long the paced download takes unless the first argument says otherwise.
const SECONDS: u32 = 32;

fn main() -> ExitCode {
    let seconds = match std::env::args().nth(1).map(|argument| argument.parse()) {
        None => SECONDS,
        Some(Ok(seconds)) if (1..=3600).contains(&seconds) => seconds,
        Some(_) => {
            eprintln!("usage: demo [SECONDS]   how long the download takes, 1 to 3600");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = own_namespace() {
        eprintln!("demo: {error:#}: run with sudo");
        return ExitCode::FAILURE;
    }
    if let Err(error) = clean_up_when_interrupted() {
        eprintln!("demo: {error:#}");
        return ExitCode::FAILURE;
    }
    if story::tell(Duration::from_secs(seconds.into())) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without root: becomes root of a user namespace, where networks and interfaces are ours to make. Before any thread.
fn own_namespace() -> anyhow::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).context("this user may not make user namespaces")?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}
