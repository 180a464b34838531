//! What a thief of secrets gets (protocol.md 6.5): a chain key alone, an identity alone, both, and everything.

use std::time::Duration;

use cryprq_tests::impostor::Impostor;
use cryprq_tests::oracle::{self, Known};
use cryprq_tests::reference::{self, Inputs};
use cryprq_tests::sim::ledger::{Content, Frame};
use cryprq_tests::sim::{Action, Setup, World, ms, secs};
use node::handshake::{HandshakeError, RejectCode, reject_message};
use node::state::PeerState;
use node::time::Time;
use node::tunnel::{AttemptId, ChainRule, Input};

const PSK: [u8; 32] = [0x70; 32];
const ALICE: usize = 0;
const BOB: usize = 1;
/// Where the thief's own streams are numbered from.
const STREAM: AttemptId = AttemptId(1_000_001);
/// The index that the thief receives on.
const INDEX: u32 = 0x7468_6965;

/// A pair with traffic and a rotation behind it, that writes its handshakes down from the first one on.
fn pair(rule: ChainRule) -> World {
    let mut setup = Setup::pair(0x0074_6865_6674);
    setup.limits.burst = 100;
    for host in &mut setup.hosts {
        host.psk = Some(PSK);
        host.require_chain = rule;
    }
    let mut world = World::new(setup);
    world.transcript = Some(Vec::new());
    for (host, peer) in world.pairs() {
        world.input(host, peer, Input::AcceptChainReset);
    }
    world.run(secs(1));
    rotate(&mut world);
    world.assert_connected();
    world
}

/// Traffic, a rotation started by Alice, traffic.
fn rotate(world: &mut World) {
    talk(world);
    world.act(Action::Rotate(ALICE, BOB));
    talk(world);
}

fn talk(world: &mut World) {
    for _ in 0..10 {
        world.send_packets(ALICE, BOB, 1);
        world.send_packets(BOB, ALICE, 1);
        world.run(ms(50));
    }
}

/// The chain key that a host holds; its PSK lies beside it.
fn chain_key(world: &World, host: usize) -> [u8; 32] {
    let secrets = world.host(host).store.contents();
    *secrets.iter().find(|&&secret| secret != PSK).expect("a connected host holds a chain key")
}

fn frames_since(world: &World, since: Time) -> Vec<&Frame> {
    world.ledger().frames().map(|(_, frame)| frame).filter(|frame| frame.at >= since).collect()
}

/// How many frames these secrets open.
fn opened(world: &World, since: Time, with: impl Fn(&Known) -> Inputs) -> usize {
    let handshakes: Vec<(Known, reference::Values)> = oracle::handshakes(world)
        .into_iter()
        .map(|known| {
            let values = reference::run(&with(&known));
            (known, values)
        })
        .collect();
    let frames = frames_since(world, since);
    frames.iter().filter(|frame| handshakes.iter().any(|(k, v)| oracle::open(k, v, frame).is_some())).count()
}

#[test]
fn every_frame_of_a_run_opens_under_the_keys_of_the_reference() {
    let mut world = pair(ChainRule::Optional);
    for _ in 0..3 {
        rotate(&mut world);
        world.act(Action::Rotate(BOB, ALICE));
        talk(&mut world);
    }
    let handshakes = oracle::handshakes(&world);
    assert!(handshakes.len() >= 8, "{} handshakes", handshakes.len());
    for (_, frame) in world.ledger().frames() {
        let text = handshakes.iter().find_map(|known| oracle::open(known, &known.values, frame));
        let text = text.expect("some handshake has its key");
        match &frame.content {
            Content::Packet(packet, _) => assert_eq!(text[..packet.len()], packet[..]),
            Content::Empty => assert!(text.iter().all(|&byte| byte == 0)),
            Content::Probe(token) | Content::ProbeAck(token) => assert_eq!(text, token),
        }
    }
}

/// Everything that either host holds or ever drew, stolen at once, and every message heard before and after.
#[test]
fn whoever_listens_with_all_secrets_of_a_moment_opens_nothing_after_the_next_rotation() {
    let mut world = pair(ChainRule::Optional);
    talk(&mut world);
    let theft = world.now();
    let stolen = oracle::handshakes(&world).pop().expect("a handshake came before").inputs;
    world.act(Action::Rotate(ALICE, BOB));
    world.run(secs(1));
    let rotated = world.now();
    talk(&mut world);
    rotate(&mut world);
    let total = frames_since(&world, rotated).len();
    assert!(total > 40);
    let true_inputs = |known: &Known| known.inputs.clone();
    assert_eq!(opened(&world, rotated, true_inputs), total, "who has what was drawn since opens all");
    // The thief has identities, PSK and the chain key before the rotation, and follows all that is public.
    let ways: [fn(&Inputs, &Known) -> Inputs; 3] = [
        |old, known| Inputs {
            ei: old.ei,
            er: old.er,
            kem_seed: old.kem_seed,
            kem_m: old.kem_m,
            ..known.inputs.clone()
        },
        |_, known| Inputs { ei: [0; 32], kem_seed: [0; 64], ..known.inputs.clone() },
        |old, known| Inputs { er: old.er, kem_m: old.kem_m, ..known.inputs.clone() },
    ];
    for way in ways {
        let after = |known: &Known| if known.at < theft { known.inputs.clone() } else { way(&stolen, known) };
        assert_eq!(opened(&world, rotated, after), 0, "what was stolen opens what came later");
    }
    // Breaking only one of the two exchanges helps no more.
    let without_kem = |known: &Known| Inputs { kem_seed: [0; 64], ..known.inputs.clone() };
    let without_dh = |known: &Known| Inputs { ei: [1; 32], ..known.inputs.clone() };
    assert_eq!(opened(&world, rotated, without_kem) + opened(&world, rotated, without_dh), 0);
    assert_eq!(world.status(ALICE, BOB).state, PeerState::Connected);
}

/// A chain key without an identity: the exchange succeeds up to the signature, and leaves no trace.
#[test]
fn a_stolen_chain_key_alone_makes_nobody_a_peer() {
    let mut world = pair(ChainRule::Optional);
    talk(&mut world);
    let (session, before) = (world.session(BOB, ALICE), world.host(BOB).store.contents());
    // The reference signs for whom the test says, which the product's handshake does not.
    let last = oracle::handshakes(&world).pop().expect("a handshake came before");
    let forger = Inputs {
        initiator_seed: world.host(ALICE).seed,
        responder_seed: world.host(BOB).seed,
        chain_in: Some(chain_key(&world, ALICE)),
        ei: [0x65; 32],
        kem_seed: [0x6b; 64],
        idx_i: INDEX,
        params_i: world.host(ALICE).setup.params().to_bytes(),
        params_r: world.host(BOB).setup.params().to_bytes(),
        sign_seed_i: [0x99; 32],
        ..last.inputs
    };
    let m1 = reference::run(&forger).messages[0].clone();
    let answers = world.speak_as(ALICE, BOB, STREAM, m1);
    assert_eq!(answers[0][0], 2, "Bob answers: the chain key is the right one");
    let drawn = world.transcript.as_ref().and_then(|all| all.last()).expect("M2 was written down").drawn;
    let index = u32::from_le_bytes(answers[0][4..8].try_into().expect("four bytes"));
    let finished = reference::run(&Inputs { er: drawn.ephemeral, kem_m: drawn.kem_message, idx_r: index, ..forger });
    assert_eq!(finished.messages[1], answers[0], "the forger's view of the exchange is Bob's");
    let answers = world.speak_as(ALICE, BOB, STREAM, finished.messages[2].clone());
    assert!(answers.is_empty());
    let failures = world.status(BOB, ALICE).failures;
    assert!(failures.contains(&("signature", 1)), "{failures:?}");
    assert_eq!((world.session(BOB, ALICE), world.host(BOB).store.contents()), (session, before));
    world.run(secs(1));
    world.assert_connected();
}

fn rejected(code: RejectCode, answers: &[Vec<u8>]) {
    assert_eq!(answers, [reject_message(code)]);
}

/// An identity without the chain key cannot continue the chain. It can start another one, unless a chain is required;
/// and that start is visible.
#[test]
fn a_stolen_identity_alone_cannot_continue_the_chain_and_a_new_start_is_visible() {
    for rule in [ChainRule::Required, ChainRule::Optional] {
        let mut world = pair(rule);
        talk(&mut world);
        let mut guessing = Impostor::new(&world, ALICE, BOB).with_psk(PSK).with_chain([0x67; 32]);
        let (_, m1) = guessing.start(INDEX + 1);
        rejected(RejectCode::ChainUnknown, &world.speak_as(ALICE, BOB, STREAM, m1));

        let mut thief = Impostor::new(&world, ALICE, BOB).with_psk(PSK);
        let (state, m1) = thief.start(INDEX);
        let stream = AttemptId(STREAM.0 + 2);
        let answers = world.speak_as(ALICE, BOB, stream, m1);
        match rule {
            ChainRule::Required => {
                rejected(RejectCode::Policy, &answers);
                assert!(!world.saw_chain_loss(BOB, ALICE));
                talk(&mut world);
                world.assert_connected();
            }
            ChainRule::Optional => {
                let (.., m3) = thief.read_m2(state, &answers[0]).expect("a good M2");
                world.act(Action::Partition(ALICE, BOB, secs(20)));
                world.holds_key_as(ALICE, BOB, INDEX);
                assert_eq!(world.speak_as(ALICE, BOB, stream, m3)[0][0], 4, "he is in");
                assert!(world.saw_chain_loss(BOB, ALICE), "and Bob says so");
            }
        }
    }
}

/// A PSK keeps whoever stole only the identity out altogether.
#[test]
fn a_stolen_identity_does_not_get_past_a_psk() {
    let mut world = pair(ChainRule::Optional);
    let mut thief = Impostor::new(&world, ALICE, BOB);
    let (_, m1) = thief.start(INDEX);
    rejected(RejectCode::Policy, &world.speak_as(ALICE, BOB, STREAM, m1));
    let mut guessing = Impostor::new(&world, ALICE, BOB).with_psk([0x67; 32]);
    let (state, m1) = guessing.start(INDEX + 1);
    let answers = world.speak_as(ALICE, BOB, AttemptId(STREAM.0 + 2), m1);
    let failed = guessing.read_m2(state, &answers[0]).map(drop);
    assert_eq!(failed, Err(HandshakeError::Decrypt), "M2 is not for him");
}

/// Both, while the chain is where it was: the chain goes on with the thief, unseen. He is not healed away from.
#[test]
fn identity_and_chain_key_together_and_at_once_take_the_peers_place() {
    let mut world = pair(ChainRule::Required);
    talk(&mut world);
    let mut thief = Impostor::new(&world, ALICE, BOB).with_psk(PSK).with_chain(chain_key(&world, ALICE));
    world.act(Action::Partition(ALICE, BOB, secs(5)));
    let (state, m1) = thief.start(INDEX);
    let answers = world.speak_as(ALICE, BOB, STREAM, m1);
    let (await_m4, secrets, m3) = thief.read_m2(state, &answers[0]).expect("a good M2");
    world.holds_key_as(ALICE, BOB, INDEX);
    let answers = world.speak_as(ALICE, BOB, STREAM, m3);
    assert_eq!(await_m4.read_m4(&answers[0]), Ok(()));
    assert!(!world.saw_chain_loss(BOB, ALICE), "to Bob it is a rotation like any other");
    assert_eq!(world.session(BOB, ALICE).as_ref().map(|s| &s[..]), Some(&secrets.session[..8]));
    // And the next one after it: he knows the chain key of the epoch that he made.
    let mut thief = Impostor::new(&world, ALICE, BOB).with_psk(PSK).with_chain(*secrets.chain.expose());
    let (state, m1) = thief.start(INDEX + 1);
    let answers = world.speak_as(ALICE, BOB, AttemptId(STREAM.0 + 2), m1);
    assert!(thief.read_m2(state, &answers[0]).is_ok(), "he is not healed away from");
}

/// Both, but used only after the peers have rotated once more: the chain has moved on, and he is out.
#[test]
fn identity_and_chain_key_are_worth_nothing_once_the_chain_has_moved() {
    let mut world = pair(ChainRule::Required);
    talk(&mut world);
    let stolen = chain_key(&world, ALICE);
    rotate(&mut world);
    let mut thief = Impostor::new(&world, ALICE, BOB).with_psk(PSK).with_chain(stolen);
    let (_, m1) = thief.start(INDEX);
    rejected(RejectCode::ChainUnknown, &world.speak_as(ALICE, BOB, STREAM, m1));
    let mut unchained = Impostor::new(&world, ALICE, BOB).with_psk(PSK);
    let (_, m1) = unchained.start(INDEX + 1);
    rejected(RejectCode::Policy, &world.speak_as(ALICE, BOB, AttemptId(STREAM.0 + 2), m1));
    world.run(Duration::from_millis(100));
    world.assert_connected();
}
