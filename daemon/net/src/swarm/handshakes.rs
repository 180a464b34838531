//! Handshake substreams: each message behind a `u16` length, at most 4096 bytes (protocol.md 6.1).

use std::collections::HashMap;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use node::handshake::MAX_MESSAGE;
use node::peer_key::PeerKey;
use node::tunnel::{AttemptId, Close};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::message::{read_message, write_message};
use super::{NetEvent, Substreams};

/// The protocol of handshake substreams.
pub(super) const TUNNEL: StreamProtocol = StreamProtocol::new("/cryprq/tunnel/1");
/// A handshake has four messages; a side that queues more is broken.
const QUEUE: usize = 8;

/// The substreams in use.
pub(super) struct Handshakes {
    open: HashMap<(PeerKey, AttemptId), Open>,
    events: mpsc::Sender<NetEvent>,
    next_incoming: u64,
}

struct Open {
    messages: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Handshakes {
    pub(super) fn new(events: mpsc::Sender<NetEvent>) -> Self {
        Self { open: HashMap::new(), events, next_incoming: 1 }
    }

    /// Opens a substream of ours.
    pub(super) fn open(&mut self, key: PeerKey, peer: PeerId, attempt: AttemptId, substreams: Substreams) {
        let (messages, queue) = mpsc::channel(QUEUE);
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            match substreams.open(peer, TUNNEL).await {
                Ok(stream) => {
                    let _ = events.send(NetEvent::HandshakeOpened { peer: key, attempt }).await;
                    run(stream, key, attempt, queue, events).await;
                }
                Err(_) => {
                    let _ = events.send(NetEvent::HandshakeFailed { peer: key, attempt }).await;
                }
            }
        });
        self.insert(key, attempt, Open { messages, task });
    }

    /// The number of the peer's next substream.
    pub(super) fn next_incoming(&mut self) -> AttemptId {
        let attempt = AttemptId(self.next_incoming);
        self.next_incoming += 2;
        attempt
    }

    /// Takes a substream of the peer.
    pub(super) fn accept(&mut self, key: PeerKey, attempt: AttemptId, stream: Stream) {
        let (messages, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(stream, key, attempt, queue, self.events.clone()));
        self.insert(key, attempt, Open { messages, task });
    }

    pub(super) fn send(&mut self, key: PeerKey, attempt: AttemptId, bytes: Vec<u8>) {
        if let Some(open) = self.open.get(&(key, attempt)) {
            // A full queue means that the network takes nothing: the handshake times out.
            let _ = open.messages.try_send(bytes);
        }
    }

    pub(super) fn close(&mut self, key: PeerKey, attempt: AttemptId, how: Close) {
        if let Some(open) = self.open.remove(&(key, attempt)) {
            match how {
                // The queue's end lets the task send what is left and close the substream.
                Close::Finish => drop(open.messages),
                Close::Reset => open.task.abort(),
            }
        }
    }

    /// Ends the peer's substreams that we opened: nobody answers on the connection that they are on. The attempts fail.
    pub(super) fn give_up_ours(&mut self, key: PeerKey) -> Vec<AttemptId> {
        let mut ours = Vec::new();
        self.open.retain(|&(peer, attempt), open| {
            let given_up = peer == key && is_ours(attempt);
            if given_up {
                open.task.abort();
                ours.push(attempt);
            }
            !given_up
        });
        ours
    }

    /// Ends every substream of a peer.
    pub(super) fn close_all(&mut self, key: PeerKey) {
        self.open.retain(|(peer, _), open| {
            if *peer == key {
                open.task.abort();
            }
            *peer != key
        });
    }

    fn insert(&mut self, key: PeerKey, attempt: AttemptId, open: Open) {
        self.open.retain(|_, open| !open.task.is_finished());
        self.open.insert((key, attempt), open);
    }
}

/// Attempts of the peer's have the odd numbers.
const fn is_ours(attempt: AttemptId) -> bool {
    attempt.0.is_multiple_of(2)
}

/// Moves messages both ways until either side ends it.
async fn run(
    stream: Stream,
    peer: PeerKey,
    attempt: AttemptId,
    mut queue: mpsc::Receiver<Vec<u8>>,
    events: mpsc::Sender<NetEvent>,
) {
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let end = loop {
            match read_message(&mut reader, MAX_MESSAGE).await {
                Ok(Some(bytes)) => _ = events.send(NetEvent::HandshakeMessage { peer, attempt, bytes }).await,
                Ok(None) => break Close::Finish,
                Err(_) => break Close::Reset,
            }
        };
        let _ = events.send(NetEvent::HandshakeClosed { peer, attempt }).await;
        end
    };
    let writing = async {
        while let Some(bytes) = queue.recv().await {
            if write_message(&mut writer, &bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.close().await;
    };
    tokio::pin!(reading, writing);
    tokio::select! {
        end = &mut reading => match end {
            // The peer is done: what we still have to send goes out until the queue ends.
            Close::Finish => writing.await,
            // It sent what is no message: the substream is dropped, which resets it.
            Close::Reset => {}
        },
        () = &mut writing => {}
    }
}
