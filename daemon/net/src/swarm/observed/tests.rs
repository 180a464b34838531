use std::cell::Cell;

use libp2p::core::transport::ListenerId;
use libp2p::swarm::NewListenAddr;
use libp2p::swarm::behaviour::ConnectionEstablished;

use super::*;

const RELAY: &str = "/ip4/203.0.113.9/udp/41820/quic-v1";

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn observed() -> Observed {
    Observed::new(vec!["10.86.0.0/16".parse().unwrap()], Arc::default(), || Time::from_nanos(NOW.with(Cell::get)))
}

fn connect(observed: &mut Observed, number: usize, remote: &str, port_use: PortUse) -> ConnectionId {
    let id = ConnectionId::new_unchecked(number);
    let endpoint = ConnectedPoint::Dialer { address: address(remote), role_override: Endpoint::Dialer, port_use };
    observed.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: PeerId::random(),
        connection_id: id,
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
    id
}

fn listen(observed: &mut Observed, text: &str) {
    let (listener_id, addr) = (ListenerId::next(), &address(text));
    observed.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
}

fn offered(observed: &mut Observed) -> Vec<String> {
    std::mem::take(&mut observed.candidates).iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_nat_made_of_our_port_is_what_is_offered() {
    let mut observed = observed();
    let id = connect(&mut observed, 1, RELAY, PortUse::Reuse);
    observed.note(id, &address("/ip4/203.0.113.1/udp/1027/quic-v1"));
    assert_eq!(offered(&mut observed), ["/ip4/203.0.113.1/udp/1027/quic-v1"]);
}

#[test]
fn what_leads_nowhere_is_not_offered_whoever_says_it() {
    let mut observed = observed();
    let id = connect(&mut observed, 1, RELAY, PortUse::Reuse);
    for lie in [
        "/ip4/10.86.0.7/udp/1/quic-v1",
        "/ip4/127.0.0.1/udp/1/quic-v1",
        "/ip4/203.0.113.1/tcp/1",
        "/ip4/203.0.113.1/udp/1",
        "/dns4/example.org/udp/1/quic-v1",
    ] {
        observed.note(id, &address(lie));
    }
    let circuit = format!("{RELAY}/p2p/{}/p2p-circuit", PeerId::random());
    let relayed = connect(&mut observed, 2, &circuit, PortUse::Reuse);
    let checked = connect(&mut observed, 3, RELAY, PortUse::New);
    for id in [relayed, checked, ConnectionId::new_unchecked(4)] {
        observed.note(id, &address("/ip4/203.0.113.1/udp/1/quic-v1"));
    }
    assert!(offered(&mut observed).is_empty());
}

#[test]
fn a_tcp_port_is_offered_only_where_we_listen_on_tcp() {
    let mut observed = observed();
    let id = connect(&mut observed, 1, "/ip4/203.0.113.9/tcp/41820", PortUse::Reuse);
    observed.note(id, &address("/ip4/203.0.113.1/tcp/50000"));
    assert!(offered(&mut observed).is_empty());
    listen(&mut observed, "/ip4/10.1.0.2/tcp/41820");
    observed.note(id, &address("/ip4/203.0.113.1/tcp/41820"));
    assert_eq!(offered(&mut observed), ["/ip4/10.1.0.2/tcp/41820", "/ip4/203.0.113.1/tcp/41820"]);
}

#[test]
fn where_only_quic_was_seen_the_same_port_of_tcp_is_guessed() {
    let mut observed = observed();
    listen(&mut observed, "/ip4/10.1.0.2/tcp/41820");
    offered(&mut observed);
    let id = connect(&mut observed, 1, RELAY, PortUse::Reuse);
    observed.note(id, &address("/ip4/203.0.113.1/udp/1027/quic-v1"));
    assert_eq!(offered(&mut observed), ["/ip4/203.0.113.1/udp/1027/quic-v1", "/ip4/203.0.113.1/tcp/41820"]);
    let tcp = connect(&mut observed, 2, "/ip4/203.0.113.9/tcp/41820", PortUse::Reuse);
    observed.note(tcp, &address("/ip4/203.0.113.1/tcp/1028"));
    observed.note(id, &address("/ip4/203.0.113.1/udp/1027/quic-v1"));
    assert_eq!(offered(&mut observed), ["/ip4/203.0.113.1/tcp/1028", "/ip4/203.0.113.1/udp/1027/quic-v1"]);
}

#[test]
fn own_addresses_are_offered_to_hosts_of_the_same_network_but_no_inner_ones() {
    let mut observed = observed();
    listen(&mut observed, "/ip4/127.0.0.1/udp/1/quic-v1");
    listen(&mut observed, "/ip4/10.86.0.7/udp/1/quic-v1");
    listen(&mut observed, "/ip4/10.1.0.2/udp/1/quic-v1");
    assert_eq!(offered(&mut observed), ["/ip4/10.1.0.2/udp/1/quic-v1"]);
}

/// Has a connection's other end name so many addresses that were never named before, and gives how many are believed.
fn name_new(observed: &mut Observed, id: ConnectionId, number: std::ops::Range<u32>) -> usize {
    for number in number {
        let ip = std::net::Ipv4Addr::from(0x0808_0000 + number);
        observed.note(id, &address(&format!("/ip4/{ip}/udp/41820/quic-v1")));
    }
    offered(observed).len()
}

#[test]
fn whoever_sees_us_at_ever_more_addresses_is_believed_for_a_few_of_them() {
    let mut observed = observed();
    let liar = connect(&mut observed, 1, RELAY, PortUse::Reuse);
    assert_eq!(name_new(&mut observed, liar, 0..1000), 4);
    assert_eq!(observed.drops.get(DropReason::SightingsMany), 996);
    assert_eq!(name_new(&mut observed, liar, 0..4), 4, "what was believed may be said again");
    assert_eq!(observed.sightings().len(), 1);
    let honest = connect(&mut observed, 2, "/ip4/203.0.113.8/udp/41820/quic-v1", PortUse::Reuse);
    assert_eq!(name_new(&mut observed, honest, 1000..1001), 1, "another is believed all the same");
    // Whoever comes again and again has no more to say than all together.
    let again = (3..100).map(|number| {
        let id = connect(&mut observed, number, RELAY, PortUse::Reuse);
        let new = u32::try_from(number).unwrap() * 1000;
        name_new(&mut observed, id, new..new + 1000)
    });
    assert_eq!(again.sum::<usize>(), 32 - 5);
    assert!(observed.said.len() <= REMEMBERED && observed.connections.len() == 99);
    NOW.set(u64::try_from(EVERY.as_nanos()).unwrap());
    assert_eq!(name_new(&mut observed, honest, 1001..1010), 1, "an address that changes now and then is followed");
}
