//! The commands, one file a family: what each takes, what it asks, what it shows.

mod about;
mod config;
mod follow;
mod invite;
mod join;
mod logs;
mod manual;
mod metrics;
mod netcheck;
mod peers;
mod ping;
mod status;
mod switch;
mod wait;

use std::path::PathBuf;

use clap::Subcommand;
use cryprq_ipc_proto::json::write_reply;
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::printable::printable;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::error::Result;
use crate::exit::Exit;
use crate::output::{Format, Output};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Status(status::Status),
    Peers(peers::Peers),
    Ping(ping::Ping),
    Wait(wait::Wait),
    Netcheck(netcheck::Netcheck),
    Metrics(metrics::Metrics),
    Up(switch::Up),
    Down(switch::Down),
    Rotate(switch::Rotate),
    Reconnect(switch::Reconnect),
    Invite(invite::Invite),
    Join(join::Join),
    Config(config::Config),
    Logs(logs::Logs),
    Version(about::Version),
    Paths(about::Paths),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        match self {
            Self::Status(command) => command.run(context),
            Self::Peers(command) => command.run(context),
            Self::Ping(command) => command.run(context),
            Self::Wait(command) => command.run(context),
            Self::Netcheck(command) => command.run(context),
            Self::Metrics(command) => command.run(context),
            Self::Up(command) => command.run(context),
            Self::Down(command) => command.run(context),
            Self::Rotate(command) => command.run(context),
            Self::Reconnect(command) => command.run(context),
            Self::Invite(command) => command.run(context),
            Self::Join(command) => command.run(context),
            Self::Config(command) => command.run(context),
            Self::Logs(command) => command.run(context),
            Self::Version(command) => command.run(context),
            Self::Paths(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Man(command) => command.run(context),
        }
    }
}

/// What a command works with.
pub(crate) struct Context<'a> {
    pub(crate) socket: PathBuf,
    pub(crate) out: &'a Output,
}

impl Context<'_> {
    fn connect(&self) -> Result<Client> {
        Client::connect(&self.socket)
    }

    /// Asks one thing. Programs get the answer as it came; people get what `show` makes of it.
    fn ask(&self, request: &Request, show: impl FnOnce(Answer) -> Result<()>) -> Result<Exit> {
        let answer = self.connect()?.ask(request)?;
        match self.out.format() {
            Format::Json => self.out.json(&answer.line)?,
            Format::Text => show(answer)?,
        }
        Ok(Exit::Ok)
    }

    /// What needed no answer of the daemon is done: programs are told so, people see it.
    fn done(&self) -> Result<Exit> {
        if self.out.format() == Format::Json {
            self.out.json(&write_reply(Some(&Value::Null), &Ok(Reply::Done {})))?;
        }
        Ok(Exit::Ok)
    }

    /// Asks for a change; people get `done` as a line.
    fn change(&self, request: &Request, done: impl FnOnce() -> String) -> Result<Exit> {
        self.ask(request, |_| self.out.print(|out| writeln!(out, "{}", printable(&done()))))
    }
}
