//! `cryprq status`.

use std::ops::ControlFlow;

use cryprq_ipc_proto::message::{self, Reply, Request};

use super::{Context, follow};
use crate::client::Answer;
use crate::error::{Result, foreign};
use crate::exit::Exit;
use crate::output::Format;
use crate::render;

/// Show this host, its peers, and when each was last heard of.
#[derive(clap::Args)]
#[command(after_help = "Ends with 5 when there are peers and none of them is connected.")]
pub(crate) struct Status {
    /// Show it again whenever it changes, until interrupted; as JSON, one object a line.
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let out = context.out;
        if self.watch {
            let end: Option<Exit> = follow::status(context, None, |line, status| {
                match out.format() {
                    Format::Json => out.json(line)?,
                    Format::Text => out.redraw(|page| render::status(page, out.size(), status))?,
                }
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok(end.unwrap_or(Exit::Ok));
        }
        let Answer { line, reply: Reply::Status(status) } = context.connect()?.ask(&Request::Status {})? else {
            return Err(foreign());
        };
        match out.format() {
            Format::Json => out.json(&line)?,
            Format::Text => out.print(|page| render::status(page, out.size(), &status))?,
        }
        Ok(exit_of(&status))
    }
}

fn exit_of(status: &message::Status) -> Exit {
    let connected = status.peers.iter().any(|peer| peer.state == "connected");
    if connected || status.peers.is_empty() { Exit::Ok } else { Exit::NotConnected }
}
