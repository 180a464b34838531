//! The reference shuttle beside a daemon of the lab.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::{Daemon, Host, Process, programs, until};

/// The name of a shuttle's interface.
pub const SHUTTLED: &str = "shuttle0";

/// A shuttle on a host; dropped, it is killed.
pub struct Shuttle {
    process: Process,
    output: PathBuf,
}

impl Shuttle {
    /// Starts a shuttle for a daemon, which need not be there yet. It gives up after `patience` seconds without one.
    ///
    /// # Errors
    /// When it was not built, or cannot be started.
    pub fn start(host: &Host, daemon: &Daemon, interface: &str, patience: u64) -> anyhow::Result<Self> {
        Self::at(host, daemon.tun_socket(), interface, patience)
    }

    /// Starts a shuttle for whoever listens at `socket`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn at(host: &Host, socket: PathBuf, interface: &str, patience: u64) -> anyhow::Result<Self> {
        let folder = socket.parent().and_then(|run| run.parent()).context("a daemon has a folder")?;
        let output = folder.join(format!("{interface}.out"));
        let mut command = Command::new(programs()?.join("cryprq-shuttle"));
        command.arg(&socket).arg(interface).arg(patience.to_string());
        command.stdin(Stdio::null()).stdout(File::create(&output)?);
        Ok(Self { process: Process::start(host, command)?, output })
    }

    /// What it said, a line each.
    pub fn said(&self) -> Vec<String> {
        std::fs::read_to_string(&self.output).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How often it said this.
    pub fn times(&self, word: &str) -> usize {
        self.said().iter().filter(|line| *line == word).count()
    }

    /// Waits until it has said this so often.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_said(&self, word: &str, times: usize) -> anyhow::Result<()> {
        until(&format!("the shuttle says '{word}' {times} times"), || self.times(word) >= times)
            .with_context(|| format!("it said {:?}", self.said()))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        until("the shuttle ends", || {
            status = self.process.ended();
            status.is_some()
        })
        .with_context(|| format!("it said {:?}", self.said()))?;
        status.context("no exit status")
    }
}
