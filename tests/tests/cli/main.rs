//! The command line as people and scripts see it: transcripts against a daemon that only talks, and against the real one.
//!
//! `TRYCMD=overwrite cargo test -p cryprq-tests --test cli` writes the transcripts anew; the difference is for review.

mod daemon;
mod replies;
mod requests;
mod terminal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use cryprq_ipc_proto::paths::HERE;
use cryprq_ipc_proto::verb::VERBS;
use cryprq_tests::fake_daemon::FakeDaemon;
use cryprq_tests::lab::programs;

/// The folder of a scenario.
fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name)
}

/// A daemon that plays the scenario.
fn fake(name: &str) -> Result<FakeDaemon> {
    Ok(FakeDaemon::start(&scenario(name).join("replies"))?)
}

/// The command line, asking at `socket`.
fn cryprq(socket: &Path) -> Result<Command> {
    let mut command = Command::new(programs()?.join("cryprq"));
    command.env("CRYPRQ_SOCKET", socket).env("COLUMNS", "100").stdin(Stdio::null());
    Ok(command)
}

/// What a finished command wrote.
fn told(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn transcripts(name: &str, socket: &Path) -> Result<()> {
    for entry in std::fs::read_dir(scenario(name))? {
        let path = entry?.path();
        if path.is_file() {
            let commands = std::fs::read_to_string(&path)?.matches("```console\n$ cryprq").count();
            ensure!(commands > 0, "{} holds no command", path.display());
        }
    }
    let start = if cfg!(target_os = "macos") {
        "launchctl kickstart system/dev.cryprq.daemon"
    } else {
        "systemctl start cryprqd"
    };
    trycmd::TestCases::new()
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))?
        .insert_var("[CONFIG]", HERE.config)?
        .insert_var("[PACKETS]", HERE.tun_socket().display().to_string())?
        .insert_var("[STATE]", HERE.state)?
        .insert_var("[START]", start)?
        .register_bin("cryprq", programs()?.join("cryprq"))
        .env("CRYPRQ_SOCKET", socket.to_string_lossy())
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .case(scenario(name).join("*.trycmd").to_string_lossy().into_owned());
    Ok(())
}

#[test]
fn a_daemon_with_peers() -> Result<()> {
    transcripts("running", &fake("running")?.socket())
}

#[test]
fn a_daemon_without_peers() -> Result<()> {
    transcripts("lonely", &fake("lonely")?.socket())
}

#[test]
fn a_daemon_that_refuses() -> Result<()> {
    transcripts("refusing", &fake("refusing")?.socket())
}

#[test]
fn a_daemon_of_another_version() -> Result<()> {
    transcripts("foreign", &fake("foreign")?.socket())
}

#[test]
fn an_older_daemon_is_told_to_be_that() -> Result<()> {
    transcripts("older", &fake("older")?.socket())
}

#[test]
fn a_newer_daemon_says_that_this_side_is_older() -> Result<()> {
    transcripts("newer", &fake("newer")?.socket())
}

#[test]
fn no_daemon() -> Result<()> {
    transcripts("absent", Path::new("/nonexistent/control.sock"))
}

#[test]
fn help_reads_like_this() -> Result<()> {
    transcripts("help", Path::new("/nonexistent/control.sock"))
}

/// All help texts of the transcripts.
fn help_texts() -> Result<String> {
    let mut texts = String::new();
    for entry in std::fs::read_dir(scenario("help"))? {
        texts += &std::fs::read_to_string(entry?.path())?;
    }
    Ok(texts)
}

/// The subcommands that a help text names.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let first_words = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    first_words.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command, each as its words, and whether it has commands below it.
fn commands() -> Result<Vec<(String, bool)>> {
    let (mut left, mut found) = (vec![String::new()], Vec::new());
    while let Some(words) = left.pop() {
        let output = cryprq(Path::new("/nonexistent"))?.args(words.split_whitespace()).arg("--help").output()?;
        let below = subcommands(&told(&output).0);
        left.extend(below.iter().map(|name| format!("{words} {name}").trim().to_owned()));
        found.push((words, !below.is_empty()));
    }
    Ok(found)
}

#[test]
fn the_help_of_each_command_stands_in_the_transcripts() -> Result<()> {
    let written = help_texts()?;
    for (words, _) in commands()? {
        let typed = format!("$ cryprq {words} --help\n").replace("  ", " ");
        assert!(written.contains(&typed), "{typed}");
    }
    Ok(())
}

#[test]
fn the_commands_are_those_of_the_local_protocol_s_table_and_a_few_that_need_no_daemon() -> Result<()> {
    let table = VERBS.iter().map(|verb| verb.command.split(" --").next().unwrap_or_default().to_owned());
    let local = ["completions", "config check", "man", "paths", "wait"].map(str::to_owned);
    let expected: BTreeSet<_> = table.chain(local).collect();
    // 'peers' shows something itself, other commands with commands below them do not.
    let typed: BTreeSet<_> =
        commands()?.into_iter().filter(|(words, group)| !group || words == "peers").map(|(words, _)| words).collect();
    assert_eq!(typed, expected);
    Ok(())
}

/// What the daemon cannot do is not offered.
#[test]
fn help_does_not_speak_of_what_is_not_there() -> Result<()> {
    let written = help_texts()?;
    for absent in ["kill switch", "bugreport"] {
        assert!(!written.to_lowercase().contains(absent), "{absent}");
    }
    Ok(())
}
