//! Pages of the documentation whose commands are run, and the machines on which a reader would type them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cryprq_tests::lab::{Host, PROGRAMS, join, programs, until};
use cryprq_tests::repository::root;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A fenced block: the words after its fence, and its lines.
pub(crate) struct Block<'t> {
    pub(crate) language: &'t str,
    pub(crate) whose: &'t str,
    pub(crate) lines: Vec<&'t str>,
}

pub(crate) fn blocks(text: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some("") if open => open = false,
            Some(mark) => {
                let (language, whose) = mark.split_once(' ').unwrap_or((mark, ""));
                blocks.push(Block { language, whose, lines: Vec::new() });
                open = true;
            }
            None if open => blocks.last_mut().context("a block")?.lines.push(line),
            None => {}
        }
    }
    Ok(blocks)
}

/// A host, and its daemon in the foreground of some terminal.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    daemon: Option<Child>,
}

impl Machine {
    fn new(name: &'static str) -> Result<Self> {
        let host = Host::named(name, &programs()?)?;
        // What the commands write outside of /var/lib stays in the host.
        for folder in ["/etc", "/run", "/usr/local"] {
            host.cover(folder)?;
        }
        Ok(Self { name, host, daemon: None })
    }

    /// `home` and `laptop` with a cable between them, or `None` with a line that says why there are none for `whom`.
    pub(crate) fn two(whom: &str) -> Result<Option<[Self; 2]>> {
        let machines = match (Self::new("home"), Self::new("laptop")) {
            (Ok(home), Ok(laptop)) => [home, laptop],
            (Err(error), _) | (_, Err(error)) => {
                println!("skipped: {whom}: {error:#}");
                return Ok(None);
            }
        };
        join(&machines[0].host, &machines[1].host)?;
        Ok(Some(machines))
    }

    /// Runs a line as a person would type it in a copy of the repository; `input` is what that person pastes.
    pub(crate) fn shell(&self, line: &str, input: &str) -> Result<Output> {
        let script = format!("sudo() {{ \"$@\"; }}; {}", line.replace("target/release/", &format!("{PROGRAMS}/")));
        let mut command = Command::new("sh");
        command.args(["-euc", &script]).current_dir(root()).env("USER", "root");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        self.host.run(move || -> Result<_> {
            let mut child = command.spawn()?;
            // A command that reads nothing may have ended already.
            let _ = std::io::Write::write_all(&mut child.stdin.take().context("no input")?, input.as_bytes());
            Ok(child.wait_with_output()?)
        })
    }

    /// What such a line prints; it has to succeed.
    pub(crate) fn prints(&self, line: &str, input: &str) -> Result<String> {
        let output = self.shell(line, input)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {line}: {}: {told}", self.name, output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the daemon that was installed.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = self.host.run(|| File::create("/var/lib/log"))?;
        let child = self.host.run(move || {
            // In a terminal of its own: what ends the test's process group does not end it.
            Command::new("/usr/local/bin/cryprqd").stdin(Stdio::null()).stderr(log).process_group(0).spawn()
        });
        self.daemon = Some(child.context("cannot start /usr/local/bin/cryprqd")?);
        until("the daemon answers", || self.prints("cryprq version", "").is_ok())
            .with_context(|| self.host.run(|| std::fs::read_to_string("/var/lib/log")).unwrap_or_default())
    }

    /// Presses Ctrl-C in its terminal.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.daemon.take() else { bail!("no daemon runs") };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        let status = child.wait()?;
        ensure!(status.success(), "{}: Ctrl-C ended the daemon with {status}", self.name);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
