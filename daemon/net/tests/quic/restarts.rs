//! Hosts that die without a word.

use std::net::UdpSocket;

use futures::AsyncWriteExt;

use crate::nat::Nat;
use crate::support::{Host, LOCALHOST, accept, dialler, exchange, in_time, meet, open, socket, until};

/// A host with a runtime of its own, which can be stopped in the middle of everything.
struct Mortal {
    runtime: tokio::runtime::Runtime,
    host: Host,
}

impl Mortal {
    fn new(seed: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let host = {
            let _guard = runtime.enter();
            Host::new(seed)
        };
        Self { runtime, host }
    }

    /// Ends it as SIGKILL does: it says no proper farewell.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

#[tokio::test]
async fn a_restarted_host_ends_connections_of_its_former_life_at_their_next_packet() {
    let a = Host::new(1);
    let mut first = Mortal::new(2);
    let address = first.host.listen(LOCALHOST).await;
    let own = socket(&address);
    let mut nat = Nat::new(own).await;
    let inside = nat.address(first.host.peer);
    // A client that does not know yet that its handshake is over repeats that alone, and nothing resets it.
    let meeting = async {
        let (mut ours, mut theirs) = meet(&a, &mut first.host, &inside).await;
        exchange(&mut theirs, &mut ours).await;
        (ours, theirs)
    };
    let (mut ours, theirs) = tokio::select! {
        met = meeting => met,
        () = nat.run() => unreachable!("a NAT runs for ever"),
    };
    // Whatever it still says is lost.
    first.kill();
    drop(theirs);
    until("the port is free", || UdpSocket::bind(own).is_ok()).await;
    nat.forget().await;
    // The same identity on the same port.
    let mut second = Host::new(2);
    assert_eq!(second.listen(&format!("/ip4/127.0.0.1/udp/{}/quic-v1", own.port())).await, address);
    let ending = async {
        let mut stream = open(&mut ours).await.unwrap();
        stream.write_all(b"are you there?").await.unwrap();
        accept(&mut ours).await.unwrap_err()
    };
    let error = tokio::select! {
        error = in_time("the end", ending) => error,
        () = nat.run() => unreachable!("a NAT runs for ever"),
    };
    // And not by the idle time-out.
    assert!(error.to_string().contains("reset by peer"), "got {error}");
    let (mut ours, mut theirs) = meet(&a, &mut second, &address).await;
    exchange(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_listener_outlives_a_hundred_sessions_that_die_while_another_peer_dials() {
    let mut listener = Host::new(1);
    let address = listener.listen(LOCALHOST).await;
    let other = Host::new(2);
    let mut dying = Mortal::new(3);
    for round in 0..100 {
        // Each other time the whole host dies, else only its session.
        let met = {
            let _guard = dying.runtime.enter();
            dying.host.start_dial(&address, dialler())
        };
        let (_, mut first) = listener.accept().await;
        let (_, mut session) = in_time("the dial", met).await.unwrap().unwrap();
        exchange(&mut session, &mut first).await;
        let dial = other.start_dial(&address, dialler());
        if round % 2 == 0 {
            dying.kill();
            dying = Mortal::new(3);
        }
        drop(session);
        let (who, mut theirs) = listener.accept().await;
        assert_eq!(who, other.peer, "round {round}");
        let (_, mut ours) = in_time("the other peer's dial", dial).await.unwrap().unwrap();
        exchange(&mut ours, &mut theirs).await;
    }
    dying.kill();
}
