//! What hosts that speak libp2p say of themselves by multicast DNS (libp2p's specification, `discovery/mdns.md`).

use std::net::Ipv4Addr;

use hickory_resolver::proto::op::{self, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{PTR, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use node::crypto::RandomSource;
use os::random::SystemRandom;

/// What all of them answer to.
const SERVICE: &str = "_p2p._udp.local.";
/// How an address begins.
const ADDRESS: &str = "dnsaddr=";
/// For how long an answer holds, in seconds. Ours are asked for anew more often.
const HOLDS: u32 = 360;
/// Addresses that are believed of one answer, and told in one.
const ADDRESSES: usize = 16;

/// What we are called in answers: it says nothing of us.
pub(super) struct Label(String);

impl Label {
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        // Nothing hangs on it but that two hosts are rarely called the same, which nobody minds.
        let _ = SystemRandom.fill(&mut bytes);
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Somebody asks who is here.
    Question,
    /// Somebody is, or says so.
    Answer {
        /// Who.
        peer: PeerId,
        /// Where, at the address that it was heard from.
        addresses: Vec<Multiaddr>,
    },
}

impl Message {
    /// `None` for what is neither.
    pub(super) fn read(bytes: &[u8], from: Ipv4Addr) -> Option<Self> {
        let message = op::Message::from_vec(bytes).ok()?;
        let service = service()?;
        match message.metadata.message_type {
            MessageType::Query => message.queries.iter().any(|query| query.name == service).then_some(Self::Question),
            MessageType::Response => Self::answer(&message, &service, from),
        }
    }

    /// The first host that is named, whose addresses are all of one PeerId.
    fn answer(message: &op::Message, service: &Name, from: Ipv4Addr) -> Option<Self> {
        let named = message.answers.iter().filter(|record| record.name == *service);
        let host =
            named.filter_map(|record| if let RData::PTR(host) = &record.data { Some(&host.0) } else { None }).next()?;
        let texts = message.additionals.iter().filter(|record| record.name == *host);
        let texts = texts.filter_map(|record| if let RData::TXT(text) = &record.data { Some(text) } else { None });
        let mut named = texts.flat_map(|text| &text.txt_data).filter_map(|text| address(text, from)).take(ADDRESSES);
        let (peer, first) = named.next()?;
        let others = named.filter(|(other, _)| *other == peer).map(|(_, address)| address);
        Some(Self::Answer { peer, addresses: std::iter::once(first).chain(others).collect() })
    }
}

/// Asks who is here; `None` never comes.
pub(super) fn question() -> Option<Vec<u8>> {
    let mut message = op::Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(service()?, RecordType::PTR));
    message.to_vec().ok()
}

/// Says who is here and where; `None` if that is nowhere.
pub(super) fn answer<'a>(
    label: &Label,
    own: PeerId,
    addresses: impl Iterator<Item = &'a Multiaddr>,
) -> Option<Vec<u8>> {
    let service = service()?;
    let host = service.prepend_label(label.0.as_str()).ok()?;
    let mut message = op::Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_answer(Record::from_rdata(service, HOLDS, RData::PTR(PTR(host.clone()))));
    for address in addresses.take(ADDRESSES) {
        let text = format!("{ADDRESS}{}", address.clone().with(Protocol::P2p(own)));
        message.add_additional(Record::from_rdata(host.clone(), HOLDS, RData::TXT(TXT::new(vec![text]))));
    }
    (!message.additionals.is_empty()).then(|| message.to_vec().ok()).flatten()
}

fn service() -> Option<Name> {
    Name::from_ascii(SERVICE).ok()
}

/// A PeerId, and where it is if it is heard from there.
fn address(text: &[u8], from: Ipv4Addr) -> Option<(PeerId, Multiaddr)> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix(ADDRESS)?;
    let mut address: Multiaddr = text.parse().ok()?;
    let Some(Protocol::P2p(peer)) = address.pop() else { return None };
    let mut parts = address.iter();
    let Some(Protocol::Ip4(_)) = parts.next() else { return None };
    Some((peer, parts.fold(Multiaddr::empty().with(Protocol::Ip4(from)), Multiaddr::with)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    fn said(peer: PeerId, addresses: &[&str]) -> Option<Vec<u8>> {
        let addresses: Vec<Multiaddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        answer(&Label::random(), peer, addresses.iter())
    }

    #[test]
    fn a_question_is_heard_as_one() {
        assert_eq!(Message::read(&question().unwrap(), FROM), Some(Message::Question));
    }

    #[test]
    fn an_answer_names_a_peer_where_it_is_heard_from() {
        let peer = PeerId::random();
        let bytes = said(peer, &["/ip4/192.0.2.9/udp/1/quic-v1", "/ip4/192.0.2.9/tcp/1", "/ip6/2001:db8::1/tcp/1"]);
        let Some(Message::Answer { peer: named, addresses }) = Message::read(&bytes.unwrap(), FROM) else {
            panic!("it is not heard");
        };
        assert_eq!(named, peer);
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["/ip4/192.0.2.7/udp/1/quic-v1", "/ip4/192.0.2.7/tcp/1"]);
        assert_eq!(said(peer, &[]), None, "who is nowhere says nothing");
    }

    #[test]
    fn of_a_long_answer_a_few_addresses_are_believed() {
        let (peer, service) = (PeerId::random(), service().unwrap());
        let host = service.prepend_label("x").unwrap();
        let mut message = op::Message::new(0, MessageType::Response, OpCode::Query);
        for port in 0..300 {
            message.add_answer(Record::from_rdata(service.clone(), u32::MAX, RData::PTR(PTR(host.clone()))));
            let text = TXT::new(vec![format!("{ADDRESS}/ip4/192.0.2.9/tcp/{port}/p2p/{peer}")]);
            message.add_additional(Record::from_rdata(host.clone(), u32::MAX, RData::TXT(text)));
        }
        let Some(Message::Answer { addresses, .. }) = Message::read(&message.to_vec().unwrap(), FROM) else {
            panic!("it is not heard");
        };
        assert_eq!(addresses.len(), ADDRESSES);
    }

    #[test]
    fn anything_else_is_not_heard() {
        let bytes = said(PeerId::random(), &["/ip4/192.0.2.9/tcp/1"]).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(Message::read(&bytes[..length], FROM), None, "cut after {length} bytes");
        }
        for other in ["printer._ipp._tcp.local.", "_p2p._tcp.local."] {
            let mut message = op::Message::new(0, MessageType::Query, OpCode::Query);
            message.add_query(Query::query(other.parse().unwrap(), RecordType::PTR));
            assert_eq!(Message::read(&message.to_vec().unwrap(), FROM), None, "{other}");
        }
    }
}
