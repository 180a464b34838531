//! Every value of Appendix B that the handshake and the frames make.

use std::sync::Arc;
use std::time::Duration;

use cryprq_tests::exchange::{Party, exchange};
use cryprq_tests::reference;
use node::crypto::sha256;
use node::drops::DropCounters;
use node::epoch::{EpochId, EpochState, Limits, Outgoing, Sealer};
use node::frame::FrameBatch;
use node::handshake::{Capabilities, EpochSecrets, ParamLimits, Params};
use node::packet::Checksum;
use node::time::Time;

use crate::{chained, fresh, hex, unhex};

#[test]
fn the_product_makes_the_values_of_fresh() {
    let both = Party::both(&fresh(), [&[], &[]]);
    let done = exchange(&both, |_, _| {}).unwrap();
    let [m1, m2, m3, m4] = &done.messages;
    assert_eq!([m1.len(), m2.len(), m3.len(), m4.len()], [1272, 1240, 88, 24]);
    assert_eq!(hex(&sha256(&[m1])), "35cbf8c0a9e0ba9fac6ac27c529ba3088141448befd4d186af784de19ad4b9a3");
    assert_eq!(hex(&sha256(&[m2])), "c982269857b71ece0104a705f65ce7b2d3497cb77862a07cb76147455ea00488");
    assert_eq!(
        hex(m3),
        "030100008877665580a28e6ba7a5ab270105090099d137e294a715e9b3888954a0e7f2deb53c1b181b751a62f0f0ca4e93757518\
         af397827a4323d5e4bdc725e1f6cbe9f62e460f387790c5824678fccd891e218097133f7"
    );
    assert_eq!(hex(m4), "0401000044332211076b1e2fb8699ec6562c37651c5fefbd");
    let keys = Keys {
        h: "d549fa0ce21de890a16c8733a835eed80c63c82a11a06f71ad93e45d16d532a3",
        i2r: "45ef1ad557189c8ce7ae7a40050769bdd695078bcf8af12b9267680d92f89407",
        r2i: "c3d9d04247ec2a379a45e4442ed1b1adb1cb0c83f9bbbf6e4ca34d20ed700034",
        chain: "dca8699233975832bfe8dc254fcbc788435f65a327cc404f5787629a9a4a8505",
    };
    keys.check(&done.initiator, &done.responder);
    let id = cryprq_tests::exchange::chain_key(*done.initiator.chain.expose()).id();
    assert_eq!(hex(&id.0), "d738f43718ddc38064dce19d72a2ef2b");
}

#[test]
fn the_product_makes_the_values_of_chained() {
    let chain = *exchange(&Party::both(&fresh(), [&[], &[]]), |_, _| {}).unwrap().responder.chain.expose();
    let done = exchange(&Party::both(&chained(chain), [&[], &[]]), |_, _| {}).unwrap();
    let [m1, m2, ..] = &done.messages;
    assert_eq!(hex(&sha256(&[m1])), "f9f44c3daa82cda2ca303fb8d29fb13e3e67c81b1a42ef35deaa975c27562481");
    assert_eq!(hex(&sha256(&[m2])), "4e93ede1ad196a65b875dce4adcccf8fd0d0028572495a42238c5c0a9e124fd1");
    let keys = Keys {
        h: "92fdfa8b5837515e5e80630b240ff3e6ec2a24cd96c3165fc0c0228ba1382123",
        i2r: "94583c814c94416489d7e2ab4cc37450cc7e9cb9aed2a53c390aec599dc53b2c",
        r2i: "383109e4df8e2a4e69399351bcafcf479f4ae2ccbb25eb921eff3d589f650d25",
        chain: "d18e8356eb4231405aa268d40ec01ae097860bc54d6856320890f161f2df97bd",
    };
    keys.check(&done.initiator, &done.responder);
    let id = cryprq_tests::exchange::chain_key(*done.responder.chain.expose()).id();
    assert_eq!(hex(&id.0), "c558c0d4e35f650778944ece4b608817");
}

/// What never leaves the product (ss, TH, psk, PRK), from the reference, whose messages are the product's.
#[test]
fn the_reference_makes_the_inner_values() {
    let first = reference::run(&fresh());
    let done = exchange(&Party::both(&fresh(), [&[], &[]]), |_, _| {}).unwrap();
    assert_eq!(first.messages, done.messages);
    assert_eq!(hex(&first.ss_kem), "f61c38d82696b2a68bbc4087c37b05ba4609c6e2cf6a904136b0264b933d50ca");
    assert_eq!(hex(&first.th), "e5e91f452b5351cc63ac65996a1f0350ff0221ed714fc186bc2bf05952e7a7be");
    assert_eq!(hex(&first.noise_psk), "6c6e9a4f5f68a4891052f019f8444aa1913b1673124b4de2bd41a7ee1b6cf30d");
    assert_eq!(hex(&first.prk), "6c9f9406ce864a0156f1db3f4bdc043f4baf0bddd8ce33c468820052474169c0");
    let second = reference::run(&chained(first.keys[4]));
    assert_eq!(hex(&second.noise_psk), "61ecf52cd87ce5369dbeb1d86e70d68007d8defa45eb7a3c2542bc6e04145337");
    assert_eq!(hex(&second.prk), "cfd95883c06daa5045bea532b168b5bfb396e44966cdd6268e1aba3913677cdb");
}

#[test]
fn the_frame_is_the_same_under_both_ciphers() {
    let packet = [unhex("45000028"), vec![0; 36]].concat();
    let chacha = "10000000887766550700000000000000c1e5d298e8f84cd7ec01c12a7ac6b7c97fb85c94a0c622cb4f10bb23e40fa268\
                  0f0a5aa38b8231644045051eca7ebd028f39679772f930d13d03d0970de3e444";
    let aes = "100000008877665507000000000000008b7d0a5c36602aa0fb164eb6153f3a06a5f26f6b7e4b8ecd3d3bfd3c47f363de\
               0fd9125f28047b241a44854c3f65db1742ce77300eb542122285b1ce9fc8f40f";
    for (aes_hardware, wire) in [(false, chacha), (true, aes)] {
        // The frame of Appendix B is sealed under the keys of "fresh", which has the bit clear, by either cipher.
        let keys = exchange(&Party::both(&fresh(), [&[], &[]]), |_, _| {}).unwrap().initiator;
        let params = Params::from_bytes(fresh().params_i, &ParamLimits::default()).unwrap();
        let params = Params { capabilities: Capabilities { aes_hardware, ..Capabilities::default() }, ..params };
        let negotiated = params.negotiate(params);
        let limits = Limits::standard(negotiated.cipher, Duration::from_secs(300));
        let state = Arc::new(EpochState::new(EpochId(0)));
        let sealer = Sealer::new(&keys.send, keys.remote_index, &negotiated, limits, Time::ZERO, state);
        let mut out = FrameBatch::new(4096);
        for _ in 0..7 {
            sealer.seal_empty(Time::ZERO, &mut out).unwrap();
        }
        out.clear();
        let outgoing = [Outgoing { packet: &packet, checksum: Checksum::Complete }];
        sealer.seal_batch(Time::ZERO, &outgoing, &mut out, &DropCounters::default()).unwrap();
        assert_eq!(out.frames().map(hex).collect::<Vec<_>>(), [wire]);
    }
}

struct Keys {
    h: &'static str,
    i2r: &'static str,
    r2i: &'static str,
    chain: &'static str,
}

impl Keys {
    fn check(&self, initiator: &EpochSecrets, responder: &EpochSecrets) {
        for side in [initiator, responder] {
            assert_eq!((hex(&side.session).as_str(), hex(side.chain.expose()).as_str()), (self.h, self.chain));
        }
        for (sender, receiver, key) in [(initiator, responder, self.i2r), (responder, initiator, self.r2i)] {
            assert_eq!((hex(sender.send.expose()).as_str(), hex(receiver.receive.expose()).as_str()), (key, key));
        }
    }
}
