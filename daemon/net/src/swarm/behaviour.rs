//! What runs on every connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use ipnet::IpNet;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, SwarmBuilder, Transport, autonat, dcutr, dns, identify, noise, ping, relay, tcp, yamux};
use node::drops::DropCounters;
use node::time::Time;

use super::admission::{Circle, Gate, GateEvent, MAX_PENDING, Members, MembersOnly};
use super::lan::{Found, Lan};
use super::observed::Observed;
use super::outer::Outer;
use super::places::Connection;
use super::punching::{Aimed, Punching, Targets};
use super::resolver::name_servers;
use super::streams::{Arrived, Streams};
use super::{Discovery, NetError, Serve};
use crate::quic::{self, Ends};

/// Dials at a time.
const PENDING: u32 = 64;
/// Both sides dial, directly and by relay, and each may dial once more before the older connection is gone.
const PER_PEER: u32 = 8;
const TOTAL: u32 = 4096;
const PING: Duration = Duration::from_secs(15);
const DIAL: Duration = Duration::from_secs(10);
/// What only checks whether a peer can be reached ends when it was idle for so long. Members stay connected, guests have
/// their own time, anybody else is closed at once.
const IDLE: Duration = Duration::from_secs(5);
/// What a relay that we are carries (docs/config.md, `relay.serve`): circuits at a time, of these of one peer's, and how
/// long one may last. Bytes are not counted.
const CIRCUITS: usize = 16;
const CIRCUITS_PER_PEER: usize = 2;
const CIRCUIT: Duration = Duration::from_secs(12 * 3600);
/// How long a place at a relay that we are is kept: for as long as its connection lasts, as no daemon runs for ten years.
/// When a place's time is over while a new answer to its owner is on its way, which the owner can hold up, libp2p-relay 0.22
/// forgets the peer and then panics (`behaviour.rs`, "valid connection").
const PLACE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Streams of a connection by TCP, of both ends together. Each may bring 256 KiB that nobody has read, and past them yamux
/// ends the connection, so there is room for all that may be asked for at once: on the connection of a relay the other end
/// of all that we dial and of all circuits that lead to us, and as many others as a peer may open by QUIC.
const STREAMS: usize = PENDING as usize + CIRCUITS + 16;
/// Of one by a circuit, which carries only those others: as many of each end.
const STREAMS_OF_CIRCUIT: usize = 32;
/// The share of the machine's memory past which no connection is taken.
const MEMORY_SHARE: f64 = 0.9;

#[derive(NetworkBehaviour)]
#[behaviour(to_swarm = "Event")]
pub(super) struct Behaviour {
    pub(super) gate: Gate,
    limits: connection_limits::Behaviour,
    memory: libp2p::memory_connection_limits::Behaviour,
    identify: MembersOnly<identify::Behaviour>,
    ping: MembersOnly<ping::Behaviour>,
    pub(super) streams: MembersOnly<Streams>,
    relay_client: MembersOnly<relay::client::Behaviour>,
    relay_server: Toggle<MembersOnly<relay::Behaviour>>,
    dcutr: MembersOnly<Punching>,
    pub(super) observed: Observed,
    lan: Toggle<Lan>,
    autonat_client: MembersOnly<autonat::v2::client::Behaviour>,
    autonat_server: MembersOnly<autonat::v2::server::Behaviour>,
}

/// The only news that the task needs.
#[derive(Debug)]
pub(super) enum Event {
    Gate(GateEvent),
    Ping(ping::Event),
    Stream(Arrived),
    Relay(relay::client::Event),
    Identified(Box<identify::Event>),
    Punched(dcutr::Event),
    Checked(autonat::v2::client::Event),
    Found(Found),
    Other,
}

impl From<GateEvent> for Event {
    fn from(event: GateEvent) -> Self {
        Self::Gate(event)
    }
}

impl From<ping::Event> for Event {
    fn from(event: ping::Event) -> Self {
        Self::Ping(event)
    }
}

impl From<Arrived> for Event {
    fn from(arrived: Arrived) -> Self {
        Self::Stream(arrived)
    }
}

impl From<relay::client::Event> for Event {
    fn from(event: relay::client::Event) -> Self {
        Self::Relay(event)
    }
}

impl From<Found> for Event {
    fn from(found: Found) -> Self {
        Self::Found(found)
    }
}

impl From<autonat::v2::client::Event> for Event {
    fn from(event: autonat::v2::client::Event) -> Self {
        Self::Checked(event)
    }
}

impl From<autonat::v2::server::Event> for Event {
    fn from(event: autonat::v2::server::Event) -> Self {
        let autonat::v2::server::Event { tested_addr: address, client: peer, result, .. } = event;
        tracing::debug!(%peer, %address, ?result, "tried to reach a peer");
        Self::Other
    }
}

impl From<relay::Event> for Event {
    fn from(_: relay::Event) -> Self {
        Self::Other
    }
}

impl From<identify::Event> for Event {
    fn from(event: identify::Event) -> Self {
        Self::Identified(Box::new(event))
    }
}

impl From<dcutr::Event> for Event {
    fn from(event: dcutr::Event) -> Self {
        Self::Punched(event)
    }
}

impl From<Infallible> for Event {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What the control protocols are made with.
pub(super) struct Control {
    pub(super) members: Members,
    pub(super) serve: Serve,
    pub(super) discovery: Discovery,
    /// Inner addresses, which are neither dialled nor told.
    pub(super) inner: Vec<IpNet>,
    /// Counts what is not believed.
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
}

pub(super) fn swarm(quic: quic::Config, control: Control) -> Result<Swarm<Behaviour>, NetError> {
    let (identity, ends) = (quic.identity.clone(), quic.ends.clone());
    // QUIC has places of its own, which whoever says nothing by TCP or a relay cannot use up.
    let pending = u32::try_from(quic.limits.open + MAX_PENDING).unwrap_or(u32::MAX);
    let quic = quic::Transport::new(quic).map_err(|error| NetError::Transport("QUIC", error.to_string()))?;
    let failed = |what: &'static str| move |error: String| NetError::Transport(what, error);
    let (servers, options) = name_servers();
    let noise = noise::Config::new(&identity).map_err(|error| failed("TCP")(error.to_string()))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let tcp = tcp.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux(STREAMS));
    let inner = &control.inner;
    let tcp = Outer::new(tcp, inner.clone()).map(|made, at| Connection::new(made, &at));
    let quic = Outer::new(quic, inner.clone()).map(|made, at| Connection::new(made, &at));
    let either = tcp.or_transport(quic).map(|made, _| match made {
        Either::Left((peer, muxer)) => (peer, Either::Left(muxer)),
        Either::Right((peer, muxer)) => (peer, Either::Right(muxer)),
    });
    let named = dns::tokio::Transport::custom(either, servers, options);
    let targets = Targets::default();
    let swarm = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_other_transport(|_| Aimed::new(named, targets.clone()))
        .map_err(|never| match never {})?
        .with_relay_client(noise::Config::new, || yamux(STREAMS_OF_CIRCUIT))
        .map_err(|error| failed("relay")(error.to_string()))?
        .with_behaviour(|key, relay| behaviour(key, relay, control, ends, limits(pending), targets))
        .map_err(|error| failed("control")(error.to_string()))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE).with_smart_dial())
        .with_connection_timeout(DIAL)
        .build();
    Ok(swarm)
}

/// What carries streams where QUIC does not.
fn yamux(streams: usize) -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(streams);
    config
}

/// How many connections there may be; at most so many that came in and have not shown whose they are.
fn limits(pending: u32) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(pending))
        .with_max_pending_outgoing(Some(PENDING))
        .with_max_established_per_peer(Some(PER_PEER))
        .with_max_established(Some(TOTAL))
}

fn behaviour(
    key: &Keypair,
    relay_client: relay::client::Behaviour,
    control: Control,
    ends: Ends,
    limits: ConnectionLimits,
    targets: Targets,
) -> Behaviour {
    let Control { members, serve, discovery, inner, drops, clock } = control;
    // Candidates are told to peers by our own protocol, not to everybody who asks.
    // What a peer says of itself is not kept: only addresses that the daemon names are dialled.
    let identify = identify::Config::new("/cryprq/1".into(), key.public()).with_hide_listen_addrs(true);
    let identify = identify.with_cache_size(0);
    let ping = ping::Behaviour::new(ping::Config::new().with_interval(PING));
    let all = Circle::PeersAndRelays;
    let relay_server = match serve {
        Serve::Peers => {
            let server = relay::Behaviour::new(key.public().to_peer_id(), relayed());
            Some(MembersOnly::new(server, members.clone(), Circle::Peers))
        }
        Serve::Nobody => None,
    };
    let lan = match discovery {
        Discovery::Off => None,
        // The rest works without it.
        Discovery::Mdns => Lan::new(key.public().to_peer_id(), inner.clone(), Arc::clone(&drops), clock)
            .inspect_err(|error| tracing::warn!(%error, "peers on the same network cannot be looked for"))
            .ok(),
    };
    let punching = Punching::new(key.public().to_peer_id(), targets, inner.clone(), Arc::clone(&drops), clock);
    Behaviour {
        gate: Gate::new(members.clone(), Arc::clone(&drops), clock),
        limits: connection_limits::Behaviour::new(limits),
        memory: libp2p::memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE),
        identify: MembersOnly::new(identify::Behaviour::new(identify), members.clone(), all).that_tells(ends),
        ping: MembersOnly::new(ping, members.clone(), all),
        streams: MembersOnly::new(Streams::new(), members.clone(), Circle::Peers),
        relay_client: MembersOnly::new(relay_client, members.clone(), all),
        relay_server: relay_server.into(),
        dcutr: MembersOnly::new(punching, members.clone(), Circle::Peers),
        observed: Observed::new(inner, drops, clock),
        lan: lan.into(),
        autonat_client: MembersOnly::new(Default::default(), members.clone(), all).that_is_checked(),
        autonat_server: MembersOnly::new(Default::default(), members, Circle::Peers).that_checks(),
    }
}

/// Reservations of peers, and circuits between them. Who may connect is decided before.
fn relayed() -> relay::Config {
    relay::Config {
        max_circuits: CIRCUITS,
        // libp2p lets one more in than it is told.
        max_circuits_per_peer: CIRCUITS_PER_PEER - 1,
        max_circuit_duration: CIRCUIT,
        max_circuit_bytes: 0,
        reservation_duration: PLACE,
        ..relay::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use libp2p::swarm::THandler;

    use super::*;

    #[test]
    fn a_connection_s_task_has_little_room_for_its_handlers() {
        let size = size_of::<THandler<Behaviour>>();
        assert!(size <= 1024, "{size} bytes, and twice that in each connection's task");
    }

    #[test]
    fn a_circuit_lasts_for_12_hours_however_much_it_carries() {
        let config = relayed();
        assert_eq!(config.max_circuit_duration, Duration::from_secs(12 * 60 * 60));
        assert_eq!(config.max_circuit_bytes, 0, "which is what libp2p takes for no limit");
        assert_eq!((config.max_circuits, config.max_circuits_per_peer), (16, 1), "and it lets in two of a peer's");
    }

    #[test]
    fn a_place_is_not_over_before_its_connection_is() {
        let lasts = relayed().reservation_duration;
        assert!(lasts >= Duration::from_secs(10 * 365 * 24 * 3600), "{lasts:?}");
        // What libp2p computes with it, and its clients with what they are told.
        assert!(Instant::now().checked_add(lasts).is_some() && SystemTime::now().checked_add(lasts).is_some());
    }
}
