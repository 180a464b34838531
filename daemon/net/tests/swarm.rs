//! Swarms on loopback: connecting in either order, refusing strangers, handshake messages, frames.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one kind of event")]

mod limits;
mod pairing;
mod punching;
mod relaying;

use std::sync::Arc;
use std::time::Duration;

use net::inbound::Inbound;
use net::quic::on_own_threads;
use net::swarm::{DialFault, Discovery, Net, NetConfig, NetEvent, Serve, Tcp};
use net::{Multiaddr, peer_id};
use node::crypto::Identity;
use node::drops::DropCounters;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::secret::{HeapStore, SecretKey32, SecretStore};
use node::tunnel::{AttemptId, Close, Dialled};
use os::udp::UdpOptions;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(20);

struct Host {
    net: Net,
    events: mpsc::Receiver<NetEvent>,
    key: PeerKey,
    quic: Multiaddr,
    tcp: Multiaddr,
    drops: Arc<DropCounters>,
}

fn key(seed: u8) -> PeerKey {
    Identity::from_seed(HeapStore.keep(SecretKey32::new([seed; 32])).unwrap()).unwrap().public()
}

fn start(seed: u8, port: u16) -> (Net, mpsc::Receiver<NetEvent>) {
    start_as(seed, port, Serve::Nobody, Arc::default())
}

fn start_as(seed: u8, port: u16, serve: Serve, drops: Arc<DropCounters>) -> (Net, mpsc::Receiver<NetEvent>) {
    let config = NetConfig {
        identity_seed: Zeroizing::new([seed; 32]),
        listen: vec!["127.0.0.1".parse().unwrap()],
        port,
        udp: UdpOptions::default(),
        tcp: Tcp::Listen,
        relays: vec![],
        serve,
        discovery: Discovery::Off,
        // A relay serves once it knows where it can be reached, which loopback is not.
        advertise: if serve == Serve::Peers { vec!["/ip4/203.0.113.9/tcp/1".parse().unwrap()] } else { vec![] },
        inner: vec![],
        inbound: Arc::new(Inbound::new(Arc::clone(&drops)).unwrap()),
        receive: on_own_threads(Arc::clone(&drops)),
        drops,
        clock: os::clock::boottime,
    };
    net::swarm::start(config).unwrap()
}

impl Host {
    async fn new(seed: u8) -> Self {
        Self::with(seed, Serve::Nobody).await
    }

    async fn with(seed: u8, serve: Serve) -> Self {
        let drops = Arc::new(DropCounters::default());
        let (net, mut events) = start_as(seed, 0, serve, Arc::clone(&drops));
        let (mut quic, mut tcp) = (None, None);
        while quic.is_none() || tcp.is_none() {
            if let NetEvent::Listening(address) = tokio::time::timeout(LIMIT, events.recv()).await.unwrap().unwrap() {
                if address.to_string().contains("quic") { quic = Some(address) } else { tcp = Some(address) }
            }
        }
        Self { net, events, key: key(seed), quic: quic.unwrap(), tcp: tcp.unwrap(), drops }
    }

    /// The next event that `pick` takes; others are passed over.
    async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the swarm runs");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
    }

    async fn connected(&mut self) -> Dialled {
        self.next("a connection", |event| match event {
            NetEvent::ConnectionUp { dialled, .. } => Some(dialled),
            _ => None,
        })
        .await
    }

    async fn message(&mut self) -> (AttemptId, Vec<u8>) {
        self.next("a message", |event| match event {
            NetEvent::HandshakeMessage { attempt, bytes, .. } => Some((attempt, bytes)),
            _ => None,
        })
        .await
    }
}

/// A port that refuses connections for as long as this is held.
fn silent() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

async fn meet(a: &mut Host, b: &mut Host, address: Multiaddr) {
    a.net.allow(b.key, PeerSlot(1), Arc::default()).await;
    b.net.allow(a.key, PeerSlot(1), Arc::default()).await;
    a.net.dial(b.key, vec![address]).await;
    assert_eq!(a.connected().await, Dialled::ByUs);
    assert_eq!(b.connected().await, Dialled::ByPeer);
}

#[tokio::test]
async fn handshake_messages_pass_both_ways_over_quic_and_over_tcp() {
    for pick in [|b: &Host| b.quic.clone(), |b: &Host| b.tcp.clone()] {
        let (mut a, mut b) = (Host::new(1).await, Host::new(2).await);
        let address = pick(&b);
        meet(&mut a, &mut b, address).await;
        let ours = AttemptId(2);
        a.net.open_handshake(b.key, ours).await;
        a.next("the substream", |e| matches!(e, NetEvent::HandshakeOpened { .. }).then_some(())).await;
        a.net.send_handshake(b.key, ours, vec![7; 1272]).await;
        let theirs = b
            .next("the peer's substream", |event| match event {
                NetEvent::HandshakeIncoming { attempt, .. } => Some(attempt),
                _ => None,
            })
            .await;
        assert_eq!(theirs.0 % 2, 1, "the caller's numbers are odd");
        assert_eq!(b.message().await, (theirs, vec![7; 1272]));
        b.net.send_handshake(a.key, theirs, vec![8; 1240]).await;
        assert_eq!(a.message().await, (ours, vec![8; 1240]));
        a.net.send_handshake(b.key, ours, vec![9; 88]).await;
        a.net.close_handshake(b.key, ours, Close::Finish).await;
        assert_eq!(b.message().await, (theirs, vec![9; 88]), "what was sent before the end arrives");
        b.next("the end", |e| matches!(e, NetEvent::HandshakeClosed { .. }).then_some(())).await;
    }
}

#[tokio::test]
async fn a_peer_that_starts_later_is_reached_by_itself() {
    let mut a = Host::new(3).await;
    // A port that nobody listens on yet, nor can anybody else.
    let (held, port) = silent();
    a.net.allow(key(4), PeerSlot(1), Arc::default()).await;
    a.net.dial(key(4), vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()]).await;
    a.next("a failed dial", |e| matches!(e, NetEvent::DialFailed { .. }).then_some(())).await;
    drop(held);
    let (late, _events) = start(4, port);
    late.allow(a.key, PeerSlot(1), Arc::default()).await;
    assert_eq!(a.connected().await, Dialled::ByUs);
}

#[tokio::test]
async fn why_a_peer_was_not_reached_is_told_for_each_address() {
    let (mut a, b) = (Host::new(18).await, Host::new(19).await);
    let failure = |event| if let NetEvent::DialFailed { failure, .. } = event { Some(failure) } else { None };
    let (_held, port) = silent();
    let nobody: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    // B's addresses, under another PeerId than B's.
    for (slot, (addresses, fault, texts)) in [
        (vec![nobody.clone()], DialFault::Unreachable, vec!["refused"]),
        (vec![b.quic.clone()], DialFault::AnotherHost, vec!["another host answers"]),
        (vec![b.tcp.clone()], DialFault::AnotherHost, vec!["another host answers"]),
        (vec![nobody.clone(), b.quic.clone()], DialFault::AnotherHost, vec!["refused", "another host answers"]),
    ]
    .into_iter()
    .enumerate()
    {
        a.net.allow(key(20), PeerSlot(slot as u32), Arc::default()).await;
        a.net.dial(key(20), addresses.clone()).await;
        let told = a.next("a failed dial", failure).await;
        assert_eq!(told.fault, fault, "{told:?}");
        assert!(texts.iter().all(|text| told.text.contains(text)), "{told:?}");
        assert!(addresses.iter().all(|address| told.text.contains(&format!("{address}: "))), "{told:?}");
        assert!(!told.text.contains("/p2p/") && !told.text.contains("Multiple") && told.text.len() < 200, "{told:?}");
        a.net.disallow(key(20)).await;
    }
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let (mut a, mut b) = (Host::new(5).await, Host::new(6).await);
    a.net.allow(b.key, PeerSlot(1), Arc::default()).await;
    a.net.dial(b.key, vec![b.quic.clone()]).await;
    // The transport connects; the other side then closes it, and knows nothing of it.
    a.next("the refusal", |e| matches!(e, NetEvent::ConnectionDown { .. } | NetEvent::DialFailed { .. }).then_some(()))
        .await;
    assert!(!matches!(b.events.try_recv(), Ok(NetEvent::ConnectionUp { .. })));
}

#[tokio::test]
async fn a_tunnel_that_keeps_asking_for_a_connection_does_not_make_us_hammer() {
    let mut a = Host::new(12).await;
    let (_held, port) = silent();
    let nowhere: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let failed = |event| if let NetEvent::DialFailed { peer, .. } = event { Some(peer) } else { None };
    a.net.allow(key(13), PeerSlot(1), Arc::default()).await;
    a.net.dial(key(13), vec![nowhere.clone()]).await;
    a.next("a refusal", failed).await;
    for _ in 0..100 {
        a.net.dial_another(key(13)).await;
    }
    // News come in order: what was tried meanwhile is told before the failure of another peer.
    a.net.allow(key(16), PeerSlot(2), Arc::default()).await;
    a.net.dial(key(16), vec![nowhere]).await;
    let mut attempts = 0;
    while a.next("a refusal", failed).await != key(16) {
        attempts += 1;
    }
    assert!(attempts < 10, "{attempts} attempts at once");
}

#[tokio::test]
async fn a_newer_connection_that_answers_replaces_the_older_one_of_the_same_side() {
    let (mut a, mut b) = (Host::new(14).await, Host::new(15).await);
    let address = b.quic.clone();
    meet(&mut a, &mut b, address).await;
    a.net.dial_another(b.key).await;
    for host in [&mut a, &mut b] {
        // The side that hears of the older one's end before the newer one showed anything is told in that order.
        let (mut up, mut down) = (0, 0);
        while (up, down) != (1, 1) {
            let event = host.next("the newer and the end of the older", |event| match event {
                NetEvent::ConnectionUp { .. } => Some((1, 0)),
                NetEvent::ConnectionDown { .. } => Some((0, 1)),
                _ => None,
            });
            let (ups, downs) = event.await;
            (up, down) = (up + ups, down + downs);
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_forbidden_later_is_cut_off() {
    let (mut a, mut b) = (Host::new(7).await, Host::new(8).await);
    let address = b.quic.clone();
    meet(&mut a, &mut b, address).await;
    b.net.disallow(a.key).await;
    a.next("the end", |e| matches!(e, NetEvent::ConnectionDown { .. }).then_some(())).await;
}

#[tokio::test]
async fn who_says_farewell_is_gone_for_its_peers_at_once_and_dials_nobody() {
    let (mut a, mut b) = (Host::new(17).await, Host::new(18).await);
    let address = b.quic.clone();
    meet(&mut a, &mut b, address).await;
    a.net.farewell().await;
    b.next("the end", |e| matches!(e, NetEvent::ConnectionDown { .. }).then_some(())).await;
    a.next("its own end", |e| matches!(e, NetEvent::ConnectionDown { .. }).then_some(())).await;
    // Nobody is left to say farewell to.
    a.net.farewell().await;
    assert!(a.events.try_recv().is_err(), "nothing is dialled any more");
}

#[tokio::test]
async fn a_listener_survives_its_sessions() {
    let mut b = Host::new(9).await;
    let address = b.quic.clone();
    b.net.allow(key(10), PeerSlot(1), Arc::default()).await;
    for _ in 0..20 {
        let mut a = Host::new(10).await;
        a.net.allow(b.key, PeerSlot(1), Arc::default()).await;
        a.net.dial(b.key, vec![address.clone()]).await;
        assert_eq!(a.connected().await, Dialled::ByUs);
        assert_eq!(b.connected().await, Dialled::ByPeer);
    }
}

#[tokio::test]
async fn a_port_in_use_is_said_and_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_net, mut events) = start(11, taken.local_addr().unwrap().port());
    let failed = async {
        loop {
            if let Some(NetEvent::ListenerFailed { error, .. }) = events.recv().await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(LIMIT, failed).await.unwrap();
    assert!(error.contains("in use"), "got {error:?}");
    drop(taken);
    let listening = async {
        loop {
            if let Some(NetEvent::Listening(address)) = events.recv().await
                && address.to_string().contains("tcp")
            {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, listening).await.unwrap();
}

#[tokio::test]
async fn peer_ids_are_those_of_libp2p() {
    assert!(peer_id::format(key(1)).starts_with("12D3KooW"));
}
