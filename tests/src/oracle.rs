//! All keys of a simulated run, computed by the reference from what the tunnels drew.

use std::collections::BTreeMap;

use node::time::Time;

use crate::reference::{self, Inputs, Values};
use crate::sim::World;
use crate::sim::ledger::Frame;
use crate::sim::seeded::Seed64;

/// A handshake that got as far as M2.
pub struct Known {
    /// Who sent M1.
    pub initiator: usize,
    /// Who answered.
    pub responder: usize,
    /// When M2 left.
    pub at: Time,
    /// What went in.
    pub inputs: Inputs,
    /// What came out.
    pub values: Values,
}

/// Every handshake of the world's transcript, in the order of the M2s.
///
/// # Panics
/// When the reference makes other messages than the tunnels: that of the one is not the protocol of the other.
pub fn handshakes(world: &World) -> Vec<Known> {
    let transcript = world.transcript.as_deref().unwrap_or_default();
    let mut chains: BTreeMap<Vec<u8>, [u8; 32]> = BTreeMap::new();
    let mut known = Vec::new();
    for (at, m2) in transcript.iter().enumerate().filter(|(_, message)| message.bytes[0] == 2) {
        let m1 = transcript[..at].iter().rev().find(|message| {
            let [index, echo] = [&message.bytes[4..8], &m2.bytes[8..12]];
            message.bytes[0] == 1 && (message.from, message.to) == (m2.to, m2.from) && index == echo
        });
        let m1 = m1.expect("M2 answers an M1");
        let (initiator, responder) = (m1.from, m1.to);
        let [ours, theirs] = [initiator, responder].map(|host| world.host(host));
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let Seed64(kem_seed) = m1.drawn.kem_seed;
        let inputs = Inputs {
            initiator_seed: ours.seed,
            responder_seed: theirs.seed,
            psk: ours.psk(responder),
            chain_in: chains.get(&m1.bytes[16..32]).copied(),
            ei: m1.drawn.ephemeral,
            er: m2.drawn.ephemeral,
            kem_seed,
            kem_m: m2.drawn.kem_message,
            idx_i: word(&m1.bytes),
            idx_r: word(&m2.bytes),
            params_i: ours.setup.params().to_bytes(),
            params_r: theirs.setup.params().to_bytes(),
            tlv_i: Vec::new(),
            tlv_r: Vec::new(),
            max_version_i: 1,
            ek_prefix: Vec::new(),
            sign_seed_i: ours.seed,
            sign_seed_r: theirs.seed,
        };
        let values = reference::run(&inputs);
        assert!(values.messages[0] == m1.bytes && values.messages[1] == m2.bytes, "the reference says other messages");
        chains.insert(values.chain_id.to_vec(), values.keys[4]);
        known.push(Known { initiator, responder, at: m2.at, inputs, values });
    }
    known
}

/// Whether `values` are of the handshake whose keys a frame is sealed with, and what it holds then.
pub fn open(known: &Known, values: &Values, frame: &Frame) -> Option<Vec<u8>> {
    let key = if (frame.to, frame.index) == (known.responder, known.inputs.idx_r) {
        &values.keys[2]
    } else if (frame.to, frame.index) == (known.initiator, known.inputs.idx_i) {
        &values.keys[3]
    } else {
        return None;
    };
    reference::open(key, frame.counter, &frame.wire[..16], &frame.wire[16..])
}
