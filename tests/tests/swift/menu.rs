//! The rows of the menu in each state of the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cryprq_tests::fake_daemon::FakeDaemon;
use cryprq_tests::lab::{Pair, until};
use cryprq_tests::local::{Folder, User, can_be_others};
use cryprq_tests::swift::{menu, program};

const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";

/// What stands below everything else while nobody turned the VPN on.
const END: [&str; 3] =
    ["button: Turn the VPN on [tunnelOn]", "button: Open at login [launchAtLogin(true)]", "button: Quit [quit]"];
const INVITE: &str = "button: Invite another computer [invite]";

fn rows(first: &[&str]) -> Vec<String> {
    first.iter().chain(&END).map(|row| (*row).to_owned()).collect()
}

/// A pair of hosts whose daemon A dials B; nothing runs yet.
fn pair() -> Result<Option<Pair>> {
    Pair::of_peers("the menu against real daemons", &[B_QUIC], &[])
}

/// Waits until the menu shows `headline`, and gives its rows without those of the daemon's health.
fn until_shown(program: &Path, pair: &Pair, headline: &str) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    until(headline, || {
        shown = menu(program, Some(&pair.host_a), &[], &pair.a.socket(), &[]).unwrap_or_default();
        shown.first().is_some_and(|row| row == &format!("headline: {headline}"))
    })
    .with_context(|| format!("{shown:#?}\n{}", pair.a.log()))?;
    shown.retain(|row| !row.starts_with("warning: "));
    Ok(shown)
}

/// Who a daemon says it is.
fn own(status: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let addresses = &status["addresses"];
    format!("detail: {}: {}, {}", text(&status["name"]), text(&addresses["ipv4"]), text(&addresses["ipv6"]))
}

#[test]
fn without_a_daemon_the_menu_says_how_to_start_it() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let absent = rows(&[
        "headline: CrypRQ is not running",
        "detail: Start it: sudo launchctl kickstart system/dev.cryprq.daemon",
    ]);
    assert_eq!(menu(&program, None, &[], &folder.path().join("control.sock"), &[])?, absent);
    // A socket that nobody listens at any more.
    let left = folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left)?);
    assert_eq!(menu(&program, None, &[], &left, &[])?, absent);
    Ok(())
}

#[test]
fn a_user_who_is_not_let_in_is_told_so() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    if !can_be_others("the menu of another user") {
        return Ok(());
    }
    let daemon = Folder::new("")?.start()?;
    let stranger = User::STRANGER.uid.to_string();
    let shown = menu(&program, None, &["--as", &stranger], &daemon.folder.socket(), &[])?;
    let forbidden = rows(&[
        "headline: You may not use CrypRQ on this Mac",
        "detail: An administrator adds you: sudo dseditgroup -o edit -a $USER -t user _cryprq",
    ]);
    assert_eq!(shown, forbidden);
    Ok(())
}

#[test]
fn without_peers_the_menu_invites_and_who_may_not_invite_sees_what_mends_it() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let daemon = Folder::new("")?.start()?;
    let mut shown = menu(&program, None, &[], &daemon.folder.socket(), &[])?;
    shown.retain(|row| !row.starts_with("warning: "));
    let told = daemon.ask(r#"{"cmd":"status"}"#)?;
    assert_eq!(shown, rows(&["headline: No peers yet", &own(&told), INVITE]));
    let invited = menu(&program, None, &[], &daemon.folder.socket(), &["invite"])?;
    ensure!(invited.iter().any(|row| row.starts_with("ticket: ")), "{invited:#?}");
    if can_be_others("an invitation by another user") {
        let member = User::member()?;
        fs::set_permissions(daemon.folder.socket(), fs::Permissions::from_mode(0o666))?;
        let member = member.uid.to_string();
        let refused = menu(&program, None, &["--as", &member], &daemon.folder.socket(), &["invite"])?;
        let row = refused.iter().find(|row| row.starts_with("warning: ") && row.contains("sudo"));
        ensure!(row.is_some() && !refused.iter().any(|row| row.starts_with("ticket: ")), "{refused:#?}");
    }
    Ok(())
}

#[test]
fn a_peer_is_shown_from_connecting_to_connected_to_stalled() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.a.start()?;
    let id = &pair.id_b.id.clone();
    let own = own(&pair.a.ask("status")?);
    let shown = until_shown(&program, &pair, "Connecting…")?;
    let peer = format!("plain: b: connecting [disconnect(peer: \"{id}\")]");
    let exit = format!("button: Send all traffic through b [exit(peer: \"{id}\")]");
    assert_eq!(shown, rows(&["headline: Connecting…", &own, &peer, &exit, INVITE]));

    pair.b.start()?;
    let is_direct = |path: &serde_json::Value| path["kind"] == "udp" && path["rtt_ms"].is_f64();
    pair.a.wait_for("b", |peer| peer["state"] == "connected" && is_direct(&peer["path"]))?;
    let shown = until_shown(&program, &pair, "Connected to 1 of 1")?;
    let peer = format!("plain: b: connected (direct, N ms) [disconnect(peer: \"{id}\")]");
    let facts = "detail: last packet N s ago, ↓ N bit/s ↑ N bit/s, new keys in N s";
    assert_eq!(shown, rows(&["headline: Connected to 1 of 1", &own, &peer, facts, &exit, INVITE]));

    pair.b.kill()?;
    let address = pair.id_b.ipv4.into();
    // Something has to be sent before silence means anything.
    let _ = cryprq_tests::lab::ping(&pair.host_a, address, std::time::Duration::from_millis(100));
    let shown = until_shown(&program, &pair, "Stalled")?;
    // The stream may have taken the place of the datagrams before.
    let shown: Vec<_> = shown.iter().map(|row| row.replace("(by TCP, ", "(direct, ")).collect();
    let peer = format!("plain: b: stalled (direct, N ms) [disconnect(peer: \"{id}\")]");
    let facts = "detail: last packet N s ago, new keys in N s";
    assert_eq!(shown, rows(&["headline: Stalled", &own, &peer, facts, &exit, INVITE]));

    pair.a.request(r#"{"cmd":"down"}"#)?;
    let shown = until_shown(&program, &pair, "Not connected")?;
    let peer = format!("plain: b: idle [connect(peer: \"{id}\")]");
    ensure!(shown[2] == peer, "{shown:#?}");
    Ok(())
}

#[test]
fn an_exit_is_chosen_in_the_menu_and_one_that_forwards_nothing_says_what_mends_it() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.a.start()?;
    let id = &pair.id_b.id.clone();
    let choose = || menu(&program, Some(&pair.host_a), &[], &pair.a.socket(), &["exit", id]);
    let shown = choose()?;
    ensure!(shown.contains(&"warning: All traffic is to go through b, and does not yet".to_owned()), "{shown:#?}");
    ensure!(!shown.iter().any(|row| row.contains("[exit(")), "it is chosen already: {shown:#?}");
    pair.a.request(r#"{"cmd":"down"}"#)?;
    pair.a.request(r#"{"cmd":"up"}"#)?;
    pair.b.start()?;
    pair.a.wait_connected()?;
    let shown = choose()?;
    let refusal = shown.iter().find(|row| row.starts_with("warning: b forwards nothing"));
    ensure!(refusal.is_some_and(|row| row.contains("--forward")), "{shown:#?}");
    ensure!(shown.iter().any(|row| row.contains("[exit(")), "nothing was chosen: {shown:#?}");
    Ok(())
}

#[test]
fn a_peer_that_refuses_is_shown_as_such() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let Some(mut pair) = pair()? else { return Ok(()) };
    // The last table of the configuration is the peer's.
    pair.b.configure("require_chain = true\n")?;
    pair.b.start()?;
    pair.a.start()?;
    let mut shown = Vec::new();
    until("the refusal is shown", || {
        shown = menu(&program, Some(&pair.host_a), &[], &pair.a.socket(), &[]).unwrap_or_default();
        shown.iter().any(|row| row.starts_with("plain: b: refused "))
    })
    .with_context(|| format!("{shown:#?}\n{}\n{}", pair.a.log(), pair.b.log()))?;
    shown.retain(|row| !row.starts_with("warning: "));
    let (own, id) = (own(&pair.a.ask("status")?), &pair.id_b.id);
    let peer = format!("plain: b: refused [disconnect(peer: \"{id}\")]");
    let why = "detail: It refuses this Mac: see cryprq status";
    assert_eq!(shown, rows(&["headline: Not connected", &own, &peer, why, INVITE]));
    Ok(())
}

#[test]
fn a_daemon_of_another_version_is_named_as_the_reason() -> Result<()> {
    let Some(program) = program("menu-rows") else { return Ok(()) };
    let foreign = rows(&[
        "headline: CrypRQ and this app are of different versions",
        "detail: Install both from the same package",
    ]);
    for reply in [
        r#"{"schema":2,"reply":"status"}"#,
        r#"{"schema":1,"reply":"status","version":7}"#,
        r#"{"schema":1,"error":{"code":"version_mismatch","message":"request version 1, this daemon speaks 2"}}"#,
    ] {
        let replies = tempfile::tempdir()?;
        fs::write(replies.path().join("status.json"), reply)?;
        let daemon = FakeDaemon::start(replies.path())?;
        assert_eq!(menu(&program, None, &[], &daemon.socket(), &[])?, foreign, "{reply}");
    }
    Ok(())
}
