//! TCP throughput, by iperf3.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::lab::{Process, until, until_within};
use crate::rig::contenders::Running;
use crate::rig::site::{Side, Site};

/// How long a client may take longer than it was told.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    AToB,
    BToA,
}

/// What passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transfer {
    pub(super) bytes: f64,
    bits_per_second: f64,
}

impl Transfer {
    pub(super) fn gbits(&self) -> f64 {
        self.bits_per_second / 1e9
    }
}

/// Runs streams for a time.
pub(super) fn run(
    site: &Site,
    running: &Running,
    streams: u32,
    direction: Direction,
    time: Duration,
) -> anyhow::Result<Transfer> {
    Client::start(site, running, streams, direction, time)?.finish()
}

/// Streams that run, and their server.
pub(super) struct Client {
    client: Process,
    _server: Process,
    told: PathBuf,
    time: Duration,
}

impl Client {
    pub(super) fn start(
        site: &Site,
        running: &Running,
        streams: u32,
        direction: Direction,
        time: Duration,
    ) -> anyhow::Result<Self> {
        let to = running.inner(Side::B).to_string();
        let start = |side: Side, name: &str, arguments: &[&str]| -> anyhow::Result<(Process, PathBuf)> {
            let file = site.folder().join(name);
            let mut command = Command::new("iperf3");
            let told = File::create(&file)?;
            command.args(arguments).stdin(Stdio::null()).stdout(told.try_clone()?).stderr(told);
            Ok((Process::start(site.host(side), command)?, file))
        };
        let (server, listening) = start(Side::B, "iperf-server", &["-s", "-1", "-B", &to, "--forceflush"])?;
        until("iperf3 listens", || std::fs::read_to_string(&listening).is_ok_and(|told| told.contains("listening")))?;
        let (seconds, streams) = (time.as_secs().max(1).to_string(), streams.to_string());
        let mut arguments = vec!["-c", &to, "-t", &seconds, "-P", &streams, "-J"];
        match direction {
            Direction::AToB => {}
            Direction::BToA => arguments.push("-R"),
        }
        let (client, told) = start(Side::A, "iperf-client", &arguments)?;
        Ok(Self { client, _server: server, told, time })
    }

    pub(super) fn finish(mut self) -> anyhow::Result<Transfer> {
        until_within("iperf3 ends", self.time + PATIENCE, || self.client.ended().is_some())?;
        transfer(&std::fs::read_to_string(&self.told)?)
    }
}

/// What iperf3 tells at its end.
fn transfer(told: &str) -> anyhow::Result<Transfer> {
    let told: Value = serde_json::from_str(told).with_context(|| format!("iperf3 said: {told}"))?;
    if let Some(error) = told["error"].as_str() {
        anyhow::bail!("iperf3: {error}");
    }
    let sum = &told["end"]["sum_received"];
    let (bytes, bits_per_second) = (sum["bytes"].as_f64(), sum["bits_per_second"].as_f64());
    let (bytes, bits_per_second) = bytes.zip(bits_per_second).context("iperf3 told no sum")?;
    ensure!(bytes > 0.0, "iperf3 moved nothing");
    Ok(Transfer { bytes, bits_per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_sum_counts() {
        let told = r#"{"start":{},"intervals":[],"end":{"streams":[],
            "sum_sent":{"seconds":4,"bytes":2000,"bits_per_second":4000},
            "sum_received":{"seconds":4,"bytes":1000,"bits_per_second":2e9}}}"#;
        let transfer = transfer(told).unwrap();
        assert_eq!((transfer.bytes, transfer.gbits()), (1000.0, 2.0));
    }

    #[test]
    fn an_error_is_told() {
        let error = transfer(r#"{"start":{},"error":"unable to connect to server"}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect to server");
        assert!(transfer("").is_err());
        assert!(transfer(r#"{"end":{"sum_received":{"bytes":0,"bits_per_second":0}}}"#).is_err());
    }
}
