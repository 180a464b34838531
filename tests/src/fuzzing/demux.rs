//! Whatever anybody sends to the UDP port, merged by the kernel into runs.

use node::demux::{Kind, datagrams, kind};
use node::drops::DropReason;
use node::receiver::Origin;

use super::Outcome;
use super::frames::{Epoch, Partial};
use crate::sim::addressing::outer;

/// A run of datagrams; the first two bytes say where the kernel cuts it. Frames are opened in place, among the others.
pub(super) fn demux(bytes: &[u8]) -> Outcome {
    let Some((stride, run)) = bytes.split_first_chunk::<2>() else { return Outcome::Refused };
    let stride = usize::from(u16::from_le_bytes(*stride)).max(1);
    let mut buffers = run.to_vec();
    let mut epoch = Epoch::new(Partial::NotAgreed);
    let (mut end, mut outcome) = (0, Outcome::Refused);
    for at in datagrams(0..run.len(), stride) {
        assert_eq!(at.start, end, "a gap");
        assert!(at.len() == stride || at.end == run.len(), "cut short");
        end = at.end;
        // Its neighbours were opened, or were let alone.
        assert_eq!(buffers[at.clone()], run[at.clone()], "a neighbour was written to");
        let datagram = &run[at.clone()];
        let sorted = kind(datagram);
        assert_eq!(sorted, expected(datagram));
        match sorted {
            Ok(Kind::Frame) => {
                if epoch.receive(&mut buffers[at], Origin::Udp(outer(0))).is_ok() {
                    outcome = Outcome::Accepted;
                }
            }
            Ok(Kind::Quic) => outcome = Outcome::Accepted,
            Err(_) => {}
        }
    }
    assert_eq!(end, run.len(), "bytes of no datagram");
    outcome
}

/// The same said by the bits of RFC 9000 (17.2, 17.3) and RFC 8999, and by protocol.md 7.1.
fn expected(datagram: &[u8]) -> Result<Kind, DropReason> {
    let Some(first) = datagram.first() else { return Err(DropReason::FrameLength) };
    let (long, fixed) = (first & 0x80 != 0, first & 0x40 != 0);
    if !long && !fixed {
        return match first {
            0x10..=0x12 => Ok(Kind::Frame),
            0x13 => Err(DropReason::FramePunch),
            _ => Err(DropReason::FrameType),
        };
    }
    if !long {
        return Ok(Kind::Quic);
    }
    let version = datagram.get(1..5).map(|version| version.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    let known = version.is_some_and(|version| version <= 1);
    let whole = datagram.get(5).is_some_and(|id| usize::from(*id) >= 8);
    if known && whole { Ok(Kind::Quic) } else { Err(DropReason::QuicVersion) }
}
