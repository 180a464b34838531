//! What status says of a peer that is not connected, or not directly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Flow, Identity, Pair, Peering, until};

use super::{B_QUIC, B_TCP};

const NOT_REACHED: &str = "a peer is not reached";
/// Every fifth datagram.
const LOSSY: &str = "table ip t { chain i { type filter hook input priority 0; \
                     meta l4proto udp iifname wire numgen inc mod 5 0 drop; }; }";
const NO_UDP: &str =
    "table ip t { chain i { type filter hook input priority 0; meta l4proto udp iifname wire drop; }; }";

fn peers(a_dials: &[&str]) -> Result<Option<Pair>> {
    Pair::of_peers("what is in the way of a peer", a_dials, &[])
}

fn wait_for_obstacle(daemon: &Daemon, place: &str, code: &str) -> Result<serde_json::Value> {
    let mut obstacle = serde_json::Value::Null;
    until(&format!("status says {code}"), || {
        let Ok(peer) = daemon.peer() else { return false };
        obstacle = peer.pointer(place).cloned().unwrap_or_default();
        obstacle["code"] == code
    })
    .with_context(|| format!("{obstacle}\n{}", daemon.log()))?;
    ensure!(obstacle["hint"].is_string() || code == "carrier", "{obstacle}");
    Ok(obstacle)
}

fn says(obstacle: &serde_json::Value, what: &str) -> Result<()> {
    ensure!(obstacle["text"].as_str().is_some_and(|text| text.contains(what)), "{obstacle} does not say {what}");
    Ok(())
}

#[test]
fn a_peer_that_nobody_answers_for_is_told_with_what_happened_and_once_in_the_log() -> Result<()> {
    let Some(mut pair) = peers(&[B_TCP])? else { return Ok(()) };
    pair.a.start()?;
    says(&wait_for_obstacle(&pair.a, "/obstacle", "unreachable")?, &format!("{B_TCP}: Connection refused"))?;
    until("it is tried again", || pair.a.logged("not reached; trying again") > 2)?;
    ensure!(pair.a.logged(NOT_REACHED) == 1, "{}", pair.a.log());
    pair.b.start()?;
    pair.a.wait_connected()?;
    ensure!(pair.a.peer()?["obstacle"].is_null());
    Ok(())
}

#[test]
fn another_host_at_a_peers_address_is_told() -> Result<()> {
    let other = Identity::new(9)?;
    for address in [B_QUIC, B_TCP] {
        let wrong = [Peering { peer: &other, name: "b", addresses: &[address] }];
        let Some(mut pair) = Pair::new("another host at a peer's address", &wrong, &[])? else { return Ok(()) };
        pair.b.start()?;
        pair.a.start()?;
        says(&wait_for_obstacle(&pair.a, "/obstacle", "another_host")?, &format!("{address}: another host answers"))?;
        ensure!(pair.a.logged("another host answers at its address") == 1, "{}", pair.a.log());
    }
    Ok(())
}

#[test]
fn a_peer_without_an_address_is_waited_for() -> Result<()> {
    let Some(mut pair) = peers(&[B_TCP])? else { return Ok(()) };
    pair.b.start()?;
    wait_for_obstacle(&pair.b, "/obstacle", "no_address")?;
    Ok(())
}

#[test]
fn why_frames_do_not_go_by_datagrams_is_told() -> Result<()> {
    let Some(mut pair) = peers(&[B_QUIC])? else { return Ok(()) };
    pair.b.prefix("carrier = \"stream\"\n")?;
    pair.connect()?;
    wait_for_obstacle(&pair.b, "/path/not_direct", "carrier")?;
    wait_for_obstacle(&pair.a, "/path/not_direct", "no_answer")?;
    Ok(())
}

#[test]
fn that_only_tcp_passes_is_told_until_udp_does() -> Result<()> {
    let Some(mut pair) = peers(&[B_QUIC, B_TCP])? else { return Ok(()) };
    if pair.host_b.firewall(NO_UDP)?.is_none() {
        println!("skipped: that only TCP passes: this machine has no nft");
        return Ok(());
    }
    pair.connect()?;
    wait_for_obstacle(&pair.a, "/path/not_direct", "no_udp")?;
    pair.host_b.firewall("delete table ip t")?;
    until("frames go directly", || {
        pair.a.peer().is_ok_and(|peer| peer["path"]["kind"] == "udp" && peer["path"]["not_direct"].is_null())
    })
    .with_context(|| pair.a.log())
}

#[test]
fn loss_is_what_the_network_drops() -> Result<()> {
    let Some(mut pair) = peers(&[B_QUIC])? else { return Ok(()) };
    // Each datagram is counted by itself: of those that are handed over as one, the firewall takes all or none.
    pair.b.configure("[linux]\nudp_segmentation = false\n")?;
    pair.connect()?;
    until("frames go by datagrams", || pair.a.peer().is_ok_and(|peer| peer["path"]["kind"] == "udp"))?;
    let flow = |count: u64| -> Result<f64> {
        let flow = Flow::start(&pair.host_b, &pair.host_a, pair.id_a.ipv4.into(), 200, Duration::from_millis(2))?;
        let begin = pair.a.peer()?["rx_packets"].as_u64();
        until("packets arrive", || {
            pair.a.peer().is_ok_and(|peer| peer["rx_packets"].as_u64() > begin.map(|n| n + count))
        })?;
        let loss = pair.a.peer()?["path"]["loss_percent"].as_f64().context("loss is told")?;
        flow.finish()?;
        Ok(loss)
    };
    ensure!(flow(500)? == 0.0, "nothing is lost: {}", pair.a.peer()?);
    if pair.host_a.firewall(LOSSY)?.is_none() {
        println!("skipped: loss: this machine has no nft");
        return Ok(());
    }
    let loss = flow(4000)?;
    ensure!((15.0..25.0).contains(&loss), "{loss} %");
    Ok(())
}
