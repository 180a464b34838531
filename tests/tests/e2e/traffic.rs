//! What passes, and what is seen of it outside.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, Daemon, Identity, Peering, Seen, ping, switch};

use super::{B_QUIC, B_QUIC_V6, Pair, Transfer, connected_by, hosts, pattern};

/// A download by A from B, and what A's outer link showed of it.
fn watched(pair: &Pair, address: IpAddr, body: &[u8]) -> Result<Seen> {
    let capture = Capture::start(&pair.host_a)?;
    Transfer::start(&pair.host_b, &pair.host_a, address, body.to_vec(), Duration::ZERO)?.finish()?;
    Ok(capture.finish()?)
}

fn passes_unseen(way: Way, outer: &str) -> Result<()> {
    let Some(pair) = connected_by(way, &[outer])? else { return Ok(()) };
    let body = pattern(300_000);
    let canary = &body[150_000..150_064];
    for address in [IpAddr::from(pair.id_b.ipv4), pair.id_b.ipv6.into()] {
        let seen = watched(&pair, address, &body)?;
        ensure!(seen.bytes.len() > body.len(), "the capture saw the tunnel's frames");
        ensure!(!seen.holds(canary), "the outer link shows the payload");
        let inner: Vec<u8> = match address {
            IpAddr::V4(ip) => [ip.octets(), pair.id_a.ipv4.octets()].concat(),
            IpAddr::V6(ip) => [ip.octets(), pair.id_a.ipv6.octets()].concat(),
        };
        ensure!(!seen.holds(&inner), "the outer link shows the inner addresses");
    }
    // The same search without the tunnel finds the payload: the search itself works.
    ensure!(watched(&pair, "192.0.2.2".parse()?, &body)?.holds(canary), "without the tunnel the payload is seen");
    Ok(())
}

#[test]
fn inside_ipv4_both_families_pass_and_the_outer_link_shows_nothing_of_it() -> Result<()> {
    passes_unseen(Way::Interface, B_QUIC)
}

#[test]
fn inside_ipv6_both_families_pass_and_the_outer_link_shows_nothing_of_it() -> Result<()> {
    passes_unseen(Way::Interface, B_QUIC_V6)
}

#[test]
fn from_the_shuttle_both_families_pass_and_the_outer_link_shows_nothing_of_it() -> Result<()> {
    passes_unseen(Way::Shuttle, B_QUIC)
}

#[test]
fn from_the_swift_pump_both_families_pass_and_the_outer_link_shows_nothing_of_it() -> Result<()> {
    passes_unseen(Way::Swift, B_QUIC)
}

#[test]
fn of_three_peers_each_reaches_the_others_and_gets_only_its_own() -> Result<()> {
    let Some(hosts) = hosts::<3>() else { return Ok(()) };
    let _switch = switch(&hosts.each_ref())?;
    let folder = tempfile::tempdir()?;
    let ids = [Identity::new(1)?, Identity::new(2)?, Identity::new(3)?];
    let names = ["a", "b", "c"];
    let addresses = [1, 2, 3].map(|number| format!("/ip4/192.0.2.{number}/udp/41820/quic-v1"));
    let mut daemons = Vec::new();
    for own in 0..3 {
        // Who comes earlier is dialled by who comes later.
        let dialled = addresses.each_ref().map(|address| if own > 0 { vec![address.as_str()] } else { vec![] });
        let others = (0..3).filter(|&other| other != own);
        let peers: Vec<_> =
            others.map(|other| Peering { peer: &ids[other], name: names[other], addresses: &dialled[other] }).collect();
        daemons.push(Daemon::new(&hosts[own], folder.path().join(names[own]), &ids[own], &peers)?);
    }
    daemons.iter_mut().try_for_each(Daemon::start)?;
    daemons.iter().try_for_each(Daemon::wait_connected)?;
    for (from, host) in hosts.iter().enumerate() {
        for to in (0..3).filter(|&to| to != from) {
            for address in [IpAddr::from(ids[to].ipv4), ids[to].ipv6.into()] {
                let answered = ping(host, address, Duration::from_secs(9));
                answered.with_context(|| format!("{} pings {} at {address}", names[from], names[to]))?;
            }
        }
    }
    // What A downloads from B is nothing to C.
    let before = daemons[2].ask("status")?;
    let body = pattern(200_000);
    Transfer::start(&hosts[1], &hosts[0], ids[1].ipv4.into(), body, Duration::ZERO)?.finish()?;
    let received = daemons[0].peer_named("b")?["rx_bytes"].as_u64();
    ensure!(received > Some(200_000), "A received {received:?} bytes from B");
    let after = daemons[2].ask("status")?;
    for peer in 0..2 {
        ensure!(before["peers"][peer]["rx_bytes"] == after["peers"][peer]["rx_bytes"], "C received something");
    }
    Ok(())
}
