//! Whatever is changed on its way ends the handshake on one side at least, and never gives keys to both.

use cryprq_tests::exchange::{Message, Party, exchange};
use cryprq_tests::reference;
use node::handshake::HandshakeError;

use crate::{chained, fresh, pat};

#[test]
fn every_byte_flipped_aborts() {
    let mut tried = 0;
    for inputs in [fresh(), chained(pat(0x33))] {
        let both = Party::both(&inputs, [&[], &[]]);
        let lengths = exchange(&both, |_, _| {}).expect("unchanged messages do").messages.map(|message| message.len());
        for (message, length) in [Message::M1, Message::M2, Message::M3, Message::M4].into_iter().zip(lengths) {
            for at in 0..length {
                let flipped = exchange(&both, |on_its_way, bytes| {
                    if on_its_way == message {
                        bytes[at] ^= 1 << (at % 8);
                    }
                });
                assert!(flipped.is_err(), "byte {at} of {message:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 2 * (1272 + 1240 + 88 + 24));
}

#[test]
fn every_other_length_aborts() {
    let both = Party::both(&fresh(), [&[], &[]]);
    for message in [Message::M1, Message::M2, Message::M3, Message::M4] {
        let change = |to: &dyn Fn(&mut Vec<u8>)| {
            exchange(&both, |on_its_way, bytes| {
                if on_its_way == message {
                    to(bytes);
                }
            })
        };
        for keep in 0..32 {
            assert!(change(&|bytes| bytes.truncate(keep.min(bytes.len() - 1))).is_err(), "{keep} of {message:?}");
        }
        assert!(change(&|bytes| bytes.truncate(bytes.len() - 1)).is_err(), "{message:?} one short");
        assert!(change(&|bytes| bytes.push(0)).is_err(), "{message:?} one long");
        assert!(change(&|bytes| bytes.resize(4096, 0)).is_err(), "{message:?} at the carrier's maximum");
    }
}

/// The prologue is M1's header as received. A peer that also speaks a later version says so there, and is answered.
#[test]
fn a_peer_that_speaks_a_later_version_too_is_answered() {
    let mut inputs = fresh();
    inputs.max_version_i = 2;
    let expected = reference::run(&inputs);
    let [_, responder] = Party::both(&inputs, [&[], &[]]);
    let (pending, m2) = responder.read_m1(&expected.messages[0]).expect("version 1 is on the wire");
    assert_eq!(m2, expected.messages[1]);
    let (_, m4) = pending.read_m3(&expected.messages[2]).expect("the same transcript on both sides");
    assert_eq!(m4, expected.messages[3]);
}

#[test]
fn another_psk_another_chain_key_or_another_peer_ends_it() {
    let [initiator, responder] = Party::both(&fresh(), [&[], &[]]);
    let fault = |both: [Party; 2]| exchange(&both, |_, _| {}).map(drop).expect_err("they differ").name();
    let other_psk = |psk| Party::both(&reference::Inputs { psk, ..fresh() }, [&[], &[]]);
    let [other, _] = other_psk(Some(pat(0x78)));
    assert_eq!(fault([other, responder]), "decrypt");
    let [_, without] = other_psk(None);
    assert_eq!(fault([initiator, without]), "psk_mismatch");

    let [_, responder] = Party::both(&chained(pat(1)), [&[], &[]]);
    let [initiator, _] = Party::both(&chained(pat(2)), [&[], &[]]);
    assert_eq!(fault([initiator, responder]), HandshakeError::ChainUnknown.name());

    let [initiator, responder] = Party::both(&fresh(), [&[], &[]]);
    let third = cryprq_tests::exchange::identity(pat(0x99)).public();
    assert_eq!(fault([initiator, responder.expecting(third)]), "decrypt");
}
