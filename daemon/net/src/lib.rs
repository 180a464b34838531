//! How frames and handshakes reach the peer: the libp2p swarm, QUIC on a socket that it shares with frames, both
//! carriers, and the packet loops.
//!
//! * [`swarm`] owns connections for the daemon's whole life, dials the wanted peers for ever, and carries pairing.
//! * [`quic`] is the transport under it.
//! * [`stream`] is carrier A: sealed frames on `/cryprq/data/1`. [`datagram`] is carrier C: sealed frames beside QUIC.
//! * [`plane`] moves packets: plain threads, with the carrier behind one seam; [`inbound`] is where frames come in.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod address;
pub mod datagram;
pub mod inbound;
pub mod peer_id;
pub mod plane;
pub mod quic;
pub mod stream;
pub mod swarm;

pub use libp2p::{Multiaddr, PeerId, multiaddr};
