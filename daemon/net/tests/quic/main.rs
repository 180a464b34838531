//! The QUIC transport over loopback: with itself, with the stock transport, and against strangers.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod connections;
mod flights;
mod holes;
mod interop;
mod nat;
mod restarts;
mod sockets;
mod strangers;
mod streams;
mod support;
