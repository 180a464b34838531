//! Who is who: attacks 1, 3 and 13.

use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::verb::Tier;
use cryprq_tests::local::{Folder, Local, User, can_be_others};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::{frames, http, line, refusal, requests};

fn daemon() -> Result<Local> {
    Folder::new("")?.start()
}

#[test]
fn attack_01_the_kernel_refuses_a_stranger_and_the_command_line_says_how_to_mend_it() -> Result<()> {
    if !can_be_others("a stranger at the socket") {
        return Ok(());
    }
    let daemon = daemon()?;
    ensure!(daemon.say_as(User::STRANGER, b"{\"cmd\":\"status\"}\n")?.is_none());
    let mut command = Command::new(daemon.folder.program("cryprq")?);
    command.uid(User::STRANGER.uid).gid(User::STRANGER.gid).env("CRYPRQ_SOCKET", daemon.folder.socket());
    let out = command.arg("status").output()?;
    let told = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.code() == Some(4), "exit {}: {told}", out.status);
    ensure!(told.contains("usermod -aG"), "{told}");
    Ok(())
}

#[test]
fn attack_01_a_member_is_refused_every_verb_above_his_tier_in_every_framing() -> Result<()> {
    if !can_be_others("the tiers of all verbs") {
        return Ok(());
    }
    let (daemon, member) = (daemon()?, User::member()?);
    let own = |said: &[u8]| daemon.say(said).map(Some);
    let his = |said: &[u8]| daemon.say_as(member, said);
    let mut asked = 0;
    for (verb, object, request) in requests("nobody") {
        // A watch does not end, and is asked for elsewhere.
        if verb.name == "watch" {
            continue;
        }
        for (framing, said) in [("lines", line(&object)), ("frames", frames(&request)), ("HTTP", http(verb, &object))] {
            let denied = |answer: Option<Vec<u8>>| -> Result<bool> {
                let answer = answer.context("the kernel let nobody in")?;
                ensure!(!answer.is_empty(), "{} by {framing} was not answered", verb.name);
                Ok(refusal(&answer).is_some_and(|error| error.code == ErrorCode::PermissionDenied))
            };
            ensure!(
                denied(his(&said)?)? == (verb.tier > Tier::Operate),
                "{} by {framing}, asked by a member",
                verb.name
            );
            ensure!(!denied(own(&said)?)?, "{} by {framing}, asked by root", verb.name);
            asked += 1;
        }
    }
    ensure!(asked > 50, "only {asked} questions");
    let log = daemon.log();
    let refused = log.lines().filter(|line| line.contains("refused") && line.contains(&format!("uid={}", member.uid)));
    ensure!(refused.count() > 0, "the log names who was refused:\n{log}");
    Ok(())
}

#[test]
fn attack_01_a_refusal_says_who_needs_which_right_and_what_mends_it() -> Result<()> {
    if !can_be_others("what a refusal says") {
        return Ok(());
    }
    let daemon = daemon()?;
    let answer = daemon.say_as(User::member()?, b"{\"cmd\":\"reload\"}\n")?.context("a member may connect")?;
    let error: Value = serde_json::from_slice::<Value>(&answer)?["error"].take();
    ensure!(error["message"].as_str().is_some_and(|message| message.contains("admin")), "{error}");
    ensure!(error["hint"] == "sudo cryprq config reload", "{error}");
    Ok(())
}

/// Somebody connects, passes the connection on and ends; his number may be anybody's by now.
#[test]
fn attack_03_a_connection_stays_its_openers_whoever_holds_it_and_whatever_has_his_number() -> Result<()> {
    if !can_be_others("a connection that is passed on") {
        return Ok(());
    }
    let (daemon, member) = (daemon()?, User::member()?);
    let (ours, theirs) = UnixStream::pair()?;
    let ended = daemon.caller(member, "hand-over")?.stdin(OwnedFd::from(theirs)).status()?;
    ensure!(ended.success(), "{ended}");
    let mut stream = UnixStream::from(received(&ours)?);
    // We are root, and the opener is no more; root's rights would do for this.
    stream.write_all(b"{\"cmd\":\"reload\"}\n{\"cmd\":\"down\"}\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers)?;
    let answers: Vec<Value> = answers.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(answers[0]["error"]["code"] == "permission_denied", "{}", answers[0]);
    ensure!(answers[1]["reply"] == "done", "what the opener may do is done: {}", answers[1]);
    Ok(())
}

fn received(from: &UnixStream) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let received = control.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message { descriptors.next() } else { None }
    });
    received.context("no descriptor came")
}

#[test]
fn attack_13_one_user_who_takes_every_place_leaves_root_his_own() -> Result<()> {
    if !can_be_others("a user who takes every place") {
        return Ok(());
    }
    let (daemon, member) = (daemon()?, User::member()?);
    let mut command = daemon.caller(member, "hold")?;
    let mut holding = command.arg("200").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut served = String::new();
    BufReader::new(holding.stdout.take().context("no output")?).read_line(&mut served)?;
    ensure!(served == "32\n", "{served:?} of 200 connections were served");
    let answer = daemon.say_as(member, b"{\"cmd\":\"hello\"}\n")?.context("a member may connect")?;
    ensure!(refusal(&answer).is_some_and(|error| error.code == ErrorCode::TooManyClients));
    ensure!(daemon.ask(r#"{"cmd":"hello"}"#)?["reply"] == "hello", "root is served");
    drop(holding.stdin.take());
    holding.wait()?;
    cryprq_tests::lab::until("the places are free again", || {
        let answer = daemon.say_as(member, b"{\"cmd\":\"hello\"}\n");
        answer.is_ok_and(|answer| answer.is_some_and(|answer| refusal(&answer).is_none()))
    })
}
