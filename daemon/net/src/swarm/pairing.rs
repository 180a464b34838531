//! Pairing streams: one P1 and one answer, each behind a `u16` length, at most 512 bytes (protocol.md 10).

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Stream};
use node::pairing::MAX_MESSAGE;
use node::peer_key::PeerKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::message::{read_message, write_message};
use crate::peer_id;

/// How long either side waits for the other's next step.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pairing stream that the other side opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairStream(u64);

/// What the streams have to say to the swarm's task.
pub(super) enum PairNews {
    Asked { peer: PeerKey, connection: ConnectionId, stream: PairStream, p1: Vec<u8> },
    Answered { peer: PeerKey, connection: ConnectionId, answer: Result<Vec<u8>, String> },
}

/// The streams in use.
pub(super) struct Pairings {
    /// Who asks us: one stream each, a newer one ends the older.
    askers: HashMap<PeerKey, Asker>,
    /// Whom we ask: one stream each.
    asked: HashMap<PeerKey, Question>,
    news: mpsc::Sender<PairNews>,
    last: u64,
}

struct Asker {
    stream: PairStream,
    answer: Option<oneshot::Sender<Vec<u8>>>,
    task: JoinHandle<()>,
}

struct Question {
    p1: Vec<u8>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Pairings {
    pub(super) fn new(news: mpsc::Sender<PairNews>) -> Self {
        Self { askers: HashMap::new(), asked: HashMap::new(), news, last: 0 }
    }

    /// Takes a stream of somebody who wants to pair.
    pub(super) fn accept(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        // Nobody whose id holds no sound key can become a peer.
        let Ok(key) = peer_id::to_key(&peer) else { return };
        self.askers.retain(|_, asker| !asker.task.is_finished());
        self.last += 1;
        let number = PairStream(self.last);
        let (answer, answered) = oneshot::channel();
        let news = self.news.clone();
        let heard = async move |p1| _ = news.send(PairNews::Asked { peer: key, connection, stream: number, p1 }).await;
        let task = tokio::spawn(async move {
            // Dropping the stream resets it.
            let _ = hear_out(stream, heard, answered).await;
        });
        if let Some(older) = self.askers.insert(key, Asker { stream: number, answer: Some(answer), task }) {
            older.task.abort();
        }
    }

    /// Answers a stream, or resets it in silence.
    pub(super) fn answer(&mut self, stream: PairStream, answer: Option<Vec<u8>>) {
        let Some(asker) = self.askers.values_mut().find(|asker| asker.stream == stream) else { return };
        match answer {
            Some(answer) => {
                // If its task is gone, so is whoever asked.
                let _ = asker.answer.take().map(|sender| sender.send(answer));
            }
            None => asker.task.abort(),
        }
    }

    /// What to ask a host once a stream to it stands.
    pub(super) fn ask(&mut self, peer: PeerKey, p1: Vec<u8>) {
        self.asked.insert(peer, Question { p1, task: None });
    }

    /// The key of a host that we ask.
    pub(super) fn asked(&self, peer: &PeerId) -> Option<PeerKey> {
        peer_id::to_key(peer).ok().filter(|key| self.asked.contains_key(key))
    }

    /// Ends a question of ours.
    pub(super) fn stop_asking(&mut self, peer: PeerKey) {
        self.asked.remove(&peer);
    }

    /// Our stream stands: the question goes out. An older stream of the same question ends.
    pub(super) fn opened(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        let Ok(key) = peer_id::to_key(&peer) else { return };
        let Some(question) = self.asked.get_mut(&key) else { return };
        let (news, p1) = (self.news.clone(), question.p1.clone());
        let task = tokio::spawn(async move {
            let answer = in_time(exchange(stream, &p1)).await.map_err(|error| error.to_string());
            let _ = news.send(PairNews::Answered { peer: key, connection, answer }).await;
        });
        if let Some(older) = question.task.replace(task) {
            older.abort();
        }
    }
}

/// The inviter's part of one stream.
async fn hear_out(
    mut stream: Stream,
    heard: impl AsyncFnOnce(Vec<u8>),
    answered: oneshot::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let p1 = in_time(read_message(&mut stream, MAX_MESSAGE)).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    heard(p1).await;
    let answer = answered.await.map_err(io::Error::other)?;
    in_time(async {
        write_message(&mut stream, &answer).await?;
        stream.close().await?;
        // Until the joiner has it: a stream that is dropped earlier may take the answer with it.
        stream.read(&mut [0]).await.map(drop)
    })
    .await
}

/// The joiner's part.
async fn exchange(mut stream: Stream, p1: &[u8]) -> io::Result<Vec<u8>> {
    write_message(&mut stream, p1).await?;
    stream.close().await?;
    let answer = read_message(&mut stream, MAX_MESSAGE).await?;
    answer
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the other host ended the pairing without a word"))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the other host did not go on with the pairing in time");
    timeout(PATIENCE, work).await.map_err(late)?
}
