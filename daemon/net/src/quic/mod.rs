//! QUIC on a socket that it shares with sealed frames (docs/decisions/0007).
//!
//! One UDP socket per listening address. A [`Reader`] takes what arrives and tells by the first byte, datagram by
//! datagram, what it is: frames go to its [`FrameSink`] on the thread that reads, QUIC packets through a bounded queue to
//! quinn. Both send through the same descriptor, so both have one port, one firewall rule and one NAT mapping.
//!
//! [`Transport`] is the libp2p transport over it. Unlike the stock one it checks whom it dials inside TLS, lets
//! strangers prove their address before they cost anything under load, punches holes by the role that it is given, keeps
//! its connections when a listener ends, and answers nothing to what is not QUIC.

mod address;
mod bound;
mod connection;
mod ends;
mod gate;
mod keys;
mod listener;
mod punch;
mod queue;
mod reader;
mod settings;
mod socket;
mod stream;
mod transport;

pub use connection::Connection;
pub use ends::{End, Ends};
pub use gate::Limits;
pub use keys::ResetKeys;
#[cfg(test)]
pub(crate) use reader::tests::{failing, heard};
pub use reader::{FrameSink, Reader, Receive, UncarriedFrames, on_own_threads};
pub use stream::Stream;
pub use transport::Transport;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use node::drops::DropCounters;
use node::time::Time;
use os::udp::{UdpError, UdpOptions};

/// What the transport is made with.
pub struct Config {
    /// Proves who we are.
    pub identity: Keypair,
    /// Lets a restarted daemon end connections of its forerunner.
    pub reset_keys: ResetKeys,
    /// How its sockets are made.
    pub udp: UdpOptions,
    /// What strangers may cost.
    pub limits: Limits,
    /// Reads each listening socket.
    pub receive: Receive,
    /// Counts what is dropped.
    pub drops: Arc<DropCounters>,
    /// The clock that counts sleep.
    pub clock: fn() -> Time,
    /// Learns where connections end.
    pub ends: Ends,
}

/// A connection that did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QUIC ended it.
    #[error("QUIC: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// QUIC cannot even begin.
    #[error("QUIC: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The other end proved to be somebody else, before it learned who we are.
    #[error("another host answers there than {0}: check the peer's address and PeerId")]
    WrongPeer(PeerId),
    /// Nobody answered in time, or what came was no handshake.
    #[error("no answer within {} seconds", settings::HANDSHAKE.as_secs())]
    TimedOut,
    /// A certificate that proves no PeerId.
    #[error("the certificate proves no PeerId: {0}")]
    Certificate(String),
    /// A socket could not be made.
    #[error("{0}")]
    Socket(#[from] UdpError),
    /// The socket has no reader, or no place at the runtime.
    #[error("cannot read UDP {0}: {1}")]
    Reader(SocketAddr, #[source] io::Error),
    /// Network interfaces cannot be watched.
    #[error("cannot watch the network interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// TLS or randomness could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// Nobody could come in through the hole.
    #[error("no listener of this address family")]
    NotListening,
}
