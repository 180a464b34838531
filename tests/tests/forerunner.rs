//! What an earlier implementation got wrong (protocol.md 11): one test for each fault, named as there.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cryprq_tests::exchange::{Exchange, Message, Party, exchange, identity};
use cryprq_tests::reference::{self, Inputs};
use cryprq_tests::seams::{ScriptedRandom, SystemRandom};
use cryprq_tests::sim::{Action, Setup, World, ms, secs};
use node::crypto::{
    AwsLcKem, CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Identity, Kem768, KemError, KemSecret, RandomSource, verify_strict,
};
use node::drops::{DropCounters, DropReason};
use node::epoch::{AwsLcAead, EpochId, EpochState, FrameSource, Limits, Opened, Opener, Outgoing, Sealer};
use node::frame::{FrameBatch, FrameType};
use node::handshake::{
    AwaitM4, ChainKey, EpochSecrets, HandshakeContext, HandshakeError, Initiator, PaddingMode, ParamLimits, Params,
    ReceiverIndex, Responder,
};
use node::packet::Checksum;
use node::path::{self, Endpoint, Output, Path, Paths};
use node::peer_key::PeerKey;
use node::receiver::{Origin, Receiver, Trust, Whereabouts};
use node::router::{Inward, PeerSlot, Router};
use node::secret::{SecretKey32, StoredSecret};
use node::time::Time;
use node::tunnel::ConnectionId;

fn inputs() -> Inputs {
    let params = [0x8c, 5, 0x2c, 1, 0, 0, 0, 0];
    Inputs {
        initiator_seed: [0x11; 32],
        responder_seed: [0x22; 32],
        psk: None,
        chain_in: None,
        ei: [0x33; 32],
        er: [0x44; 32],
        kem_seed: [0x55; 64],
        kem_m: [0x66; 32],
        idx_i: 7,
        idx_r: 8,
        params_i: params,
        params_r: params,
        tlv_i: Vec::new(),
        tlv_r: Vec::new(),
        max_version_i: 1,
        ek_prefix: Vec::new(),
        sign_seed_i: [0x11; 32],
        sign_seed_r: [0x22; 32],
    }
}

fn run(inputs: &Inputs) -> Exchange {
    exchange(&Party::both(inputs, [&[], &[]]), |_, _| {}).expect("a good handshake")
}

/// The three keys that a handshake leaves.
fn keys(done: &Exchange) -> [[u8; 32]; 3] {
    [*done.initiator.send.expose(), *done.initiator.receive.expose(), *done.initiator.chain.expose()]
}

struct BrokenKem;

impl Kem768 for BrokenKem {
    fn generate(&self) -> Result<(Box<dyn KemSecret>, [u8; ENCAPSULATION_KEY_LEN]), KemError> {
        Err(KemError::Failed)
    }

    fn encapsulate(&self, _: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<([u8; CIPHERTEXT_LEN], SecretKey32), KemError> {
        Err(KemError::Failed)
    }
}

fn first_message(kem: &dyn Kem768, random: &mut dyn RandomSource) -> Result<Vec<u8>, HandshakeError> {
    let local = identity([0x11; 32]);
    let mut context = HandshakeContext {
        local: &local,
        remote: identity([0x22; 32]).public(),
        psk: None,
        params: Params {
            mtu: 1420,
            rotation_seconds: 300,
            padding: PaddingMode::Multiple16,
            capabilities: Default::default(),
        },
        tlvs: &[],
        limits: &ParamLimits::default(),
        kem,
        random,
    };
    let index = ReceiverIndex::new(7).expect("not zero");
    Initiator::start(&mut context, None, index).map(|(_, m1)| m1)
}

#[test]
fn static_keys() {
    let [one, two] =
        [(); 2].map(|()| first_message(&AwsLcKem, &mut SystemRandom).expect("this machine has randomness"));
    // The header is the same; the ephemeral key and what is sealed over it and the KEM key are not.
    assert_eq!(one[..32], two[..32]);
    assert_ne!(one[32..64], two[32..64]);
    assert_ne!(one[72..], two[72..]);
    // Without randomness or without a KEM there is no handshake, and nothing to fall back to.
    let dry = first_message(&AwsLcKem, &mut ScriptedRandom::new(&[1; 31]));
    assert!(matches!(dry, Err(HandshakeError::Random(_))));
    let broken = first_message(&BrokenKem, &mut SystemRandom);
    assert_eq!(broken, Err(HandshakeError::Kem(KemError::Failed)));
}

#[test]
fn identity_bypass() {
    let mut keys = 0;
    for byte in 0..=u8::MAX {
        let Ok(key) = PeerKey::from_bytes([byte; 32]) else { continue };
        keys += 1;
        for forged in [0, 1, byte, u8::MAX] {
            assert!(verify_strict(key, b"transcript", &[forged; 64]).is_err(), "{byte:#x} {forged:#x}");
        }
        let [initiator, responder] = Party::both(&inputs(), [&[], &[]]);
        assert!(exchange(&[initiator.expecting(key), responder], |_, _| {}).is_err(), "{byte:#x}");
    }
    assert!(keys > 250, "nearly every such key is well-formed: {keys}");
    assert!(PeerKey::from_bytes([0; 32]).is_err());
}

/// The man in the middle runs the whole exchange but has neither identity.
#[test]
fn missing_signature() {
    let forged = reference::run(&Inputs { sign_seed_r: [0x99; 32], ..inputs() });
    let [initiator, responder] = Party::both(&inputs(), [&[], &[]]);
    let (waiting, m1) = initiator.start().expect("a good start");
    assert_eq!(m1, forged.messages[0]);
    let fault = initiator.read_m2(waiting, &forged.messages[1]).map(drop);
    assert_eq!(fault, Err(HandshakeError::Signature));

    let forged = reference::run(&Inputs { sign_seed_i: [0x99; 32], ..inputs() });
    let (pending, _) = responder.read_m1(&m1).expect("a good M1");
    assert_eq!(pending.read_m3(&forged.messages[2]).map(drop), Err(HandshakeError::Signature));

    // Each side's signature is the other's neither.
    let forged = reference::run(&Inputs { sign_seed_r: inputs().initiator_seed, ..inputs() });
    let (waiting, _) = initiator.start().expect("a good start");
    assert_eq!(initiator.read_m2(waiting, &forged.messages[1]).map(drop), Err(HandshakeError::Signature));
}

#[test]
fn rotation_from_master() {
    let chained = Inputs { chain_in: Some([0x77; 32]), psk: Some([0x88; 32]), ..inputs() };
    let base = keys(&run(&chained));
    // Who knows chain key and PSK still lacks the KEM's and the DH's secret of each epoch, and each of both matters.
    let changes = [
        Inputs { kem_seed: [0x56; 64], ..chained.clone() },
        Inputs { kem_m: [0x67; 32], ..chained.clone() },
        Inputs { ei: [0x34; 32], ..chained.clone() },
        Inputs { er: [0x45; 32], ..chained.clone() },
        Inputs { chain_in: Some([0x78; 32]), ..chained.clone() },
        Inputs { psk: Some([0x89; 32]), ..chained.clone() },
    ];
    let mut all: BTreeSet<[u8; 32]> = base.into();
    for changed in &changes {
        all.extend(keys(&run(changed)));
    }
    assert_eq!(all.len(), 3 * (1 + changes.len()), "every change gives three other keys");
}

/// More rotations than eight bits count, with the same ephemeral keys each time: the chain alone makes every epoch new.
#[test]
fn epoch_wrap() {
    let (mut seen, mut next) = (BTreeSet::new(), inputs());
    for _ in 0..300 {
        let made = keys(&run(&next));
        assert!(made.iter().all(|&key| seen.insert(key)), "keys return after {} epochs", seen.len() / 3);
        next.chain_in = Some(made[2]);
    }
    assert!(EpochId(256) > EpochId(255), "epochs are counted in 64 bits");
}

struct Link {
    sealer: Sealer,
    opener: Opener,
}

impl Link {
    fn new(epoch: u64) -> Self {
        let done = run(&Inputs { kem_m: [epoch as u8; 32], ..inputs() });
        let (from, to) = (&done.initiator, &done.responder);
        let limits = Limits::standard(from.negotiated.cipher, Duration::from_secs(300));
        let state = || Arc::new(EpochState::new(EpochId(epoch)));
        Self {
            sealer: Sealer::new(&from.send, from.remote_index, &from.negotiated, limits, Time::ZERO, state()),
            opener: Opener::new(&to.receive, to.local_index, &to.negotiated, limits, Time::ZERO, state()),
        }
    }

    fn frames(&self, count: usize) -> Vec<Vec<u8>> {
        seal(&self.sealer, count)
    }

    fn open(&mut self, frame: &[u8], source: FrameSource) -> Result<(), DropReason> {
        match self.opener.open(Time::ZERO, FrameType::Data, &mut frame.to_vec(), source)? {
            Opened::Packet(..) | Opened::Empty | Opened::Probe(_) | Opened::ProbeAck(_) => Ok(()),
        }
    }
}

fn seal(sealer: &Sealer, count: usize) -> Vec<Vec<u8>> {
    let mut packet = [0; 20];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    let mut out = FrameBatch::new(64 * count.max(1));
    let outgoing = vec![Outgoing { packet: &packet, checksum: Checksum::Complete }; count];
    sealer.seal_batch(Time::ZERO, &outgoing, &mut out, &DropCounters::default()).expect("a good key");
    out.frames().map(<[u8]>::to_vec).collect()
}

#[test]
fn shared_counters() {
    let link = Link::new(0);
    let mut out = FrameBatch::new(4096);
    link.sealer.seal_empty(Time::ZERO, &mut out).expect("room");
    link.sealer.seal_probe(Time::ZERO, [1; 8], &mut out).expect("room");
    link.sealer.seal_probe_ack(Time::ZERO, [1; 8], &mut out).expect("room");
    let frames: Vec<Vec<u8>> = out.frames().map(<[u8]>::to_vec).chain(link.frames(2)).collect();
    let counters: Vec<u64> =
        frames.iter().map(|frame| u64::from_le_bytes(frame[8..16].try_into().expect("8 bytes"))).collect();
    assert_eq!(counters, [0, 1, 2, 3, 4], "all kinds of frames draw on one counter");
}

#[test]
fn same_direction_key() {
    let done = run(&inputs());
    assert!(!done.initiator.send.ct_eq(&done.initiator.receive));
    assert!(done.initiator.send.ct_eq(&done.responder.receive));
    assert!(done.responder.send.ct_eq(&done.initiator.receive));
    // A frame that is thrown back at its sender does not open there.
    let link = Link::new(0);
    let (side, limits) =
        (&done.initiator, Limits::standard(done.initiator.negotiated.cipher, Duration::from_secs(300)));
    let state = Arc::new(EpochState::new(EpochId(0)));
    let mut own = Opener::new(&side.receive, side.remote_index, &side.negotiated, limits, Time::ZERO, state);
    let mut frame = link.frames(1).remove(0);
    let reflected = own.open(Time::ZERO, FrameType::Data, &mut frame, FrameSource::Stream);
    assert_eq!(reflected, Err(DropReason::FrameForged));
}

/// Does not compile when the type has the trait: `some` is then ambiguous.
macro_rules! lacks {
    ($bound:path: $($kind:ty),+) => {{
        trait Ambiguous<Marker> {
            fn some() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $bound> Ambiguous<u8> for T {}
        $(<$kind as Ambiguous<_>>::some();)+
    }};
}

#[test]
fn key_logging() {
    macro_rules! secrets_lack {
        ($($bound:path),+) => {$(
            lacks!($bound: SecretKey32, StoredSecret, ChainKey, EpochSecrets, Identity, Initiator, AwaitM4, Responder,
                Sealer, Opener, AwsLcAead, dyn KemSecret);
        )+};
    }
    secrets_lack!(fmt::Debug, fmt::Display, fmt::LowerHex, Clone, PartialEq, serde::Serialize);
    let key = identity([0x11; 32]).public();
    assert_eq!((format!("{key}").len(), format!("{key:?}").len()), (8, 8 + "PeerKey()".len()));
}

/// Where a frame came from proves nothing: a forged one is not even looked at, and an authentic one has whoever sent it
/// asked there. Frames go to an address that has answered with the token that it was sent.
#[test]
fn early_address() {
    const SLOT: PeerSlot = PeerSlot(1);
    let [home, away] = ["192.0.2.1:41820", "198.51.100.7:50000"].map(|text| text.parse().expect("an address"));
    let endpoint = |remote| Endpoint { remote, local: None };
    let (at_home, elsewhere) = (Path::Datagrams(endpoint(home)), endpoint(away));
    let mut paths = Paths::new(Box::new(SystemRandom));
    let mut tell = |input| {
        paths.handle(Time::ZERO, input);
        let outputs: Vec<_> = std::iter::from_fn(|| paths.poll_output()).collect();
        let probes = outputs.iter().filter_map(|output| match output {
            Output::Probe { token, to, size: None } => Some((*token, to.remote)),
            Output::Probe { .. }
            | Output::Use(_)
            | Output::Mtu(_)
            | Output::Trust(_)
            | Output::TellCandidates
            | Output::CheckPath => None,
        });
        (paths.current(), probes.collect::<Vec<_>>())
    };
    tell(path::Input::Live { mtu: 1420 });
    let (current, probes) = tell(path::Input::Connected { connection: ConnectionId(1), endpoint: endpoint(home) });
    assert_eq!((current, probes[0].1), (Path::Stream, home), "not even where its connection ends");
    assert_eq!(tell(path::Input::Acked { token: probes[0].0, from: endpoint(home) }).0, at_home);

    let Link { sealer, opener } = Link::new(0);
    let epoch = opener.epoch();
    let mut receiver = Receiver::default();
    receiver.install(SLOT, opener);
    receiver.set_trust(SLOT, Trust { endpoint: Some(home), proposed: None });
    let frames = seal(&sealer, 3);
    let mut receive = |frame: &[u8], from| {
        let mut frame = frame.to_vec();
        let received =
            receiver.receive(Time::ZERO, &mut frame, Origin::Udp(from), &mut Inward::new(&Router::default()));
        received.map(|received| received.whereabouts)
    };
    let mut forged = frames[0].clone();
    forged[20] ^= 1;
    assert_eq!(receive(&forged, away), Err(DropReason::FrameForged));
    assert_eq!(receive(&frames[1], home), Ok(Whereabouts::Known));
    assert_eq!(receive(&frames[1], away), Err(DropReason::FrameReplayed), "captured, and delivered from elsewhere");
    assert_eq!(receive(&frames[0], away), Ok(Whereabouts::Known), "held back, and delivered from elsewhere");
    assert_eq!(receive(&frames[2], away), Ok(Whereabouts::Moved { counter: 2 }));

    let (current, probes) = tell(path::Input::Moved { from: elsewhere, epoch, counter: 2 });
    let asked: Vec<_> = probes.iter().map(|&(_, to)| to).collect();
    assert_eq!((current, &asked[..]), (at_home, &[away, home][..]), "both are asked, and nothing moves");
    assert_eq!(tell(path::Input::Acked { token: [0xff; 8], from: elsewhere }).0, at_home, "a guess");
    assert_eq!(tell(path::Input::Acked { token: probes[0].0, from: elsewhere }).0, Path::Datagrams(elsewhere));
}

/// Packets sent at any moment of a rotation arrive, those on their way while the keys change too.
#[test]
fn rotation_gap() {
    let mut world = World::connected(Setup::pair(0x6761_7073));
    for rotation in 0..6 {
        let (from, before) = (rotation % 2, world.session(0, 1));
        world.act(Action::Rotate(from, 1 - from));
        for _ in 0..200 {
            world.send_packets(0, 1, 1);
            world.send_packets(1, 0, 1);
            world.run(ms(1));
        }
        assert_ne!(world.session(0, 1), before, "rotation {rotation}");
    }
    let sessions = world.ledger().frames().map(|(_, frame)| frame.index).collect::<BTreeSet<_>>();
    assert_eq!(sessions.len(), 14, "seven epochs in two directions");
    world.run(secs(1));
    let totals = world.totals();
    assert!(totals.data_frames > 2400);
    assert_eq!(totals.delivered, totals.data_frames);
}

#[test]
fn shared_window() {
    let (mut old, mut new) = (Link::new(0), Link::new(1));
    for link in [&mut old, &mut new] {
        let frames = link.frames(3);
        for frame in &frames {
            assert_eq!(link.open(frame, FrameSource::Stream), Ok(()), "each epoch counts from zero for itself");
            assert_eq!(link.open(frame, FrameSource::Stream), Err(DropReason::FrameReplayed));
        }
    }
}

#[test]
fn decrypt_limit() {
    for source in [FrameSource::Stream, FrameSource::ValidatedUdp] {
        let mut link = Link::new(0);
        let frames = link.frames(5000);
        let opened = frames.iter().filter(|frame| link.open(frame, source).is_ok()).count();
        assert_eq!(opened, 5000, "all in the same instant, {source:?}");
    }
    let mut link = Link::new(0);
    let frames = link.frames(5000);
    let opened = frames.iter().filter(|frame| link.open(frame, FrameSource::UnprovenUdp).is_ok()).count();
    assert_eq!(opened, 1000, "only sources that proved nothing are limited");
}

/// Datagrams are lost, doubled and overtaken, and each that arrives opens once.
#[test]
fn reliable_assumption() {
    let mut link = Link::new(0);
    let frames = link.frames(3000);
    let arriving: Vec<&Vec<u8>> = frames.iter().rev().step_by(3).collect();
    for frame in &arriving {
        assert_eq!(link.open(frame, FrameSource::ValidatedUdp), Ok(()));
        assert_eq!(link.open(frame, FrameSource::ValidatedUdp), Err(DropReason::FrameReplayed));
    }
    assert_eq!(arriving.len(), 1000);
}

#[test]
fn unbound_negotiation() {
    // What one side believes and the other does not ends the handshake.
    let both = || Party::both(&inputs(), [&[], &[]]);
    for at in [1, 2, 8, 9] {
        let lowered = exchange(&both(), |message, bytes| {
            if message == Message::M1 {
                bytes[at] ^= 1;
            }
        });
        assert!(lowered.is_err(), "byte {at} of M1: version, suite, flags, max_version");
    }
    let lowered = exchange(&both(), |message, bytes| {
        if message == Message::M2 {
            bytes[12] = 9;
        }
    });
    assert!(lowered.is_err(), "max_version of M2");
    // What both sides believe is in the keys.
    let base = reference::run(&inputs()).prk;
    let params = [0x8c, 5, 0x2c, 1, 1, 0, 0, 0];
    let changes = [
        Inputs { initiator_seed: [0x12; 32], ..inputs() },
        Inputs { responder_seed: [0x23; 32], ..inputs() },
        Inputs { idx_i: 9, ..inputs() },
        Inputs { idx_r: 9, ..inputs() },
        Inputs { params_i: params, ..inputs() },
        Inputs { params_r: params, ..inputs() },
        Inputs { tlv_i: vec![0x81, 1, 1], ..inputs() },
        Inputs { tlv_r: vec![0x81, 1, 1], ..inputs() },
        Inputs { max_version_i: 2, ..inputs() },
    ];
    for (at, changed) in changes.iter().enumerate() {
        assert_ne!(reference::run(changed).prk, base, "change {at}");
    }
    assert_eq!(reference::run(&inputs()).messages, run(&inputs()).messages, "and the reference is the product");
}
