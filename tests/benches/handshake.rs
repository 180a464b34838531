//! Both sides of one handshake, M1 to M4, on one core. The bar of the project is 0.25 ms.

use std::hint::black_box;
use std::time::Instant;

use cryprq_tests::exchange::identity;
use cryprq_tests::measure::{by_turns, report};
use cryprq_tests::seams::SystemRandom;
use node::crypto::{AwsLcKem, Identity};
use node::handshake::{
    ChainPolicy, EpochSecrets, HandshakeContext, Initiator, PaddingMode, ParamLimits, Params, ReceiverIndex, Responder,
};

const ROUNDS: usize = 4000;

fn context<'a>(
    local: &'a Identity,
    remote: &Identity,
    limits: &'a ParamLimits,
    random: &'a mut SystemRandom,
) -> HandshakeContext<'a> {
    HandshakeContext {
        local,
        remote: remote.public(),
        psk: None,
        params: Params {
            mtu: 1420,
            rotation_seconds: 300,
            padding: PaddingMode::Multiple16,
            capabilities: Default::default(),
        },
        tlvs: &[],
        limits,
        kem: &AwsLcKem,
        random,
    }
}

fn both_sides(identities: &[Identity; 2]) -> [EpochSecrets; 2] {
    let [alice, bob] = identities;
    let (limits, mut random_i, mut random_r) = (ParamLimits::default(), SystemRandom, SystemRandom);
    let mut i = context(alice, bob, &limits, &mut random_i);
    let mut r = context(bob, alice, &limits, &mut random_r);
    let index = ReceiverIndex::new(1).expect("not zero");
    let (waiting, m1) = Initiator::start(&mut i, None, index).expect("M1");
    let (pending, m2) = Responder::read_m1(&mut r, &[], ChainPolicy::Optional, index, &m1).expect("M2");
    let (await_m4, initiator, m3) = waiting.read_m2(&mut i, &m2).expect("M3");
    let (responder, m4) = pending.read_m3(&m3).expect("M4");
    await_m4.read_m4(&m4).expect("confirmed");
    [initiator, responder]
}

fn main() {
    let identities = [identity([1; 32]), identity([2; 32])];
    let [took] = by_turns(
        ROUNDS,
        [&mut || {
            let start = Instant::now();
            black_box(both_sides(&identities));
            start.elapsed()
        }],
    );
    report("a handshake, both sides", took / 1e6, 0.25, "ms");
}
