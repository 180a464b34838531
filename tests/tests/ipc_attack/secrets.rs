//! What must not leave the daemon: attack 12.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::until;
use cryprq_tests::local::{Folder, Local, User, can_be_others};
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use crate::{frames, http, line, requests};

const SEED: [u8; 32] = *b"\x01seed-seed-seed-seed-seed-seed\xfe\xff";
const PSK: [u8; 32] = *b"\x02psk-psk-psk-psk-psk-psk-psk-ps\xfe";
const OTHER_PSK: [u8; 32] = *b"\x03other-psk-other-psk-other-psk-\xfd";
const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const OTHER_PEER: &str = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";

/// A secret in every form that somebody could write it in.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let texts = [&HEXLOWER, &HEXUPPER, &BASE64, &BASE64URL_NOPAD, &BASE32_NOPAD].map(|form| form.encode(secret));
    let numbers = format!("{secret:?}");
    let mut forms: Vec<_> =
        texts.into_iter().chain([numbers.trim_matches(['[', ']']).to_owned()]).map(String::into_bytes).collect();
    forms.push(secret.to_vec());
    forms
}

fn daemon() -> Result<Local> {
    let folder = Folder::new("")?;
    os::files::write_atomically(&folder.path().join("state/identity.key"), &SEED)?;
    let psk_file = folder.path().join("peer.psk");
    os::files::write_atomically(&psk_file, HEXLOWER.encode(&PSK).as_bytes())?;
    let config = folder.path().join("cryprq.toml");
    let peer = format!(
        "[[peer]]\nid = \"{PEER}\"\nname = \"gateway\"\nallowed_ips = [\"10.86.0.1/32\"]\npsk_file = \"{}\"\n",
        psk_file.display()
    );
    fs::write(&config, fs::read_to_string(&config)? + &peer)?;
    folder.start()
}

fn is_in(secrets: &[Vec<u8>], text: &[u8]) -> bool {
    secrets.iter().any(|secret| text.windows(secret.len()).any(|window| window == secret))
}

#[test]
fn attack_12_no_answer_no_error_and_no_log_line_holds_a_key() -> Result<()> {
    let daemon = daemon()?;
    let add =
        format!(r#"{{"cmd":"peer_add","peer":"{OTHER_PEER}","name":"other","psk":"{}"}}"#, HEXLOWER.encode(&OTHER_PSK));
    let added = daemon.ask(&add)?;
    ensure!(added["reply"] == "done", "{added}");
    let known = daemon.ask(r#"{"cmd":"status"}"#)?;
    ensure!(known["peers"].as_array().is_some_and(|peers| peers.iter().all(|peer| peer["psk"] == true)), "{known}");
    let secrets = [SEED, PSK, OTHER_PSK].iter().flat_map(|secret| forms(secret)).collect::<Vec<_>>();
    let mut answers = 0;
    for text in ["gateway", "other", PEER] {
        for (verb, object, request) in
            requests(text).filter(|(verb, ..)| !["watch", "peer_remove"].contains(&verb.name))
        {
            for said in [line(&object), frames(&request), http(verb, &object)] {
                let answer = daemon.say(&said)?;
                ensure!(!answer.is_empty(), "{} was not answered", verb.name);
                ensure!(!is_in(&secrets, &answer), "{} told a secret: {}", verb.name, answer.escape_ascii());
                answers += 1;
            }
        }
    }
    for mistyped in [HEXLOWER.encode(&OTHER_PSK) + "z", BASE64.encode(&OTHER_PSK) + "==="] {
        let set = format!(r#"{{"cmd":"peer_set","peer":"other","psk":"{mistyped}"}}"#);
        let answer = daemon.ask(&set)?;
        ensure!(answer["error"]["code"] == "invalid_config" || answer["error"]["code"] == "bad_request", "{answer}");
        ensure!(!is_in(&secrets, answer.to_string().as_bytes()), "an error told a secret: {answer}");
    }
    ensure!(answers > 150, "only {answers} answers");
    ensure!(!is_in(&secrets, daemon.log().as_bytes()), "the log holds a secret:\n{}", daemon.log());
    Ok(())
}

#[test]
fn attack_12_a_ticket_is_told_once_and_to_nobody_else() -> Result<()> {
    let daemon = daemon()?;
    let invite = daemon.ask(r#"{"cmd":"invite"}"#)?;
    let ticket = invite["ticket"].as_str().with_context(|| format!("no ticket: {invite}"))?;
    let bytes = BASE32_NOPAD.decode(ticket.strip_prefix("cryprq:").context("a ticket")?.as_bytes())?;
    // Version, key, ticket id, then 16 bytes of secret (protocol.md 10).
    let secret = bytes.get(1 + 32 + 8..1 + 32 + 8 + 16).context("a ticket holds a secret")?;
    let mut secrets = forms(secret);
    secrets.push(ticket.as_bytes().to_vec());
    for verb in ["invite_list", "status", "metrics", "config", "peers"] {
        let answer = daemon.say(format!("{{\"cmd\":\"{verb}\"}}\n").as_bytes())?;
        ensure!(!is_in(&secrets, &answer), "{verb} told the ticket");
    }
    let mistyped = format!("{{\"cmd\":\"join\",\"ticket\":\"{ticket}A\"}}\n");
    ensure!(!is_in(&secrets, &daemon.say(mistyped.as_bytes())?), "an error told the ticket");
    ensure!(!is_in(&secrets, daemon.log().as_bytes()), "the log holds the ticket");
    Ok(())
}

#[test]
fn attack_12_the_process_table_shows_no_secret() -> Result<()> {
    let daemon = daemon()?;
    let secrets = [SEED, PSK].iter().flat_map(|secret| forms(secret)).collect::<Vec<_>>();
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{file}", daemon.pid()))?;
        ensure!(!text.is_empty() && !is_in(&secrets, &text), "{file} holds a secret");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no such limit")?;
    ensure!(core.split_whitespace().filter(|field| *field == "0").count() == 2, "core dumps: {core}");
    Ok(())
}

/// The kernel gives the files of a process that may not be dumped to root, so that its own user can neither read its
/// memory nor attach a debugger.
#[test]
fn attack_12_a_process_of_the_same_user_cannot_look_into_the_daemon() -> Result<()> {
    if !can_be_others("a daemon of another user") {
        return Ok(());
    }
    // Who is not root gives the socket to no group but his own.
    let folder = Folder::for_group("no-such-group", "")?;
    let User { uid, gid } = User::STRANGER;
    for path in [folder.path().to_owned(), folder.path().join("state")] {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    let mut command = folder.command()?;
    command.uid(uid).gid(gid);
    let daemon = folder.start_by(command)?;
    for file in ["mem", "environ", "maps", "fd"] {
        let owner = fs::metadata(format!("/proc/{}/{file}", daemon.pid()))?.uid();
        ensure!(owner == 0, "{file} is {owner}'s");
    }
    // The same look at a process that does not protect itself finds its own user.
    let mut sleeper = std::process::Command::new("sleep").arg("60").uid(uid).gid(gid).spawn()?;
    // It is root's until the kernel is done with starting it.
    let environ = format!("/proc/{}/environ", sleeper.id());
    let found = until("it is the user's own", || fs::metadata(&environ).is_ok_and(|file| file.uid() == uid));
    let _ = sleeper.kill();
    sleeper.wait()?;
    found
}
