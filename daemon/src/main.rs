//! `cryprqd`, the daemon.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use cryprq_ipc_proto::paths;
use cryprqd::config::Config;
use cryprqd::{logging, run};
use node::tunnel::TunnelLimits;

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIG: u8 = 78;

/// The CrypRQ daemon: post-quantum tunnels between hosts.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file; `conf.d/*.toml` beside it are read after it.
    #[arg(long, default_value = paths::HERE.config)]
    config: PathBuf,
    /// The folder of the control socket.
    #[arg(long, default_value = paths::HERE.runtime)]
    runtime_dir: PathBuf,
    /// Check the configuration, or the one in FILE, tell everything that is wrong with it, and exit.
    #[arg(long, conflicts_with = "cleanup", num_args = 0..=1, value_name = "FILE")]
    check_config: Option<Option<PathBuf>>,
    /// Undo what an earlier run left, and exit.
    #[arg(long)]
    cleanup: bool,
}

fn main() -> ExitCode {
    os::heap::map_large_blocks();
    if let Err(error) = os::harden::at_start() {
        eprintln!("cryprqd: cannot protect this process: {error}");
        return ExitCode::FAILURE;
    }
    let args = Args::parse();
    let read = match &args.check_config {
        Some(Some(file)) => Config::check(file),
        Some(None) | None => Config::load(&args.config),
    };
    let config = match read {
        Ok(config) => config,
        // What an earlier run left is undone whatever the configuration has become.
        Err(errors) if args.cleanup => {
            eprintln!("cryprqd: the configuration is refused, so the default state folder is cleaned up:\n{errors}");
            Config::default()
        }
        Err(errors) => {
            eprintln!("cryprqd: the configuration is refused:\n{errors}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if args.check_config.is_some() {
        println!("the configuration is good");
        return ExitCode::SUCCESS;
    }
    match start(config, &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cryprqd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config, args: &Args) -> anyhow::Result<()> {
    let log = logging::start(&config.log_level);
    if args.cleanup {
        return runtime()?.block_on(run::cleanup(&config));
    }
    let prepared = run::prepare(config, &args.config, &args.runtime_dir)?;
    // Before the first thread, so that every thread inherits it.
    os::harden::drop_capabilities().context("cannot give up rights that are not needed")?;
    let runtime = runtime()?;
    let result = runtime.block_on(run::run(prepared, TunnelLimits::default(), log));
    // A name that is just being resolved is not waited for.
    runtime.shutdown_background();
    result
}

/// The control plane wants one worker; packets have threads of their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(1).max_blocking_threads(4).thread_name("cryprq-control").enable_all().build()?)
}
