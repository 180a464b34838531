//! What a relay that we are carries at a time. Its members here are hosts of other software, which ask for more.

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{PeerId, Stream, StreamProtocol, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::{Behaviour, Control};

use super::*;

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");
const RESERVE: [u8; 3] = [2, 8, 0];
/// `STATUS` with `OK`, to a request for a circuit.
const GRANTED: [u8; 5] = [4, 8, 1, 0x20, 100];
const OK: u64 = 100;
const LIMIT_EXCEEDED: u64 = 201;

/// Somebody who has a place at the relay and takes every circuit.
struct Member {
    id: PeerId,
    relay: PeerId,
    control: Control,
}

impl Member {
    async fn new(seed: u8, relay: &Host) -> Self {
        relay.net.allow(key(seed), PeerSlot(seed.into()), Arc::default()).await;
        let own = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let id = own.public().to_peer_id();
        let mut swarm = SwarmBuilder::with_existing_identity(own)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let mut control = swarm.behaviour().new_control();
        let mut circuits = control.accept(STOP).unwrap();
        let at = peer_id::from_key(relay.key);
        swarm.dial(DialOpts::peer_id(at).addresses(vec![relay.tcp.clone()]).build()).unwrap();
        let connected =
            async { while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {} };
        tokio::time::timeout(LIMIT, connected).await.expect("the relay lets its peer in");
        tokio::spawn(async move { while swarm.next().await.is_some() {} });
        tokio::spawn(async move {
            while let Some((_, mut circuit)) = circuits.next().await {
                tokio::spawn(async move {
                    message(&mut circuit).await;
                    circuit.write_all(&GRANTED).await.unwrap();
                    circuit.flush().await.unwrap();
                    // A circuit lives until both ends let go of it.
                    futures::io::copy(&mut circuit, &mut futures::io::sink()).await
                });
            }
        });
        let mut member = Self { id, relay: at, control };
        assert_eq!(member.ask(&RESERVE).await.0, OK, "a place");
        member
    }

    /// What the relay answers.
    async fn ask(&mut self, request: &[u8]) -> (u64, Stream) {
        let mut stream = self.control.open_stream(self.relay, HOP).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let answer = message(&mut stream).await;
        (status(&answer), stream)
    }

    /// Asks for a circuit to another member.
    async fn call(&mut self, other: &Self) -> (u64, Stream) {
        let id = other.id.to_bytes();
        let length = u8::try_from(id.len()).unwrap();
        self.ask(&[&[6 + length, 8, 1, 0x12, 2 + length, 0x0a, length], &*id].concat()).await
    }
}

/// The next message, behind its length.
pub(super) async fn message(stream: &mut Stream) -> Vec<u8> {
    let read = async {
        let mut length = Vec::new();
        while length.last().is_none_or(|byte| byte & 0x80 != 0) {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            length.extend(byte);
        }
        let mut message = vec![0; prost::decode_length_delimiter(&*length).unwrap()];
        stream.read_exact(&mut message).await.unwrap();
        message
    };
    tokio::time::timeout(LIMIT, read).await.expect("an answer")
}

/// The status of an answer: its fifth field.
fn status(answer: &[u8]) -> u64 {
    #[derive(prost::Message)]
    struct Answer {
        #[prost(uint64, optional, tag = "5")]
        status: Option<u64>,
    }
    prost::Message::decode(answer).map(|answer: Answer| answer.status.unwrap_or_default()).unwrap()
}

pub(super) async fn relay(seed: u8) -> Host {
    Host::with(seed, Serve::Peers).await
}

#[tokio::test]
async fn a_third_circuit_of_one_peer_is_refused_until_another_ends() {
    let relay = relay(60).await;
    let mut caller = Member::new(61, &relay).await;
    let mut others = Vec::new();
    for seed in 62..65 {
        others.push(Member::new(seed, &relay).await);
    }
    let mut circuits = Vec::new();
    for other in &others[..2] {
        let (status, circuit) = caller.call(other).await;
        assert_eq!(status, OK);
        circuits.push(circuit);
    }
    assert_eq!(caller.call(&others[2]).await.0, LIMIT_EXCEEDED, "a third");
    drop(circuits.pop());
    // The relay hears of the end in its time.
    let again = async {
        while caller.call(&others[2]).await.0 != OK {
            // Who asks more often than that is refused for it.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, again).await.expect("there is room again");
}

#[tokio::test]
async fn more_circuits_than_sixteen_are_refused_whosever_they_are() {
    let relay = relay(70).await;
    let mut members = Vec::new();
    for seed in 71..89 {
        members.push(Member::new(seed, &relay).await);
    }
    let (callers, called) = members.split_at_mut(9);
    let mut circuits = Vec::new();
    for (number, caller) in callers[..8].iter_mut().enumerate() {
        for other in &called[number..number + 2] {
            let (status, circuit) = caller.call(other).await;
            assert_eq!(status, OK, "circuit {}", circuits.len());
            circuits.push(circuit);
        }
    }
    assert_eq!(circuits.len(), 16);
    assert_eq!(callers[8].call(&called[8]).await.0, LIMIT_EXCEEDED, "somebody else's first, and the seventeenth");
}
