//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use cryprq_ipc_proto::paths;

/// Look at and switch this host's tunnels.
#[derive(Parser)]
#[command(
    name = "cryprq",
    version,
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 permission denied, 5 not connected, 6 timed out, 7 version mismatch."
)]
pub(crate) struct Args {
    /// The daemon's control socket.
    #[arg(long, env = "CRYPRQ_SOCKET", global = true)]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colours; NO_COLOR turns them off as well.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| paths::HERE.control_socket())
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// A peer is named by its name, its PeerId, or the beginning of its PeerId.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show this host, its peers, and when each was last heard of.
    Status {
        /// Show it again every so many seconds.
        #[arg(long, num_args = 0..=1, default_missing_value = "1", value_name = "SECONDS")]
        watch: Option<u64>,
    },
    /// Show the peers in a table, or change one.
    Peers {
        #[command(subcommand)]
        command: Option<PeersCommand>,
    },
    /// Connect a peer, or all; kept over restarts.
    Up { peer: Option<String> },
    /// Disconnect a peer, or all; kept over restarts.
    Down { peer: Option<String> },
    /// Make new keys now.
    Rotate { peer: Option<String> },
    /// Forget all pauses and connect now.
    Reconnect { peer: Option<String> },
    /// Wait until a peer, or any, is connected.
    Wait {
        /// Which.
        #[arg(value_name = "PEER")]
        connected_to: Option<String>,
        /// For at most so many seconds.
        #[arg(long, default_value_t = 30)]
        timeout: u64,
    },
    /// Change what the daemon logs.
    Logs {
        #[command(subcommand)]
        command: LogsCommand,
    },
    /// Show where the socket, the configuration and the state are.
    Paths,
    /// Show the versions of this program and of the daemon.
    Version,
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the man page.
    Man,
}

#[derive(Subcommand)]
pub(crate) enum PeersCommand {
    /// Accept one start without a chain from a peer with `require_chain`, within ten minutes.
    AcceptChainReset { peer: String },
}

#[derive(Subcommand)]
pub(crate) enum LogsCommand {
    /// Set the level until the daemon restarts.
    Level {
        #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
        level: String,
    },
}
