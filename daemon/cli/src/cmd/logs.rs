//! `cryprq logs …`.

use clap::Subcommand;
use cryprq_ipc_proto::message::Request;

use super::Context;
use crate::error::Result;
use crate::exit::Exit;

/// Change what the daemon logs.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Logs {
    #[command(subcommand)]
    command: LogsCommand,
}

#[derive(Subcommand)]
enum LogsCommand {
    /// Set the level until the daemon restarts; log.level in the configuration sets it for good.
    Level {
        /// How much is logged.
        #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
        level: String,
    },
}

impl Logs {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let LogsCommand::Level { level } = self.command;
        context.change(&Request::LogLevel { level: level.clone() }, || format!("the daemon logs at {level}"))
    }
}
