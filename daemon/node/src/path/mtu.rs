//! How long packets may be on the endpoint in use (protocol.md 7.3; RFC 8899).
//!
//! The tunnel's MTU is taken for granted until probes of that size stay without an answer. Then packets are kept to the
//! least MTU while rows of probes of several sizes find out what passes. Only answers to probes count, and only those
//! from the endpoint itself: a forged ICMP message changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Endpoint, Output, Path, Paths};
use crate::time::Time;

/// The least MTU of a tunnel by datagrams: what IPv6 asks of every link (RFC 8200, section 5).
pub const LEAST: u16 = 1280;
/// How long an answer is waited for before the next probe, or round of probes.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many are lost before that says something of the path.
const TRIES: u8 = 3;
/// How often the sizes of a row are asked, once one of them passed.
const ROUNDS: u8 = 2;
/// Probes of one row.
const ROW: u16 = 8;
/// The size of a probe beside those that are lost: answered, it says that the path is narrow and not dead.
const SHORT: u16 = 0;
/// The pause after a search to which nothing at all was answered.
const SILENCE: Duration = Duration::from_secs(5);
/// A search ends when it knows the MTU to so many bytes.
const PRECISION: u16 = 4;
/// How often, at most, the MTU in use is confirmed while packets are sent: a path may change behind the same endpoint.
const CONFIRM: Duration = Duration::from_secs(5);
/// When a longer one is tried again (RFC 8899, 5.1.1), and how long an endpoint that takes too little is left alone.
const RAISE: Duration = Duration::from_secs(600);

/// The MTU of one endpoint.
#[derive(Debug)]
pub(super) struct PathMtu {
    /// The tunnel's.
    tunnel: u16,
    /// What packets are kept to.
    used: u16,
    phase: Phase,
    /// When something is due, if anything is.
    due: Option<Time>,
    /// When a longer one than is used is tried.
    raise: Option<Time>,
}

#[derive(Debug)]
enum Phase {
    /// Whether this size passes is asked with one probe after the other.
    Asking { size: u16, tokens: Vec<[u8; 8]> },
    /// `low` is known to pass, if anything is, and `high` not to. A row of sizes in between is asked in rounds.
    Searching { low: Option<u16>, high: u16, row: Vec<u16>, rounds: u8, asked: Vec<([u8; 8], u16)>, alive: bool },
    /// What is used passed at that time.
    Known { since: Time },
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing now.
    Wait,
    /// Send probes of these sizes.
    Probe(Vec<u16>),
    /// Not even the least MTU passes.
    TooNarrow,
}

impl PathMtu {
    pub(super) const fn new(tunnel: u16, now: Time) -> Self {
        let phase = Phase::Asking { size: tunnel, tokens: Vec::new() };
        Self { tunnel, used: tunnel, phase, due: Some(now), raise: None }
    }

    pub(super) const fn used(&self) -> u16 {
        self.used
    }

    pub(super) const fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Packets are sent: what was learned long ago is asked again.
    fn confirm(&mut self, now: Time) {
        if let Phase::Known { since } = self.phase
            && now >= since + CONFIRM
        {
            self.ask(self.used, now);
        }
    }

    fn ask(&mut self, size: u16, now: Time) {
        (self.phase, self.due) = (Phase::Asking { size, tokens: Vec::new() }, Some(now));
    }

    /// How many probes of the search may still be answered.
    #[cfg(test)]
    pub(super) fn asked(&self) -> usize {
        match &self.phase {
            Phase::Searching { asked, .. } => asked.len(),
            Phase::Asking { tokens, .. } => tokens.len(),
            Phase::Known { .. } => 0,
        }
    }

    /// Whether this was a token of ours.
    fn acked(&mut self, token: [u8; 8], now: Time) -> bool {
        match &mut self.phase {
            Phase::Asking { size, tokens } if tokens.contains(&token) => {
                self.used = *size;
                self.raise = self.raise.filter(|_| *size < self.tunnel);
                self.know(now);
                true
            }
            Phase::Searching { low, asked, alive, .. } => {
                let Some(&(_, size)) = asked.iter().find(|(asked, _)| *asked == token) else { return false };
                *alive = true;
                if size != SHORT {
                    *low = (*low).max(Some(size));
                    self.used = self.used.max(size);
                }
                true
            }
            Phase::Asking { .. } | Phase::Known { .. } => false,
        }
    }

    fn know(&mut self, now: Time) {
        (self.phase, self.due) = (Phase::Known { since: now }, self.raise);
    }

    /// What is due now.
    fn step(&mut self, now: Time) -> Step {
        if self.due.is_none_or(|due| now < due) {
            return Step::Wait;
        }
        self.due = Some(now + PATIENCE);
        match &mut self.phase {
            Phase::Known { .. } => {
                self.ask(self.tunnel, now);
                self.step(now)
            }
            Phase::Asking { size, tokens } if tokens.len() < usize::from(TRIES) => Step::Probe(vec![*size]),
            &mut Phase::Asking { size, .. } => {
                // Where a longer one than is used was asked for, that one still stands.
                self.search((size > self.used).then_some(self.used), size, now)
            }
            Phase::Searching { low, high, row, rounds, asked, alive } => {
                row.retain(|&size| low.is_none_or(|low| size > low));
                if *rounds < low.map_or(TRIES, |_| ROUNDS) && !row.is_empty() {
                    *rounds += 1;
                    let control = low.is_none().then_some(SHORT);
                    return Step::Probe(row.iter().copied().chain(control).collect());
                }
                match *low {
                    Some(low) => {
                        let high = row.first().copied().unwrap_or(*high);
                        self.search(Some(low), high, now)
                    }
                    None if *alive => Step::TooNarrow,
                    // Whether the path is dead is not for this to say.
                    None => {
                        asked.clear();
                        (*rounds, self.due) = (0, Some(now + SILENCE));
                        Step::Wait
                    }
                }
            }
        }
    }

    /// Goes on between what passes and what does not.
    fn search(&mut self, low: Option<u16>, high: u16, now: Time) -> Step {
        self.used = low.unwrap_or(LEAST.min(self.tunnel));
        if high - self.used <= PRECISION && low.is_some() {
            self.raise = Some(now + RAISE);
            self.know(now);
            return Step::Wait;
        }
        self.phase = Phase::Searching { low, high, row: row(low, high), rounds: 0, asked: Vec::new(), alive: false };
        self.due = Some(now);
        self.step(now)
    }

    fn sent(&mut self, token: [u8; 8], size: u16) {
        match &mut self.phase {
            Phase::Asking { tokens, .. } => tokens.push(token),
            Phase::Searching { asked, .. } => asked.push((token, size)),
            Phase::Known { .. } => {}
        }
    }
}

/// Sizes between what passes and what does not, the least MTU among them as long as nothing is known to pass.
fn row(low: Option<u16>, high: u16) -> Vec<u16> {
    let from = low.unwrap_or(LEAST.min(high));
    let between = (0..ROW).map(|n| from + (u32::from(high - from) * u32::from(n) / u32::from(ROW)) as u16);
    let mut sizes: Vec<u16> = between.filter(|&size| low != Some(size)).collect();
    sizes.dedup();
    sizes
}

impl Paths {
    /// The longest inner packet that passes the way that frames go.
    pub fn mtu(&self) -> u16 {
        self.mtu.as_ref().map_or(self.tunnel_mtu, PathMtu::used)
    }

    /// Where datagrams of the least MTU were seen not to pass.
    pub fn narrow(&self) -> Option<SocketAddr> {
        self.narrow.last().map(|&(remote, _)| remote)
    }

    pub(super) fn confirm_mtu(&mut self, now: Time) {
        if let Some(mtu) = &mut self.mtu {
            mtu.confirm(now);
        }
    }

    /// Whether this answers a probe for the MTU.
    pub(super) fn mtu_acked(&mut self, now: Time, token: [u8; 8], from: Endpoint) -> bool {
        self.current.is_same_way(Path::Datagrams(from)) && self.mtu.as_mut().is_some_and(|mtu| mtu.acked(token, now))
    }

    /// Sends the probes that are due, and says what packets are to be kept to.
    pub(super) fn probe_mtu(&mut self, now: Time) {
        if let (Path::Datagrams(endpoint), Some(mtu)) = (self.current, &mut self.mtu) {
            match mtu.step(now) {
                Step::Wait => {}
                Step::Probe(sizes) => {
                    for size in sizes {
                        if let Some(token) = self.probe_of(endpoint, Some(size))
                            && let Some(mtu) = &mut self.mtu
                        {
                            mtu.sent(token, size);
                        }
                    }
                }
                Step::TooNarrow => {
                    self.narrow.retain(|(remote, _)| *remote != endpoint.remote);
                    self.narrow.push((endpoint.remote, now + RAISE));
                    self.leave();
                }
            }
        }
        let mtu = self.mtu();
        if self.told_mtu != mtu {
            self.told_mtu = mtu;
            self.outputs.push_back(Output::Mtu(mtu));
        }
    }
}
