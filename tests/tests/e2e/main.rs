//! Daemons in network namespaces carry real traffic: by an interface of their own, and where the way of a packet matters
//! behind the shuttle and the Swift pump too.

mod admin;
mod crash;
mod demo;
mod elsewhere;
mod lan;
mod links;
mod offload;
mod options;
mod outages;
mod page;
mod paths;
mod process;
mod quickstart;
mod rotation;
mod starts;
mod traffic;

use std::time::Duration;

use anyhow::Result;
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Host, Pair, Transfer, pattern, until};

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

/// The same, but A's inner packets go this way.
fn pair_by(way: Way, a_dials: &[&str]) -> Result<Option<Pair>> {
    if !way.is_there() {
        return Ok(None);
    }
    pair(a_dials, &[])?.map(|pair| pair.by(way)).transpose()
}

/// A pair whose tunnel stands.
fn connected(a_dials: &[&str]) -> Result<Option<Pair>> {
    connected_by(Way::Interface, a_dials)
}

/// The same, but A's inner packets go this way.
fn connected_by(way: Way, a_dials: &[&str]) -> Result<Option<Pair>> {
    let Some(mut pair) = pair_by(way, a_dials)? else { return Ok(None) };
    pair.connect()?;
    Ok(Some(pair))
}

/// Hosts without cables, or `None` with a line that says why this machine has none.
fn hosts<const N: usize>() -> Option<[Host; N]> {
    Host::several(WHOM)
}

/// A download of A's from B, of which half came already.
fn under_way(pair: &Pair) -> Result<Transfer> {
    let address = pair.id_b.ipv4.into();
    let received = || pair.a.peer().ok()?["rx_bytes"].as_u64();
    let before = received().unwrap_or(0);
    let transfer = Transfer::start(&pair.host_b, &pair.host_a, address, pattern(400_000), Duration::from_secs(2))?;
    until("half of it came", || received() > Some(before + 200_000))?;
    Ok(transfer)
}

/// What both daemons logged, for the report of a failure.
fn logs(pair: &Pair) -> String {
    format!("A:\n{}\nB:\n{}", pair.a.log(), pair.b.log())
}
