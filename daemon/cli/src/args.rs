//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cryprq_ipc_proto::paths;

use crate::cmd::{Command, Context};
use crate::error::Result;
use crate::exit::Exit;
use crate::output::{Format, Output};

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 permission denied, 5 not connected, 6 timed out, \
7 version mismatch.";

/// Look at this host's tunnels, switch them, and say who is a peer.
///
/// A peer is named by its name, its PeerId, or the beginning of its PeerId.
#[derive(Parser)]
#[command(name = "cryprq", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args)]
struct Global {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", env = "CRYPRQ_SOCKET", hide_env_values = true, global = true)]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON, refusals too
    #[arg(long, global = true)]
    json: bool,
    /// Whether to use colours; NO_COLOR turns them off as well
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, global = true)]
    color: Color,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Args {
    pub(crate) const fn format(&self) -> Format {
        if self.global.json { Format::Json } else { Format::Text }
    }

    pub(crate) const fn color(&self) -> Color {
        self.global.color
    }

    pub(crate) fn run(self, out: &Output) -> Result<Exit> {
        let socket = self.global.socket.unwrap_or_else(|| paths::HERE.control_socket());
        self.command.run(&Context { socket, out })
    }
}
