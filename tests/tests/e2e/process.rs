//! The daemon as a process: its rights, its end, what it leaves behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, Identity, programs, until, until_within};
use nix::sys::signal::Signal;

use super::{B_QUIC, connected, pair};

#[test]
fn a_running_daemon_holds_one_capability() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.a.start()?;
    let pid = pair.a.pid().context("it runs")?;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // CAP_NET_ADMIN is number 12.
        ensure!(field("CapEff:") == Some("0000000000001000"), "effective: {:?}", field("CapEff:"));
        ensure!(field("CapPrm:") == Some("0000000000001000"), "permitted: {:?}", field("CapPrm:"));
        ensure!(field("NoNewPrivs:") == Some("1"));
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_asked_to_stop_does_so_at_once_and_leaves_nothing_behind() -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.b.start()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let before = pair.host_a.state()?;
        pair.a.start()?;
        pair.a.wait_connected()?;
        ensure!(pair.host_a.state()? != before, "interface, addresses and routes are seen");
        pair.a.signal(signal)?;
        // The promise is 1 s; a busy machine gets ten times as much.
        let socket = pair.a.socket();
        until_within("the daemon is gone", Duration::from_secs(10), || !socket.exists())?;
        let status = pair.a.wait()?;
        ensure!(status.success(), "{signal} ends it with {status}");
        ensure!(pair.host_a.state()? == before, "{signal}: the system is as it was");
    }
    Ok(())
}

#[test]
fn a_running_daemon_takes_a_new_configuration_over_and_keeps_its_tunnels_or_keeps_the_old_one() -> Result<()> {
    let Some(pair) = connected(&[B_QUIC])? else { return Ok(()) };
    let file = pair.a.folder().join("cryprq.toml");
    let old = std::fs::read_to_string(&file)?;
    let third = Identity::new(3)?;
    std::fs::write(&file, format!("{old}[[peer]]\nid = \"{}\"\nname = \"c\"\n", third.id))?;
    pair.a.signal(Signal::SIGHUP)?;
    until("the new peer is known", || pair.a.peer_named("c").is_ok())?;
    std::fs::write(&file, "[[peer]]\nid = \"nobody\"\n")?;
    pair.a.signal(Signal::SIGHUP)?;
    until("the bad configuration is complained of", || {
        pair.a.ask("status").is_ok_and(|status| {
            let items = status["health"].as_array().into_iter().flatten();
            items.filter_map(|item| item["text"].as_str()).any(|text| text.contains("configuration is refused"))
        })
    })?;
    ensure!(pair.a.peer_named("c").is_ok(), "all of it or nothing");
    let peer = pair.a.peer_named("b")?;
    ensure!(peer["state"] == "connected" && peer["rotations"] == 1, "the tunnel was left alone: {peer}");
    Ok(())
}

#[test]
fn a_daemon_starts_on_a_machine_that_knows_no_name_server_yet() -> Result<()> {
    let made = Host::named("early", &programs()?).and_then(|host| {
        host.cover("/etc")?;
        host.run(|| std::fs::write("/etc/resolv.conf", ""))?;
        Ok(host)
    });
    let host = match made {
        Ok(host) => host,
        Err(error) => {
            println!("skipped: no name server: {error:#}");
            return Ok(());
        }
    };
    let mut daemon = Daemon::unconfigured(&host);
    daemon.start()?;
    ensure!(daemon.stop()?.success());
    Ok(())
}
