//! Where names are asked while there is an exit, and who is told so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, until};
use cryprqd::names::Names;
use serde_json::Value;

use super::resolver::{Manner, Resolved, StandIn, bus, lead_to_resolved, resolvectl};
use super::scene::{FAR, GATEWAY, NAME, Scene, ensure_same, sh, state};

/// What a daemon may change on a client, with what resolved was told.
fn with_resolved(scene: &Scene) -> Result<Vec<String>> {
    let mut all = state(&scene.host_client)?;
    all.extend(Resolved::told(&scene.host_client)?);
    Ok(all)
}

/// Both daemons are connected, and the client's host asks resolved.
fn scene() -> Result<Option<(Scene, Resolved)>> {
    let Some(mut scene) = Scene::new()? else { return Ok(None) };
    let Some(resolved) = Resolved::start(&scene.host_client)? else { return Ok(None) };
    scene.connect()?;
    Ok(Some((scene, resolved)))
}

fn exit_status(scene: &Scene) -> Result<Value> {
    Ok(scene.client.ask("status")?["exit"].take())
}

/// A program that reads `resolv.conf` and one that asks resolved itself find what only the gateway's resolver knows.
fn found(scene: &Scene) -> Result<()> {
    ensure!(scene.seen(NAME, "-4")?.to_string() == GATEWAY[0]);
    let told = resolvectl(&scene.host_client, &["query", NAME])?;
    ensure!(FAR.iter().all(|ip| told.contains(ip)), "{told}");
    Ok(())
}

#[test]
fn with_resolved_it_is_told_and_the_file_stays_and_down_leaves_both_as_they_were() -> Result<()> {
    let Some((scene, mut resolved)) = scene()? else { return Ok(()) };
    let (before, file) = (with_resolved(&scene)?, sh(&scene.host_client, "ls -l /etc/resolv.conf")?);
    for _ in 0..2 {
        scene.exit_chosen()?;
        let status = exit_status(&scene)?;
        ensure!(status["dns_by"] == "systemd-resolved", "{status}");
        ensure!(status["outside"].to_string().contains("systemd-resolved was told of another interface"), "{status}");
        ensure!(sh(&scene.host_client, "ls -l /etc/resolv.conf")? == file);
        found(&scene)?;
        // What it was told outlives it.
        resolved.restart(&scene.host_client)?;
        found(&scene).context("after a restart of resolved")?;
        scene.client.cli(&["down"], "")?;
        ensure_same("down", &before, &with_resolved(&scene)?)?;
    }
    Ok(())
}

#[test]
fn attack_16_resolved_is_as_it_was_after_sigterm_and_after_sigkill_with_cleanup_and_with_the_next_start() -> Result<()>
{
    let Some((mut scene, _resolved)) = scene()? else { return Ok(()) };
    ensure!(scene.client.stop()?.success());
    let before = with_resolved(&scene)?;
    scene.client.start()?;
    scene.exit_chosen()?;
    found(&scene)?;
    ensure!(scene.client.stop()?.success());
    ensure_same("SIGTERM", &before, &with_resolved(&scene)?)?;
    for remedy in ["--cleanup", "the next start"] {
        // The choice is kept.
        scene.client.start()?;
        scene.wait_active()?;
        found(&scene)?;
        scene.client.kill()?;
        if remedy == "--cleanup" {
            scene.client.cleanup()?;
        } else {
            ensure!(scene.gateway.stop()?.success());
            scene.client.start()?;
            ensure!(scene.client.stop()?.success());
        }
        ensure_same(remedy, &before, &with_resolved(&scene)?)?;
    }
    Ok(())
}

#[test]
fn an_interface_that_is_made_anew_gets_its_resolvers_again() -> Result<()> {
    let Some((scene, _resolved)) = scene()? else { return Ok(()) };
    scene.exit_chosen()?;
    sh(&scene.host_client, "ip link del cryprq0")?;
    until("names are asked by the new interface", || {
        Resolved::told(&scene.host_client)
            .is_ok_and(|told| told.iter().any(|line| line.contains("(cryprq0)") && line.contains("10.86.")))
    })
    .with_context(|| scene.logs())?;
    found(&scene)
}

#[test]
fn a_port_whose_datagrams_another_program_has_is_left_to_it() -> Result<()> {
    let Some([host]) = Host::several("names") else { return Ok(()) };
    host.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40007")?;
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let others = (40_000..40_007).map(|port| UdpSocket::bind((here, port))).collect::<io::Result<Vec<_>>>()?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let start = || Names::start([here], Arc::new(Vec::new), Arc::default());
            let names = start().await?;
            ensure!(names.at() == [(here, 40_007)], "{:?} and {} sockets of others", names.at(), others.len());
            let refused = start().await.err().context("there is no port left")?;
            ensure!(refused.kind() == io::ErrorKind::AddrInUse, "{refused}");
            Ok(())
        })
    })
}

#[test]
fn names_are_asked_where_the_configuration_says() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.client.configure(&format!("[exit]\ndns = [\"{}\"]\n", FAR[0]))?;
    scene.connect()?;
    let before = state(&scene.host_client)?;
    scene.exit_chosen()?;
    let status = exit_status(&scene)?;
    ensure!((&status["dns"][0], &status["dns"][1]) == (&Value::from(FAR[0]), &Value::Null), "{status}");
    ensure!(status["dns_by"] == "resolv.conf", "{status}");
    let file = sh(&scene.host_client, "grep nameserver /etc/resolv.conf")?;
    ensure!(file.trim_end() == format!("nameserver {}", FAR[0]), "{file}");
    ensure!(scene.seen(NAME, "-4")?.to_string() == GATEWAY[0]);
    scene.client.cli(&["down"], "")?;
    ensure_same("down", &before, &state(&scene.host_client)?)
}

/// What `up --exit` answers where a stand-in has this manner, and how that was called.
fn up_with(manner: Manner) -> Result<Option<(Scene, StandIn, Value)>> {
    let Some(mut scene) = Scene::new()? else { return Ok(None) };
    let Some(stand_in) = StandIn::start(&scene.host_client, manner)? else { return Ok(None) };
    lead_to_resolved(&scene.host_client)?;
    scene.connect()?;
    let answer = scene.client.request("{\"v\":1,\"cmd\":\"up\",\"exit\":\"gateway\"}")?;
    Ok(Some((scene, stand_in, answer)))
}

#[test]
fn attack_10_resolved_is_told_an_index_addresses_and_one_domain_and_nothing_else() -> Result<()> {
    let Some((scene, stand_in, answer)) = up_with(Manner::HearsLate(3))? else { return Ok(()) };
    ensure!(answer["error"].is_null(), "{answer}\n{}", scene.logs());
    scene.wait_active()?;
    scene.client.cli(&["down"], "")?;
    let index = sh(&scene.host_client, "cat /sys/class/net/cryprq0/ifindex || ip -o link show cryprq0 | cut -d: -f1")?;
    let index = index.trim();
    let gateway = cryprq_tests::lab::Identity::new(2)?;
    let servers = format!("[(2, {:?}), (10, {:?})]", gateway.ipv4.octets(), gateway.ipv6.octets());
    let ask = format!("SetLinkDNS ({index}, {servers})");
    let expected = [
        "Ping ",
        &ask,
        &ask,
        &ask,
        &ask,
        &format!("SetLinkDomains ({index}, [(\".\", true)])"),
        &format!("SetLinkDefaultRoute ({index}, true)"),
        &format!("RevertLink {index}"),
    ];
    ensure!(stand_in.calls() == expected, "{:#?}", stand_in.calls());
    Ok(())
}

#[test]
fn a_resolved_that_refuses_or_says_nothing_is_told_in_one_line_and_nothing_changes() -> Result<()> {
    for (manner, words) in [
        (Manner::Refuses("SetLinkDNS"), ["systemd-resolved refuses SetLinkDNS", "not\\nallowed"]),
        (Manner::Refuses("SetLinkDefaultRoute"), ["systemd-resolved refuses SetLinkDefaultRoute", "not\\nallowed"]),
        (Manner::IsSilentTo("SetLinkDomains"), ["systemd-resolved does not answer", "3 s"]),
    ] {
        let Some(mut scene) = Scene::new()? else { return Ok(()) };
        let Some(stand_in) = StandIn::start(&scene.host_client, manner)? else { return Ok(()) };
        lead_to_resolved(&scene.host_client)?;
        scene.connect()?;
        let before = state(&scene.host_client)?;
        let answer = scene.client.request("{\"v\":1,\"cmd\":\"up\",\"exit\":\"gateway\"}")?;
        let message = answer["error"]["message"].as_str().with_context(|| format!("not refused: {answer}"))?;
        ensure!(!message.contains('\n') && words.iter().all(|word| message.contains(word)), "{message}");
        ensure_same(message, &before, &state(&scene.host_client)?)?;
        ensure!(stand_in.calls().last().is_some_and(|call| call.starts_with("RevertLink ")), "{:?}", stand_in.calls());
        ensure!(exit_status(&scene)?.is_null(), "there is no exit");
    }
    Ok(())
}

#[test]
fn without_resolved_or_without_a_bus_the_file_that_names_it_is_replaced() -> Result<()> {
    for has_bus in [false, true] {
        let Some(mut scene) = Scene::new()? else { return Ok(()) };
        let _bus = if has_bus { bus(&scene.host_client)? } else { None };
        lead_to_resolved(&scene.host_client)?;
        scene.connect()?;
        let before = state(&scene.host_client)?;
        scene.exit_chosen()?;
        ensure!(exit_status(&scene)?["dns_by"] == "resolv.conf");
        ensure!(scene.client.logged("names systemd-resolved, and is replaced") == 1, "{}", scene.client.log());
        ensure!(scene.seen(NAME, "-4")?.to_string() == GATEWAY[0]);
        scene.client.cli(&["down"], "")?;
        ensure_same("down", &before, &state(&scene.host_client)?)?;
    }
    Ok(())
}
