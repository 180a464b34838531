//! `docs/quickstart.md` does what it says: its commands are run in the lab, line by line.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::programs;
use cryprq_tests::repository::root;

use crate::page::{Block, Machine, blocks};

/// The rules of Debian's `/etc/nftables.conf`, but closed.
const RULES: &str = "table inet filter { chain input { type filter hook input priority filter; policy drop; \
    iifname != \"wire\" accept; ct state established,related accept; meta l4proto { icmp, icmpv6 } accept; }; }";

/// Runs one line of the page.
fn run(machine: &mut Machine, line: &str, input: &str) -> Result<String> {
    if line == "sudo cryprqd" {
        return machine.start().map(|()| String::new());
    }
    if line.starts_with("sudo cryprqd --cleanup") {
        // "Ctrl-C stops the daemon", says the page.
        machine.stop()?;
    }
    if let Some(built) = line.strip_prefix("cargo build --release --locked ") {
        // What this would build was built before the tests, in another profile.
        let built: Vec<_> = built.split(' ').filter(|word| *word != "-p").collect();
        let programs = programs()?;
        ensure!(built.iter().all(|name| programs.join(name).is_file()), "{line}: not all of {built:?} are programs");
        return Ok(String::new());
    }
    machine.prints(line, input)
}

#[test]
fn every_command_of_the_quickstart_does_what_the_page_says() -> Result<()> {
    let Some(mut machines) = Machine::two("quickstart")? else { return Ok(()) };
    let walled = machines[0].host.firewall(RULES)?.is_some();
    if !walled {
        println!("skipped: the firewall of the quickstart: this machine has no nft");
    }
    let before = [machines[0].host.state()?, machines[1].host.state()?];
    let page = std::fs::read_to_string(root().join("docs/quickstart.md"))?;
    let blocks = blocks(&page)?;
    let mut ticket = String::new();
    for Block { language, whose, lines } in &blocks {
        ensure!(["home", "laptop", "both"].contains(whose), "for which host? {lines:?}");
        for machine in machines.iter_mut().filter(|machine| [machine.name, "both"].contains(whose)) {
            let name = machine.name;
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
                let told = run(machine, line, &ticket).with_context(|| format!("{name}: {line}"))?;
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
