//! Who connects to whom, and from where.

use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxerEvent, StreamMuxerExt};

use crate::flights::{Source, first_flights};
use crate::nat::Nat;
use crate::support::{
    Host, LOCALHOST, LOCALHOST_6, accept, dialler, exchange, in_time, meet, multiaddr, open, socket, waiter,
};

#[tokio::test]
async fn both_families_connect() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    for listen in [LOCALHOST, LOCALHOST_6] {
        let address = b.listen(listen).await;
        meet(&a, &mut b, &address).await;
    }
}

#[tokio::test]
async fn a_listener_on_all_addresses_names_them_and_is_reached_there() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    for listen in ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"] {
        let address = b.listen(listen).await;
        assert!(!socket(&address).ip().is_unspecified());
        meet(&a, &mut b, &address).await;
    }
}

#[tokio::test]
async fn another_host_than_expected_is_refused_inside_tls() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = b.listen(LOCALHOST).await;
    let expected = PeerId::random();
    let error = a.dial(&multiaddr(socket(&address), Some(expected))).await.unwrap_err();
    assert!(error.to_string().contains(&format!("another host answers there than {expected}")), "got {error}");
    // The other side never learns who knocked: its handshake fails.
    assert!(b.incoming().await.result.is_err());
    meet(&a, &mut b, &address).await;
}

#[tokio::test]
async fn an_address_without_a_peer_tells_who_is_there() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = multiaddr(socket(&b.listen(LOCALHOST).await), None);
    meet(&a, &mut b, &address).await;
}

#[tokio::test]
async fn addresses_of_other_transports_and_of_nowhere_are_not_dialled() {
    let a = Host::new(1);
    for address in [
        "/ip4/127.0.0.1/tcp/7",
        "/ip4/127.0.0.1/udp/7",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        "/ip4/0.0.0.0/udp/7/quic-v1",
        "/ip6/::/udp/7/quic-v1",
        "/dns4/localhost/udp/7/quic-v1",
    ] {
        for options in [dialler(), waiter()] {
            let error = a.dial_as(&address.parse().unwrap(), options).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{address}");
        }
    }
}

#[tokio::test]
async fn where_nobody_answers_the_dial_ends() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = Host::new(1).dial(&multiaddr(silent.local_addr().unwrap(), None)).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 5 seconds"), "got {error}");
}

#[tokio::test]
async fn connections_outlive_their_listener_and_it_can_come_back() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let (id, address) = b.listen_as(LOCALHOST).await;
    let (mut ours, mut theirs) = meet(&a, &mut b, &address).await;
    b.stop_listening(id).await;
    // Nobody new comes in, and nobody is told anything.
    let mut stranger = Source::new("127.0.0.1".parse().unwrap());
    for packet in first_flights(1).await.concat() {
        stranger.send(socket(&address), &packet);
    }
    // Who is in goes on, behind the stranger's packets.
    exchange(&mut ours, &mut theirs).await;
    assert_eq!(stranger.answers(), Vec::<Vec<u8>>::new());
    assert!(b.nobody_came());
    // The same socket listens again.
    let again = b.listen(LOCALHOST).await;
    assert_eq!(again, address);
    meet(&a, &mut b, &address).await;
    assert_eq!(stranger.answers(), Vec::<Vec<u8>>::new(), "what came meanwhile is forgotten");
}

#[tokio::test]
async fn a_client_that_comes_to_another_address_keeps_its_connection() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = b.listen(LOCALHOST).await;
    let mut nat = Nat::new(socket(&address)).await;
    let inside = nat.address(b.peer);
    let (mut ours, mut theirs) = tokio::select! {
        met = meet(&a, &mut b, &inside) => met,
        () = nat.run() => unreachable!("a NAT runs for ever"),
    };
    // The NAT forgets its mapping and makes another.
    let moved = nat.forget().await;
    let from_there = async {
        exchange(&mut ours, &mut theirs).await;
        let StreamMuxerEvent::AddressChange(address) = poll_fn(|cx| theirs.poll_unpin(cx)).await.unwrap();
        assert_eq!(socket(&address), moved);
    };
    tokio::select! {
        () = in_time("the exchange", from_there) => {}
        () = nat.run() => unreachable!("a NAT runs for ever"),
    }
}

#[tokio::test]
async fn nothing_is_dropped_between_two_honest_hosts() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = b.listen(LOCALHOST).await;
    let (mut ours, mut theirs) = meet(&a, &mut b, &address).await;
    let mut stream = open(&mut ours).await.unwrap();
    stream.write_all(&[7; 100_000]).await.unwrap();
    stream.close().await.unwrap();
    accept(&mut theirs).await.unwrap().read_to_end(&mut Vec::new()).await.unwrap();
    for host in [&a, &b] {
        assert_eq!(host.drops.total(), 0, "{:?}", host.drops.snapshot());
    }
}
