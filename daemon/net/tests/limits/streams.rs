//! Streams of a connection by TCP.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use futures::future::{Either, select};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport};
use libp2p::identity::Keypair;
use libp2p::{noise, tcp, yamux};

use super::*;

/// A peer that opens streams by itself.
struct Opener {
    muxer: StreamMuxerBox,
    /// What the other side opened.
    arrived: Vec<SubstreamBox>,
}

impl Opener {
    async fn new(seed: u8, host: &Host) -> Self {
        host.net.allow(key(seed), PeerSlot(1), Arc::default()).await;
        let noise = noise::Config::new(&Keypair::ed25519_from_bytes([seed; 32]).unwrap()).unwrap();
        let tcp = tcp::tokio::Transport::new(tcp::Config::default());
        let mut tcp = tcp.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux::Config::default()).boxed();
        let how = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dialled = tcp.dial(host.tcp.clone(), how).unwrap();
        let (_, muxer) = tokio::time::timeout(LIMIT, dialled).await.expect("an answer").unwrap();
        Self { muxer, arrived: Vec::new() }
    }

    /// Opens a stream and waits until it was heard.
    async fn open(&mut self) -> io::Result<SubstreamBox> {
        let Self { muxer, arrived } = self;
        let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await?;
        let heard = async {
            stream.write_all(&HEADER).await?;
            stream.flush().await?;
            stream.read_exact(&mut [0; HEADER.len()]).await
        };
        let others = async {
            loop {
                match poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await {
                    Ok(stream) => arrived.push(stream),
                    Err(error) => return error,
                }
            }
        };
        let ended = match tokio::time::timeout(LIMIT, select(pin!(heard), pin!(others))).await {
            Ok(Either::Left((heard, _))) => heard.err(),
            Ok(Either::Right((error, _))) => Some(error),
            Err(_) => panic!("neither an answer nor an end"),
        };
        ended.map_or(Ok(stream), Err)
    }
}

#[tokio::test]
async fn attack_a_peer_that_opens_ever_more_streams_by_tcp_is_cut_off() {
    let mut host = Host::new(43).await;
    let mut peer = Opener::new(44, &host).await;
    let mut held = Vec::new();
    while let Ok(stream) = peer.open().await {
        held.push(stream);
    }
    // The host has some streams of its own on the connection.
    assert!((80..=96).contains(&held.len()), "{} streams", held.len());
    host.next("the end", |event| matches!(event, NetEvent::ConnectionDown { .. }).then_some(())).await;
}
