//! Hole punching: one side dials, the other opens its NAT and waits.

use std::net::UdpSocket;
use std::time::Duration;

use libp2p::PeerId;

use crate::support::{Host, LOCALHOST, WIDE, in_time, meet, multiaddr, waiter};

#[tokio::test]
async fn both_at_once_make_one_connection() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let (at_a, at_b) = (a.listen(LOCALHOST).await, b.listen(LOCALHOST).await);
    let waiting = b.start_dial(&at_a, waiter());
    let dialled = a.dial(&at_b).await.unwrap();
    let waited = in_time("the peer", waiting).await.unwrap().unwrap();
    assert_eq!((dialled.0, waited.0), (b.peer, a.peer));
    assert!(a.nobody_came() && b.nobody_came(), "the one connection is that of both dials");
}

#[tokio::test]
async fn a_peer_that_comes_from_an_unexpected_address_is_known_by_its_key() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let at_b = b.listen(LOCALHOST).await;
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let waiting = b.start_dial(&multiaddr(elsewhere.local_addr().unwrap(), Some(a.peer)), waiter());
    a.dial(&at_b).await.unwrap();
    assert_eq!(in_time("the peer", waiting).await.unwrap().unwrap().0, a.peer);
    assert!(b.nobody_came());
}

#[tokio::test]
async fn somebody_else_who_comes_meanwhile_is_an_ordinary_guest() {
    let (a, guest, mut b) = (Host::new(1), Host::new(3), Host::new(2));
    let at_b = b.listen(LOCALHOST).await;
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let waiting = b.start_dial(&multiaddr(elsewhere.local_addr().unwrap(), Some(a.peer)), waiter());
    meet(&guest, &mut b, &at_b).await;
    a.dial(&at_b).await.unwrap();
    assert_eq!(in_time("the peer", waiting).await.unwrap().unwrap().0, a.peer);
}

#[tokio::test]
async fn punches_are_64_bytes_that_differ_and_a_wait_ends() {
    let mut b = Host::new(2);
    b.listen(LOCALHOST).await;
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = multiaddr(target.local_addr().unwrap(), Some(PeerId::random()));
    let waiting = b.start_dial(&address, waiter());
    let punches = tokio::task::spawn_blocking(move || {
        let receive = || {
            let mut bytes = [0; 100];
            let length = target.recv(&mut bytes).unwrap();
            bytes[..length].to_vec()
        };
        [receive(), receive(), receive()]
    });
    let punches = punches.await.unwrap();
    assert!(punches.iter().all(|punch| punch.len() == 64 && punch[0] == 0x13));
    assert!(punches[0] != punches[1] && punches[1] != punches[2]);
    assert!(in_time("the end of the wait", waiting).await.unwrap().is_err(), "nobody came");
}

#[tokio::test]
async fn a_peer_is_waited_for_at_each_of_its_addresses_and_comes_once() {
    let (a, mut b) = (Host::new(1), Host::new(2));
    let at_b = b.listen(LOCALHOST).await;
    let elsewhere = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
    let addresses = elsewhere.each_ref().map(|socket| multiaddr(socket.local_addr().unwrap(), Some(a.peer)));
    let waiting = addresses.map(|address| b.start_dial(&address, waiter()));
    a.dial(&at_b).await.unwrap();
    let [first, second] = waiting;
    let came = [in_time("an end", first).await.unwrap(), in_time("an end", second).await.unwrap()];
    assert_eq!(came.iter().flatten().map(|(peer, _)| *peer).collect::<Vec<_>>(), [a.peer]);
    assert!(b.nobody_came());
    for socket in elsewhere {
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 64, "each hole was opened");
    }
}

#[tokio::test]
async fn a_peer_is_waited_for_only_where_it_can_come_in() {
    let b = Host::with(2, WIDE);
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error =
        b.dial_as(&multiaddr(target.local_addr().unwrap(), Some(PeerId::random())), waiter()).await.unwrap_err();
    assert!(error.to_string().contains("no listener"), "got {error}");
}
