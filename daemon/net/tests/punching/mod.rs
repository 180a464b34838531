//! Holes that a peer asks for by a circuit. Here it is a host of other software, which names whatever it likes.

use std::io::ErrorKind;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, StreamProtocol, SwarmBuilder, noise, relay, tcp, yamux};
use libp2p_stream::Control;
use node::drops::DropReason;

use super::relaying::message;
use super::*;

const DCUTR: StreamProtocol = StreamProtocol::new("/libp2p/dcutr");
/// `SYNC` behind its length: the other side dials now.
const SYNC: [u8; 4] = [3, 8, 0xac, 2];

#[derive(NetworkBehaviour)]
struct Stock {
    relay: relay::client::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// A peer that has a place at the relay, and circuits to which it is led.
struct Asker(Control);

impl Asker {
    async fn new(seed: u8, relay: &Multiaddr) -> Self {
        let own = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let mut swarm = SwarmBuilder::with_existing_identity(own)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_, relay| Stock { relay, streams: libp2p_stream::Behaviour::new() })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        swarm.listen_on(relay.clone()).unwrap();
        let placed = async { while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {} };
        tokio::time::timeout(LIMIT, placed).await.expect("the relay keeps a place for its peer");
        let control = swarm.behaviour().streams.new_control();
        tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self(control)
    }

    /// Has a host dial this address; returns when it knows that it shall.
    async fn ask(&mut self, host: PeerId, address: &Multiaddr) {
        let address = address.to_vec();
        let length = u8::try_from(address.len()).unwrap();
        let connect = [&[4 + length, 8, 100, 0x12, length], &*address].concat();
        let asked = async {
            // Here the circuit may stand a moment later than there.
            let mut stream = loop {
                match self.0.open_stream(host, DCUTR).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            stream.write_all(&connect).await.unwrap();
            stream.flush().await.unwrap();
            message(&mut stream).await;
            stream.write_all(&SYNC).await.unwrap();
            stream.flush().await.unwrap();
            // Who has read all lets go of the stream.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        tokio::time::timeout(LIMIT, asked).await.expect("the other side of the circuit listens");
    }
}

#[tokio::test]
async fn a_peer_that_asks_for_holes_on_this_host_gets_no_connection_there_and_soon_no_more_tries() {
    let (relay, mut host) = (relaying::relay(90).await, Host::new(91).await);
    let circuits = relay.tcp.clone().with(Protocol::P2p(peer_id::from_key(relay.key))).with(Protocol::P2pCircuit);
    relay.net.allow(host.key, PeerSlot(1), Arc::default()).await;
    relay.net.allow(key(92), PeerSlot(2), Arc::default()).await;
    host.net.allow(relay.key, PeerSlot(1), Arc::default()).await;
    host.net.allow(key(92), PeerSlot(2), Arc::default()).await;
    let mut asker = Asker::new(92, &circuits).await;
    host.net.dial(key(92), vec![circuits]).await;
    host.next("the circuit", |event| match event {
        NetEvent::ConnectionUp { peer, .. } => (peer == key(92)).then_some(()),
        _ => None,
    })
    .await;

    let aim = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    aim.set_nonblocking(true).unwrap();
    let aimed = format!("/ip4/127.0.0.1/tcp/{}", aim.local_addr().unwrap().port()).parse().unwrap();
    let refused = async {
        while host.drops.get(DropReason::PunchesMany) == 0 {
            asker.ask(peer_id::from_key(host.key), &aimed).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.expect("a peer does not get ever more tries");
    // What this host itself is told to dial later is dialled.
    let own = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", own.local_addr().unwrap().port()).parse().unwrap();
    host.net.allow(key(93), PeerSlot(3), Arc::default()).await;
    host.net.dial(key(93), vec![address]).await;
    tokio::time::timeout(LIMIT, own.accept()).await.expect("a dial of ours").unwrap();
    assert_eq!(aim.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the peer had us connect there");
}
