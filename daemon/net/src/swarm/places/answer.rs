//! A relay's answer among what a stream brings. Pure: bytes and the time come in.

use std::io;

use libp2p::Multiaddr;
use prost::Message;

/// How multistream-select begins, and how it says no.
const HEADER: &[u8] = b"/multistream/1.0.0\n";
const NOT_AVAILABLE: &[u8] = b"na\n";
/// What relays are asked by.
const HOP: &[u8] = b"/libp2p/circuit/relay/0.2.0/hop\n";
/// The longest message that libp2p takes there.
const LONGEST: usize = 4096;
/// The longest length before one, in bytes.
const LENGTH: usize = 10;
/// A place is asked for again after three quarters of its time, but neither sooner nor later than if it were this, in
/// seconds: the relay's clock may be wrong, and so may ours.
const SOONEST: u64 = 40;
const LATEST: u64 = 24 * 3600;

/// What is known of a stream.
#[derive(Debug)]
pub(super) enum Answer {
    /// The other end has not agreed to a protocol yet. Holds the line that is incomplete.
    Line(Vec<u8>),
    /// It is a relay's answer. Holds what came of it.
    Message(Vec<u8>),
    /// Nothing of it concerns us, or nothing more.
    None,
}

/// `HopMessage` of the circuit relay protocol, version 2. What is not looked at stays bytes.
#[derive(Message)]
struct HopMessage {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    peer: Option<Vec<u8>>,
    #[prost(message, optional, tag = "3")]
    reservation: Option<Reservation>,
    #[prost(bytes = "vec", optional, tag = "4")]
    limit: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "5")]
    status: Option<i32>,
}

#[derive(Message)]
struct Reservation {
    #[prost(uint64, required, tag = "1")]
    expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addresses: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    voucher: Option<Vec<u8>>,
}

impl Answer {
    /// On a stream that we opened.
    pub(super) const fn awaited() -> Self {
        Self::Line(Vec::new())
    }

    /// Takes what came, and gives what is passed on: the same, but for a place's time, and for where it is: where we
    /// reached the relay, `remote`.
    ///
    /// # Errors
    /// When an answer cannot be read: then nobody else shall try.
    pub(super) fn take(&mut self, bytes: &[u8], unix_time: u64, remote: &Multiaddr) -> io::Result<Vec<u8>> {
        let mut passed = Vec::with_capacity(bytes.len());
        for (at, &byte) in bytes.iter().enumerate() {
            match self {
                Self::Line(line) => {
                    line.push(byte);
                    passed.push(byte);
                    *self = Self::after_line(std::mem::take(line));
                }
                Self::Message(message) => {
                    message.push(byte);
                    if let Some(tempered) = temper(message, unix_time, remote)? {
                        passed.extend(tempered);
                        *self = Self::None;
                    }
                }
                Self::None => {
                    passed.extend_from_slice(&bytes[at..]);
                    break;
                }
            }
        }
        Ok(passed)
    }

    /// What is known after the bytes of one line, which may be incomplete.
    fn after_line(line: Vec<u8>) -> Self {
        // The lines that matter are shorter than what one byte of length can say.
        let Some((&length, text)) = line.split_first() else { return Self::Line(line) };
        match text {
            _ if usize::from(length) > HOP.len() => Self::None,
            _ if text.len() < usize::from(length) => Self::Line(line),
            HEADER | NOT_AVAILABLE => Self::awaited(),
            HOP => Self::Message(Vec::new()),
            _ => Self::None,
        }
    }
}

/// The message to pass on, with its length, once all of it is there.
fn temper(bytes: &[u8], unix_time: u64, remote: &Multiaddr) -> io::Result<Option<Vec<u8>>> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the relay's answer {why}"));
    let mut rest = bytes;
    let length = match prost::decode_length_delimiter(&mut rest) {
        Ok(length) if length <= LONGEST => length,
        Ok(_) => return Err(refused("is too long")),
        Err(_) if bytes.len() < LENGTH && bytes.iter().all(|byte| byte & 0x80 != 0) => return Ok(None),
        Err(_) => return Err(refused("has no length")),
    };
    if rest.len() < length {
        return Ok(None);
    }
    let mut message = HopMessage::decode(rest).map_err(|_| refused("cannot be read"))?;
    let Some(reservation) = &mut message.reservation else { return Ok(Some(bytes.to_vec())) };
    let lasts = reservation.expire.saturating_sub(unix_time).clamp(SOONEST, LATEST);
    reservation.expire = unix_time.saturating_add(lasts);
    reservation.addresses.truncate(1);
    for address in &mut reservation.addresses {
        *address = remote.to_vec();
    }
    Ok(Some(message.encode_length_delimited_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const RELAY: &str = "/ip4/203.0.113.9/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn line(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    fn agreed(protocol: &[u8]) -> Vec<u8> {
        [line(HEADER), line(protocol)].concat()
    }

    fn granted(expire: u64, addresses: Vec<Vec<u8>>) -> HopMessage {
        let reservation = Some(Reservation { expire, addresses, voucher: Some(vec![7; 5]) });
        HopMessage { kind: 2, peer: None, reservation, limit: Some(vec![8, 60]), status: Some(100) }
    }

    /// What is passed on, cut into pieces of `size`; what is wrong with it otherwise.
    fn pass(bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
        let (mut answer, mut passed, remote) = (Answer::awaited(), Vec::new(), RELAY.parse().unwrap());
        for piece in bytes.chunks(size) {
            passed.extend(answer.take(piece, NOW, &remote).map_err(|error| error.to_string())?);
        }
        Ok(passed)
    }

    /// The place that comes out when this one is granted, however the bytes are cut.
    fn place(expire: u64, addresses: Vec<Vec<u8>>) -> Reservation {
        let before = agreed(HOP);
        let bytes = [before.clone(), granted(expire, addresses).encode_length_delimited_to_vec(), vec![9; 20]].concat();
        let whole = pass(&bytes, usize::MAX).unwrap();
        for size in [1, 2, 7, 33] {
            assert_eq!(pass(&bytes, size).unwrap(), whole, "{size}");
        }
        let message = whole.strip_prefix(&*before).unwrap().strip_suffix(&[9; 20]).unwrap();
        let message = HopMessage::decode_length_delimited(message).unwrap();
        assert_eq!((message.kind, message.status, message.limit), (2, Some(100), Some(vec![8, 60])));
        message.reservation.unwrap()
    }

    #[test]
    fn a_place_is_asked_for_again_neither_at_once_nor_never_whatever_its_time() {
        for (expire, kept) in [
            (NOW + 3600, NOW + 3600),
            (0, NOW + SOONEST),
            (NOW - 1, NOW + SOONEST),
            (NOW, NOW + SOONEST),
            (NOW + 3, NOW + SOONEST),
            (NOW + 365 * 24 * 3600, NOW + LATEST),
            (u64::MAX / 4 * 3, NOW + LATEST),
            (u64::MAX, NOW + LATEST),
        ] {
            assert_eq!(place(expire, vec![vec![4, 127, 0, 0, 1]]).expire, kept, "{expire}");
        }
    }

    #[test]
    fn a_place_is_where_the_relay_was_reached_wherever_it_says() {
        let remote: Multiaddr = RELAY.parse().unwrap();
        let claimed = vec![vec![4, 10, 86, 0, 1], vec![4, 127, 0, 0, 1], b"no address".to_vec()];
        assert_eq!(place(NOW, claimed).addresses, [remote.to_vec()]);
        assert_eq!(place(NOW, vec![vec![4, 1, 2, 3, 4]; 400]).addresses, [remote.to_vec()]);
        assert!(place(NOW, vec![]).addresses.is_empty(), "libp2p says what is wrong with that");
    }

    #[test]
    fn other_answers_and_other_protocols_pass_as_they_are() {
        let refusal = HopMessage { kind: 2, peer: None, reservation: None, limit: None, status: Some(200) };
        let refused = [agreed(HOP), refusal.encode_length_delimited_to_vec(), vec![0xff; 5000]].concat();
        // Whatever it says looks like an answer.
        let other = [agreed(b"/ipfs/ping/1.0.0\n"), granted(0, vec![]).encode_length_delimited_to_vec()].concat();
        let longer = [agreed(b"/libp2p/circuit/relay/0.2.0/hop/and/more/of/it\n"), vec![1, 2, 3]].concat();
        let garbage: Vec<u8> = (0..=255).rev().cycle().take(5000).collect();
        for bytes in [refused, other, longer, garbage] {
            for size in [1, 40, usize::MAX] {
                assert!(pass(&bytes, size).unwrap() == bytes);
            }
        }
    }

    #[test]
    fn a_relay_that_speaks_after_a_no_is_heard_all_the_same() {
        let granted = granted(u64::MAX, vec![vec![4, 1, 2, 3, 4]]).encode_length_delimited_to_vec();
        let lines = [line(HEADER), line(NOT_AVAILABLE), line(HEADER), line(HOP)].concat();
        let passed = pass(&[lines.clone(), granted].concat(), 3).unwrap();
        let message = HopMessage::decode_length_delimited(passed.strip_prefix(&*lines).unwrap()).unwrap();
        assert_eq!(message.reservation.unwrap().expire, NOW + LATEST);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_nobodys() {
        let mut twice = granted(u64::MAX, vec![]).encode_to_vec();
        twice.push(0x1b);
        let length = u8::try_from(twice.len()).unwrap();
        assert!(length < 128);
        let unreadable = [&[length], &*twice].concat();
        for (message, why) in [
            (&unreadable[..], "cannot be read"),
            (&[0x81, 0x20][..], "is too long"),
            (&[0xff; 10][..], "has no length"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..], "has no length"),
        ] {
            for size in [1, usize::MAX] {
                assert_eq!(pass(&[&agreed(HOP), message].concat(), size), Err(format!("the relay's answer {why}")));
            }
        }
    }
}
