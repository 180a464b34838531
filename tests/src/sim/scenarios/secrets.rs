//! What is kept of secrets, and for how long.

use node::tunnel::{Input, Want};

use super::{generous, load, rotate};
use crate::sim::{Action, Fate, Setup, World, ms, secs};

/// M2 and M3 whose signature was spoiled: nothing of that handshake is kept, on either side, and the chain goes on.
pub fn a_handshake_that_fails_leaves_no_chain_key(seed: u64) {
    for kind in 2..=3 {
        let mut world = generous(seed);
        let (starter, spoilt) = (world.dice.below(2), world.dice.below(80));
        let other = 1 - starter;
        let session = world.session(0, 1);
        world.meddle(move |_, _, bytes| {
            if bytes[0] == kind {
                let at = bytes.len() - 1 - spoilt;
                bytes[at] ^= 1;
            }
            Fate::Deliver
        });
        let judge = if kind == 2 { starter } else { other };
        let before = world.host(judge).store.contents();
        rotate(&mut world, starter);
        load(&mut world, ms(10), ms(300));
        assert_eq!(world.host(judge).store.contents(), before, "M{kind}: a chain key that nobody signed was kept");
        assert_eq!(world.session(other, starter), session, "M{kind}");
        assert_eq!(world.status(judge, 1 - judge).receive_keys, 1, "M{kind}");
        world.stop_meddling();
        load(&mut world, ms(100), secs(20));
        assert!(world.is_connected() && world.session(0, 1) != session);
        assert!(!world.saw_chain_loss(0, 1) && !world.saw_chain_loss(1, 0));
    }
}

/// Removing a peer leaves its PSK alone in the store, and dropping the tunnel leaves nothing.
pub fn erased_keys_leave_the_store(seed: u64) {
    let mut setup = Setup::pair(seed);
    setup.hosts.iter_mut().for_each(|host| host.psk = Some([9; 32]));
    let mut world = World::connected(setup);
    assert_eq!(world.host(0).store.contents().len(), 2, "the PSK and one chain key");
    rotate(&mut world, 0);
    world.run(secs(1));
    world.input(0, 1, Input::Wanted(Want::Down));
    world.input(0, 1, Input::EraseAll);
    assert_eq!(world.host(0).store.contents(), [[9; 32]]);
    assert_eq!(world.status(0, 1).receive_keys, 0);
    world.act(Action::SetPsk(0, 1, [8; 32]));
    assert_eq!(world.host(0).store.contents(), [[8; 32]], "the old PSK is gone with the command");
}

/// The older chain key goes when the newer is known to be held on both sides.
pub fn one_chain_key_is_left_after_a_quiet_rotation(seed: u64) {
    let mut world = generous(seed);
    for turn in 0..4 {
        let before = world.host(0).store.contents();
        rotate(&mut world, turn % 2);
        world.run(secs(1));
        let [a, b] = [0, 1].map(|host| world.host(host).store.contents());
        assert_eq!(a.len(), 1);
        assert_eq!(a, b, "both hold the same");
        assert_ne!(a, before, "and another one than before");
    }
    world.run(secs(1));
    world.assert_connected();
}
