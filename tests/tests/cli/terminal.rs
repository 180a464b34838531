//! What a person at a terminal sees.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use nix::pty::{Winsize, openpty};

use super::{cryprq, fake};

/// What the command line writes to a terminal with so many columns.
fn seen(socket: &Path, columns: u16, arguments: &[&str]) -> Result<String> {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None)?;
    let side = || Ok::<_, std::io::Error>(Stdio::from(terminal.slave.try_clone()?));
    let mut command = cryprq(socket)?;
    command.env_remove("COLUMNS").env_remove("NO_COLOR").env("TERM", "xterm-256color");
    let mut child = command.args(arguments).stdout(side()?).stderr(side()?).spawn()?;
    drop((command, terminal.slave));
    let mut text = Vec::new();
    // The far side's end is an error (EIO) on Linux; what came before it counts.
    let _ = File::from(terminal.master).read_to_end(&mut text);
    child.wait()?;
    Ok(String::from_utf8(text)?.replace("\r\n", "\n"))
}

const TICKET: &str =
    "cryprq:AESUHOJP6EEVKEKHNLOIG2O3NXOJGNTFUEMXRXNBIBHOCBTMVFKZ3YHB4LR6JZPG47AMDQWDYTC4NR6IZHFMXTGNZ3HQ";

#[test]
fn a_ticket_comes_with_its_qr_code_and_with_what_to_do() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 80, &["invite"])?;
    let code: Vec<_> = text.lines().filter(|line| line.starts_with("\u{1b}[38;5;231m\u{1b}[48;5;16m█")).collect();
    assert!(code.len() > 20, "{text}");
    assert!(text.contains(TICKET) && text.contains("sudo cryprq join -"), "{text}");
    Ok(())
}

#[test]
fn a_terminal_too_narrow_for_the_qr_code_still_gets_the_ticket() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 40, &["invite"])?;
    assert!(!text.contains('█') && text.contains("A QR code needs 45 columns, this terminal has 40."), "{text}");
    assert!(text.contains(TICKET), "{text}");
    Ok(())
}

#[test]
fn states_are_coloured_and_nothing_of_a_peer_s_name_steers_the_terminal() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 80, &["status"])?;
    assert!(
        text.contains("\u{1b}[32m● connected\u{1b}[0m") && text.contains("\u{1b}[31m● refused\u{1b}[0m"),
        "{text:?}"
    );
    assert!(!text.contains("\u{1b}[2J") && !text.contains(['\u{202e}', '\u{200b}']), "{text:?}");
    assert!(text.contains(r"\u{202e}gateway\u{1b}[2J\u{200b}"), "{text:?}");
    Ok(())
}

#[test]
fn json_on_a_terminal_steers_it_neither_and_is_the_same_json() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 80, &["status", "--json"])?;
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{200b}']), "{text:?}");
    let status: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(status["peers"][1]["name"], "\u{202e}gateway\u{1b}[2J\u{200b}");
    Ok(())
}

#[test]
fn values_are_wrapped_to_the_terminal() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 40, &["--color", "never", "status"])?;
    assert!(text.contains("\n  allowed    10.86.0.1/32\n             fd63:7279:7072::1/128\n"), "{text}");
    Ok(())
}

#[test]
fn a_watched_status_is_drawn_over_itself_until_the_daemon_ends_it() -> Result<()> {
    let daemon = fake("running")?;
    let text = seen(&daemon.socket(), 80, &["status", "--watch"])?;
    let frames: Vec<_> = text.split("\u{1b}[H").skip(1).collect();
    assert_eq!(frames.len(), 2, "{text:?}");
    assert!(frames[0].contains("● connected") && frames[1].contains("● stalled"), "{text:?}");
    assert!(text.trim_end().ends_with("cryprq: the daemon is stopping"), "{text:?}");
    Ok(())
}
