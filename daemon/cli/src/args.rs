//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cryprq_ipc_proto::paths;

use crate::cmd::{Command, Context};
use crate::error::Result;
use crate::exit::Exit;
use crate::output::{Format, Output};

/// Where the control socket is, unless `--socket` says it. It is read here and not by clap, whose usage lines would show
/// it as an option that was typed.
const SOCKET_VARIABLE: &str = "CRYPRQ_SOCKET";

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 permission denied, 5 not connected, 6 timed out, \
7 version mismatch.";

/// Look at this host's tunnels, switch them, and say who is a peer.
#[derive(Parser)]
#[command(name = "cryprq", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The daemon's control socket; else CRYPRQ_SOCKET, or the usual place.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON, refusals too.
    #[arg(long, global = true)]
    json: bool,
    /// Whether to use colours; NO_COLOR turns them off as well.
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
        let told = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let socket = self.global.socket.or_else(told).unwrap_or_else(|| paths::HERE.control_socket());
        self.command.run(&Context { socket, out })
    }
}
