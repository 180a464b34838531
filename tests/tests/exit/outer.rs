//! What keeps the tunnel's own packets outside, where no route but a default route leads to the gateway: each part alone,
//! and none of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, ping, until};

use super::scene::{FAR, QUIC, Scene, TCP, ensure_same, sh, state};
use super::traffic::{is_ours, through};

/// All packets are led into the tunnel that no earlier rule leads elsewhere, marked ones too.
const MARKS_COUNT: &str = "ip rule del priority 5211; ip -6 rule del priority 5211";
const MARKS_DO_NOT_COUNT: &str = "ip rule add priority 5211 lookup 25458; ip -6 rule add priority 5211 lookup 25458";
/// The rules for our own ports are jumped over, for they would come back.
const PORTS_DO_NOT_COUNT: &str = "ip rule add priority 5207 goto 5209; ip -6 rule add priority 5207 goto 5209";
const PORTS_COUNT: &str = "ip rule del priority 5207; ip -6 rule del priority 5207";

/// Our own packets are led into the tunnel, and are dropped there.
fn is_guarded(scene: &Scene) -> Result<()> {
    let capture = Capture::start(&scene.host_client)?;
    let drops = || scene.client.ask("status").ok()?["drops"]["out_loop"].as_u64();
    until("our own packets are dropped in the tunnel", || {
        let _ = ping(&scene.host_client, FAR[0].parse().expect("an address"), Duration::from_millis(100));
        drops() > Some(0)
    })
    .with_context(|| scene.logs())?;
    for packet in capture.finish()?.packets() {
        is_ours(packet)?;
    }
    Ok(())
}

fn led_in(scene: &Scene) -> Result<u64> {
    Ok(scene.client.ask("status")?["drops"]["out_loop"].as_u64().unwrap_or(0))
}

#[test]
fn datagrams_stay_outside_by_port_or_by_mark_and_without_both_they_do_not_go_round_in_circles() -> Result<()> {
    for outer in QUIC {
        let Some(mut scene) = Scene::dialling(Way::Interface, &[outer])? else { return Ok(()) };
        // A host that believes a packet only where it would send the answer itself.
        sh(&scene.host_client, "for each in all wire; do echo 1 >/proc/sys/net/ipv4/conf/$each/rp_filter; done")?;
        scene.exit()?;
        through(&scene).context("by both")?;
        sh(&scene.host_client, MARKS_DO_NOT_COUNT)?;
        through(&scene).context("by port")?;
        sh(&scene.host_client, "for each in all wire; do echo 0 >/proc/sys/net/ipv4/conf/$each/rp_filter; done")?;
        sh(&scene.host_client, &format!("{MARKS_COUNT}; {PORTS_DO_NOT_COUNT}"))?;
        through(&scene).context("by mark")?;
        ensure!(led_in(&scene)? == 0, "none was led into the tunnel");
        sh(&scene.host_client, MARKS_DO_NOT_COUNT)?;
        is_guarded(&scene).context(outer)?;
        sh(&scene.host_client, MARKS_COUNT)?;
        through(&scene).context("by mark again")?;
    }
    Ok(())
}

#[test]
fn a_tcp_connection_stays_outside_by_its_port_and_without_that_it_does_not_go_round_in_circles() -> Result<()> {
    for outer in TCP {
        let Some(mut scene) = Scene::dialling(Way::Interface, &[outer])? else { return Ok(()) };
        for daemon in [&scene.client, &scene.gateway] {
            daemon.prefix("carrier = \"stream\"\n")?;
        }
        scene.connect()?;
        let before = state(&scene.host_client)?;
        scene.exit_chosen()?;
        through(&scene)?;
        ensure!(led_in(&scene)? == 0, "none was led into the tunnel");
        sh(&scene.host_client, PORTS_DO_NOT_COUNT)?;
        is_guarded(&scene).context(outer)?;
        sh(&scene.host_client, PORTS_COUNT)?;
        scene.down()?;
        ensure_same("down", &before, &state(&scene.host_client)?)?;
    }
    Ok(())
}
