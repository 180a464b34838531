//! The CrypRQ tunnel core: `docs/protocol.md` without any input or output.
//!
//! Bytes, the time and randomness come in as arguments; frames, packets, events and the next deadline come out.
//! Nothing here opens a socket, reads a clock, spawns a task or touches a file, so that everything that is hard
//! about a tunnel (handshake, rotation, replay, routing, dead peers) runs under simulated time.
//!
//! * [`demux`] tells frames from the QUIC packets on the same socket (section 7.1).
//! * [`handshake`] makes the keys of an epoch (section 6), [`epoch`] seals and opens frames with them (section 7).
//! * [`tunnel::Tunnel`] is one peer's state machine: rotation, chain keys, collisions, dead peers (sections 6.7 and 8).
//! * [`router::Router`] says whose packet it is, on the way out and on the way in.
//! * [`pairing`] makes two hosts each other's peers by a ticket (section 10).

#![forbid(unsafe_code)]
#![warn(missing_docs)]
// The order of a hash table differs from run to run; clippy.toml beside the manifest forbids the rest.
#![warn(clippy::iter_over_hash_type)]

pub mod crypto;
pub mod deadlines;
pub mod demux;
pub mod drops;
pub mod epoch;
pub mod frame;
pub mod handshake;
mod hash;
pub mod icmp;
pub mod offload;
pub mod packet;
pub mod pairing;
pub mod path;
pub mod peer_key;
pub mod receiver;
pub mod router;
pub mod secret;
pub mod state;
pub mod time;
pub mod tunnel;
