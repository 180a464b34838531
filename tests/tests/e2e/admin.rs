//! `docs/admin.md` does what it says: its commands are run, and print what stands below them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cryprq_tests::repository::root;

use crate::page::{Block, Machine, blocks};

/// What else the page uses.
const TOOLS: [&str; 3] = ["curl", "jq", "nc"];

/// How a line of the page begins that says how the command above it ends.
const ENDS: &str = "# exit code ";

/// Runs the commands of a block; the lines below each that begin with `#` say what it prints, or how it ends.
fn run(machine: &Machine, lines: &[&str]) -> Result<usize> {
    let mut lines = lines.iter().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let (mut expected, mut code) = (String::new(), 0);
        while let Some(below) = lines.next_if(|below| below.starts_with("# ")) {
            match below.strip_prefix(ENDS) {
                Some(number) => code = number.parse()?,
                None => expected += &format!("{}\n", &below[2..]),
            }
        }
        let output = machine.shell(&format!("cd /var/lib; {line}"), "")?;
        let (told, complaint) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() == Some(code), "{line}: {}: {told}{complaint}", output.status);
        ensure!(expected.is_empty() || told == expected, "{line}\nprints {told:?}\nand not {expected:?}\n{complaint}");
        count += 1;
    }
    Ok(count)
}

/// The values of a key in a block of another language.
fn values<'t>(blocks: &[Block<'t>], language: &str, key: &str) -> Vec<&'t str> {
    let lines = blocks.iter().filter(|block| block.language == language).flat_map(|block| block.lines.iter());
    lines.filter_map(|line| line.trim_start().strip_prefix(key)).collect()
}

#[test]
fn every_command_of_the_admins_page_does_what_the_page_says() -> Result<()> {
    let there = |tool: &&str| Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", tool]).status();
    if let Some(missing) = TOOLS.iter().find(|tool| !there(tool).is_ok_and(|status| status.success())) {
        println!("skipped: docs/admin.md: this machine has no {missing}");
        return Ok(());
    }
    let Some(mut machines) = Machine::two("docs/admin.md")? else { return Ok(()) };
    for machine in &mut machines {
        machine.prints("install -m 755 target/release/cryprqd target/release/cryprq /usr/local/bin/", "")?;
        machine.prints("groupadd --system --force cryprq", "")?;
        machine.start()?;
    }
    let ticket = machines[0].prints("cryprq invite", "")?;
    machines[1].prints("cryprq join -", &ticket)?;
    let home = &machines[0];
    home.prints("cryprq wait", "")?;

    let page = fs::read_to_string(root().join("docs/admin.md"))?;
    let blocks = blocks(&page)?;
    let mut count = 0;
    for block in blocks.iter().filter(|block| block.language == "sh") {
        count += run(home, &block.lines)?;
    }
    ensure!(count > 20, "the page has commands, and only {count} were found");
    ensure!(blocks.iter().all(|block| ["sh", "ini", "yaml"].contains(&block.language)), "a block that nobody runs");

    for line in values(&blocks, "ini", "ExecStart=").into_iter().chain(values(&blocks, "yaml", "cmd: ")) {
        home.prints(line, "")?;
    }
    let [validate] = values(&blocks, "yaml", "validate: ")[..] else { anyhow::bail!("one line validates") };
    home.prints(&validate.replace("%s", "/etc/cryprq/conf.d/log.toml"), "")?;

    // A family without a value is not in the file, but all are in the test of the daemon's own.
    let metrics = fs::read_to_string(root().join("daemon/src/ipc/metrics.rs"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: Vec<&str> = rows
        .filter_map(|row| Some(&row[row.find("cryprq_")?..]))
        .map(|row| row.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
        .collect();
    ensure!(named.len() == 5, "the table of expressions: {named:?}");
    for name in named {
        ensure!(metrics.contains(&format!("\"{name}{{")), "no metric is called {name}");
    }
    let ssh =
        page.lines().find_map(|line| line.trim().strip_prefix("ssh root@home ")).context("the line of pairing")?;
    let (invite, join) = ssh.split_once(" | ssh root@laptop ").context("two hosts")?;
    let ticket = home.prints(invite, "")?;
    machines[1].prints("cryprq peers remove home", "")?;
    home.prints("cryprq peers remove laptop", "")?;
    machines[1].prints(join, &ticket)?;
    Ok(())
}
