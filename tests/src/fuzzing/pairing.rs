//! Tickets, and the messages of a pairing as the other side reads them: the values "pairing" of Appendix B.

use std::net::Ipv4Addr;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use node::crypto::{extract, hmac_sha256, sha256};
use node::pairing::{Answer, Asker, Host, HostName, Inviter, Ipv4Rules, Joiner, Now, Standing, Ticket};
use node::peer_key::PeerKey;
use node::time::Time;

use super::Outcome;
use crate::exchange::identity;
use crate::reference::pat;
use crate::seams::ScriptedRandom;

const NOW: Now = Now { boot: Time::ZERO, wall: 0 };
const MAC: usize = 32;
/// The addresses that the inviter and the joiner have already.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 1);

/// A ticket, as text; after a first byte of 1 the bytes are its body, which is encoded with a right check.
pub(super) fn ticket(bytes: &[u8]) -> Outcome {
    let Some((&form, bytes)) = bytes.split_first() else { return Outcome::Refused };
    let text = match form {
        1 => {
            let check = sha256(&[bytes]);
            format!("cryprq:{}", BASE32_NOPAD.encode(&[bytes, &check[..4]].concat()))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    match Ticket::parse(&text) {
        Ok(ticket) => {
            let written = ticket.encode();
            let again = Ticket::parse(&written).map(|ticket| ticket.encode().to_string());
            assert_eq!(again, Ok(written.to_string()), "a ticket reads back as written");
            let typed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            assert!(typed.eq_ignore_ascii_case(&written), "two texts for one ticket");
            Outcome::Accepted
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            Outcome::Refused
        }
    }
}

/// Both hosts when the ticket is open.
struct Hosts {
    inviter: Inviter,
    joiner: Joiner,
    keys: [PeerKey; 2],
}

impl Hosts {
    fn new() -> Self {
        let keys = [pat(0x40), pat(0x10)].map(|seed| identity(seed).public());
        let mut inviter = Inviter::restore(keys[0], vec![], NOW);
        let id: [u8; 8] = std::array::from_fn(|at| 0xe0 + at as u8);
        let mut drawn = ScriptedRandom::new(&[&id[..], &secret()].concat());
        let ticket = inviter.invite(NOW, Duration::from_secs(600), &[vec![4]], &mut drawn).expect("a ticket");
        let name = HostName::new("laptop").expect("printable");
        let joiner = Joiner::start(keys[1], &ticket, name, None, &mut ScriptedRandom::new(&pat(0x60))).expect("P1");
        Self { inviter, joiner, keys }
    }

    fn answer(&mut self, p1: &[u8]) -> Answer {
        let host = Host { name: HostName::new("gateway").expect("printable"), ipv4: rules(Some(OWN)) };
        let asker = Asker { key: self.keys[1], standing: Standing::Stranger };
        self.inviter.answer(NOW, asker, p1, &host, &mut ScriptedRandom::new(&pat(0xa0)))
    }

    /// The MAC that belongs behind `before`.
    fn mac(&self, label: &str, further: &[u8], before: &[u8]) -> [u8; MAC] {
        let key = extract(b"CrypRQ v1 pairing", &secret());
        let [a, b] = self.keys.each_ref().map(PeerKey::as_bytes);
        hmac_sha256(key.expose(), &[b"CrypRQ v1 pair ", label.as_bytes(), &[0], a, b, further, before])
    }
}

fn secret() -> [u8; 16] {
    std::array::from_fn(|at| 0xc0 + at as u8)
}

fn rules(own: Option<Ipv4Addr>) -> Ipv4Rules {
    let range = "10.86.0.0/16".parse().expect("a range");
    Ipv4Rules { range, own, taken: vec![], direct: vec![], outer: vec![] }
}

/// P1 or P2 from whoever is on the stream; the first byte says which, and whether its MAC is made right first.
pub(super) fn pair(bytes: &[u8]) -> Outcome {
    let Some((&form, message)) = bytes.split_first() else { return Outcome::Refused };
    let mut hosts = Hosts::new();
    match form {
        0 => {
            let by_the_holder = message == hosts.joiner.p1();
            p1(&mut hosts, message, by_the_holder)
        }
        1 => {
            let mac = hosts.mac("join", &[], message);
            p1(&mut hosts, &[message, &mac].concat(), true)
        }
        2 => p2(&hosts, message),
        3 => {
            let mac = hosts.mac("accept", &sha256(&[hosts.joiner.p1()]), message);
            p2(&hosts, &[message, &mac].concat())
        }
        _ => Outcome::Refused,
    }
}

fn p1(hosts: &mut Hosts, message: &[u8], by_the_holder: bool) -> Outcome {
    match hosts.answer(message) {
        Answer::Accept(accepted) => {
            assert!(by_the_holder, "somebody without the ticket was let in");
            assert_ne!(accepted.peer.ipv4, Some(OWN), "the inviter's own address was granted");
            assert!(matches!(hosts.answer(message), Answer::Again(p2) if p2 == accepted.p2), "the same for the same");
            Outcome::Accepted
        }
        Answer::Again(_) => unreachable!("nobody asked before"),
        Answer::Silence(_) | Answer::Refuse(_) => Outcome::Refused,
    }
}

fn p2(hosts: &Hosts, message: &[u8]) -> Outcome {
    match hosts.joiner.read(message, &rules(None)) {
        Ok(joined) => {
            assert!(joined.granted.is_none() || joined.granted != joined.peer.ipv4, "one address for both hosts");
            Outcome::Accepted
        }
        Err(_) => Outcome::Refused,
    }
}
