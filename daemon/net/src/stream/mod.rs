//! Carrier A: sealed frames with a `u16` length each on one substream per direction (protocol.md 7.3).

mod carrier;
mod reader;

pub use carrier::StreamCarrier;
pub(crate) use reader::read_frames;

use libp2p::StreamProtocol;

/// The protocol of data substreams.
pub const DATA: StreamProtocol = StreamProtocol::new("/cryprq/data/1");
