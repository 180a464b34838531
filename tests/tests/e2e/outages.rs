//! Outer interfaces that go, routes that are missing, and hosts with two networks.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Daemon, Flow, SPARE, WIRE, cpu, join, join_by_spare, until, until_within};
use ipnet::IpNet;

use super::paths::both_go_by;
use super::{B_QUIC, Pair, Transfer, connected, connected_by, logs, pair_by, pattern, under_way};

/// B by the second cable.
const B_BY_SPARE: &str = "/ip4/198.51.100.2/udp/41820/quic-v1";
/// How long a busy machine may take to find another way.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether these are all its health items, but for one: not every machine that runs tests has the group of the socket.
fn complains_of(daemon: &Daemon, codes: &[&str]) -> bool {
    daemon.health().is_ok_and(|mut all| {
        all.retain(|code| code != "group_missing");
        all == codes
    })
}

/// Waits until A sees the silence. A daemon that has nowhere to send waits, too: it does not spin.
fn silence_without_haste(pair: &Pair) -> Result<()> {
    let pid = pair.a.pid().context("A runs")?;
    let (used, begun) = (cpu(pid)?, std::time::Instant::now());
    until_within("the silence is seen", LIMIT, || pair.a.peer().is_ok_and(|peer| peer["state"] != "connected"))
        .with_context(|| logs(pair))?;
    let failed = pair.a.logged("dialling failed");
    until_within("another way is looked for", LIMIT, || pair.a.logged("dialling failed") > failed)
        .with_context(|| logs(pair))?;
    let (used, passed) = (cpu(pid)? - used, begun.elapsed());
    ensure!(used < passed / 2, "A worked for {used:?} of {passed:?}");
    Ok(())
}

#[test]
fn an_outer_interface_that_is_taken_away_and_put_back_carries_the_same_connection() -> Result<()> {
    outlives_the_outer_interface(Way::Interface)
}

#[test]
fn an_outer_interface_that_is_put_back_carries_the_same_connection_through_the_shuttle() -> Result<()> {
    outlives_the_outer_interface(Way::Shuttle)
}

fn outlives_the_outer_interface(way: Way) -> Result<()> {
    let Some(pair) = connected_by(way, &[B_QUIC])? else { return Ok(()) };
    let transfer = under_way(&pair)?;
    // The other end of the cable goes with it.
    pair.host_a.remove_link(WIRE)?;
    until("A says that it has no network", || complains_of(&pair.a, &["no_network"])).with_context(|| logs(&pair))?;
    silence_without_haste(&pair)?;
    ensure!(!transfer.is_finished(), "nothing passes without an interface");
    join(&pair.host_a, &pair.host_b)?;
    transfer.finish().with_context(|| logs(&pair))?;
    ensure!(complains_of(&pair.a, &[]), "{:?}", pair.a.health());
    Ok(())
}

#[test]
fn a_route_that_is_missing_for_a_while_costs_packets_alone() -> Result<()> {
    let Some(pair) = connected(&[B_QUIC])? else { return Ok(()) };
    let transfer = under_way(&pair)?;
    let change = |add: bool| {
        pair.host_a.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            for address in ["192.0.2.1/24", "2001:db8::1/64"] {
                let address: IpNet = address.parse()?;
                if add {
                    network.add_address(index, address).await?;
                } else {
                    network.remove_address(index, address).await?;
                }
            }
            Ok(())
        })
    };
    change(false)?;
    silence_without_haste(&pair)?;
    let unsent = pair.a.peer()?["drops"]["out_no_path"].as_u64();
    ensure!(unsent > Some(0), "what had no way out is counted: {unsent:?}");
    change(true)?;
    transfer.finish().with_context(|| logs(&pair))
}

#[test]
fn of_two_networks_the_one_that_is_left_carries_the_same_connection() -> Result<()> {
    outlives_a_network(Way::Interface)
}

#[test]
fn of_two_networks_the_one_that_is_left_carries_the_same_connection_through_the_shuttle() -> Result<()> {
    outlives_a_network(Way::Shuttle)
}

fn outlives_a_network(way: Way) -> Result<()> {
    let Some(mut pair) = pair_by(way, &[B_QUIC, B_BY_SPARE])? else { return Ok(()) };
    join_by_spare(&pair.host_a, &pair.host_b)?;
    pair.connect()?;
    let (by_wire, by_spare) = ("/ip4/192.0.2.2/udp", "/ip4/198.51.100.2/udp");
    let goes_by = |to: &str| {
        let path = pair.a.peer().map(|mut peer| peer["path"]["address"].take());
        path.is_ok_and(|path| path.as_str().is_some_and(|path| path.starts_with(to)))
    };
    // Whichever answered first, once either way.
    until("frames go by datagrams", || goes_by(by_wire) || goes_by(by_spare))?;
    for _ in 0..2 {
        let (gone, left) = if goes_by(by_wire) { (WIRE, by_spare) } else { (SPARE, by_wire) };
        let transfer = under_way(&pair)?;
        pair.host_a.set_link(gone, false)?;
        until_within(&format!("frames go to {left}"), LIMIT, || goes_by(left)).with_context(|| logs(&pair))?;
        transfer.finish().with_context(|| logs(&pair))?;
        ensure!(complains_of(&pair.a, &[]), "there is a network: {:?}", pair.a.health());
        pair.host_a.set_link(gone, true)?;
    }
    Ok(())
}

#[test]
fn a_link_slower_than_the_host_fills_the_socket_and_costs_packets_alone() -> Result<()> {
    let Some(pair) = connected(&[B_QUIC])? else { return Ok(()) };
    both_go_by("udp", &pair, LIMIT)?;
    // A queue longer than the socket's buffer, so that the buffer is what is full.
    let mut shaping = Command::new("tc");
    shaping.args("qdisc add dev wire root tbf rate 100mbit burst 64kb limit 64mb".split(' '));
    let shaped = pair.host_a.output(shaping)?;
    if !shaped.status.success() {
        println!("skipped: a slow link: {}", String::from_utf8_lossy(&shaped.stderr).trim());
        return Ok(());
    }
    let flow = Flow::start(&pair.host_a, &pair.host_b, pair.id_b.ipv4.into(), 1200, Duration::ZERO)?;
    // The daemon waits for room, so that what is too much is lost before it: at its interface.
    until_within("packets arrive", LIMIT, || flow.arrived() > 30_000).with_context(|| logs(&pair))?;
    let tally = flow.finish()?;
    ensure!(tally.lost > 0 && tally.repeated == 0, "{tally:?}");
    let address = pair.id_b.ipv4.into();
    Transfer::start(&pair.host_b, &pair.host_a, address, pattern(300_000), Duration::ZERO)?
        .finish()
        .with_context(|| logs(&pair))?;
    let peer = pair.a.peer()?;
    ensure!(peer["state"] == "connected" && peer["path"]["kind"] == "udp", "{peer}");
    Ok(())
}
