//! Which sockets there are, and how long.

use std::net::UdpSocket;

use os::udp::{Offload, UdpOptions};

use crate::flights::{Source, first_flights};
use crate::support::{Host, LOCALHOST, WIDE, exchange, meet, socket, until};

#[tokio::test]
async fn dials_leave_from_the_port_that_listens() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let (at_a, at_b) = (a.listen(LOCALHOST).await, b.listen(LOCALHOST).await);
    a.dial(&at_b).await.unwrap();
    assert_eq!(b.incoming().await.from, socket(&at_a));
}

#[tokio::test]
async fn a_dial_from_a_new_port_has_a_socket_that_goes_with_its_connection() {
    use libp2p::core::Endpoint as Role;
    use libp2p::core::transport::{DialOpts, PortUse};

    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let (at_a, at_b) = (a.listen(LOCALHOST).await, b.listen(LOCALHOST).await);
    let met = a.dial_as(&at_b, DialOpts { role: Role::Dialer, port_use: PortUse::New }).await.unwrap();
    let came = b.incoming().await;
    let from = came.from;
    assert_ne!(from.port(), socket(&at_a).port());
    assert!(UdpSocket::bind(from).is_err(), "the connection has it");
    drop((met, came));
    until("the socket is gone", || UdpSocket::bind(from).is_ok()).await;
}

#[tokio::test]
async fn a_host_that_does_not_listen_dials_from_one_socket() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let at_b = b.listen(LOCALHOST).await;
    let mut ports = Vec::new();
    for _ in 0..3 {
        a.dial(&at_b).await.unwrap();
        ports.push(b.incoming().await.from.port());
    }
    assert!(ports.iter().all(|port| *port == ports[0]), "one socket for all: {ports:?}");
}

#[tokio::test]
async fn a_socket_that_only_dials_lets_nobody_in_and_answers_nobody() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let at_b = b.listen(LOCALHOST).await;
    let (_, mut ours) = a.dial(&at_b).await.unwrap();
    let came = b.incoming().await;
    let mut stranger = Source::new("127.0.0.1".parse().unwrap());
    for packet in first_flights(1).await.concat() {
        stranger.send(came.from, &packet);
    }
    // What comes on the connection comes behind the stranger's packets.
    exchange(&mut came.result.unwrap().1, &mut ours).await;
    assert_eq!(stranger.answers(), Vec::<Vec<u8>>::new());
    assert!(a.nobody_came());
}

#[tokio::test]
async fn without_offloads_it_is_the_same() {
    let never = UdpOptions { segmentation: Offload::Never, coalescing: Offload::Never, ..UdpOptions::default() };
    for (udp_a, udp_b) in [(never.clone(), UdpOptions::default()), (UdpOptions::default(), never)] {
        let (a, mut b) = (Host::with_udp(1, WIDE, udp_a), Host::with_udp(2, WIDE, udp_b));
        let address = b.listen(LOCALHOST).await;
        let (mut ours, mut theirs) = meet(&a, &mut b, &address).await;
        exchange(&mut ours, &mut theirs).await;
        exchange(&mut theirs, &mut ours).await;
    }
}

#[tokio::test]
async fn a_dropped_transport_frees_its_port() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let address = b.listen(LOCALHOST).await;
    drop(meet(&a, &mut b, &address).await);
    drop((a, b));
    until("the port is free", || UdpSocket::bind(socket(&address)).is_ok()).await;
}
