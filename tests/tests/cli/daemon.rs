//! The real daemon, without packets, and the command line together.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use cryprq_tests::lab::{Identity, programs, until};
use serde_json::Value;

use super::{cryprq, told};

const CONFIG: &str = r#"
[node]
name = "lab"
state_dir = "STATE"

[network]
ingress = "none"

[listen]
port = 0
addresses = ["127.0.0.1"]
advertise = ["/ip4/203.0.113.1/udp/41820/quic-v1"]
"#;

/// A daemon in a folder of its own.
struct Real {
    folder: tempfile::TempDir,
    child: Child,
}

impl Real {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("cryprq.toml");
        let state = folder.path().join("state");
        std::fs::write(&config, CONFIG.replace("STATE", &state.to_string_lossy()))?;
        let child = Command::new(programs()?.join("cryprqd"))
            .args([Path::new("--config"), &config, Path::new("--runtime-dir"), &folder.path().join("run")])
            .stderr(Stdio::null())
            .spawn()?;
        let real = Self { folder, child };
        until("the daemon answers", || real.run(&["version"]).is_ok_and(|told| told.0 == 0))?;
        Ok(real)
    }

    fn command(&self) -> Result<Command> {
        cryprq(&self.folder.path().join("run/control.sock"))
    }

    /// The exit code, standard output and standard error of the command line.
    fn run(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let output = self.command()?.args(arguments).output()?;
        let (stdout, stderr) = told(&output);
        Ok((output.status.code().unwrap_or(-1), stdout, stderr))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_real_daemon_is_understood() -> Result<()> {
    let real = Real::start()?;
    let (code, text, _) = real.run(&["status"])?;
    assert!(code == 0 && text.starts_with("lab  running  version ") && text.contains("\nno peers yet"), "{text}");
    let (code, text, _) = real.run(&["status", "--json"])?;
    let status: Value = serde_json::from_str(&text)?;
    assert_eq!((code, &status["name"], &status["schema"]), (0, &"lab".into(), &1.into()));
    assert_eq!(real.run(&["up"])?, (0, "all peers: connecting\n".into(), String::new()));
    assert_eq!(real.run(&["logs", "level", "debug"])?, (0, "the daemon logs at debug\n".into(), String::new()));
    let (code, text, complaint) = real.run(&["down", "nobody"])?;
    assert!(code == 1 && text.is_empty() && complaint.contains("no peer is called 'nobody'"), "{complaint}");
    Ok(())
}

#[test]
fn a_peer_of_the_real_daemon_comes_changes_and_goes() -> Result<()> {
    let (real, phone) = (Real::start()?, Identity::new(7)?);
    let prefix = format!("{}/128", phone.ipv6);
    let add = ["peers", "add", &phone.id, "--name", "phone", "--allowed-ip", &prefix, "--down"];
    assert_eq!(real.run(&add)?, (0, "phone is a peer\n".into(), String::new()));
    assert_eq!(real.run(&["peers", "set", "phone", "--name", "mobile"])?.0, 0);
    let (code, text, _) = real.run(&["peers", "mobile"])?;
    assert!(code == 0 && text.starts_with("mobile  ● idle\n") && text.contains(&phone.id), "{text}");
    assert!(real.run(&["peers"])?.1.contains("\nmobile  idle"));
    assert_eq!(real.run(&["status"])?.0, 5, "no peer is connected");
    assert_eq!(real.run(&["ping", "mobile", "-c", "1"])?.0, 5);
    assert_eq!(real.run(&["wait", "--for", "disconnected", "mobile"])?, (0, String::new(), String::new()));
    assert_eq!(real.run(&["wait", "--for", "connected", "mobile", "--timeout", "0"])?.0, 6);
    assert_eq!(real.run(&["peers", "remove", "mobile"])?.0, 0);
    assert_eq!(real.run(&["status"])?.0, 0);
    Ok(())
}

#[test]
fn a_ticket_of_the_real_daemon_is_listed_and_cancelled() -> Result<()> {
    let real = Real::start()?;
    let (code, ticket, talk) = real.run(&["invite", "--expires", "1h"])?;
    assert!(code == 0 && ticket.starts_with("cryprq:") && ticket.lines().count() == 1, "{ticket}{talk}");
    assert!(talk.contains("It is good for 60 min and for one host"), "{talk}");
    let (_, list, _) = real.run(&["invite", "--list"])?;
    let row = list.lines().nth(1).context("one ticket")?;
    let id = row.split(' ').next().context("its id")?;
    assert!(row.contains("  open ") && row.contains("for 60 min"), "{list}");
    assert_eq!(real.run(&["invite", "--cancel", id])?.0, 0);
    assert!(real.run(&["invite", "--list"])?.1.contains("  cancelled  "));
    let (code, text, complaint) = real.run(&["join", "cryprq:AESUHO"])?;
    assert!(code == 1 && text.is_empty() && complaint.contains("\ntry: "), "{complaint}");
    Ok(())
}

#[test]
fn the_real_daemon_shows_itself_and_its_configuration() -> Result<()> {
    let real = Real::start()?;
    let (code, toml, _) = real.run(&["config", "show"])?;
    assert!(code == 0 && toml.parse::<toml::Table>()?["node"]["name"].as_str() == Some("lab"), "{toml}");
    assert_eq!(real.run(&["config", "reload"])?, (0, "nothing changed\n".into(), String::new()));
    let (code, metrics, _) = real.run(&["metrics"])?;
    assert!(code == 0 && metrics.ends_with("# EOF\n"), "{metrics}");
    let mut watch = real.command()?.args(["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(watch.stdout.take().context("a pipe")?).read_line(&mut line)?;
    watch.kill()?;
    watch.wait()?;
    let event: Value = serde_json::from_str(&line)?;
    assert_eq!((&event["event"], &event["seq"], &event["name"]), (&"state".into(), &1.into(), &"lab".into()));
    Ok(())
}

#[test]
fn the_real_daemon_checks_a_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cryprq.toml");
    let check = |format: &[&str]| -> Result<_> {
        let output = cryprq(Path::new("/nonexistent"))?.args(["config", "check"]).arg(&file).args(format).output()?;
        Ok((output.status.code(), told(&output)))
    };
    std::fs::write(&file, "[node]\nname = \"lab\"\n")?;
    assert_eq!(check(&[])?, (Some(0), ("the configuration is good\n".into(), String::new())));
    let (code, (text, _)) = check(&["--json"])?;
    assert_eq!((code, &serde_json::from_str::<Value>(&text)?["valid"]), (Some(0), &true.into()));

    std::fs::write(&file, "[node]\nnmae = \"lab\"\n")?;
    let (code, (text, complaint)) = check(&[])?;
    assert!(code == Some(1) && text.is_empty() && complaint.contains("nmae"), "{complaint}");
    let (code, (text, complaint)) = check(&["--json"])?;
    let error = serde_json::from_str::<Value>(&text)?["error"].take();
    assert_eq!((code, &error["code"], complaint.as_str()), (Some(1), &"invalid_config".into(), ""));
    Ok(())
}

#[test]
fn a_page_and_a_script_are_made_for_each_command() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = cryprq(Path::new("/nonexistent"))?.args(["man", "--out"]).arg(folder.path()).output()?;
    assert!(output.status.success(), "{output:?}");
    for page in ["cryprq.1", "cryprq-status.1", "cryprq-peers-add.1", "cryprq-config-check.1"] {
        let text = std::fs::read_to_string(folder.path().join(page))?;
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    let pages: Vec<_> = std::fs::read_dir(folder.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let (all, _) = told(&cryprq(Path::new("/nonexistent"))?.arg("man").output()?);
    assert_eq!(all.lines().filter(|line| line.starts_with(".TH ")).count(), pages.len());
    match Command::new("man").args(["--warnings", "-l"]).args(&pages).env("MANPAGER", "cat").output() {
        Ok(rendered) => {
            let (text, complaint) = told(&rendered);
            assert!(rendered.status.success() && complaint.is_empty(), "{complaint}");
            assert_eq!(text.lines().filter(|line| *line == "SYNOPSIS").count(), pages.len());
        }
        Err(error) => println!("skipped: the man pages are not rendered: no man: {error}"),
    }
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = told(&cryprq(Path::new("/nonexistent"))?.args(["completions", shell]).output()?);
        assert!(script.contains("accept-chain-reset"), "{shell}: {script}");
        let file = folder.path().join(shell);
        std::fs::write(&file, script)?;
        // Whether the shell can read it; it is not run.
        let option = if shell == "fish" { "--no-execute" } else { "-n" };
        match Command::new(shell).arg(option).arg(&file).output() {
            Ok(read) => assert!(read.status.success() && told(&read).1.is_empty(), "{shell}: {read:?}"),
            Err(error) => println!("skipped: completions for {shell} are not read: no {shell}: {error}"),
        }
    }
    Ok(())
}
