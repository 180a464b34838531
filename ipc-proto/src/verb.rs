//! The table of verbs: who may ask for what, and how it is asked over HTTP. Dispatcher, command line, documents and
//! tests read it.

use crate::message::Request;

/// What a caller may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Look.
    Observe,
    /// Switch tunnels.
    Operate,
    /// Change who is a peer, and how.
    Admin,
}

impl Tier {
    /// The name in `[ipc.access]` and in refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// A method of HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Look.
    Get,
    /// Do.
    Post,
    /// Set as a whole.
    Put,
    /// Change a part.
    Patch,
    /// Remove.
    Delete,
}

/// A way to ask for a verb over HTTP. `ID` in the path stands for the verb's `peer` or `invite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
}

/// One verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// `cmd` in JSON.
    pub name: &'static str,
    /// The command line's words.
    pub command: &'static str,
    /// Who may use it.
    pub tier: Tier,
    /// HTTP.
    pub routes: &'static [Route],
}

const fn verb(name: &'static str, command: &'static str, tier: Tier, routes: &'static [Route]) -> Verb {
    Verb { name, command, tier, routes }
}

const fn route(method: Method, path: &'static str) -> Route {
    Route { method, path }
}

/// All verbs.
pub const VERBS: &[Verb] = {
    use Method::{Delete, Get, Patch, Post, Put};
    use Tier::{Admin, Observe, Operate};
    &[
        verb("hello", "version", Observe, &[route(Get, "/v1/version")]),
        verb("status", "status", Observe, &[route(Get, "/v1/status")]),
        verb("peers", "peers", Observe, &[route(Get, "/v1/peers"), route(Get, "/v1/peers/ID")]),
        verb("watch", "status --watch", Observe, &[route(Get, "/v1/watch")]),
        verb("ping", "ping", Observe, &[route(Post, "/v1/peers/ID/ping")]),
        verb("metrics", "metrics", Observe, &[route(Get, "/metrics")]),
        verb("up", "up", Operate, &[route(Post, "/v1/up")]),
        verb("down", "down", Operate, &[route(Post, "/v1/down")]),
        verb("rotate", "rotate", Operate, &[route(Post, "/v1/rotate"), route(Post, "/v1/peers/ID/rotate")]),
        verb("reconnect", "reconnect", Operate, &[route(Post, "/v1/reconnect"), route(Post, "/v1/peers/ID/reconnect")]),
        verb("invite", "invite", Admin, &[route(Post, "/v1/invites")]),
        verb("invite_list", "invite --list", Admin, &[route(Get, "/v1/invites")]),
        verb("invite_cancel", "invite --cancel", Admin, &[route(Delete, "/v1/invites/ID")]),
        verb("join", "join", Admin, &[route(Post, "/v1/join")]),
        verb("peer_add", "peers add", Admin, &[route(Post, "/v1/peers")]),
        verb("peer_set", "peers set", Admin, &[route(Patch, "/v1/peers/ID")]),
        verb("peer_remove", "peers remove", Admin, &[route(Delete, "/v1/peers/ID")]),
        verb(
            "peer_accept_chain_reset",
            "peers accept-chain-reset",
            Admin,
            &[route(Post, "/v1/peers/ID/accept-chain-reset")],
        ),
        verb("config", "config show", Admin, &[route(Get, "/v1/config")]),
        verb("reload", "config reload", Admin, &[route(Post, "/v1/reload")]),
        verb("log_level", "logs level", Admin, &[route(Put, "/v1/log-level")]),
    ]
};

impl Request {
    /// The request's name in the table.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello {} => "hello",
            Self::Status {} => "status",
            Self::Peers { .. } => "peers",
            Self::Watch {} => "watch",
            Self::Ping { .. } => "ping",
            Self::Metrics {} => "metrics",
            Self::Up { .. } => "up",
            Self::Down { .. } => "down",
            Self::Rotate { .. } => "rotate",
            Self::Reconnect { .. } => "reconnect",
            Self::Invite { .. } => "invite",
            Self::InviteList {} => "invite_list",
            Self::InviteCancel { .. } => "invite_cancel",
            Self::Join { .. } => "join",
            Self::PeerAdd { .. } => "peer_add",
            Self::PeerSet { .. } => "peer_set",
            Self::PeerRemove { .. } => "peer_remove",
            Self::PeerAcceptChainReset { .. } => "peer_accept_chain_reset",
            Self::Config {} => "config",
            Self::Reload {} => "reload",
            Self::LogLevel { .. } => "log_level",
        }
    }

    /// Who may make it. A request that the table does not hold is the administrator's alone.
    pub fn tier(&self) -> Tier {
        VERBS.iter().find(|verb| verb.name == self.name()).map_or(Tier::Admin, |verb| verb.tier)
    }
}
