//! Hosts behind routers find each other: by a relay, and from host to host where the routers allow it.

mod direct;
mod lying_relay;
mod narrow;
mod reach;
mod relayed;
mod strangers;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use cryprq_tests::lab::{Daemon, Host, Identity, Internet, Nat, Peering, Router, Transfer, pattern, until_within};
use serde_json::Value;

/// The relay's number in the internet; the routers have 1 and 2.
const RELAY: u8 = 10;
/// Longer than anything that has to happen takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(25);

/// A relay, and two hosts behind routers that know each other by it.
struct Scene {
    relay: Daemon,
    a: Daemon,
    b: Daemon,
    host_a: Host,
    host_b: Host,
    ids: Ids,
    routers: [Router; 2],
    _internet: Internet,
    _folder: tempfile::TempDir,
}

struct Ids {
    relay: Identity,
    a: Identity,
    b: Identity,
}

impl Scene {
    /// Nothing is started yet; `None` with a line that says what this machine lacks.
    fn new(nat_a: Nat, nat_b: Nat) -> Result<Option<Self>> {
        let Some(internet) = Internet::new()? else { return Ok(None) };
        let routers = [internet.router(1, nat_a)?, internet.router(2, nat_b)?];
        let hosts = [routers[0].host()?, routers[1].host()?];
        Self::between(internet, routers, hosts).map(Some)
    }

    fn between(internet: Internet, routers: [Router; 2], hosts: [Host; 2]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ids = Ids { relay: Identity::new(1)?, a: Identity::new(2)?, b: Identity::new(3)? };
        let host_relay = internet.host(RELAY)?;
        let relay = relay(&host_relay, folder.path(), &ids)?;
        let [host_a, host_b] = hosts;
        // B waits at the relay, and A knows that.
        let quic = format!("/ip4/203.0.113.{RELAY}/udp/41820/quic-v1");
        let tcp = format!("/ip4/203.0.113.{RELAY}/tcp/41820");
        let at_relay = [quic.as_str(), tcp.as_str()];
        let circuits = at_relay.map(|address| format!("{address}/p2p/{}/p2p-circuit", ids.relay.id));
        let circuits: Vec<_> = circuits.iter().map(String::as_str).collect();
        let to_relay = Peering { peer: &ids.relay, name: "relay", addresses: &at_relay };
        let a_knows = [to_relay, Peering { peer: &ids.b, name: "b", addresses: &circuits }];
        let to_relay = Peering { peer: &ids.relay, name: "relay", addresses: &at_relay };
        let b_knows = [to_relay, Peering { peer: &ids.a, name: "a", addresses: &[] }];
        let a = Daemon::new(&host_a, folder.path().join("a"), &ids.a, &a_knows)?;
        let b = Daemon::new(&host_b, folder.path().join("b"), &ids.b, &b_knows)?;
        let used = at_relay.map(|address| format!("{address}/p2p/{}", ids.relay.id));
        b.configure(&format!("[relay]\nuse = {:?}\n", &used[..1]))?;
        Ok(Self { relay, a, b, host_a, host_b, ids, routers, _internet: internet, _folder: folder })
    }

    fn start(&mut self) -> Result<()> {
        self.relay.start()?;
        self.b.start()?;
        self.a.start()
    }

    /// Waits until A and B are connected in this way, as A tells it.
    fn wait_for_path(&self, kind: &str) -> Result<Value> {
        let mut path = Value::Null;
        until_within(&format!("A and B are connected by a path of kind {kind}"), LIMIT, || {
            let Ok(mut peer) = self.a.peer_named("b") else { return false };
            path = peer["path"].take();
            peer["state"] == "connected" && path["kind"] == kind
        })
        .with_context(|| self.logs())?;
        Ok(path)
    }

    /// A downloads from B inside the tunnel.
    fn transfer(&self, length: usize) -> Result<()> {
        let transfer =
            Transfer::start(&self.host_b, &self.host_a, self.ids.b.ipv4.into(), pattern(length), Duration::ZERO)?;
        transfer.finish().with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        format!("A:\n{}\nB:\n{}\nrelay:\n{}", self.a.log(), self.b.log(), self.relay.log())
    }
}

/// A relay for A and B, without an interface of its own.
fn relay(host: &Host, folder: &Path, ids: &Ids) -> Result<Daemon> {
    let peers = [("a", &ids.a), ("b", &ids.b)].map(|(name, peer)| Peering { peer, name, addresses: &[] });
    let relay = Daemon::new(host, folder.join("relay"), &ids.relay, &peers)?;
    relay.configure("[relay]\nserve = true\n[network]\ningress = \"none\"\n")?;
    Ok(relay)
}
