//! Keys change under load.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Daemon, Flow, programs, until_within};
use serde_json::Value;

use super::{B_QUIC, logs, pair_by};

/// The daemon's drops and its peer's, but for what its own kernel says to neighbours that are not there, and how many
/// frames waited too long before a stream: a daemon that gets no processor for 20 ms takes the network for slow.
fn drops(daemon: &Daemon) -> Result<(Value, u64)> {
    let mut status = daemon.ask("status")?;
    let peers = status["peers"][0]["drops"].as_object().context("no drops of the peer")?.clone();
    let mut drops = status["drops"].take();
    let all = drops.as_object_mut().context("no drops")?;
    all.remove("out_link_scope");
    all.extend(peers);
    let stale = all.remove("out_stale").and_then(|count| count.as_u64()).unwrap_or(0);
    Ok((drops, stale))
}

#[test]
fn of_a_thousand_rotations_back_to_back_none_loses_or_repeats_a_packet() -> Result<()> {
    no_rotation_loses_a_packet(Way::Interface, 1000)
}

#[test]
fn of_a_hundred_rotations_none_loses_or_repeats_a_packet_of_the_shuttle() -> Result<()> {
    no_rotation_loses_a_packet(Way::Shuttle, 100)
}

#[test]
fn of_a_hundred_rotations_none_loses_or_repeats_a_packet_of_the_swift_pump() -> Result<()> {
    no_rotation_loses_a_packet(Way::Swift, 100)
}

fn no_rotation_loses_a_packet(way: Way, rotations: u64) -> Result<()> {
    let Some(mut pair) = pair_by(way, &[B_QUIC])? else { return Ok(()) };
    pair.a = pair.a.run_by("cryprqd-lab");
    pair.b = pair.b.run_by("cryprqd-lab");
    pair.connect()?;
    for (host, way) in [(&pair.host_a, way), (&pair.host_b, Way::Interface)] {
        host.lengthen_queue(way.interface())?;
    }
    let pace = Duration::from_millis(1);
    let (a, b) = (IpAddr::from(pair.id_a.ipv6), IpAddr::from(pair.id_b.ipv4));
    let flows = [
        Flow::start(&pair.host_a, &pair.host_b, b, 200, pace)?,
        Flow::start(&pair.host_b, &pair.host_a, a, 200, pace)?,
    ];
    // Each few packets want new keys, and each handshake is followed by the next.
    until_within("so many rotations", Duration::from_secs(150), || {
        pair.a.peer().is_ok_and(|peer| peer["rotations"].as_u64() >= Some(rotations))
    })
    .with_context(|| logs(&pair))?;
    for (flow, sender) in flows.into_iter().zip([&pair.a, &pair.b]) {
        let tally = flow.finish()?;
        let (others, stale) = drops(sender)?;
        ensure!(others == serde_json::json!({}), "dropped: {others}");
        ensure!(
            tally.lost <= stale && tally.repeated == 0 && tally.sent > rotations,
            "{tally:?}, of which {stale} were stale\n{}",
            logs(&pair)
        );
    }
    Ok(())
}

#[test]
fn the_shipped_daemon_takes_its_limits_from_nowhere_but_the_protocol() -> Result<()> {
    let program = programs()?.join("cryprqd");
    // No option: whoever adds one shows here that it lowers no limit.
    let help = String::from_utf8(Command::new(&program).arg("--help").output()?.stdout)?;
    let options: BTreeSet<_> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    let known = ["--check-config", "--cleanup", "--config", "--help", "--runtime-dir", "--version"];
    ensure!(options == known.into(), "options: {options:?}");
    // No variable.
    let bytes = std::fs::read(&program)?;
    let name = |start: usize| bytes[start..].iter().copied().take_while(|b| b.is_ascii_uppercase() || *b == b'_');
    let starts = bytes.windows(7).enumerate().filter(|(_, window)| *window == b"CRYPRQ_").map(|(start, _)| start);
    // Texts stand in the program one behind another, so another capital letter may follow the name.
    let mut variables = starts.map(|start| String::from_utf8_lossy(&name(start).collect::<Vec<_>>()).into_owned());
    ensure!(variables.all(|variable| variable.starts_with("CRYPRQ_LOG")), "another variable than CRYPRQ_LOG");
    // No key.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cryprq.toml");
    for config in [
        "[rotation]\nseconds = 59",
        "[rotation]\nmessages = 8",
        "[limits]\nmessages = 8",
        "[tunnel]\nburst = 100",
        "[[peer]]\nid = \"12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq\"\nmessages = 8",
    ] {
        std::fs::write(&file, config)?;
        let status = Command::new(&program).arg("--check-config").arg("--config").arg(&file).output()?.status;
        ensure!(status.code() == Some(78), "{config}: {status}");
    }
    // No feature that could be switched on when it is built.
    for package in ["daemon", "daemon/node", "daemon/os", "daemon/net"] {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?.join(package);
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(manifest.join("Cargo.toml"))?)?;
        ensure!(!manifest.contains_key("features"), "{package} has features");
    }
    Ok(())
}
