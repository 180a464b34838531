//! `docs/quickstart.md` does what it says: its commands are run in the lab, line by line.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, PROGRAMS, join, programs, until};
use cryprq_tests::repository::root;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The rules of Debian's `/etc/nftables.conf`, but closed.
const RULES: &str = "table inet filter { chain input { type filter hook input priority filter; policy drop; \
    iifname != \"wire\" accept; ct state established,related accept; meta l4proto { icmp, icmpv6 } accept; }; }";

/// A fenced block: for which hosts, in which language, and its lines.
struct Block<'t> {
    hosts: Vec<&'static str>,
    language: &'t str,
    lines: Vec<&'t str>,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some("") if open => open = false,
            Some(mark) => {
                let (language, host) = mark.split_once(' ').with_context(|| format!("for which host? {line}"))?;
                let hosts = ["home", "laptop"].into_iter().filter(|name| [*name, "both"].contains(&host)).collect();
                blocks.push(Block { hosts, language, lines: Vec::new() });
                open = true;
            }
            None if open => blocks.last_mut().context("a block")?.lines.push(line),
            None => {}
        }
    }
    Ok(blocks)
}

/// A host, its daemon in the foreground of some terminal, and what its user read there last.
struct Machine {
    name: &'static str,
    host: Host,
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

    /// Runs one line as a person would type it; `input` is what that person pastes.
    fn run(&mut self, line: &str, input: &str) -> Result<String> {
        if line == "sudo cryprqd" {
            return self.start().map(|()| String::new());
        }
        if line.starts_with("sudo cryprqd --cleanup") {
            // "Ctrl-C stops the daemon", says the page.
            self.stop()?;
        }
        if let Some(built) = line.strip_prefix("cargo build --release --locked ") {
            // What this would build was built before the tests, in another profile.
            let built: Vec<_> = built.split(' ').filter(|word| *word != "-p").collect();
            let programs = programs()?;
            ensure!(
                built.iter().all(|name| programs.join(name).is_file()),
                "{line}: not all of {built:?} are programs"
            );
            return Ok(String::new());
        }
        let script = format!("sudo() {{ \"$@\"; }}; {}", line.replace("target/release/", &format!("{PROGRAMS}/")));
        let mut command = Command::new("sh");
        command.args(["-euc", &script]).current_dir(root()).env("USER", "root");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let output = self.host.run(move || -> Result<_> {
            let mut child = command.spawn()?;
            // A command that reads nothing may have ended already.
            let _ = std::io::Write::write_all(&mut child.stdin.take().context("no input")?, input.as_bytes());
            Ok(child.wait_with_output()?)
        })?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {line}: {}: {told}", self.name, output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    fn start(&mut self) -> Result<()> {
        let log = self.host.run(|| std::fs::File::create("/var/lib/log"))?;
        let child = self.host.run(move || {
            // In a terminal of its own: what ends the test's process group does not end it.
            Command::new("/usr/local/bin/cryprqd").stdin(Stdio::null()).stderr(log).process_group(0).spawn()
        });
        self.daemon = Some(child.context("cannot start /usr/local/bin/cryprqd")?);
        until("the daemon answers", || self.run("cryprq version", "").is_ok())
            .with_context(|| self.host.run(|| std::fs::read_to_string("/var/lib/log")).unwrap_or_default())
    }

    fn stop(&mut self) -> Result<()> {
        let mut child = self.daemon.take().context("no daemon runs")?;
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

#[test]
fn every_command_of_the_quickstart_does_what_the_page_says() -> Result<()> {
    let mut machines = match (Machine::new("home"), Machine::new("laptop")) {
        (Ok(home), Ok(laptop)) => [home, laptop],
        (Err(error), _) | (_, Err(error)) => {
            println!("skipped: quickstart: {error:#}");
            return Ok(());
        }
    };
    join(&machines[0].host, &machines[1].host)?;
    let walled = machines[0].host.firewall(RULES)?.is_some();
    if !walled {
        println!("skipped: the firewall of the quickstart: this machine has no nft");
    }
    let before = [machines[0].host.state()?, machines[1].host.state()?];
    let page = std::fs::read_to_string(root().join("docs/quickstart.md"))?;
    let blocks = blocks(&page)?;
    let mut ticket = String::new();
    for Block { hosts, language, lines } in &blocks {
        for name in hosts {
            let machine = machines.iter_mut().find(|machine| machine.name == *name).context("no such host")?;
            if *language == "toml" {
                let config = lines.join("\n").replace("/dns4/home.example.org/", "/ip4/192.0.2.1/");
                machine.host.run(move || {
                    std::fs::create_dir_all("/etc/cryprq")?;
                    std::fs::write(Path::new("/etc/cryprq/cryprq.toml"), config)
                })?;
                continue;
            }
            ensure!(*language == "sh", "a block of {language}");
            for line in lines {
                if line.starts_with("sudo nft ") && !walled {
                    continue;
                }
                let told = machine.run(line, &ticket).with_context(|| format!("{name}: {line}"))?;
                if *line == "sudo cryprq invite" {
                    ensure!(told.starts_with("cryprq:"), "invite prints {told}");
                    ticket = told;
                }
            }
        }
    }
    ensure!(blocks.iter().map(|block| block.lines.len()).sum::<usize>() > 10, "the page has commands");
    let after = [machines[0].host.state()?, machines[1].host.state()?];
    ensure!(after == before, "the system was {before:#?} and is {after:#?}");
    for machine in &machines {
        let left =
            machine.host.run(|| ["/var/lib/cryprq", "/usr/local/bin/cryprqd"].map(|path| Path::new(path).exists()));
        ensure!(left == [false, false], "{}: something is left", machine.name);
    }
    Ok(())
}
