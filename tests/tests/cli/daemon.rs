//! The real daemon, without packets, and the command line together.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use cryprq_tests::lab::{programs, until};
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

    /// The exit code, standard output and standard error of the command line.
    fn run(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let output = cryprq(&self.folder.path().join("run/control.sock"))?.args(arguments).output()?;
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
    let pages = std::fs::read_dir(folder.path())?.count();
    let (all, _) = told(&cryprq(Path::new("/nonexistent"))?.arg("man").output()?);
    assert_eq!(all.lines().filter(|line| line.starts_with(".TH ")).count(), pages);
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = told(&cryprq(Path::new("/nonexistent"))?.args(["completions", shell]).output()?);
        assert!(script.contains("accept-chain-reset"), "{shell}: {script}");
    }
    Ok(())
}
