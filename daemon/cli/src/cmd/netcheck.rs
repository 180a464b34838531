//! `cryprq netcheck`.

use cryprq_ipc_proto::message::{Reply, Request};

use super::Context;
use crate::error::{Result, foreign};
use crate::exit::Exit;
use crate::render;

/// Show what this host's network allows: UDP, the kind of NAT, outer addresses, relays, and what would help.
#[derive(clap::Args)]
#[command(after_help = "\
It tells what connections that stand show, and what peers and relays answered when they were asked to reach this host. \
With at least two of them it can tell the kind of NAT.")]
pub(crate) struct Netcheck {}

impl Netcheck {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        context.ask(&Request::Netcheck {}, |answer| {
            let Reply::Netcheck(check) = answer.reply else { return Err(foreign()) };
            let columns = context.out.size().columns;
            context.out.print(|page| render::netcheck(page, columns, &check))
        })
    }
}
