//! Hosts that are not as one would like them: without IPv6, without nft, with routes of another program.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, Identity, Pair, ping, until};
use serde_json::{Value, json};

use super::{B_QUIC, WHOM, host_with_files, of_root_alone, strangers, until_health};

const OTHERS: &str = "others";

fn answers(host: &Host, address: IpAddr) -> Result<()> {
    until("the ping is answered", || ping(host, address, Duration::from_secs(2)).is_ok())
}

/// Asks for a change and gives the error's message, if it is refused.
fn change(daemon: &Daemon, request: &Value) -> Result<Option<String>> {
    let reply = daemon.request(&request.to_string())?;
    Ok(reply["error"]["message"].as_str().map(str::to_owned))
}

fn add(daemon: &Daemon, peer: &Identity, name: &str, prefixes: &[&str]) -> Result<Option<String>> {
    let own = [format!("{}/32", peer.ipv4), format!("{}/128", peer.ipv6)];
    let allowed: Vec<_> = own.into_iter().chain(prefixes.iter().map(ToString::to_string)).collect();
    let request =
        json!({"cmd": "peer_add", "peer": peer.id, "name": name, "addresses": [B_QUIC], "allowed_ips": allowed});
    change(daemon, &request)
}

/// Another program's interface, with a route to this network.
fn others_route(host: &Host, prefix: &'static str) -> Result<()> {
    host.add_link(OTHERS)?;
    host.network(async move |network| {
        let index = network.index_of(OTHERS).await?.context("no link")?;
        network.set_up(index, 1500).await?;
        Ok(network.add_route(index, prefix.parse()?).await?)
    })
}

fn routed(host: &Host, what: &str) -> Result<usize> {
    Ok(host.state()?.iter().filter(|line| line.starts_with("route") && line.contains(what)).count())
}

#[test]
fn a_route_of_another_program_is_not_taken_for_ours() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    pair.a.start()?;
    others_route(&pair.host_a, "10.99.8.0/24")?;
    let before = pair.host_a.state()?;
    let refused = add(&pair.a, &pair.id_b, "b", &["10.99.8.0/24"])?.context("it was not refused")?;
    ensure!(refused.contains("10.99.8.0/24"), "{refused}");
    ensure!(pair.host_a.state()? == before && pair.a.ask("peers")?["peers"] == json!([]), "nothing has changed");
    pair.host_a.remove_link(OTHERS)?;
    ensure!(add(&pair.a, &pair.id_b, "b", &["10.99.8.0/24"])?.is_none(), "now nobody else has it");
    ensure!(routed(&pair.host_a, "10.99.8.0")? == 1);
    Ok(())
}

#[test]
fn a_route_that_is_refused_keeps_nobody_from_changing_other_peers_and_comes_with_a_reload() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    pair.a.start()?;
    ensure!(add(&pair.a, &pair.id_b, "b", &["10.99.9.0/24"])?.is_none());
    pair.a.stop()?;
    others_route(&pair.host_a, "10.99.9.0/24")?;
    pair.a.start()?;
    until_health(&pair.a, &["routes"])?;
    // Peers that have nothing to do with it come and go, and the other routes are there.
    let third = Identity::new(3)?;
    let inner = third.ipv4.to_string();
    ensure!(add(&pair.a, &third, "c", &[])?.is_none(), "{}", pair.a.log());
    ensure!(routed(&pair.host_a, &inner)? == 1 && routed(&pair.host_a, &pair.id_b.ipv6.to_string())? == 1);
    ensure!(change(&pair.a, &json!({"cmd": "peer_remove", "peer": "c"}))?.is_none(), "{}", pair.a.log());
    ensure!(routed(&pair.host_a, &inner)? == 0);
    until_health(&pair.a, &["routes"])?;
    pair.host_a.remove_link(OTHERS)?;
    ensure!(pair.a.request(r#"{"cmd":"reload"}"#)?["reply"] == "reloaded");
    until_health(&pair.a, &[])?;
    ensure!(routed(&pair.host_a, "10.99.9.0")? == 1);
    Ok(())
}

fn without_ipv6(pair: &Pair) -> Result<()> {
    pair.host_a.run(|| {
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").context("no IPv6 to switch off")?;
        }
        Ok(())
    })
}

#[test]
fn on_a_host_whose_ipv6_is_switched_off_ipv4_passes_and_status_says_so() -> Result<()> {
    let Some(mut pair) = Pair::of_peers(WHOM, &[B_QUIC], &[])? else { return Ok(()) };
    without_ipv6(&pair)?;
    pair.connect()?;
    answers(&pair.host_a, pair.id_b.ipv4.into()).with_context(|| pair.a.log())?;
    answers(&pair.host_b, pair.id_a.ipv4.into())?;
    let health = pair.a.ask("status")?["health"].take().to_string();
    ensure!(health.contains("kernel_lacks") && health.contains("IPv6 is switched off"), "{health}");
    ensure!(pair.a.stop()?.success());
    Ok(())
}

#[test]
fn a_host_without_nft_refuses_to_forward_and_starts_again() -> Result<()> {
    let Some(host) = host_with_files()? else { return Ok(()) };
    for folder in ["/usr/sbin", "/usr/bin"] {
        host.empty(folder)?;
    }
    host.run(|| {
        fs::create_dir("/var/lib/daemon")?;
        fs::write(
            "/var/lib/daemon/cryprq.toml",
            "[node]\nstate_dir = \"/var/lib/daemon/state\"\n[ipc]\ngroup = \"root\"\n",
        )
    })?;
    let mut daemon = Daemon::unconfigured(&host);
    daemon.start()?;
    ensure!(add(&daemon, &Identity::new(3)?, "c", &[])?.is_none());
    let refused = change(&daemon, &json!({"cmd": "peer_set", "peer": "c", "forward": true}))?.context("not refused")?;
    ensure!(refused.contains("nft"), "{refused}");
    daemon.stop()?;
    daemon.start().context("what was refused is in the way of a start")?;
    ensure!(daemon.stop()?.success());
    Ok(())
}
