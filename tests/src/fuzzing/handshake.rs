//! M1 to M4 as their receivers read them, on the handshake "fresh" of Appendix B.

use node::handshake::{AwaitM4, Responder};

use super::Outcome;
use crate::exchange::{Party, exchange};
use crate::reference::{Inputs, first_message};

/// Both sides, and the four messages that they exchange when nobody meddles.
struct Fresh {
    parties: [Party; 2],
    messages: [Vec<u8>; 4],
    await_m4: AwaitM4,
}

impl Fresh {
    fn new() -> Self {
        let parties = Party::both(&Inputs::fresh(), [&[], &[]]);
        let done = exchange(&parties, |_, _| {}).expect("the reference handshake");
        let (waiting, _) = parties[0].start().expect("M1");
        let (await_m4, ..) = parties[0].read_m2(waiting, &done.messages[1]).expect("M3");
        Self { parties, messages: done.messages, await_m4 }
    }

    fn pending(&self) -> Responder {
        self.parties[1].read_m1(&self.messages[0]).expect("M2").0
    }
}

thread_local! {
    static FRESH: Fresh = Fresh::new();
}

/// Only the peer's own message is taken: each is authenticated as a whole.
fn only_genuine(outcome: Outcome, bytes: &[u8], genuine: &[u8]) -> Outcome {
    assert_eq!(outcome == Outcome::Accepted, bytes == genuine, "a message that the peer did not send");
    outcome
}

/// M1, which anybody can make: it proves nothing yet.
pub(super) fn m1(bytes: &[u8]) -> Outcome {
    FRESH.with(|fresh| fresh.parties[1].read_m1(bytes).into())
}

pub(super) fn m2(bytes: &[u8]) -> Outcome {
    FRESH.with(|fresh| {
        let (waiting, _) = fresh.parties[0].start().expect("M1");
        only_genuine(fresh.parties[0].read_m2(waiting, bytes).into(), bytes, &fresh.messages[1])
    })
}

pub(super) fn m3(bytes: &[u8]) -> Outcome {
    FRESH.with(|fresh| only_genuine(fresh.pending().read_m3(bytes).into(), bytes, &fresh.messages[2]))
}

pub(super) fn m4(bytes: &[u8]) -> Outcome {
    FRESH.with(|fresh| only_genuine(fresh.await_m4.read_m4(bytes).into(), bytes, &fresh.messages[3]))
}

/// PARAMS and extensions inside an M1 that is otherwise good.
pub(super) fn tlv(bytes: &[u8]) -> Outcome {
    let Some((&params_i, extensions)) = bytes.split_first_chunk::<8>() else { return Outcome::Refused };
    let m1 = first_message(&Inputs { params_i, tlv_i: extensions.to_vec(), ..Inputs::fresh() });
    FRESH.with(|fresh| fresh.parties[1].read_m1(&m1).into())
}
