//! What runs on every connection.

use std::convert::Infallible;
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use node::time::Time;

use super::NetError;
use super::admission::{Gate, GateEvent, Members, MembersOnly};
use super::resolver::name_servers;
use crate::quic;

const PENDING: u32 = 64;
const PER_PEER: u32 = 4;
const TOTAL: u32 = 4096;
const PING: Duration = Duration::from_secs(15);
const DIAL: Duration = Duration::from_secs(10);
/// Members stay connected, guests have their own time, anybody else is closed at once. So nothing is closed for being
/// idle.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
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
    pub(super) stream: MembersOnly<libp2p_stream::Behaviour>,
}

/// The only news that the task needs.
#[derive(Debug)]
pub(super) enum Event {
    Gate(GateEvent),
    Ping(ping::Event),
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

impl From<identify::Event> for Event {
    fn from(_: identify::Event) -> Self {
        Self::Other
    }
}

impl From<()> for Event {
    fn from((): ()) -> Self {
        Self::Other
    }
}

impl From<Infallible> for Event {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

pub(super) fn swarm(quic: quic::Config) -> Result<Swarm<Behaviour>, NetError> {
    let (identity, clock) = (quic.identity.clone(), quic.clock);
    let quic = quic::Transport::new(quic).map_err(|error| NetError::Transport("QUIC", error.to_string()))?;
    let failed = |what: &'static str| move |error: String| NetError::Transport(what, error);
    let (servers, options) = name_servers();
    let swarm = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| failed("TCP")(error.to_string()))?
        .with_other_transport(|_| quic)
        .map_err(|never| match never {})?
        .with_dns_config(servers, options)
        .with_behaviour(|key| behaviour(key, clock))
        .map_err(|error| failed("control")(error.to_string()))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(NEVER).with_smart_dial())
        .with_connection_timeout(DIAL)
        .build();
    Ok(swarm)
}

fn behaviour(key: &Keypair, clock: fn() -> Time) -> Behaviour {
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING))
        .with_max_pending_outgoing(Some(PENDING))
        .with_max_established_per_peer(Some(PER_PEER))
        .with_max_established(Some(TOTAL));
    // Candidates are told to peers by our own protocol, not to everybody who asks.
    // What a peer says of itself is not kept: only addresses that the daemon names are dialled.
    let identify = identify::Config::new("/cryprq/1".into(), key.public()).with_hide_listen_addrs(true);
    let identify = identify.with_cache_size(0);
    let members = Members::default();
    let ping = ping::Behaviour::new(ping::Config::new().with_interval(PING));
    Behaviour {
        gate: Gate::new(members.clone(), clock),
        limits: connection_limits::Behaviour::new(limits),
        memory: libp2p::memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE),
        identify: MembersOnly::new(identify::Behaviour::new(identify), members.clone()),
        ping: MembersOnly::new(ping, members.clone()),
        stream: MembersOnly::new(libp2p_stream::Behaviour::new(), members),
    }
}
