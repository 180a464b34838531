//! A program that says what it does, a line each.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::Context;

use super::{Host, Process, until};

/// A program on a host, and what it said. Dropped, it is killed.
pub struct Told {
    /// The program.
    pub process: Process,
    output: PathBuf,
}

impl Told {
    /// Starts a program that says what it does into the file `output`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(host: &Host, mut command: Command, output: PathBuf) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(File::create(&output)?);
        Ok(Self { process: Process::start(host, command)?, output })
    }

    /// What it said.
    pub fn said(&self) -> Vec<String> {
        lines(&self.output)
    }

    /// The file that it says it in.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// How many lines are like this.
    pub fn times(&self, is_like: impl Fn(&str) -> bool) -> usize {
        self.said().iter().filter(|line| is_like(line)).count()
    }

    /// Waits until it has said so many lines that are like this; `what` says which in words.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_said(&self, what: &str, times: usize, is_like: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        until(&format!("the program says '{what}' {times} times"), || self.times(&is_like) >= times)
            .with_context(|| format!("it said {:#?}", self.said()))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        until("the program ends", || {
            status = self.process.ended();
            status.is_some()
        })
        .with_context(|| format!("it said {:#?}", self.said()))?;
        status.context("no exit status")
    }
}

/// The whole lines of a file, which may not be there yet.
pub fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}
