//! Peers that come, change and go while the daemons run.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, Pair, ping, until};
use serde_json::json;

use super::{B_QUIC, strangers};

const PSK: [u8; 32] = *b"a secret that no other test uses";

fn add(pair: &Pair) -> Result<()> {
    let psk = data_encoding::HEXLOWER.encode(&PSK);
    let of = |id: &cryprq_tests::lab::Identity, name: &str, addresses: &[&str]| {
        let prefixes = [format!("{}/32", id.ipv4), format!("{}/128", id.ipv6)];
        json!({"cmd": "peer_add", "peer": id.id, "name": name, "addresses": addresses, "allowed_ips": prefixes, "psk": psk})
    };
    done(&pair.a, &of(&pair.id_b, "b", &[B_QUIC]))?;
    done(&pair.b, &of(&pair.id_a, "a", &[]))
}

fn done(daemon: &Daemon, request: &serde_json::Value) -> Result<()> {
    let reply = daemon.request(&request.to_string())?;
    ensure!(reply["reply"] == "done", "{reply}");
    Ok(())
}

fn answers(host: &Host, address: IpAddr) -> Result<()> {
    until("the ping is answered", || ping(host, address, Duration::from_secs(2)).is_ok())
}

fn routes(host: &Host, what: &str) -> Result<usize> {
    Ok(host.state()?.iter().filter(|line| line.starts_with("route") && line.contains(what)).count())
}

#[test]
fn a_peer_that_is_added_connects_and_one_that_is_removed_is_cut_off_at_once() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    let before = pair.host_a.state()?;
    for round in 0..2 {
        add(&pair)?;
        pair.a.wait_connected()?;
        pair.b.wait_connected()?;
        answers(&pair.host_a, pair.id_b.ipv4.into())?;
        answers(&pair.host_b, pair.id_a.ipv6.into())?;
        ensure!(pair.a.peer()?["psk"] == true);

        let told = pair.a.request(r#"{"cmd":"ping","peer":"b"}"#)?;
        ensure!(told["reply"] == "ping" && told["peer"] == *pair.id_b.id, "{told}");
        ensure!(told["rtt_ms"].as_f64().is_some_and(|time| time > 0.0), "{told}");

        done(&pair.a, &json!({"cmd": "peer_remove", "peer": "b"}))?;
        ensure!(pair.host_a.state()? == before, "round {round}: routes stay behind");
        ensure!(pair.a.ask("peers")?["peers"] == json!([]));
        until("the other side sees it", || pair.b.peer().is_ok_and(|peer| peer["state"] != "connected"))
            .with_context(|| pair.b.log())?;
        done(&pair.b, &json!({"cmd": "peer_remove", "peer": "a"}))?;
    }
    Ok(())
}

#[test]
fn a_prefix_that_is_given_and_taken_is_routed_and_not_routed() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    add(&pair)?;
    pair.a.wait_connected()?;
    let handshakes = pair.a.peer()?["rotations"].take();
    let prefixes = |more: &[&str]| {
        let own = [format!("{}/32", pair.id_b.ipv4), format!("{}/128", pair.id_b.ipv6)];
        let all: Vec<_> = own.into_iter().chain(more.iter().map(ToString::to_string)).collect();
        done(&pair.a, &json!({"cmd": "peer_set", "peer": "b", "allowed_ips": all}))
    };
    prefixes(&["10.99.7.0/24"])?;
    ensure!(routes(&pair.host_a, "10.99.7.0")? == 1);
    prefixes(&[])?;
    ensure!(routes(&pair.host_a, "10.99.7.0")? == 0);
    answers(&pair.host_a, pair.id_b.ipv4.into())?;
    ensure!(pair.a.peer()?["rotations"] == handshakes, "the tunnel was left alone");
    Ok(())
}

#[test]
fn another_psk_on_both_sides_is_used_at_once_and_on_one_side_alone_is_told() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    add(&pair)?;
    pair.a.wait_connected()?;
    let change =
        |daemon: &Daemon, peer: &str, psk: &str| done(daemon, &json!({"cmd": "peer_set", "peer": peer, "psk": psk}));
    let rotations = |daemon: &Daemon| daemon.peer().ok()?["rotations"].as_u64();
    let before = rotations(&pair.a).context("a number")?;
    change(&pair.a, "b", &"cd".repeat(32))?;
    change(&pair.b, "a", &"cd".repeat(32))?;
    until("new keys", || rotations(&pair.a) > Some(before))?;
    change(&pair.b, "a", "none")?;
    // Whichever asks, both tell it.
    let refused = |daemon: &Daemon| daemon.health().is_ok_and(|codes| codes.contains(&"peer_refused".into()));
    until("the refusal is told", || refused(&pair.a) && refused(&pair.b))
        .with_context(|| pair.a.log() + &pair.b.log())?;
    change(&pair.a, "b", "none")?;
    pair.a.wait_connected()?;
    until("the items are gone", || !refused(&pair.a) && !refused(&pair.b))
}

#[test]
fn another_own_address_is_on_the_interface_at_once() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    add(&pair)?;
    pair.a.wait_connected()?;
    let has = |address: &str| -> Result<bool> {
        let bytes = format!("{:?}", address.parse::<std::net::Ipv4Addr>()?);
        Ok(pair.host_a.state()?.iter().any(|line| line.starts_with("address") && line.contains(&bytes)))
    };
    let old = pair.id_a.ipv4.to_string();
    ensure!(has(&old)?);
    done(
        &pair.b,
        &json!({"cmd": "peer_set", "peer": "a", "allowed_ips": ["10.86.200.1/32", format!("{}/128", pair.id_a.ipv6)]}),
    )?;
    pair.a.configure("[network]\naddress = \"10.86.200.1\"\n")?;
    let reply = pair.a.ask("reload")?;
    ensure!(reply["changed"] == json!(["network.address"]), "{reply}");
    ensure!(has("10.86.200.1")? && !has(&old)?);
    ensure!(pair.a.ask("status")?["addresses"]["ipv4"] == "10.86.200.1");
    answers(&pair.host_a, pair.id_b.ipv4.into())?;
    answers(&pair.host_b, "10.86.200.1".parse()?)
}

#[test]
fn an_address_where_a_peer_was_reached_is_tried_first_after_a_restart() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    add(&pair)?;
    pair.a.wait_connected()?;
    // The administrator's address is wrong from now on; what was good once is still known.
    done(&pair.a, &json!({"cmd": "peer_set", "peer": "b", "addresses": ["/ip4/192.0.2.77/udp/41820/quic-v1"]}))?;
    ensure!(pair.a.stop()?.success());
    let kept = std::fs::read_to_string(pair.a.state().join("addresses.toml"))?;
    ensure!(kept.contains("192.0.2.2/udp/41820"), "{kept}");
    pair.a.start()?;
    pair.a.wait_connected()
}
