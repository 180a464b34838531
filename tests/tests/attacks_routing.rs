//! Attacks of the network, part 24: addresses that a peer writes into its packets, judged by the router alone.

use std::net::IpAddr;

use cryprq_tests::sim::addressing::packet;
use node::drops::DropReason;
use node::router::{Inward, PeerSlot, Router};

const PEER: PeerSlot = PeerSlot(1);

/// A host with an exit node for a peer: what that peer may not send is refused by rule, not for want of a prefix.
fn exit_router() -> Router {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let net = |text: &str| text.parse().expect("a prefix");
    let own = [address("10.86.0.1"), address("fd63::1")];
    let mut router = Router::new(
        own,
        [address("203.0.113.1"), address("2001:db8::1")],
        [net("192.168.1.0/24"), net("2001:db8:1::/64")],
    );
    router.add_peer(PEER, &[net("0.0.0.0/0"), net("::/0")]).expect("nobody else has it");
    router
        .add_peer(PeerSlot(2), &[net("10.86.0.3/32"), net("fd63::3/128"), net("10.7.0.0/16")])
        .expect("nobody else has it");
    router
}

/// What the router says about a packet of the peer.
fn inbound(source: &str, destination: &str) -> Result<(), DropReason> {
    let [source, destination] = [source, destination].map(|text| text.parse().expect("an address"));
    Inward::new(&exit_router()).inbound(PEER, &packet(1, source, destination, 80))
}

fn assert_sources(sources: &[&str], reason: DropReason) {
    for source in sources {
        let own = if source.contains(':') { "fd63::1" } else { "10.86.0.1" };
        assert_eq!(inbound(source, own), Err(reason), "{source}");
    }
}

#[test]
fn attack_24_source_of_another_peer() {
    assert_sources(&["10.86.0.3", "10.7.255.255", "fd63::3"], DropReason::SourceNotAllowed);
    assert_eq!(inbound("10.8.0.1", "10.86.0.1"), Ok(()), "the exit node itself may");
}

#[test]
fn attack_24_our_own_source() {
    assert_sources(&["10.86.0.1", "fd63::1"], DropReason::SourceOwn);
}

#[test]
fn attack_24_martian_sources() {
    assert_sources(&["0.0.0.0", "0.1.2.3", "::"], DropReason::SourceUnspecified);
    assert_sources(&["169.254.0.1", "169.254.169.254", "fe80::1", "febf::1"], DropReason::SourceLinkLocal);
    assert_sources(&["192.168.1.1", "192.168.1.255", "2001:db8:1::7"], DropReason::SourceDirect);
}

#[test]
fn attack_24_loopback_sources() {
    assert_sources(&["127.0.0.1", "127.255.255.254", "::1"], DropReason::SourceLoopback);
}

#[test]
fn attack_24_multicast_and_broadcast_sources() {
    assert_sources(
        &["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "ff0e::1"],
        DropReason::SourceMulticast,
    );
}

#[test]
fn attack_24_v4_mapped_sources() {
    assert_sources(&["::ffff:127.0.0.1"], DropReason::SourceLoopback);
    assert_sources(&["::ffff:169.254.1.1"], DropReason::SourceLinkLocal);
    assert_sources(&["::ffff:224.0.0.1"], DropReason::SourceMulticast);
    assert_sources(&["::ffff:10.86.0.3", "::ffff:8.8.8.8"], DropReason::SourceNotAllowed);
}

#[test]
fn attack_24_destinations_that_are_not_ours() {
    for (destination, reason) in [
        ("127.0.0.1", DropReason::DestinationNotOurs),
        ("224.0.0.1", DropReason::DestinationNotOurs),
        ("255.255.255.255", DropReason::DestinationNotOurs),
        ("192.168.1.1", DropReason::DestinationNotOurs),
        ("10.86.0.3", DropReason::DestinationNotOurs),
        ("203.0.113.1", DropReason::DestinationOuter),
    ] {
        assert_eq!(inbound("10.8.0.1", destination), Err(reason), "{destination}");
    }
    for (destination, reason) in [
        ("::1", DropReason::DestinationNotOurs),
        ("ff02::1", DropReason::DestinationNotOurs),
        ("::ffff:10.86.0.1", DropReason::DestinationNotOurs),
        ("2001:db8::1", DropReason::DestinationOuter),
    ] {
        assert_eq!(inbound("fd63::9", destination), Err(reason), "{destination}");
    }
}
