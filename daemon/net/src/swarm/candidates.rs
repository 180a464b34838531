//! Messages of `/cryprq/path/1` (protocol.md 7.7): one a substream, behind a `u16` length.

use std::time::Duration;

use futures::AsyncWriteExt;
use libp2p::{PeerId, Stream, StreamProtocol};
use node::handshake::MAX_TLV_BYTES;
use node::peer_key::PeerKey;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::message::{read_message, write_message};
use super::{NetEvent, Substreams};

/// The protocol of substreams on which peers tell each other where datagrams may reach them.
pub(super) const PATH: StreamProtocol = StreamProtocol::new("/cryprq/path/1");
/// A message that takes longer is of no use any more.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends one message on the peer's best connection, or not at all: another one follows if it is needed.
pub(super) fn tell(peer: PeerId, message: Vec<u8>, substreams: Substreams) {
    tokio::spawn(timeout(LIMIT, async move {
        let Ok(mut stream) = substreams.open(peer, PATH).await else { return };
        if write_message(&mut stream, &message).await.is_ok() {
            let _ = stream.close().await;
        }
    }));
}

/// Reads the one message of a peer's substream.
pub(super) fn listen(peer: PeerKey, mut stream: Stream, events: mpsc::Sender<NetEvent>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Ok(Ok(Some(message))) = timeout(LIMIT, read_message(&mut stream, MAX_TLV_BYTES)).await {
            let _ = events.send(NetEvent::Candidates { peer, message }).await;
        }
    })
}
