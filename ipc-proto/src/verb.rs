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

impl Method {
    /// Its name in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A way to ask for a verb over HTTP. `ID` in the path stands for what [`Self::parameter`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed<'a> {
    /// To a verb.
    Verb {
        /// Which.
        verb: &'static Verb,
        /// The parameter that the path holds and its value, still percent-encoded.
        parameter: Option<(&'static str, &'a str)>,
    },
    /// Nowhere with this method; these have a verb there.
    Methods(Vec<Method>),
    /// Nowhere.
    Nowhere,
}

impl Route {
    /// The request's field that `ID` stands for.
    pub fn parameter(&self) -> Option<&'static str> {
        let (before, _) = self.path.split_once("/ID")?;
        Some(if before.ends_with("/invites") { "invite" } else { "peer" })
    }

    /// Whether the path leads here, and what stands in it for `ID`.
    fn matches<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        let Some((before, after)) = self.path.split_once("ID") else {
            return (path == self.path).then_some(None);
        };
        let id = path.strip_prefix(before)?.strip_suffix(after)?;
        (!id.is_empty() && !id.contains('/')).then_some(Some(id))
    }

    /// Where a request for a path leads.
    pub fn find<'a>(method: &str, path: &'a str) -> Routed<'a> {
        let mut methods = Vec::new();
        for verb in VERBS {
            for route in verb.routes {
                let Some(id) = route.matches(path) else { continue };
                if route.method.name() == method {
                    return Routed::Verb { verb, parameter: route.parameter().zip(id) };
                }
                methods.push(route.method);
            }
        }
        if methods.is_empty() { Routed::Nowhere } else { Routed::Methods(methods) }
    }
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
        verb("netcheck", "netcheck", Observe, &[route(Get, "/v1/netcheck")]),
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
            Self::Netcheck {} => "netcheck",
        }
    }

    /// Who may make it. A request that the table does not hold is the administrator's alone.
    pub fn tier(&self) -> Tier {
        self.verb().map_or(Tier::Admin, |verb| verb.tier)
    }

    /// The words of the command line for it.
    pub fn command(&self) -> &'static str {
        self.verb().map_or("", |verb| verb.command)
    }

    fn verb(&self) -> Option<&'static Verb> {
        VERBS.iter().find(|verb| verb.name == self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_leads_to_its_verb() {
        for verb in VERBS {
            for route in verb.routes {
                let path = route.path.replace("ID", "a%20b");
                let parameter = route.parameter().map(|name| (name, "a%20b"));
                assert_eq!(Route::find(route.method.name(), &path), Routed::Verb { verb, parameter });
            }
        }
        assert_eq!(Route { method: Method::Get, path: "/v1/invites/ID" }.parameter(), Some("invite"));
    }

    #[test]
    fn other_paths_lead_nowhere_and_other_methods_name_the_right_ones() {
        for path in ["/", "/v1", "/v1/status/", "/v1/peers/", "/v1/peers/a/b/ping", "/v1/peers/a/", "//v1/status", ""] {
            assert_eq!(Route::find("GET", path), Routed::Nowhere, "{path}");
        }
        assert_eq!(Route::find("HEAD", "/v1/status"), Routed::Methods(vec![Method::Get]));
        assert_eq!(
            Route::find("PUT", "/v1/peers/x"),
            Routed::Methods(vec![Method::Get, Method::Patch, Method::Delete])
        );
    }
}
