//! Data frames, and the inner packets that an authenticated peer puts into them.

use std::sync::Arc;
use std::time::Duration;

use node::drops::{DropCounters, DropReason};
use node::epoch::{Cipher, EpochId, EpochState, Limits, Opener, Outgoing, Sealer};
use node::frame::FrameBatch;
use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use node::packet::{Checksum, complete_checksum, true_length};
use node::receiver::{Content, Origin, Received, Receiver, Trust};
use node::router::{Inward, PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;

use super::Outcome;
use crate::reference::open;
use crate::sim::addressing::{elsewhere, outer};

const NOW: Time = Time::from_nanos(1_000_000_000);
const SLOT: PeerSlot = PeerSlot(7);
const MTU: u16 = 1420;
/// `data i2r` and `idxR` of "fresh" in Appendix B, so that the published frames are authentic here.
const KEY: [u8; 32] = [
    0x45, 0xef, 0x1a, 0xd5, 0x57, 0x18, 0x9c, 0x8c, 0xe7, 0xae, 0x7a, 0x40, 0x05, 0x07, 0x69, 0xbd, 0xd6, 0x95, 0x07,
    0x8b, 0xcf, 0x8a, 0xf1, 0x2b, 0x92, 0x67, 0x68, 0x0d, 0x92, 0xf8, 0x94, 0x07,
];
const INDEX: u32 = 0x5566_7788;
/// The counters end 2^13 before they would wrap (protocol.md 7.5).
const LAST_COUNTER: u64 = u64::MAX - (1 << 13);

/// Whether packets may carry a partial checksum.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Partial {
    Agreed,
    NotAgreed,
}

/// One peer's epoch from both ends, and the router between it and the TUN device.
pub(super) struct Epoch {
    sealer: Sealer,
    receiver: Receiver,
    router: Router,
}

impl Epoch {
    pub(super) fn new(partial: Partial) -> Self {
        let cipher = Cipher::ChaCha20Poly1305;
        let rotation = Duration::from_secs(300);
        let negotiated = Negotiated {
            mtu: MTU,
            rotation,
            padding: PaddingMode::Multiple16,
            cipher,
            partial_checksums: partial == Partial::Agreed,
        };
        let (key, limits) = (SecretKey32::new(KEY), Limits::standard(cipher, rotation));
        let index = ReceiverIndex::new(INDEX).expect("not zero");
        let state = || Arc::new(EpochState::new(EpochId(1)));
        let mut receiver = Receiver::default();
        receiver.install(SLOT, Opener::new(&key, index, &negotiated, limits, NOW, state()));
        let own = ["10.86.0.1", "fd63:7279:7072::1"].map(|address| address.parse().expect("an address"));
        let mut router = Router::new(own, ["192.0.2.1".parse().expect("an address")], []);
        let allowed = ["10.86.0.2/32", "fd63:7279:7072::2/128"].map(|prefix| prefix.parse().expect("a prefix"));
        router.add_peer(SLOT, &allowed).expect("one peer");
        let sealer = Sealer::new(&key, index, &negotiated, limits, NOW, state());
        Self { sealer, receiver, router }
    }

    pub(super) fn receive<'f>(&mut self, frame: &'f mut [u8], origin: Origin) -> Result<Received<'f>, DropReason> {
        self.receiver.receive(NOW, frame, origin, &mut Inward::new(&self.router))
    }
}

/// A frame from outside; the first byte says how it came.
pub(super) fn frame(bytes: &[u8]) -> Outcome {
    let Some((&way, frame)) = bytes.split_first() else { return Outcome::Refused };
    let origin = match way % 4 {
        0 => Origin::Stream(SLOT),
        1 => Origin::Stream(PeerSlot(8)),
        2 => Origin::Udp(outer(0)),
        _ => Origin::Udp(elsewhere()),
    };
    let mut epoch = Epoch::new(Partial::NotAgreed);
    epoch.receiver.set_trust(SLOT, Trust { endpoint: Some(outer(0)), proposed: None });
    let received = epoch.receive(&mut frame.to_vec(), origin).map(drop);
    let authentic = is_authentic(frame) && origin != Origin::Stream(PeerSlot(8));
    assert_eq!(received.is_ok(), authentic, "another cipher library judges otherwise");
    let again = epoch.receive(&mut frame.to_vec(), origin).map(drop);
    if received.is_ok() {
        assert_eq!(again, Err(DropReason::FrameReplayed));
    }
    received.into()
}

/// Whether a frame is one that this epoch's peer sealed, said by another library and without the product's code.
fn is_authentic(frame: &[u8]) -> bool {
    let Some((header, sealed)) = frame.split_first_chunk::<16>() else { return false };
    let [0x10..=0x12, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, counter @ ..] = *header else { return false };
    let counter = u64::from_le_bytes(counter);
    counter <= LAST_COUNTER && frame.len() <= 65_535 && open(&KEY, counter, header, sealed).is_some()
}

/// An inner packet of a peer that keeps to no rule; the first byte says whether it calls its checksum partial.
pub(super) fn inner_ip(bytes: &[u8]) -> Outcome {
    let Some((&flags, packet)) = bytes.split_first() else { return Outcome::Refused };
    let checksum = if flags & 1 == 0 { Checksum::Complete } else { Checksum::Partial };
    let mut epoch = Epoch::new(Partial::Agreed);
    let mut batch = FrameBatch::new(4096);
    let sealed = epoch.sealer.seal_batch(NOW, &[Outgoing { packet, checksum }], &mut batch, &DropCounters::default());
    let Some(frame) = batch.frames().next() else {
        assert!(packet.is_empty() || packet.len() > MTU.into(), "{sealed:?}");
        return Outcome::Refused;
    };
    let mut frame = frame.to_vec();
    let received = epoch.receive(&mut frame, Origin::Udp(outer(0))).expect("sealed a moment ago");
    let outcome = match received.content {
        Ok(Content::Packet(packet, checksum)) => {
            delivered(packet, checksum);
            Outcome::Accepted
        }
        Ok(Content::Empty) => Outcome::Accepted,
        Ok(Content::Probe(_) | Content::ProbeAck(_)) => unreachable!("it was sealed as data"),
        Err(_) => Outcome::Refused,
    };
    let _ = epoch.router.outbound(packet);
    outcome
}

/// What must hold of everything that reaches the TUN device.
fn delivered(packet: &mut [u8], checksum: Checksum) {
    assert_eq!(true_length(packet), Ok(packet.len()));
    let source = if packet[0] >> 4 == 4 { packet[12..16].to_vec() } else { packet[8..24].to_vec() };
    let peers: [&[u8]; 2] = [&[10, 86, 0, 2], &[0xfd, 0x63, 0x72, 0x79, 0x70, 0x72, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]];
    assert!(peers.contains(&source.as_slice()), "a source that is not the peer's");
    if checksum == Checksum::Partial {
        complete_checksum(packet).expect("a partial checksum that was accepted can be completed");
        assert!(checksum_is_right(packet), "completed to a wrong checksum");
    }
}

/// Whether the ones' complement sum over pseudo-header and segment is all ones (RFC 1071).
fn checksum_is_right(packet: &[u8]) -> bool {
    let (addresses, protocol, segment) = match packet[0] >> 4 {
        4 => (&packet[12..20], packet[9], &packet[usize::from(packet[0] & 15) * 4..]),
        _ => (&packet[8..40], packet[6], &packet[40..]),
    };
    let words = |bytes: &[u8]| -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let mut sum = words(addresses) + words(segment) + u64::from(protocol) + segment.len() as u64;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}
