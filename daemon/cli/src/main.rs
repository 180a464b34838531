//! `cryprq`, the command line.

#![forbid(unsafe_code)]

mod args;
mod client;
mod render;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, Parser};
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{Reply, Request, Status};
use cryprq_ipc_proto::paths;

use args::{Args, Color, Command, LogsCommand, PeersCommand};
use client::{Client, ClientError};

/// What scripts may rely on (`docs/ipc.md`).
#[derive(Clone, Copy)]
enum Exit {
    Ok = 0,
    Failure = 1,
    NotRunning = 3,
    PermissionDenied = 4,
    NotConnected = 5,
    TimedOut = 6,
    VersionMismatch = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain(&error);
            exit_of(&error).into()
        }
    }
}

fn run(args: &Args) -> Result<Exit, ClientError> {
    let request = match &args.command {
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "cryprq", &mut std::io::stdout());
            return Ok(Exit::Ok);
        }
        Command::Man => {
            let man = clap_mangen::Man::new(Args::command());
            return print(|out| man.render(out), args);
        }
        Command::Paths => {
            let (here, socket) = (paths::HERE, args.socket().display().to_string());
            return print(
                |out| writeln!(out, "socket  {socket}\nconfig  {}\nstate   {}", here.config, here.state),
                args,
            );
        }
        Command::Status { watch: None } | Command::Peers { command: None } => Request::Status {},
        Command::Status { watch: Some(seconds) } => return watch(args, *seconds),
        Command::Version => Request::Hello {},
        Command::Up { peer } => Request::Up { peer: peer.clone() },
        Command::Down { peer } => Request::Down { peer: peer.clone() },
        Command::Rotate { peer } => Request::Rotate { peer: peer.clone() },
        Command::Reconnect { peer } => Request::Reconnect { peer: peer.clone() },
        Command::Wait { connected_to, timeout } => return wait(args, connected_to.as_deref(), *timeout),
        Command::Peers { command: Some(PeersCommand::AcceptChainReset { peer }) } => {
            Request::PeerAcceptChainReset { peer: peer.clone() }
        }
        Command::Logs { command: LogsCommand::Level { level } } => Request::LogLevel { level: level.clone() },
    };
    let reply = Client::connect(&args.socket())?.ask(&request)?;
    show(args, &reply)
}

fn show(args: &Args, reply: &Reply) -> Result<Exit, ClientError> {
    if args.json {
        let text = serde_json::to_string(reply).map_err(|error| ClientError::Output(error.into()))?;
        return print(|out| writeln!(out, "{text}"), args);
    }
    match reply {
        Reply::Hello { version } => {
            print(|out| writeln!(out, "cryprq  {}\ncryprqd {version}", env!("CARGO_PKG_VERSION")), args)
        }
        Reply::Status(status) if matches!(args.command, Command::Peers { .. }) => {
            print(|out| render::peers(out, status), args)
        }
        Reply::Status(status) => {
            print(|out| render::status(out, status), args)?;
            let connected = status.peers.is_empty() || status.peers.iter().any(|peer| peer.state == "connected");
            Ok(if connected { Exit::Ok } else { Exit::NotConnected })
        }
        Reply::Done {}
        | Reply::Peers { .. }
        | Reply::Ping { .. }
        | Reply::Metrics { .. }
        | Reply::Invite { .. }
        | Reply::Invites { .. }
        | Reply::Joined { .. }
        | Reply::Config { .. }
        | Reply::Reloaded { .. } => Ok(Exit::Ok),
    }
}

fn watch(args: &Args, seconds: u64) -> Result<Exit, ClientError> {
    let mut client = Client::connect(&args.socket())?;
    loop {
        let reply = client.ask(&Request::Status {})?;
        if !args.json && std::io::stdout().is_terminal() {
            // Clears the screen and goes to its first corner (ECMA-48, ED and CUP).
            print(|out| write!(out, "\x1b[2J\x1b[H"), args)?;
        }
        show(args, &reply)?;
        std::thread::sleep(Duration::from_secs(seconds.max(1)));
    }
}

/// Waits until a peer, or any, is connected.
fn wait(args: &Args, peer: Option<&str>, limit: u64) -> Result<Exit, ClientError> {
    const LOOK: Duration = Duration::from_millis(100);
    let end = std::time::Instant::now() + Duration::from_secs(limit);
    let mut client = Client::connect(&args.socket())?;
    while std::time::Instant::now() < end {
        if let Reply::Status(status) = client.ask(&Request::Status {})?
            && is_connected(&status, peer)
        {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(LOOK);
    }
    let error = ErrorBody::new(ErrorCode::TimedOut, format!("not connected after {limit} s"));
    Err(ClientError::Refused(error.hint("cryprq status says what is missing")))
}

fn is_connected(status: &Status, peer: Option<&str>) -> bool {
    let wanted = |id: &str, name: &str| peer.is_none_or(|peer| name == peer || id.starts_with(peer));
    status.peers.iter().any(|peer| wanted(&peer.id, &peer.name) && peer.state == "connected")
}

/// Writes to standard output; a reader that left early (`| head`) is no error.
fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>, args: &Args) -> Result<Exit, ClientError> {
    let choice = match args.color {
        Color::Auto => AutoStream::choice(&std::io::stdout()),
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let mut out = AutoStream::new(std::io::stdout(), choice);
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(ClientError::Output(error)),
        Ok(()) | Err(_) => Ok(Exit::Ok),
    }
}

/// What, why, and what to do.
fn complain(error: &ClientError) {
    eprintln!("cryprq: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("try: {hint}");
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::NotRunning(_) => Exit::NotRunning,
        ClientError::NotAllowed(_) => Exit::PermissionDenied,
        ClientError::Io(_) | ClientError::Output(_) => Exit::Failure,
        ClientError::Refused(body) => match body.code {
            ErrorCode::PermissionDenied => Exit::PermissionDenied,
            ErrorCode::NotConnected => Exit::NotConnected,
            ErrorCode::TimedOut => Exit::TimedOut,
            ErrorCode::VersionMismatch => Exit::VersionMismatch,
            ErrorCode::NotRunning => Exit::NotRunning,
            ErrorCode::BadRequest
            | ErrorCode::UnknownVerb
            | ErrorCode::UnknownPeer
            | ErrorCode::AlreadyExists
            | ErrorCode::InvalidConfig
            | ErrorCode::TicketUnknown
            | ErrorCode::TicketExpired
            | ErrorCode::TicketUsed
            | ErrorCode::TicketWrongSecret
            | ErrorCode::TicketMalformed
            | ErrorCode::PeerRefused
            | ErrorCode::ExtensionAttached
            | ErrorCode::TooManyClients
            | ErrorCode::TooLarge
            | ErrorCode::Unsupported
            | ErrorCode::Busy
            | ErrorCode::Internal => Exit::Failure,
        },
    }
}
