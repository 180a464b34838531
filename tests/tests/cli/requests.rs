//! Each command asks for the verb that the table of the local protocol names, and for nothing else.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::secret::SecretText;
use cryprq_ipc_proto::verb::VERBS;
use serde_json::{Value, json};

use super::{cryprq, fake};

const ID: &str = "12D3KooWGateway";

/// What the commands need beside the words of the table.
pub(super) fn needed(verb: &str) -> &'static [&'static str] {
    match verb {
        "ping" => &[ID, "--count", "1"],
        "invite_cancel" => &["e0e1e2e3e4e5e6e7"],
        "join" => &["cryprq:AESUHO"],
        "peer_add" | "peer_remove" | "peer_accept_chain_reset" => &[ID],
        "peer_set" => &[ID, "--up"],
        "log_level" => &["debug"],
        _ => &[],
    }
}

fn asked(arguments: &[&str]) -> Result<Vec<Request>> {
    let daemon = fake("running")?;
    cryprq(&daemon.socket())?.args(arguments).output()?;
    Ok(daemon.asked())
}

#[test]
fn the_words_of_the_table_ask_for_its_verbs() -> Result<()> {
    for verb in VERBS {
        let words: Vec<_> = verb.command.split(' ').chain(needed(verb.name).iter().copied()).collect();
        let names: Vec<_> = asked(&words)?.iter().map(Request::name).collect();
        assert_eq!(names, [verb.name], "cryprq {}", words.join(" "));
    }
    Ok(())
}

#[test]
fn a_peer_is_added_as_it_was_typed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let psk_file = folder.path().join("psk");
    std::fs::write(&psk_file, "00112233\n")?;
    let (address, psk_file) = ("/dns4/gw.example.org/udp/41820/quic-v1", psk_file.to_str().context("UTF-8")?);
    let words = ["peers", "add", ID, "--name", "gateway", "--address", address, "--address", "/ip4/192.0.2.2/tcp/1"];
    let more = ["--allowed-ip", "10.86.0.1/32", "--psk-file", psk_file, "--require-chain", "--down", "--forward"];
    let expected = Request::PeerAdd {
        peer: ID.into(),
        name: Some("gateway".into()),
        addresses: vec![address.into(), "/ip4/192.0.2.2/tcp/1".into()],
        allowed_ips: vec!["10.86.0.1/32".into()],
        psk: Some(SecretText::new("00112233".into())),
        require_chain: true,
        up: false,
        forward: true,
    };
    assert_eq!(asked(&[&words[..], &more[..]].concat())?, [expected]);
    Ok(())
}

#[test]
fn a_peer_that_is_set_keeps_what_was_not_typed() -> Result<()> {
    let nothing = Request::PeerSet {
        peer: ID.into(),
        name: None,
        addresses: None,
        allowed_ips: None,
        psk: None,
        require_chain: None,
        up: None,
        forward: None,
    };
    let address = "/ip4/192.0.2.2/tcp/1";
    let cases: [(&[&str], &str, Value); 11] = [
        (&["--name", "gw"], "name", json!("gw")),
        (&["--address", address], "addresses", json!([address])),
        (&["--no-addresses"], "addresses", json!([])),
        (&["--allowed-ip", "10.0.0.0/8"], "allowed_ips", json!(["10.0.0.0/8"])),
        (&["--no-psk"], "psk", json!("none")),
        (&["--require-chain"], "require_chain", json!(true)),
        (&["--no-require-chain"], "require_chain", json!(false)),
        (&["--up"], "up", json!(true)),
        (&["--down"], "up", json!(false)),
        (&["--forward"], "forward", json!(true)),
        (&["--no-forward"], "forward", json!(false)),
    ];
    for (words, field, value) in cases {
        let mut expected = serde_json::to_value(&nothing)?;
        expected[field] = value;
        let requests = asked(&[&["peers", "set", ID], words].concat())?;
        assert_eq!(serde_json::to_value(requests)?, json!([expected]), "{words:?}");
    }
    assert_eq!(asked(&["peers", "set", ID])?, [], "there is nothing to set");
    Ok(())
}

#[test]
fn an_exit_is_asked_for_as_it_was_typed() -> Result<()> {
    let up =
        |peer: Option<&str>, exit: Option<&str>| Request::Up { peer: peer.map(Into::into), exit: exit.map(Into::into) };
    assert_eq!(asked(&["up", "--exit", "gateway"])?, [up(None, Some("gateway"))]);
    assert_eq!(asked(&["up", "phone", "--exit", "gateway"])?, [up(Some("phone"), Some("gateway"))]);
    assert_eq!(asked(&["up", "phone"])?, [up(Some("phone"), None)]);
    Ok(())
}

#[test]
fn a_time_becomes_milliseconds() -> Result<()> {
    assert_eq!(asked(&["invite", "--expires", "2h"])?, [Request::Invite { expires_ms: Some(7_200_000), relay: None }]);
    assert_eq!(asked(&["invite"])?, [Request::Invite { expires_ms: None, relay: None }]);
    assert_eq!(
        asked(&["invite", "--relay", "hub"])?,
        [Request::Invite { expires_ms: None, relay: Some("hub".into()) }]
    );
    assert_eq!(asked(&["invite", "--expires", "10"])?, [], "10 what?");
    Ok(())
}

/// What is asked when `input` comes from standard input.
fn asked_with(input: &str, arguments: &[&str]) -> Result<Vec<Request>> {
    let daemon = fake("running")?;
    let mut command = cryprq(&daemon.socket())?;
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    ensure!(child.wait()?.success());
    Ok(daemon.asked())
}

#[test]
fn secrets_are_read_from_standard_input() -> Result<()> {
    let ticket = SecretText::new("cryprq:AESUHOJP6EEV".into());
    assert_eq!(asked_with("cryprq:AESU HOJP\r\n6EEV\n", &["join", "-"])?, [Request::Join { ticket }]);
    let requests = asked_with("00112233\n", &["peers", "add", ID, "--psk-file", "-"])?;
    assert!(matches!(&requests[..], [Request::PeerAdd { psk: Some(psk), .. }] if psk.expose() == "00112233"));
    let requests = asked_with("00112233\n", &["peers", "set", ID, "--psk-file", "-"])?;
    assert!(matches!(&requests[..], [Request::PeerSet { psk: Some(psk), .. }] if psk.expose() == "00112233"));
    Ok(())
}
