//! What no honest client does: attacks 5, 8, 9 and 10.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use anyhow::{Result, ensure};
use cryprq_ipc_proto::header::MAGIC;
use cryprq_tests::lab::until;
use cryprq_tests::local::Folder;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;

use crate::{body, frames, http, line, refusal, requests};

/// Starts a daemon that must not start, and gives what it said.
fn refused(folder: &Folder) -> Result<String> {
    let out = folder.command()?.output()?;
    ensure!(!out.status.success(), "it started");
    Ok(String::from_utf8(out.stderr)?)
}

#[test]
fn attack_05_whatever_squats_on_the_socket_stops_the_start_and_is_left_alone() -> Result<()> {
    let folder = Folder::new("")?;
    fs::create_dir(folder.run())?;
    fs::set_permissions(folder.run(), fs::Permissions::from_mode(0o755))?;
    let (path, target) = (folder.socket(), folder.path().join("target"));
    fs::write(&target, "precious")?;
    symlink(&target, &path)?;
    ensure!(refused(&folder)?.contains("is in the way"), "a link");
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    ensure!(refused(&folder)?.contains("is in the way"), "a folder");
    fs::remove_dir(&path)?;
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
    ensure!(refused(&folder)?.contains("is in the way"), "a fifo");
    ensure!(fs::symlink_metadata(&path)?.file_type().is_fifo(), "the fifo is still there");
    fs::remove_file(&path)?;
    let squatter = UnixListener::bind(&path)?;
    ensure!(refused(&folder)?.contains("another daemon listens"), "a listener");
    // The daemon's own look is all that came.
    squatter.set_nonblocking(true)?;
    let (mut stream, _) = squatter.accept()?;
    ensure!(stream.read(&mut [0; 1])? == 0, "the squatter learns nothing");
    ensure!(fs::read_to_string(&target)? == "precious");
    Ok(())
}

#[test]
fn attack_05_no_socket_is_made_in_a_folder_that_others_may_write_to() -> Result<()> {
    let folder = Folder::new("")?;
    fs::create_dir(folder.run())?;
    fs::set_permissions(folder.run(), fs::Permissions::from_mode(0o1777))?;
    let told = refused(&folder)?;
    ensure!(told.contains("must be a folder that only root"), "{told}");
    Ok(())
}

#[test]
fn attack_08_ten_thousand_connections_leave_nothing_behind() -> Result<()> {
    let daemon = Folder::new("")?.start()?;
    let before = daemon.descriptors()?;
    for number in 0..10_000u32 {
        let mut stream = daemon.connect()?;
        // Some say nothing, some half of something, some something else.
        let said: &[u8] = match number % 4 {
            0 => b"",
            1 => b"{\"cmd\"",
            2 => b"\xc9\x52\x01\x01\0\0\0\0\xff\xff\0\0\x01\0\0\0",
            _ => b"GET / HTTP/1.1\r\n",
        };
        // One that finds no place is closed before it said anything.
        let _ = stream.write_all(said);
    }
    // It may have opened some of its own meanwhile; and those that are not closed yet may have all places.
    until("all of them are closed", || daemon.descriptors().is_ok_and(|now| now < before + 50))?;
    until("it answers", || daemon.ask(r#"{"cmd":"hello"}"#).is_ok_and(|answer| answer["reply"] == "hello"))?;
    Ok(())
}

#[test]
fn attack_08_descriptors_that_are_sent_along_are_not_kept() -> Result<()> {
    let daemon = Folder::new("")?.start()?;
    let (mut reader, writer) = std::io::pipe()?;
    let (_, _, watch) = requests("x").find(|(verb, ..)| verb.name == "watch").expect("the table has it");
    let mut held = Vec::new();
    for said in
        [b"{\"cmd\":\"hello\"}\n".to_vec(), frames(&watch), b"GET /v1/watch HTTP/1.1\r\nHost: cryprq\r\n\r\n".into()]
    {
        let mut stream = daemon.connect()?;
        let descriptors = [writer.as_raw_fd(); 100];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&said)], &rights, MsgFlags::empty(), None)?;
        ensure!(stream.read(&mut [0; 64])? > 0, "what came with them is answered");
        held.push(stream);
    }
    drop(writer);
    // While the connections live: the pipe ends only when nobody else holds its other end.
    ensure!(reader.read(&mut [0; 1])? == 0, "the pipe's other end is closed");
    drop(held);
    Ok(())
}

#[test]
fn attack_09_no_request_makes_the_daemon_open_a_file_of_the_callers_choice() -> Result<()> {
    let daemon = Folder::new("")?.start()?;
    let precious = daemon.folder.path().join("precious");
    fs::write(&precious, "precious")?;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(&precious, AddWatchFlags::IN_ALL_EVENTS)?;
    let path = precious.display().to_string();
    for text in [path.clone(), format!("file://{path}"), format!("../../../../../..{path}"), format!("@{path}")] {
        for (verb, object, request) in requests(&text).filter(|(verb, ..)| verb.name != "watch") {
            for said in [line(&object), frames(&request), http(verb, &object)] {
                ensure!(!daemon.say(&said)?.is_empty(), "{} was not answered", verb.name);
            }
        }
    }
    ensure!(inotify.read_events().is_err_and(|error| error == nix::Error::EAGAIN), "somebody touched the file");
    // The watch itself sees such things.
    fs::read(&precious)?;
    ensure!(inotify.read_events().is_ok_and(|events| !events.is_empty()));
    Ok(())
}

/// Line breaks, colours, the clearing of a screen, a turned writing direction, and what means something to shells,
/// firewalls and formats.
const HOSTILE: &str =
    "x\nERROR forged: line\r\u{1b}[2J\u{1b}]0;t\u{7}\u{202e}\u{2066}\u{85}\u{2028}\0%s%n$(id)`id`;|&\"'\\";

/// What of it a terminal would obey.
const OBEYED: [char; 6] = ['\u{1b}', '\u{202e}', '\u{2066}', '\u{85}', '\u{2028}', '\u{7}'];

#[test]
fn attack_10_what_a_caller_says_reaches_neither_log_nor_answer_as_it_is() -> Result<()> {
    let daemon = Folder::new("")?.start()?;
    for (verb, object, request) in requests(HOSTILE).filter(|(verb, ..)| verb.name != "watch") {
        for said in [line(&object), frames(&request), http(verb, &object)] {
            let answer = daemon.say(&said)?;
            let told = refusal(&answer).map(|error| format!("{} {:?}", error.message, error.hint));
            let told = told.unwrap_or_else(|| String::from_utf8_lossy(body(&answer)).into_owned());
            let binary = answer.first() == Some(&MAGIC[0]) && refusal(&answer).is_none();
            ensure!(binary || !told.contains(OBEYED), "{}: {told}", verb.name);
        }
    }
    let unknown = format!("{}\n", serde_json::json!({ "cmd": HOSTILE, HOSTILE: 1 }));
    let field = format!("{}\n", serde_json::json!({ "cmd": "up", HOSTILE: 1 }));
    for said in [unknown, field, format!("{HOSTILE}\n")] {
        let answer = daemon.say(said.as_bytes())?;
        for answer in String::from_utf8(answer)?.lines() {
            let error: Value = serde_json::from_str::<Value>(answer)?["error"].take();
            ensure!(error["message"].as_str().is_some_and(|m| !m.chars().any(char::is_control)), "{error}");
        }
    }
    let peers = daemon.ask(r#"{"cmd":"peers"}"#)?;
    ensure!(peers["peers"].as_array().is_some_and(Vec::is_empty), "nobody of that name became a peer: {peers}");
    let log = daemon.log();
    ensure!(!log.is_empty() && !log.lines().any(|line| line.starts_with("ERROR forged")), "a forged line:\n{log}");
    ensure!(!log.contains(OBEYED) && !log.contains('\0'), "in the log:\n{log}");
    Ok(())
}
