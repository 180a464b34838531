//! Daemons in network namespaces carry real traffic.

mod crash;
mod demo;
mod lan;
mod links;
mod offload;
mod paths;
mod process;
mod quickstart;
mod rotation;
mod starts;
mod traffic;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, Pair, Server, fetch};

/// Where A, the first host, and B, the second, are reached.
const A_QUIC: &str = "/ip4/192.0.2.1/udp/41820/quic-v1";
const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
const B_QUIC_V6: &str = "/ip6/2001:db8::2/udp/41820/quic-v1";
const B_TCP: &str = "/ip4/192.0.2.2/tcp/41820";

/// What needs hosts here.
const WHOM: &str = "end-to-end tests";

/// Two joined hosts whose daemons are each other's peers. Nothing is started yet.
fn pair(a_dials: &[&str], b_dials: &[&str]) -> Result<Option<Pair>> {
    Pair::of_peers(WHOM, a_dials, b_dials)
}

/// A pair whose tunnel stands.
fn connected(a_dials: &[&str]) -> Result<Option<Pair>> {
    let Some(mut pair) = pair(a_dials, &[])? else { return Ok(None) };
    pair.connect()?;
    Ok(Some(pair))
}

/// Hosts without cables, or `None` with a line that says why this machine has none.
fn hosts<const N: usize>() -> Option<[Host; N]> {
    Host::several(WHOM)
}

/// Bytes that no other test and no protocol sends.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A download from `server` that runs beside the test, taking about `time`.
struct Transfer {
    server: Server,
    client: std::thread::JoinHandle<Result<cryprq_tests::lab::Download>>,
    expected: [u8; 32],
}

impl Transfer {
    fn start(server: &Host, client: &Host, address: IpAddr, body: Vec<u8>, time: Duration) -> Result<Self> {
        let expected = cryprq_tests::lab::digest(&body);
        let server = Server::start(server, address, body, time)?;
        Ok(Self { server, client: fetch(client, address, "/file", |_, _| {}), expected })
    }

    fn is_finished(&self) -> bool {
        self.client.is_finished()
    }

    /// Every byte came once and in order.
    fn finish(self) -> Result<()> {
        let download = self.client.join().ok().context("the client panicked")??;
        ensure!(download.digest == self.expected, "other bytes came than were sent");
        ensure!(self.server.finish()? == "/file");
        Ok(())
    }
}

/// What both daemons logged, for the report of a failure.
fn logs(pair: &Pair) -> String {
    format!("A:\n{}\nB:\n{}", pair.a.log(), pair.b.log())
}
