//! What comes out: the daemon's own JSON for programs, exit codes, files.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use cryprq_ipc_proto::verb::VERBS;
use serde_json::Value;

use super::requests::needed;
use super::{cryprq, fake, scenario, told};

/// What the daemon of the scenario answers, as one line.
fn reply(name: &str, verb: &str) -> Result<String> {
    let text = std::fs::read(scenario(name).join("replies").join(verb).with_extension("json"))?;
    Ok(format!("{}\n", serde_json::from_slice::<Value>(&text)?))
}

#[test]
fn json_is_the_daemon_s_reply_to_the_letter() -> Result<()> {
    let daemon = fake("running")?;
    for verb in VERBS.iter().filter(|verb| verb.name != "watch") {
        let words = verb.command.split(' ').chain(needed(verb.name).iter().copied());
        let output = cryprq(&daemon.socket())?.arg("--json").args(words).output()?;
        let expected = (reply("running", verb.name)?, String::new());
        assert_eq!((output.status.code(), told(&output)), (Some(0), expected), "{}", verb.name);
    }
    Ok(())
}

#[test]
fn json_of_a_refusal_is_on_standard_output_and_the_exit_code_tells_which() -> Result<()> {
    let daemon = fake("refusing")?;
    let refused =
        [("peer_add", 4), ("ping", 5), ("peers", 1), ("join", 1), ("rotate", 6), ("reload", 1), ("up", 3), ("down", 7)];
    for (name, code) in refused {
        let verb = VERBS.iter().find(|verb| verb.name == name).context("a verb")?;
        let words = verb.command.split(' ').chain(needed(verb.name).iter().copied());
        let output = cryprq(&daemon.socket())?.arg("--json").args(words).output()?;
        assert_eq!(
            (output.status.code(), told(&output)),
            (Some(code), (reply("refusing", name)?, String::new())),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn metrics_go_into_a_file_that_a_collector_may_read() -> Result<()> {
    let (daemon, folder) = (fake("running")?, tempfile::tempdir()?);
    let file = folder.path().join("cryprq.prom");
    let output = cryprq(&daemon.socket())?.args(["metrics", "--write"]).arg(&file).output()?;
    assert_eq!((output.status.code(), told(&output)), (Some(0), (String::new(), String::new())));
    assert!(std::fs::read_to_string(&file)?.ends_with("# EOF\n"));
    let absent = folder.path().join("absent/cryprq.prom");
    let output = cryprq(&daemon.socket())?.args(["metrics", "--write"]).arg(&absent).output()?;
    assert!(output.status.code() == Some(1) && told(&output).1.starts_with("cryprq: cannot write "), "{output:?}");
    Ok(())
}

#[test]
fn a_reader_that_left_early_is_no_error() -> Result<()> {
    let daemon = fake("running")?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = cryprq(&daemon.socket())?.arg("status").stdout(writer).stderr(Stdio::piped()).spawn()?;
    let output = output.wait_with_output()?;
    assert_eq!((output.status.code(), told(&output).1), (Some(0), String::new()));
    Ok(())
}

#[test]
fn a_socket_is_named_by_an_option_before_the_environment() -> Result<()> {
    let daemon = fake("running")?;
    let output = cryprq(Path::new("/nonexistent"))?.arg("--socket").arg(daemon.socket()).arg("version").output()?;
    assert_eq!(told(&output).0, format!("cryprq   {}\ncryprqd  0.9.7\n", env!("CARGO_PKG_VERSION")));
    Ok(())
}

#[test]
fn a_watch_as_json_is_the_daemon_s_events_one_a_line() -> Result<()> {
    let daemon = fake("running")?;
    let output = cryprq(&daemon.socket())?.args(["status", "--watch", "--json"]).output()?;
    let written = std::fs::read(scenario("running").join("replies/watch.json"))?;
    let events: Vec<Value> = serde_json::Deserializer::from_slice(&written).into_iter().collect::<Result<_, _>>()?;
    let expected: Vec<_> = events.iter().take(2).map(Value::to_string).collect();
    let (text, complaint) = told(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((output.status.code(), complaint.as_str()), (Some(3), ""));
    assert_eq!(lines[..2], expected);
    assert_eq!(serde_json::from_str::<Value>(lines[2])?["error"]["code"], "not_running");
    Ok(())
}
