//! TCP by iperf3.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Host, Process};

/// A server of iperf3 at an address of the host's.
///
/// # Errors
/// When there is no iperf3.
pub fn iperf3_server(host: &Host, address: &str) -> anyhow::Result<Process> {
    let mut server = Command::new("iperf3");
    server.args(["-s", "-B", address]).stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(host, server)
}

/// What the receiving end of one stream of two seconds counted, to the server or, with `-R`, from it: `bytes` and
/// `bits_per_second`. `None` when nothing was measured: a server that is busy with the end of the stream before refuses, and
/// the client calls that a success.
pub fn iperf3(host: &Host, server: &str, way: &[&str]) -> Option<Value> {
    let mut client = Command::new("iperf3");
    client.args(["-c", server, "-t", "2", "-J"]).args(way);
    let told: Value = serde_json::from_slice(&host.output(client).ok()?.stdout).ok()?;
    let sum = &told["end"]["sum_received"];
    sum["bits_per_second"].is_f64().then(|| sum.clone())
}
