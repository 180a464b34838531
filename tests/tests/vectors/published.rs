//! `docs/vectors/cryprq-v1.json`: made by the product, checked against the second writing of the protocol in Rust, and
//! recomputed by the third one in Python, which shares no code with either.

use std::sync::Arc;
use std::time::Duration;

use cryprq_tests::exchange::{Exchange, Message, Party, exchange};
use cryprq_tests::reference::{self, Inputs, Values};
use node::drops::DropCounters;
use node::epoch::{EpochId, EpochState, Limits, Outgoing, Sealer};
use node::frame::FrameBatch;
use node::handshake::EpochSecrets;
use node::packet::Checksum;
use node::time::Time;
use serde_json::{Value, json};

use crate::cases::{Case, LATER_VERSION, Malformed, Negative, UNKNOWN_TLV, cases, malformed};
use crate::{candidates, docs, fresh, hex, independently, pairing, unhex};

/// With `CRYPRQ_WRITE_VECTORS=1` it writes the file instead.
#[test]
fn the_published_vectors_are_what_the_product_makes() {
    let chain = reference::run(&fresh()).keys[4];
    let mut all: Vec<Value> = cases(chain).iter().map(case_entry).collect();
    all.extend(malformed().iter().map(malformed_entry));
    all.push(json!({ "name": "pairing", "pairing": pairing::entries() }));
    all.push(json!({ "name": "candidates", "candidates": candidates::entries() }));
    let mut made = serde_json::to_string_pretty(&all).expect("JSON");
    made.push('\n');
    let file = docs().join("vectors/cryprq-v1.json");
    if std::env::var_os("CRYPRQ_WRITE_VECTORS").is_some() {
        std::fs::write(&file, &made).expect("docs/vectors can be written");
    }
    let published = std::fs::read_to_string(&file).expect("docs/vectors/cryprq-v1.json is there");
    assert!(published == made, "the product makes other values: see CRYPRQ_WRITE_VECTORS, and protocol.md on why not");
}

#[test]
fn an_independent_implementation_recomputes_every_value() {
    let Some(count) = independently("check_vectors.py", &[docs()]) else { return };
    assert!(count > 300, "it looked at too little: {count} values");
}

fn inputs_entry(name: &str, inputs: &Inputs) -> Value {
    json!({
        "name": name, "suite": 1,
        "initiator_seed": hex(&inputs.initiator_seed), "responder_seed": hex(&inputs.responder_seed),
        "sign_seed_i": hex(&inputs.sign_seed_i), "sign_seed_r": hex(&inputs.sign_seed_r),
        "psk": inputs.psk.map(|psk| hex(&psk)), "chain_in": inputs.chain_in.map(|chain| hex(&chain)),
        "ei": hex(&inputs.ei), "er": hex(&inputs.er),
        "kem_seed": hex(&inputs.kem_seed), "kem_m": hex(&inputs.kem_m), "ek_prefix": hex(&inputs.ek_prefix),
        "idx_i": inputs.idx_i, "idx_r": inputs.idx_r, "max_version_i": inputs.max_version_i,
        "params_i": hex(&inputs.params_i), "params_r": hex(&inputs.params_r),
        "tlv_i": hex(&inputs.tlv_i), "tlv_r": hex(&inputs.tlv_r),
    })
}

fn case_entry(case: &Case) -> Value {
    let values = reference::run(&case.inputs);
    let both = Party::both(&case.inputs, [&case.tlvs[0], &case.tlvs[1]]);
    let mut frames = Vec::new();
    if [LATER_VERSION, UNKNOWN_TLV].contains(&case.name) {
        answer(case.name, &values, &both[1]);
    } else {
        let done = exchange(&both, |_, _| {}).expect("a good case");
        agree(case.name, &values, &done);
        for (direction, side) in [("i2r", &done.initiator), ("r2i", &done.responder)] {
            frames.extend(seal(case, direction, side));
        }
        case.negative.iter().for_each(|negative| refuse(case.name, &both, negative));
    }
    let mut entry = inputs_entry(case.name, &case.inputs);
    for (name, message) in ["m1", "m2", "m3", "m4"].iter().zip(&values.messages) {
        entry[name] = hex(message).into();
    }
    for (name, value) in [
        ("ss_kem", values.ss_kem),
        ("th", values.th),
        ("noise_psk", values.noise_psk),
        ("h", values.h),
        ("prk", values.prk),
        ("hs_i2r", values.keys[0]),
        ("hs_r2i", values.keys[1]),
        ("data_i2r", values.keys[2]),
        ("data_r2i", values.keys[3]),
        ("chain_out", values.keys[4]),
        ("exporter", values.keys[5]),
    ] {
        entry[name] = hex(&value).into();
    }
    entry["chain_id"] = hex(&values.chain_id).into();
    entry["frames"] = frames.into();
    let negative = |n: &Negative| json!({ "message": format!("m{}", n.message), "offset": n.offset, "mask": n.mask, "expect": n.expect });
    entry["negative"] = case.negative.iter().map(negative).collect();
    entry
}

/// What the product did is what the reference says.
fn agree(name: &str, values: &Values, done: &Exchange) {
    assert_eq!(done.messages, values.messages, "{name}");
    for (side, send, receive) in [(&done.initiator, 2, 3), (&done.responder, 3, 2)] {
        let keys = [side.send.expose(), side.receive.expose(), side.chain.expose(), &side.session];
        assert_eq!(keys, [&values.keys[send], &values.keys[receive], &values.keys[4], &values.h], "{name}");
    }
}

/// The product as R of an initiator that only the reference can be.
fn answer(name: &str, values: &Values, responder: &Party) {
    let [m1, m2, m3, m4] = &values.messages;
    let (pending, answer) = responder.read_m1(m1).expect("a good M1");
    assert_eq!(&answer, m2, "{name}");
    let (_, confirmation) = pending.read_m3(m3).expect("a good M3");
    assert_eq!(&confirmation, m4, "{name}");
}

fn refuse(name: &str, both: &[Party; 2], negative: &Negative) {
    let messages = [Message::M1, Message::M2, Message::M3, Message::M4];
    let fault = exchange(both, |message, bytes| {
        if message == messages[negative.message - 1] {
            bytes.iter_mut().skip(negative.offset).zip(unhex(negative.mask)).for_each(|(byte, mask)| *byte ^= mask);
        }
    });
    let found = fault.map(drop).expect_err("a changed message is refused").name();
    assert_eq!(found, negative.expect, "{name}: m{} at {}", negative.message, negative.offset);
}

fn seal(case: &Case, direction: &str, keys: &EpochSecrets) -> Vec<Value> {
    let limits = Limits::standard(keys.negotiated.cipher, Duration::from_secs(300));
    let state = Arc::new(EpochState::new(EpochId(0)));
    let sealer = Sealer::new(&keys.send, keys.remote_index, &keys.negotiated, limits, Time::ZERO, state);
    let mut out = FrameBatch::new(4096);
    let mut entries = Vec::new();
    for (counter, &size) in case.frames.iter().enumerate() {
        out.clear();
        let packet = packet(size);
        if packet.is_empty() {
            sealer.seal_empty(Time::ZERO, &mut out).expect("room");
        } else {
            let checksum = if case.partial { Checksum::Partial } else { Checksum::Complete };
            let outgoing = [Outgoing { packet: &packet, checksum }];
            sealer.seal_batch(Time::ZERO, &outgoing, &mut out, &DropCounters::default()).expect("a good key");
        }
        let wire = out.frames().next().expect("one frame");
        entries.push(json!({
            "dir": direction, "aead": keys.negotiated.cipher.name(), "counter": counter, "packet": hex(&packet),
            "padding": keys.negotiated.padding as u8, "csum_partial": case.partial, "wire": hex(wire),
        }));
    }
    entries
}

/// The beginning of an IPv4 packet that says its own length, then bytes that count.
fn packet(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let [high, low] = u16::try_from(size).expect("below the MTU").to_be_bytes();
    bytes.iter_mut().zip([0x45, 0, high, low]).for_each(|(byte, header)| *byte = header);
    bytes
}

fn malformed_entry(case: &Malformed) -> Value {
    let values = reference::run(&case.inputs);
    let [initiator, responder] = Party::both(&fresh(), [&[], &[]]);
    let fault = if case.last == 0 {
        responder.read_m1(&values.messages[0]).map(drop).expect_err("malformed").error
    } else {
        let (waiting, m1) = initiator.start().expect("a good start");
        assert_eq!(m1, values.messages[0], "{}", case.name);
        initiator.read_m2(waiting, &values.messages[1]).map(drop).expect_err("malformed")
    };
    assert_eq!(fault.name(), case.expect, "{} in m{}", case.name, case.last + 1);
    let mut entry = inputs_entry(&format!("malformed m{}: {}", case.last + 1, case.name), &case.inputs);
    for (name, message) in ["m1", "m2"].iter().zip(&values.messages).take(case.last + 1) {
        entry[name] = hex(message).into();
    }
    entry["expect"] = case.expect.into();
    entry
}
