//! What strangers get, and what they cost.

use std::net::IpAddr;
use std::time::Duration;

use net::quic::Limits;
use node::drops::DropReason;

use crate::flights::{Source, first_flights};
use crate::support::{Host, LOCALHOST, WIDE, meet, socket, until};

const NEVER: Duration = Duration::from_secs(1 << 30);

/// A packet that asks a client to prove its address: a long header of type 3.
fn is_retry(packet: &[u8]) -> bool {
    packet[0] & 0xf0 == 0xf0
}

#[tokio::test]
async fn under_load_less_goes_out_than_came_in_until_an_address_is_proven() {
    const OPEN: usize = 3;
    let mut host = Host::with(1, Limits { unproven: OPEN, ..WIDE });
    let address = host.listen(LOCALHOST).await;
    let flights = first_flights(40).await;
    // Three handshakes that their clients never go on with.
    let mut slow = Vec::new();
    for flight in &flights[..OPEN] {
        let mut source = Source::new("127.0.0.1".parse().unwrap());
        flight.iter().for_each(|packet| source.send(socket(&address), packet));
        slow.push(source);
    }
    for source in &slow {
        until("the handshake is open", || !source.answers().is_empty()).await;
    }
    // Everybody else, each from an address of its own, is asked to prove it: all at once, before the slow ones are given up.
    let others: Vec<_> = flights[OPEN..]
        .iter()
        .zip(1..)
        .map(|(flight, number)| {
            let mut source = Source::new(IpAddr::from([127, 9, 9, number]));
            flight.iter().for_each(|packet| source.send(socket(&address), packet));
            source
        })
        .collect();
    let (mut sent, mut received) = (0, 0);
    for (number, source) in others.iter().enumerate() {
        let mut answers = Vec::new();
        until("an answer", || {
            answers.extend(source.answers());
            !answers.is_empty()
        })
        .await;
        assert!(answers.iter().all(|answer| is_retry(answer)), "source {number}");
        sent += source.sent;
        received += answers.iter().map(Vec::len).sum::<usize>();
    }
    assert!(received * 5 < sent, "{received} bytes went out for {sent} that came in");
    // Who receives the question goes on.
    meet(&Host::new(2), &mut host, &address).await;
}

/// The first handshakes are answered before their address is proven: by three times what came, as QUIC allows, and by no
/// more than the datagram with which quinn goes past that.
#[tokio::test]
async fn in_a_flood_of_forged_addresses_less_goes_out_than_came_in() {
    const FLOOD: u8 = 64;
    const DATAGRAM: usize = 1200;
    let limits = Limits::default();
    let mut host = Host::with(1, limits);
    let address = host.listen(LOCALHOST).await;
    let flights = first_flights(FLOOD.into()).await;
    let mut sources: Vec<_> = (1..=FLOOD).map(|number| Source::new(IpAddr::from([127, 9, 9, number]))).collect();
    for (flight, source) in flights.iter().zip(&mut sources) {
        flight.iter().for_each(|packet| source.send(socket(&address), packet));
    }
    // Whatever is sent once more has been sent when the handshakes are given up.
    for _ in 0..limits.unproven {
        assert!(host.incoming().await.result.is_err(), "nobody goes on");
    }
    let (mut sent, mut received, mut answered) = (0, 0, 0);
    for (number, source) in sources.iter().enumerate() {
        let answers = source.answers();
        let bytes: usize = answers.iter().map(Vec::len).sum();
        assert!(bytes > 0, "source {number} is answered");
        let lengths = || answers.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(bytes <= 3 * source.sent + DATAGRAM, "{:?} to source {number}, which sent {}", lengths(), source.sent);
        answered += usize::from(!answers.iter().all(|answer| is_retry(answer)));
        (sent, received) = (sent + source.sent, received + bytes);
    }
    assert_eq!(answered, limits.unproven);
    assert!(received < sent, "{received} bytes went out for {sent} that came in");
    assert!(host.nobody_came());
}

#[tokio::test]
async fn a_source_that_tries_too_often_is_not_heard_for_a_while() {
    let limits = Limits { unproven: 0, open: 64, burst: 2, every: NEVER };
    let (a, mut b) = (Host::new(1), Host::with(2, limits));
    let address = b.listen(LOCALHOST).await;
    meet(&a, &mut b, &address).await;
    meet(&a, &mut b, &address).await;
    assert_eq!(b.drops.get(DropReason::QuicLimited), 0);
    let error = a.dial(&address).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "silence, and not {error}");
    assert!(b.nobody_came() && b.drops.get(DropReason::QuicLimited) > 0);
}

#[tokio::test]
async fn a_host_that_cannot_keep_up_ignores_and_counts() {
    let (a, mut b) = (Host::new(1), Host::with(2, Limits { unproven: 0, open: 0, ..WIDE }));
    let address = b.listen(LOCALHOST).await;
    let error = a.dial(&address).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "silence, and not {error}");
    assert!(b.nobody_came() && b.drops.get(DropReason::QuicLimited) > 0);
}

/// Datagrams that are none of anybody's.
fn garbage() -> Vec<Vec<u8>> {
    let noise = |first: u8, length: usize| -> Vec<u8> {
        let mut state = u64::from(first) * 1_000_003 + length as u64;
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        bytes
    };
    let mut datagrams = Vec::new();
    for first in 0..=u8::MAX {
        datagrams.extend([1, 2, 7, 20, 21, 22, 64, 400, 1200, 1472, 3000].map(|length| noise(first, length)));
    }
    // What looks like QUIC for a while: each kind of long header, of version 1, of another, of none.
    for kind in [0xc0, 0xd0, 0xe0, 0xf0] {
        for version in [[0, 0, 0, 1], [0x6b, 0x33, 0x43, 0xcf], [0x1a, 0x2a, 0x3a, 0x4a], [0; 4]] {
            for id in [0, 4, 7, 8, 12, 20, 21, 255] {
                for length in [30, 1200, 1400] {
                    let mut datagram = noise(kind, length);
                    datagram[1..5].copy_from_slice(&version);
                    datagram[5] = id;
                    datagrams.push(datagram);
                }
            }
        }
    }
    datagrams.push(Vec::new());
    datagrams
}

#[tokio::test]
async fn nothing_is_sent_in_answer_to_garbage() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = b.listen(LOCALHOST).await;
    let mut source = Source::new("127.0.0.1".parse().unwrap());
    for (number, datagram) in garbage().iter().enumerate() {
        source.send(socket(&address), datagram);
        if number % 64 == 0 {
            // In portions, so that none is lost unseen; behind each comes a proper handshake.
            meet(&a, &mut b, &address).await;
        }
    }
    meet(&a, &mut b, &address).await;
    assert_eq!(source.answers(), Vec::<Vec<u8>>::new());
    let counted: Vec<_> = b.drops.snapshot().into_iter().map(|(reason, _)| reason).collect();
    for reason in [
        DropReason::FrameLength,
        DropReason::FrameType,
        DropReason::FramePunch,
        DropReason::FrameUncarried,
        DropReason::QuicVersion,
        DropReason::QuicLength,
    ] {
        assert!(counted.contains(&reason), "{reason:?} is not among {counted:?}");
    }
}

#[tokio::test]
async fn a_forged_first_packet_is_counted_and_not_answered() {
    let mut b = Host::new(2);
    let address = b.listen(LOCALHOST).await;
    let mut source = Source::new("127.0.0.1".parse().unwrap());
    let mut flight = first_flights(1).await.remove(0);
    for packet in &mut flight {
        // Inside the encrypted part.
        *packet.last_mut().unwrap() ^= 1;
        source.send(socket(&address), packet);
    }
    until("it is seen", || b.drops.get(DropReason::QuicHandshake) > 0).await;
    meet(&Host::new(1), &mut b, &address).await;
    assert_eq!(source.answers(), Vec::<Vec<u8>>::new());
}
