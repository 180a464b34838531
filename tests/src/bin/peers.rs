//! Our daemon beside the VPNs that a user would pick instead, between two network namespaces, in turns in one run.
//!
//! `tests/benches/peers/run` builds and installs what this needs. The bars are those of docs/dataplane.md.
//! It is no bench of cargo's, for which all libraries would be compiled once more: those unwind, what is shipped does not.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use cryprq_tests::lab::{clean_up_when_interrupted, programs};
use cryprq_tests::rig::{
    Available, Contender, Cores, Figures, Outcome, Plan, Programs, Report, Role, Site, all, beside, flood, measure,
    profile, rotation,
};

/// Measures our daemon beside other VPNs, in turns, and prints medians, ratios and bars.
#[derive(Parser)]
struct Args {
    /// Only these, separated by commas; a name that begins several means them all.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Names that --only knows, and what is missing.
    #[arg(long)]
    list: bool,
    /// Seconds of each TCP measurement; the others follow from it.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    secs: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Also record where the time of each contender goes, with perf; beside the JSON.
    #[arg(long)]
    profile: bool,
    /// The folder that 'cargo install --root' put other VPNs into.
    #[arg(long, value_name = "FOLDER")]
    installed: Option<PathBuf>,
    /// The bare loop: a program that takes TUN-NAME BIND-IP:PORT PEER-IP:PORT chacha|aes offload.
    #[arg(long, value_name = "PROGRAM", env = "CRYPRQ_BARE_LOOP")]
    bare_loop: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // They are started from other folders.
    let whole = |path: &Option<PathBuf>| path.as_deref().map(std::path::absolute).transpose();
    let found = Programs { installed: whole(&args.installed)?, bare_loop: whole(&args.bare_loop)? };
    let contenders = chosen(all(&found), &args.only)?;
    if args.list {
        for contender in contenders {
            let (name, what) = (contender.name(), contender.available());
            match what {
                Available::Yes(version) => println!("{name:<16} {version}"),
                Available::No(reason) => println!("{name:<16} not run: {reason}"),
            }
        }
        return Ok(());
    }
    if let Err(error) = Site::new(Cores::Shared) {
        println!("skipped: {error:#}");
        return Ok(());
    }
    if found.find("iperf3").is_none() {
        bail!("there is no iperf3: apt-get install iperf3");
    }
    clean_up_when_interrupted()?;
    let json = match &args.json {
        Some(json) => json.clone(),
        None => programs()?.join("peers.json"),
    };
    let report = compare(&contenders, &args, &json)?;
    println!("{report}");
    fs::write(&json, report.json()?).with_context(|| format!("cannot write {}", json.display()))?;
    println!("all figures: {}", json.display());
    Ok(())
}

/// Those that the command line names, or all.
fn chosen(mut all: Vec<Box<dyn Contender>>, only: &[String]) -> Result<Vec<Box<dyn Contender>>> {
    if let Some(unknown) = only.iter().find(|only| !all.iter().any(|one| one.name().starts_with(only.as_str()))) {
        let names: Vec<_> = all.iter().map(|one| one.name()).collect();
        bail!("there is no {unknown}, but {}", names.join(", "));
    }
    all.retain(|one| only.is_empty() || only.iter().any(|only| one.name().starts_with(only.as_str())));
    Ok(all)
}

fn compare(contenders: &[Box<dyn Contender>], args: &Args, json: &std::path::Path) -> Result<Report> {
    let plan = Plan { seconds: args.secs };
    let mut outcomes: Vec<Outcome> = contenders
        .iter()
        .map(|contender| {
            let (version, wrong) = match contender.available() {
                Available::Yes(version) => (Some(version), Vec::new()),
                Available::No(reason) => (None, vec![format!("not run: {reason}")]),
            };
            Outcome { name: contender.name().to_owned(), role: contender.role(), version, runs: Vec::new(), wrong }
        })
        .collect();
    let (mut own, mut wrong) = (Vec::new(), Vec::new());
    for run in 0..args.runs {
        for at in 0..contenders.len() {
            // Another one begins each round, so that none always runs behind the same neighbour.
            let at = (at + run as usize) % contenders.len();
            let outcome = &mut outcomes[at];
            if outcome.version.is_none() {
                continue;
            }
            eprint!("\nrun {} of {}, {}:", run + 1, args.runs, outcome.name);
            match once(contenders[at].as_ref(), plan, args.profile.then(|| json.with_extension("perf"))) {
                Ok((mut figures, failed)) => {
                    outcome.wrong.extend(failed);
                    match by_the_loop(contenders[at].as_ref(), contenders, plan) {
                        Ok(taken) => figures.extend(taken),
                        Err(error) => outcome.wrong.push(format!("beside the bare loop: {error:#}")),
                    }
                    outcome.runs.push(figures);
                }
                Err(error) => outcome.wrong.push(format!("run {}: {error:#}", run + 1)),
            }
        }
        if outcomes.iter().any(|outcome| matches!(outcome.role, Role::Own(_))) {
            eprint!("\nrun {} of {}, cryprqd alone: rotations, garbage", run + 1, args.runs);
            let mut figures = Figures::new();
            for taken in [rotation(plan), flood(plan)] {
                match taken {
                    Ok(taken) => figures.extend(taken),
                    Err(error) => wrong.push(format!("run {}: {error:#}", run + 1)),
                }
            }
            own.push(figures);
        }
    }
    eprintln!();
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Report { machine: machine(), time, plan, contenders: outcomes, own, wrong })
}

/// One run of one contender; with a profile if a file for it is given.
fn once(contender: &dyn Contender, plan: Plan, perf: Option<PathBuf>) -> Result<(Figures, Vec<String>)> {
    let (site, running) = contender.up(Cores::Shared)?;
    let (figures, mut wrong) = measure(&site, &running, plan, |part| eprint!(" {part};"));
    if let Some(file) = perf.filter(|_| running.pids().is_some()) {
        let file = file.with_extension(format!("{}.perf", contender.name()));
        match profile(&site, &running, plan, &file) {
            Ok(functions) => println!("\n{}: perf report --input {}\n{functions}", contender.name(), file.display()),
            Err(error) => wrong.push(format!("profile: {error:#}")),
        }
    }
    if !wrong.is_empty() {
        wrong.push(site.logs());
    }
    Ok((figures, wrong))
}

/// What a contender comes to beside the bare loop with its cipher, where that can be run.
fn by_the_loop(contender: &dyn Contender, all: &[Box<dyn Contender>], plan: Plan) -> Result<Figures> {
    let Role::Own(cipher) = contender.role() else { return Ok(Figures::new()) };
    let bare = all.iter().find(|one| one.role() == Role::Bare(cipher));
    let Some(bare) = bare.filter(|one| matches!(one.available(), Available::Yes(_))) else {
        return Ok(Figures::new());
    };
    eprint!(" beside {};", bare.name());
    let (site, running) = contender.up(Cores::Apart)?;
    let (its_site, its_running) = bare.up(Cores::Apart)?;
    beside((&site, &running), (&its_site, &its_running), plan)
}

/// Processor, cores and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, {cores} cores, Linux {}",
        model.unwrap_or("unknown processor"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}
