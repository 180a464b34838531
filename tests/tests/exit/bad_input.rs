//! Hosts that are not as one would like them: it works, or nothing was changed and one line says why.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, until};
use nix::mount::{MsFlags, mount};

use super::scene::{CLIENT, FAR, NAME, Scene, ensure_same, sh, state};
use super::traffic::{is_ours, through};

/// The client's traffic goes through the gateway, and the host is as it was after `down`.
fn works(scene: &mut Scene) -> Result<()> {
    let before = state(&scene.host_client)?;
    scene.client.cli(&["up", "--exit", "gateway"], "")?;
    scene.wait_active()?;
    for (far, expected) in FAR.into_iter().zip(scene.at) {
        ensure!(scene.seen(far, "-sS")? == expected.parse::<IpAddr>()?, "{far}");
    }
    ensure!(scene.seen(NAME, "-4")? == scene.at[0].parse::<IpAddr>()?, "by its name");
    match scene.way {
        Way::Interface => drop(scene.client.cli(&["down"], "")?),
        Way::Shuttle | Way::Swift => scene.down()?,
    }
    ensure_same("down", &before, &state(&scene.host_client)?)
}

/// `up --exit` is refused with one line that holds these words, and nothing has changed.
fn is_refused(scene: &Scene, words: &[&str]) -> Result<()> {
    let before = state(&scene.host_client)?;
    let answer = scene.client.request("{\"v\":1,\"cmd\":\"up\",\"exit\":\"gateway\"}")?;
    let message = answer["error"]["message"].as_str().with_context(|| format!("not refused: {answer}"))?;
    ensure!(!message.contains('\n') && words.iter().all(|word| message.contains(word)), "{message}");
    ensure_same(message, &before, &state(&scene.host_client)?)?;
    ensure!(scene.client.ask("status")?["exit"].is_null(), "there is no exit");
    Ok(())
}

/// A scene in which the client's host was changed before anything started.
fn with(change: &str) -> Result<Option<Scene>> {
    Scene::new()?.map(|scene| changed(scene, change)).transpose()
}

fn changed(mut scene: Scene, change: &str) -> Result<Scene> {
    sh(&scene.host_client, change)?;
    scene.connect()?;
    Ok(scene)
}

#[test]
fn an_exit_on_the_lan_works_with_a_default_route_and_without_one() -> Result<()> {
    on_the_lan_it_works(Way::Interface)
}

#[test]
fn an_exit_on_the_lan_works_through_the_shuttle_with_a_default_route_and_without_one() -> Result<()> {
    on_the_lan_it_works(Way::Shuttle)
}

fn on_the_lan_it_works(way: Way) -> Result<()> {
    for change in ["true", "ip route del default; ip -6 route del default"] {
        let Some(scene) = Scene::on_the_lan(way)? else { return Ok(()) };
        works(&mut changed(scene, change)?).context(change)?;
    }
    Ok(())
}

#[test]
fn with_two_default_routes_it_works() -> Result<()> {
    let second = "ip route add default via 192.0.2.77 metric 5; ip -6 route add default via 2001:db8::77 metric 5";
    let Some(mut scene) = with(second)? else { return Ok(()) };
    works(&mut scene)
}

#[test]
fn another_tunnels_halves_of_the_world_and_foreign_rules_stay_and_do_not_win() -> Result<()> {
    let halves = "ip route add 203.0.113.2/32 via 192.0.2.3 && ip link add other type veth peer name end && ip link set end up && ip link set other up && ip address add 10.99.0.1/24 dev other && \
                  ip route add 0.0.0.0/1 dev other && ip route add 128.0.0.0/1 dev other && \
                  ip rule add priority 31999 lookup main suppress_prefixlength 0 && ip rule add priority 32000 lookup 51820 && ip route add default dev other table 51820";
    let Some(mut scene) = with(halves)? else { return Ok(()) };
    works(&mut scene)
}

#[test]
fn foreign_rules_of_the_packet_filter_stay() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    sh(
        &scene.host_gateway,
        "nft 'table inet other { chain f { type filter hook forward priority 10; policy accept; counter; }; }; \
         table ip nat { chain p { type nat hook postrouting priority 99; }; }'",
    )?;
    let counters = |state: Vec<String>| -> Vec<String> {
        state.into_iter().filter(|line| !line.contains("counter packets")).collect()
    };
    let before = counters(state(&scene.host_gateway)?);
    scene.connect()?;
    works(&mut scene)?;
    ensure!(scene.gateway.stop()?.success());
    ensure_same("the gateway", &before, &counters(state(&scene.host_gateway)?))
}

#[test]
fn a_gateway_whose_own_filter_forwards_nothing_stays_so_and_nothing_goes_outside_instead() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let drops = "nft 'table inet other { chain f { type filter hook forward priority 10; policy drop; }; }'";
    sh(&scene.host_gateway, drops)?;
    scene.exit()?;
    let capture = Capture::start(&scene.host_client)?;
    let asked = format!("curl -sS --max-time 2 http://{}:8080/ || echo lost", FAR[0]);
    ensure!(sh(&scene.host_client, &asked)?.ends_with("lost\n"));
    for packet in capture.finish()?.packets() {
        is_ours(packet)?;
    }
    // What mends it.
    sh(
        &scene.host_gateway,
        "nft 'add rule inet other f iifname cryprq0 accept; add rule inet other f oifname cryprq0 accept'",
    )?;
    through(&scene)
}

#[test]
fn a_dangling_resolv_conf_works_and_dangles_again() -> Result<()> {
    let dangling = "rm -f /etc/resolv.conf && ln -s /run/nowhere/resolv.conf /etc/resolv.conf";
    let Some(mut scene) = with(dangling)? else { return Ok(()) };
    works(&mut scene)
}

#[test]
fn a_resolv_conf_that_something_is_mounted_on_works() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "nameserver 192.0.2.66\n")?;
    let path = file.path().to_owned();
    scene
        .host_client
        .run(move || mount(Some(&path), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>))?;
    scene.connect()?;
    works(&mut scene)
}

#[test]
fn a_read_only_etc_is_told_and_nothing_changes() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.host_client.run(|| {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, "/etc", None::<&str>, flags, None::<&str>)
    })?;
    scene.connect()?;
    is_refused(&scene, &["resolv.conf", "ead-only"])
}

#[test]
fn another_programs_routes_in_the_table_are_told_and_nothing_changes() -> Result<()> {
    let Some(scene) = with("ip route add 198.18.0.0/15 via 192.0.2.3 table 25458")? else { return Ok(()) };
    is_refused(&scene, &["table 25458", "another program"])
}

#[test]
fn a_peer_that_forwards_nothing_is_told_and_nothing_changes() -> Result<()> {
    for way in [Way::Interface, Way::Shuttle] {
        let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
        let config = scene.gateway.folder().join("cryprq.toml");
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, text.replace("forward = true", "forward = false"))?;
        scene.connect()?;
        is_refused(&scene, &["gateway", "forwards nothing"])?;
    }
    Ok(())
}

#[test]
fn an_exit_that_is_gone_changes_nothing_until_it_comes() -> Result<()> {
    for way in [Way::Interface, Way::Shuttle] {
        let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
        scene.client.start()?;
        scene.attach()?;
        let before = state(&scene.host_client)?;
        scene.client.cli(&["up", "--exit", "gateway"], "")?;
        until("it is told", || scene.client.health().is_ok_and(|codes| codes.contains(&"exit".into())))?;
        ensure!(scene.client.ask("status")?["exit"]["state"] == "waiting");
        ensure_same("waiting", &before, &state(&scene.host_client)?)?;
        scene.gateway.start()?;
        scene.wait_active()?;
        ensure!(!scene.client.health()?.contains(&"exit".into()));
    }
    Ok(())
}

#[test]
fn the_world_belongs_to_one_peer_at_a_time() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.connect()?;
    let other = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    for ((everything, far), own) in ["0.0.0.0/0", "::/0"].into_iter().zip(FAR).zip(CLIENT) {
        scene.client.cli(&["peers", "add", other, "--name", "other", "--allowed-ip", everything, "--down"], "")?;
        ensure!(scene.seen(far, "-sS")? == own.parse::<IpAddr>()?, "AllowedIPs alone lead nothing there");
        is_refused(&scene, &[everything, "other"])?;
        scene.client.cli(&["peers", "remove", "other"], "")?;
    }
    works(&mut scene)
}
