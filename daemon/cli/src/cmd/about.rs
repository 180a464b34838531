//! `cryprq version` and `cryprq paths`.

use cryprq_ipc_proto::limits::SCHEMA;
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::paths;
use serde_json::json;

use super::Context;
use crate::error::{Result, foreign};
use crate::exit::Exit;
use crate::output::Format;

/// Show the versions of this program and of the daemon.
#[derive(clap::Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        if context.out.format() == Format::Text {
            context.out.print(|out| writeln!(out, "cryprq   {}", env!("CARGO_PKG_VERSION")))?;
        }
        context.ask(&Request::Hello {}, |answer| {
            let Reply::Hello { version } = answer.reply else { return Err(foreign()) };
            context.out.print(|out| writeln!(out, "cryprqd  {version}"))?;
            if version != env!("CARGO_PKG_VERSION") {
                context.out.remark("They differ: restart the daemon, or install the same version of both.");
            }
            Ok(())
        })
    }
}

/// Show where the sockets, the configuration and the state are; needs no daemon.
#[derive(clap::Args)]
pub(crate) struct Paths {}

impl Paths {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let (here, socket) = (paths::HERE, context.socket.display().to_string());
        let packets = here.tun_socket().display().to_string();
        match context.out.format() {
            Format::Json => {
                let places = json!({
                    "schema": SCHEMA, "socket": socket, "packets": packets, "config": here.config, "state": here.state,
                });
                context.out.json(&places.to_string())?;
            }
            Format::Text => context.out.print(|out| {
                writeln!(out, "socket   {socket}")?;
                writeln!(out, "packets  {packets}")?;
                writeln!(out, "config   {}", here.config)?;
                writeln!(out, "state    {}", here.state)
            })?,
        }
        Ok(Exit::Ok)
    }
}
