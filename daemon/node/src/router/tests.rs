use proptest::prelude::*;

use super::*;

const A: PeerSlot = PeerSlot(1);
const B: PeerSlot = PeerSlot(2);
const BOTH: Forwarding = Forwarding { ipv4: true, ipv6: true };

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn router() -> Router {
    let own = ["10.86.0.1".parse().unwrap(), "fd63::1".parse().unwrap()];
    let outer = ["203.0.113.1".parse().unwrap()];
    let mut router = Router::new(own, outer, [net("192.168.1.0/24")]);
    router.add_peer(A, &[net("10.86.0.2/32"), net("fd63::2/128"), net("0.0.0.0/0"), net("::/0")]).unwrap();
    router.add_peer(B, &[net("10.86.0.3/32"), net("10.1.0.0/16")]).unwrap();
    router
}

fn judge(router: &Router, slot: PeerSlot, packet: &[u8]) -> Result<(), DropReason> {
    Inward::new(router).inbound(slot, packet)
}

pub(crate) fn packet(source: &str, destination: &str) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut packet = vec![0; 20];
            packet[0] = 0x45;
            packet[3] = 20;
            packet[12..16].copy_from_slice(&s.octets());
            packet[16..20].copy_from_slice(&d.octets());
            packet
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut packet = vec![0; 40];
            packet[0] = 0x60;
            packet[8..24].copy_from_slice(&s.octets());
            packet[24..40].copy_from_slice(&d.octets());
            packet
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("one family"),
    }
}

#[test]
fn the_longest_prefix_picks_the_peer() {
    let router = router();
    assert_eq!(router.outbound(&packet("10.86.0.1", "10.1.2.3")), Ok(B));
    assert_eq!(router.outbound(&packet("10.86.0.1", "10.2.2.3")), Ok(A));
    assert_eq!(router.outbound(&packet("fd63::1", "2001:db8::1")), Ok(A));
}

#[test]
fn a_destination_of_nobody_and_a_malformed_packet_are_dropped() {
    let router = Router::new([], [], []);
    assert_eq!(router.outbound(&packet("10.86.0.1", "10.86.0.2")), Err(DropReason::OutNoPeer));
    assert_eq!(router.outbound(&packet("10.86.0.1", "10.86.0.2")[..19]), Err(DropReason::OutMalformed));
    assert_eq!(router.outbound(&[]), Err(DropReason::OutMalformed));
}

#[test]
fn what_the_kernel_says_to_its_neighbours_is_told_apart_from_packets_that_nobody_takes() {
    let router = router();
    for destination in ["224.0.0.22", "255.255.255.255", "169.254.1.1"] {
        assert_eq!(router.outbound(&packet("10.86.0.1", destination)), Err(DropReason::OutLinkScope), "{destination}");
    }
    for destination in ["ff02::16", "fe80::1"] {
        assert_eq!(router.outbound(&packet("fd63::1", destination)), Err(DropReason::OutLinkScope), "{destination}");
    }
}

#[test]
fn each_forbidden_source_has_its_reason() {
    let router = router();
    let from = |source: &str| {
        let ours = if source.contains(':') { "fd63::1" } else { "10.86.0.1" };
        judge(&router, A, &packet(source, ours))
    };
    assert_eq!(from("10.86.0.2"), Ok(()));
    assert_eq!(from("fd63::2"), Ok(()));
    assert_eq!(from("10.86.0.3"), Err(DropReason::SourceNotAllowed), "another peer's address");
    assert_eq!(from("10.86.0.1"), Err(DropReason::SourceOwn));
    assert_eq!(from("127.0.0.1"), Err(DropReason::SourceLoopback));
    assert_eq!(from("::1"), Err(DropReason::SourceLoopback));
    assert_eq!(from("169.254.1.1"), Err(DropReason::SourceLinkLocal));
    assert_eq!(from("fe80::1"), Err(DropReason::SourceLinkLocal));
    assert_eq!(from("224.0.0.1"), Err(DropReason::SourceMulticast));
    assert_eq!(from("255.255.255.255"), Err(DropReason::SourceMulticast));
    assert_eq!(from("ff02::1"), Err(DropReason::SourceMulticast));
    assert_eq!(from("0.0.0.0"), Err(DropReason::SourceUnspecified));
    assert_eq!(from("::"), Err(DropReason::SourceUnspecified));
    assert_eq!(from("192.168.1.7"), Err(DropReason::SourceDirect));
    assert_eq!(from("::ffff:127.0.0.1"), Err(DropReason::SourceLoopback), "a mapped address");
    assert_eq!(from("::ffff:10.86.0.2"), Err(DropReason::SourceNotAllowed), "a mapped address");
}

#[test]
fn a_destination_that_is_not_ours_is_dropped() {
    let router = router();
    assert_eq!(judge(&router, A, &packet("10.86.0.2", "8.8.8.8")), Err(DropReason::DestinationNotOurs));
    assert_eq!(judge(&router, A, &packet("10.86.0.2", "203.0.113.1")), Err(DropReason::DestinationOuter));
}

#[test]
fn a_packet_goes_on_to_other_networks_only_for_a_peer_that_is_forwarded() {
    let mut router = router();
    router.forward(B);
    let from = |source: &str, slot, destination: &str| judge(&router, slot, &packet(source, destination));
    for destination in ["8.8.8.8", "192.168.1.7"] {
        assert_eq!(from("10.86.0.3", B, destination), Err(DropReason::DestinationNotOurs), "all the rest is A's");
        assert_eq!(from("10.86.0.2", A, destination), Err(DropReason::DestinationNotOurs), "A is not forwarded");
    }
    let mut router = Router::new(["10.86.0.1".parse().unwrap()], ["203.0.113.1".parse().unwrap()], []);
    router.add_peer(A, &[net("10.86.0.2/32"), net("fd63::2/128")]).unwrap();
    router.add_peer(B, &[net("10.86.0.3/32")]).unwrap();
    router.forward(B);
    let from = |source: &str, slot, destination: &str| judge(&router, slot, &packet(source, destination));
    assert_eq!(from("10.86.0.3", B, "8.8.8.8"), Ok(()));
    assert_eq!(from("10.86.0.3", B, "10.86.0.1"), Ok(()));
    assert_eq!(from("10.86.0.2", A, "8.8.8.8"), Err(DropReason::DestinationNotOurs));
    assert_eq!(from("10.86.0.9", B, "8.8.8.8"), Err(DropReason::SourceNotAllowed), "another's source");
    assert_eq!(from("10.86.0.3", B, "203.0.113.1"), Err(DropReason::DestinationOuter));
    for destination in ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "10.86.0.2"] {
        assert_eq!(from("10.86.0.3", B, destination), Err(DropReason::DestinationNotOurs), "{destination}");
    }
}

proptest! {
    #[test]
    fn what_passed_before_changes_no_judgement(row in proptest::collection::vec((0..3_usize, 0..6_usize, 0..4_usize), 1..64)) {
        let mut router = router();
        router.forward(B);
        let (slots, sources, destinations) = (
            [A, B, PeerSlot(3)],
            ["10.86.0.2", "10.86.0.3", "10.1.2.3", "10.86.0.1", "127.0.0.1", "192.168.1.7"],
            ["10.86.0.1", "203.0.113.1", "8.8.8.8", "10.86.0.2"],
        );
        let mut inward = Inward::new(&router);
        for (slot, source, destination) in row {
            let (slot, packet) = (slots[slot], packet(sources[source], destinations[destination]));
            prop_assert_eq!(inward.inbound(slot, &packet), judge(&router, slot, &packet));
        }
    }
}

#[test]
fn what_is_nobodys_goes_to_the_exit_and_comes_from_it() {
    let mut router = Router::new(["10.86.0.1".parse().unwrap()], [], [net("192.168.1.0/24")]);
    router.add_peer(A, &[net("10.86.0.2/32")]).unwrap();
    router.add_peer(B, &[net("10.86.0.3/32")]).unwrap();
    router.set_exit(A, BOTH, []);
    assert_eq!(router.outbound(&packet("10.86.0.1", "8.8.8.8")), Ok(A));
    assert_eq!(router.outbound(&packet("fd63::1", "2001:db8::1")), Ok(A));
    assert_eq!(router.outbound(&packet("10.86.0.1", "10.86.0.3")), Ok(B), "what is B's stays B's");
    assert_eq!(judge(&router, A, &packet("8.8.8.8", "10.86.0.1")), Ok(()));
    assert_eq!(judge(&router, B, &packet("8.8.8.8", "10.86.0.1")), Err(DropReason::SourceNotAllowed));
    assert_eq!(judge(&router, A, &packet("10.86.0.3", "10.86.0.1")), Err(DropReason::SourceNotAllowed));
    assert_eq!(judge(&router, A, &packet("192.168.1.7", "10.86.0.1")), Err(DropReason::SourceDirect));
    router.set_exit(A, Forwarding { ipv4: true, ipv6: false }, []);
    assert_eq!(router.outbound(&packet("10.86.0.1", "8.8.8.8")), Ok(A));
    assert_eq!(router.outbound(&packet("fd63::1", "2001:db8::1")), Err(DropReason::OutNoPeer), "it forwards no IPv6");
}

#[test]
fn our_own_outer_packets_do_not_go_into_the_tunnel_that_they_carry() {
    let mut router = Router::new(["10.86.0.1".parse().unwrap()], ["203.0.113.1".parse().unwrap()], []);
    router.set_exit(A, BOTH, [41820]);
    let datagram = |source: &str, protocol: u8, port: u16| {
        let mut datagram = packet(source, "198.51.100.9");
        datagram.extend([0; 20]);
        (datagram[3], datagram[9], datagram[32]) = (40, protocol, 0x50);
        datagram[20..22].copy_from_slice(&port.to_be_bytes());
        datagram
    };
    for (source, protocol) in [("10.86.0.1", 17), ("203.0.113.1", 17), ("10.86.0.1", 6)] {
        assert_eq!(
            router.outbound(&datagram(source, protocol, 41820)),
            Err(DropReason::OutLoop),
            "{source} {protocol}"
        );
    }
    assert_eq!(router.outbound(&datagram("10.86.0.1", 17, 41821)), Ok(A), "another port");
    assert_eq!(router.outbound(&datagram("10.86.0.77", 17, 41820)), Ok(A), "another host's");
    assert_eq!(router.outbound(&datagram("10.86.0.1", 1, 41820)), Ok(A), "neither TCP nor UDP");
}

#[test]
fn the_same_prefix_at_two_peers_names_both() {
    let mut router = router();
    let taken = router.add_peer(PeerSlot(9), &[net("10.86.0.99/16"), net("10.86.0.3/32")]).unwrap_err();
    assert_eq!(taken, PrefixTaken { prefix: net("10.86.0.3/32"), first: B, second: PeerSlot(9) });
    assert!(router.add_peer(B, &[net("10.86.0.3/32")]).is_ok(), "the same peer may name it twice");
}

proptest! {
    #[test]
    fn it_agrees_with_a_search_of_all_prefixes(
        entries in proptest::collection::vec((any::<u32>(), 0u8..=32, 0u32..5), 0..40),
        probe in any::<u32>(), near in any::<prop::sample::Index>(),
    ) {
        let mut router = Router::new([], [], []);
        let mut model: Vec<(IpNet, PeerSlot)> = Vec::new();
        for (bits, length, slot) in entries {
            // Few high bits, so that prefixes nest.
            let prefix = IpNet::new(Ipv4Addr::from(bits & 0x0301_0103).into(), length).unwrap().trunc();
            if router.add_peer(PeerSlot(slot), &[prefix]).is_ok() && !model.iter().any(|(p, _)| *p == prefix) {
                model.push((prefix, PeerSlot(slot)));
            }
        }
        let mut probes = vec![IpAddr::from(Ipv4Addr::from(probe & 0x0301_0103))];
        if !model.is_empty() {
            probes.push(near.get(&model).0.addr());
        }
        for address in probes {
            let expected = model.iter().filter(|(p, _)| p.contains(&address)).max_by_key(|(p, _)| p.prefix_len());
            prop_assert_eq!(router.owner(address), expected.map(|(_, slot)| *slot));
        }
    }
}
