//! Clients of other versions than the daemon's. How the command line takes a daemon of another version is in `cli`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::HEADER;
use cryprq_ipc_proto::hello::{Hello, Role, Side};
use cryprq_ipc_proto::limits::{FRAME_VERSION, VERSION};
use cryprq_tests::lab::Identity;
use cryprq_tests::local::{Folder, Local};
use serde_json::json;

use super::frames_in;

/// The state folder's files and what they hold.
fn state(local: &Local) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let entries = fs::read_dir(local.folder.path().join("state"))?;
    entries
        .map(|entry| Ok(entry?.path()))
        .map(|path| path.and_then(|path| Ok((path.clone(), fs::read(path)?))))
        .collect()
}

/// A first frame for versions from `oldest` to `newest`.
fn hello(oldest: u8, newest: u8) -> Vec<u8> {
    let hello = Hello { min_version: oldest, max_version: newest, ..Hello::new("another", Role::Cli) };
    Frame::Hello(hello).write(1).expect("it fits")
}

#[test]
fn attack_20_a_client_of_another_version_is_told_which_side_is_older_and_changes_nothing() -> Result<()> {
    let (local, peer) = (Folder::new("")?.start()?, Identity::new(7)?);
    let added = local.ask(&json!({"cmd": "peer_add", "peer": peer.id, "name": "kept"}).to_string())?;
    ensure!(added.get("error").is_none(), "{added}");
    let before = state(&local)?;
    ensure!(before.keys().any(|path| path.ends_with("peers.toml")), "{:?}", before.keys());

    for (other, older, hint) in
        [(VERSION - 1, "client", "update the client"), (VERSION + 1, "daemon", "update the daemon, or restart it")]
    {
        for request in [
            json!({"v": other, "id": 5, "cmd": "peer_remove", "peer": "kept"}),
            json!({"v": other, "id": 5, "cmd": "down"}),
            json!({"v": other, "id": 5, "cmd": "status", "something": "new"}),
        ] {
            let answer = local.ask(&request.to_string())?;
            let error = &answer["error"];
            ensure!((&answer["id"], &error["code"]) == (&json!(5), &json!("version_mismatch")), "{request}: {answer}");
            let message = error["message"].as_str().context("a message")?;
            let daemon = env!("CARGO_PKG_VERSION");
            let speaks = format!("the request is of version {other}, cryprqd {daemon} speaks {VERSION}");
            ensure!(message == format!("the {older} is older: {speaks}"), "{message}");
            ensure!(error["hint"] == hint, "{error}");
        }
    }
    let answer = local.ask(r#"{"cmd":"levitate"}"#)?;
    ensure!(answer["error"]["code"] == "unknown_verb", "a verb of a later version: {answer}");

    let future = FRAME_VERSION + 1;
    let mut unreadable = hello(future, future);
    unreadable[2] = future;
    unreadable.truncate(HEADER);
    for (bytes, older) in [
        (hello(0, 0), Side::Client),
        (hello(future, future), Side::Daemon),
        (hello(future, u8::MAX), Side::Daemon),
        (unreadable, Side::Daemon),
    ] {
        let asks = Frame::Request(cryprq_ipc_proto::message::Request::Down { peer: None }).write(2)?;
        let answer = local.say(&[bytes, asks].concat())?;
        let [Frame::Refused(refused)] = &frames_in(&answer)[..] else { anyhow::bail!("no refusal alone: {answer:?}") };
        ensure!(refused.error.code == ErrorCode::VersionMismatch && refused.older == Some(older), "{refused:?}");
    }
    // One that speaks this version as well is served.
    let answer = local.say(&hello(FRAME_VERSION, u8::MAX))?;
    ensure!(matches!(&frames_in(&answer)[..], [Frame::HelloAck(ack)] if ack.version == FRAME_VERSION), "{answer:?}");

    ensure!(state(&local)? == before, "a client of another version changed the state");
    ensure!(local.ask(r#"{"cmd":"peers"}"#)?["peers"][0]["name"] == "kept");
    Ok(())
}
