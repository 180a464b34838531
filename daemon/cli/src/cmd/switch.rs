//! `cryprq up`, `down`, `rotate`, `reconnect`.

use cryprq_ipc_proto::message::Request;

use super::Context;
use crate::error::Result;
use crate::exit::Exit;

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident => $said:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(clap::Args)]
            pub(crate) struct $name {
                /// The peer: its name, its PeerId, or the beginning of its PeerId; all of them unless given.
                peer: Option<String>,
            }

            impl $name {
                pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
                    let who = self.peer.clone().unwrap_or_else(|| "all peers".into());
                    context.change(&Request::$name { peer: self.peer }, || format!("{who}: {}", $said))
                }
            }
        )*
    };
}

/// Connect a peer, or all; the wish is kept over restarts.
#[derive(clap::Args)]
pub(crate) struct Up {
    /// The peer: its name, its PeerId, or the beginning of its PeerId; all of them unless given.
    peer: Option<String>,
    /// The peer to send all other traffic of this host through, until 'cryprq down'. It is connected too; others only if
    /// they are named.
    #[arg(long, value_name = "PEER")]
    exit: Option<String>,
}

impl Up {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let said = match (&self.peer, &self.exit) {
            (None, None) => "all peers: connecting".to_owned(),
            (Some(peer), None) => format!("{peer}: connecting"),
            (_, Some(exit)) => format!("{exit}: connecting, for all traffic of this host"),
        };
        context.change(&Request::Up { peer: self.peer, exit: self.exit }, || said)
    }
}

switches! {
    /// Disconnect a peer, or all; the wish is kept over restarts.
    Down => "disconnected";
    /// Make new keys with a peer, or with all, now.
    Rotate => "making new keys";
    /// Forget all pauses and connect a peer, or all, now.
    Reconnect => "connecting anew";
}
