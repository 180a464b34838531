//! One direction of a lossy datagram link.

use std::time::Duration;

use super::dice::Dice;

/// How a link treats datagrams.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkShape {
    /// The least time on the way.
    pub delay: Duration,
    /// The most that is added to it; more than the time between two datagrams reorders them.
    pub jitter: Duration,
    /// The part of datagrams that is lost.
    pub loss: f64,
    /// The part that arrives twice.
    pub duplicate: f64,
    /// The part that takes `detour` longer.
    pub late: f64,
    /// How much longer.
    pub detour: Duration,
    /// The part of which a bit flips, or that is cut short or lengthened.
    pub corrupt: f64,
    /// Longer datagrams are dropped.
    pub mtu: usize,
}

impl LinkShape {
    /// A link that only takes time.
    pub const fn perfect(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            late: 0.0,
            detour: Duration::ZERO,
            corrupt: 0.0,
            mtu: 65_535,
        }
    }

    /// Anything from a cable to a bad radio.
    pub fn random(dice: &mut Dice) -> Self {
        let ms = Duration::from_millis;
        let part = |dice: &mut Dice, most: f64| {
            if dice.chance(0.5) { 0.0 } else { most * dice.below(1000) as f64 / 1000.0 }
        };
        Self {
            delay: dice.between(ms(1), ms(150)),
            jitter: *dice.pick(&[Duration::ZERO, ms(2), ms(20), ms(200)]),
            loss: part(dice, 0.3),
            duplicate: part(dice, 0.2),
            late: part(dice, 0.1),
            detour: dice.between(ms(100), ms(20_000)),
            corrupt: part(dice, 0.1),
            mtu: *dice.pick(&[65_535, 1500, 1200]),
        }
    }

    /// What becomes of one datagram: its copies, each with its time on the way and the bytes that arrive. A copy whose
    /// bytes are `None` is as it was sent.
    pub fn carry(&self, dice: &mut Dice, bytes: &[u8]) -> Vec<(Duration, Option<Vec<u8>>)> {
        if bytes.len() > self.mtu || (self.loss > 0.0 && dice.chance(self.loss)) {
            return Vec::new();
        }
        let copies = if self.duplicate > 0.0 && dice.chance(self.duplicate) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let mut delay = self.delay + dice.up_to(self.jitter);
                if self.late > 0.0 && dice.chance(self.late) {
                    delay += dice.up_to(self.detour);
                }
                let broken = self.corrupt > 0.0 && dice.chance(self.corrupt);
                (delay, broken.then(|| corrupt(dice, bytes)))
            })
            .collect()
    }
}

/// The bytes with a fault: never the same as before.
pub fn corrupt(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    match dice.below(8) {
        0 => out.truncate(dice.below(bytes.len())),
        1 => out.extend(dice.bytes::<8>()),
        _ => {
            let at = dice.below(out.len());
            out[at] ^= 1 << dice.below(8);
        }
    }
    out
}
