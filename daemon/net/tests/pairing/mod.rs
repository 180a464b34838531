//! Pairing streams: strangers in, and nothing else for them.

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, SwarmBuilder, identify, noise, ping, tcp, yamux};
use libp2p_stream::OpenStreamError;
use net::swarm::{Guests, PairStream};

use super::*;

const P1: [u8; 5] = [1, 1, 2, 3, 4];

impl Host {
    async fn asked(&mut self) -> (PeerKey, PairStream, Vec<u8>) {
        self.next("a question", |event| match event {
            NetEvent::PairingAsked { peer, stream, p1 } => Some((peer, stream, p1)),
            _ => None,
        })
        .await
    }

    async fn answered(&mut self) -> (PeerKey, Vec<u8>) {
        self.next("an answer", |event| match event {
            NetEvent::PairingAnswered { peer, answer } => Some((peer, answer)),
            _ => None,
        })
        .await
    }

    async fn failed(&mut self) -> String {
        self.next("a failure", |event| match event {
            NetEvent::PairingFailed { error, .. } => Some(error),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn strangers_pair_over_quic_and_over_tcp_and_connect_anew_as_peers() {
    for (seed, pick) in [(20, (|a: &Host| a.quic.clone()) as fn(&Host) -> Multiaddr), (22, |a| a.tcp.clone())] {
        let (mut a, mut b) = (Host::new(seed).await, Host::new(seed + 1).await);
        a.net.set_guests(Guests::Admit).await;
        b.net.join(a.key, vec![pick(&a)], P1.to_vec()).await;
        let (peer, stream, p1) = a.asked().await;
        assert_eq!((peer, &p1[..]), (b.key, &P1[..]));
        a.net.allow(b.key, PeerSlot(1), Arc::default()).await;
        a.net.answer_pairing(stream, Some(vec![2, 1])).await;
        assert_eq!(b.answered().await, (a.key, vec![2, 1]));
        b.net.end_join(a.key).await;
        b.net.allow(a.key, PeerSlot(1), Arc::default()).await;
        b.net.dial(a.key, vec![pick(&a)]).await;
        assert_eq!(b.connected().await, Dialled::ByUs);
        assert_eq!(a.connected().await, Dialled::ByPeer);
        b.net.open_handshake(a.key, AttemptId(2)).await;
        b.net.send_handshake(a.key, AttemptId(2), vec![7; 100]).await;
        assert_eq!(a.message().await.1, [7; 100], "peers have every protocol");
        // As a peer it may ask once more.
        b.net.ask_again(a.key, P1.to_vec()).await;
        let (_, stream, _) = a.asked().await;
        a.net.answer_pairing(stream, Some(vec![2, 2])).await;
        assert_eq!(b.answered().await.1, [2, 2]);
    }
}

#[tokio::test]
async fn a_question_that_is_not_answered_is_asked_again() {
    let (mut a, mut b) = (Host::new(24).await, Host::new(25).await);
    b.net.join(a.key, vec![a.quic.clone()], P1.to_vec()).await;
    b.failed().await;
    a.net.set_guests(Guests::Admit).await;
    let (_, stream, _) = a.asked().await;
    a.net.answer_pairing(stream, None).await;
    b.failed().await;
    let (_, again, _) = a.asked().await;
    assert_ne!(stream, again);
    a.net.answer_pairing(again, Some(vec![9])).await;
    assert_eq!(b.answered().await.1, [9]);
}

#[tokio::test]
async fn without_a_ticket_a_stranger_is_not_heard() {
    let (mut a, mut b) = (Host::new(26).await, Host::new(27).await);
    b.net.join(a.key, vec![a.quic.clone(), a.tcp.clone()], P1.to_vec()).await;
    for _ in 0..3 {
        b.failed().await;
    }
    let mut heard = std::iter::from_fn(|| a.events.try_recv().ok());
    assert!(heard.all(|event| matches!(event, NetEvent::Listening(_))));
}

#[tokio::test]
async fn the_inviter_that_answers_must_be_the_one_of_the_ticket() {
    let (mut b, thief) = (Host::new(28).await, Host::new(29).await);
    thief.net.set_guests(Guests::Admit).await;
    b.net.join(key(30), vec![thief.quic.clone(), thief.tcp.clone()], P1.to_vec()).await;
    b.failed().await;
    drop(thief);
}

#[derive(NetworkBehaviour)]
struct Everything {
    stream: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

/// A stranger that speaks every protocol that the daemon has, connected to `a`; it says whether pings and identify worked.
async fn stranger(a: &Host, address: Multiaddr) -> (libp2p_stream::Control, mpsc::Receiver<bool>) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| Everything {
            stream: libp2p_stream::Behaviour::new(),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(100))),
            identify: identify::Behaviour::new(identify::Config::new("/cryprq/1".into(), key.public())),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LIMIT))
        .build();
    let control = swarm.behaviour().stream.new_control();
    let peer = peer_id::from_key(a.key);
    swarm.dial(DialOpts::peer_id(peer).addresses(vec![address]).build()).unwrap();
    let (connected, mut up) = mpsc::channel(1);
    let (said, heard) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => connected.send(()).await.unwrap(),
                SwarmEvent::Behaviour(EverythingEvent::Ping(ping)) => _ = said.try_send(ping.result.is_ok()),
                SwarmEvent::Behaviour(EverythingEvent::Identify(event)) => {
                    _ = said.try_send(matches!(event, identify::Event::Received { .. }));
                }
                _ => {}
            }
        }
    });
    tokio::time::timeout(LIMIT, up.recv()).await.unwrap().unwrap();
    (control, heard)
}

#[tokio::test]
async fn attack_a_guest_gets_nothing_but_one_pairing_stream() {
    for pick in [|a: &Host| a.quic.clone(), |a: &Host| a.tcp.clone()] {
        let mut a = Host::new(31).await;
        a.net.set_guests(Guests::Admit).await;
        let (mut control, mut heard) = stranger(&a, pick(&a)).await;
        let id = peer_id::from_key(a.key);
        for protocol in
            ["/cryprq/tunnel/1", "/cryprq/data/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"]
        {
            let opened = control.open_stream(id, StreamProtocol::new(protocol)).await;
            assert!(matches!(opened, Err(OpenStreamError::UnsupportedProtocol(_))), "{protocol}: {opened:?}");
        }
        let mut pair = control.open_stream(id, StreamProtocol::new("/cryprq/pair/1")).await.unwrap();
        let second = control.open_stream(id, StreamProtocol::new("/cryprq/pair/1")).await;
        assert!(matches!(second, Err(OpenStreamError::UnsupportedProtocol(_))), "one stream: {second:?}");
        pair.write_all(&[&[5, 0][..], &P1].concat()).await.unwrap();
        let (_, stream, p1) = a.asked().await;
        assert_eq!(p1, P1);
        a.net.answer_pairing(stream, Some(vec![8, 9])).await;
        let mut answer = Vec::new();
        pair.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [2, 0, 8, 9]);
        while let Ok(success) = heard.try_recv() {
            assert!(!success, "neither ping nor identify is answered");
        }
    }
}

#[tokio::test]
async fn attack_an_overlong_question_is_not_heard() {
    let mut a = Host::new(32).await;
    a.net.set_guests(Guests::Admit).await;
    let (mut control, _heard) = stranger(&a, a.quic.clone()).await;
    let id = peer_id::from_key(a.key);
    let mut pair = control.open_stream(id, StreamProtocol::new("/cryprq/pair/1")).await.unwrap();
    pair.write_all(&[&513u16.to_le_bytes()[..], &[0; 513]].concat()).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(LIMIT, pair.read_to_end(&mut answer)).await.unwrap();
    assert!(end.is_err() || answer.is_empty(), "the stream ends without an answer");
    assert!(!std::iter::from_fn(|| a.events.try_recv().ok()).any(|e| matches!(e, NetEvent::PairingAsked { .. })));
}
