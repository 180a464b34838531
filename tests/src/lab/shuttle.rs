//! The reference shuttle beside a daemon of the lab.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::{Daemon, Host, Told, programs};

/// The name of a shuttle's interface.
pub const SHUTTLED: &str = "shuttle0";

/// A shuttle on a host; dropped, it is killed.
pub struct Shuttle(Told);

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
        Told::start(host, command, output).map(Self)
    }

    /// What it said, a line each.
    pub fn said(&self) -> Vec<String> {
        self.0.said()
    }

    /// How often it said this.
    pub fn times(&self, word: &str) -> usize {
        self.0.times(|line| line == word)
    }

    /// Waits until it has said this so often.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_said(&self, word: &str, times: usize) -> anyhow::Result<()> {
        self.0.wait_said(word, times, |line| line == word)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.0.process.signal(signal)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.process.id()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.0.wait()
    }
}
