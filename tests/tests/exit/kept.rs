//! What leads to the exit stays there while there is one, whatever other programs do to it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::until;

use super::scene::{DEAD, GATEWAY, NAME, Scene, ensure_same, resolv_conf, sh, state};
use super::traffic::through;

/// What other programs do to the rules and to the table, such as systemd-networkd when it starts.
const TAKEN: [&str; 5] = [
    "ip rule del priority 5208",
    "ip -6 rule del priority 5209",
    "ip rule del priority 5210",
    "ip route del default dev cryprq0 table 25458",
    "for each in -4 -6; do ip $each route flush table 25458; ip $each rule flush; \
     ip $each rule add priority 32766 lookup main; done; ip rule add priority 32767 lookup default",
];

/// The ways in which programs write a file: into it, another in its place, and a link to another.
const WRITTEN: [(&str, &str); 3] = [
    ("echo nameserver 192.0.2.77 >/etc/resolv.conf", "nameserver 192.0.2.77\n"),
    ("echo nameserver 192.0.2.78 >/etc/new && mv /etc/new /etc/resolv.conf", "nameserver 192.0.2.78\n"),
    ("echo nameserver 192.0.2.79 >/run/new && ln -sf /run/new /etc/resolv.conf", "nameserver 192.0.2.79\n"),
];

/// The host's state, whatever the order of rules of one priority.
fn sorted(scene: &Scene) -> Result<Vec<String>> {
    let mut lines = state(&scene.host_client)?;
    lines.sort();
    Ok(lines)
}

#[test]
fn rules_and_routes_that_another_program_takes_away_come_back() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.connect()?;
    let before = state(&scene.host_client)?;
    scene.exit_chosen()?;
    let led = sorted(&scene)?;
    for taken in TAKEN {
        sh(&scene.host_client, taken)?;
        let back = until("everything leads to the exit again", || sorted(&scene).is_ok_and(|now| now == led));
        back.with_context(|| format!("{taken}: {:#?}\n{}", sorted(&scene), scene.logs()))?;
        through(&scene).context(taken)?;
    }
    ensure!(scene.client.logged("undid what leads to the exit") >= TAKEN.len(), "{}", scene.client.log());
    ensure!(!scene.client.health()?.contains(&"exit".into()), "nothing is wrong");
    scene.down()?;
    ensure_same("down", &before, &state(&scene.host_client)?)
}

#[test]
fn resolvers_that_another_program_writes_are_not_asked_until_down_brings_them_back() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.connect()?;
    let before = state(&scene.host_client)?;
    for (last, text) in WRITTEN {
        scene.exit_chosen()?;
        let led = sh(&scene.host_client, "grep nameserver /etc/resolv.conf")?;
        for written in [WRITTEN[0].0, last] {
            sh(&scene.host_client, written)?;
            until("the exit's resolvers are asked again", || {
                sh(&scene.host_client, "grep nameserver /etc/resolv.conf").is_ok_and(|now| now == led)
            })
            .with_context(|| format!("{written}\n{}", scene.logs()))?;
            ensure!(scene.seen(NAME, "-4")? == GATEWAY[0].parse::<IpAddr>()?, "by its name");
        }
        scene.client.cli(&["down"], "")?;
        ensure!(sh(&scene.host_client, "cat /etc/resolv.conf")? == text, "the newest of the other program's");
        resolv_conf(&scene.host_client, DEAD)?;
        ensure_same("down", &before, &state(&scene.host_client)?)?;
    }
    Ok(())
}
