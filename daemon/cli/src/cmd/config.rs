//! `cryprq config …`.

use std::path::PathBuf;
use std::process::{Command, Output as Outcome};

use clap::Subcommand;
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::limits::SCHEMA;
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::paths;
use serde_json::json;

use super::Context;
use crate::error::{Result, foreign, local};
use crate::exit::Exit;
use crate::output::Format;

const DAEMON: &str = "cryprqd";

/// Show the daemon's configuration, read it again, or check a file.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Show the configuration in force, as TOML, without secrets.
    Show,
    /// Read the configuration again: all of it or, if anything is wrong, nothing.
    Reload,
    /// Tell everything that is wrong with a configuration; needs no daemon.
    Check {
        /// The file; those of conf.d beside it are read after it.
        #[arg(default_value = paths::HERE.config)]
        file: PathBuf,
    },
}

impl Config {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        match self.command {
            ConfigCommand::Show => context.ask(&Request::Config {}, |answer| {
                let Reply::Config { toml } = answer.reply else { return Err(foreign()) };
                context.out.document(&toml)
            }),
            ConfigCommand::Reload => reload(context),
            ConfigCommand::Check { file } => check(context, file),
        }
    }
}

fn reload(context: &Context<'_>) -> Result<Exit> {
    context.ask(&Request::Reload {}, |answer| {
        let Reply::Reloaded { changed, needs_restart } = answer.reply else { return Err(foreign()) };
        context.out.print(|out| {
            if changed.is_empty() && needs_restart.is_empty() {
                return writeln!(out, "nothing changed");
            }
            if !changed.is_empty() {
                writeln!(out, "in force: {}", changed.join(", "))?;
            }
            if !needs_restart.is_empty() {
                writeln!(out, "at the next start of the daemon: {}", needs_restart.join(", "))?;
            }
            Ok(())
        })
    })
}

/// The daemon is the one who knows: there is no second reader of its configuration.
fn check(context: &Context<'_>, file: PathBuf) -> Result<Exit> {
    let Outcome { status, stdout, stderr } =
        Command::new(daemon()).arg("--check-config").arg("--config").arg(&file).output().map_err(|error| {
            local(format_args!("run {DAEMON}"), &error).hint("install the daemon, or put it on PATH")
        })?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        // Its lines stay lines: each tells another fault.
        let message = said.trim().trim_start_matches("cryprqd: ").to_owned();
        return Err(ErrorBody { code: ErrorCode::InvalidConfig, message, hint: None });
    }
    match context.out.format() {
        Format::Json => context.out.json(&json!({ "schema": SCHEMA, "file": file, "valid": true }).to_string())?,
        Format::Text => context.out.document(&String::from_utf8_lossy(&stdout))?,
    }
    Ok(Exit::Ok)
}

/// The daemon beside this program, in `sbin` beside its `bin`, or else on `PATH`.
fn daemon() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = [own.with_file_name(DAEMON), own.with_file_name("../sbin").join(DAEMON)];
    beside.into_iter().find(|program| program.is_file()).unwrap_or_else(|| DAEMON.into())
}
