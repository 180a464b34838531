//! The TUN device, its addresses and routes, in a network namespace of the test's own.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::net::UdpSocket;

use nix::sched::{CloneFlags, unshare};
use os::network::{Changes, Network};
use os::tun::{PacketBatch, Tun, TunConfig, TunOffload};

/// Runs `test` on a thread of its own in a fresh network namespace, or says why it cannot.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let worker = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: TUN tests, no network namespace: {error}");
            return;
        }
        test();
    });
    worker.join().expect("the test in the namespace passed");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn config(name: &str) -> TunConfig {
    TunConfig { name: name.into(), offload: TunOffload::Off }
}

async fn bring_up(network: &Network, name: &str) -> u32 {
    let index = network.index_of(name).await.unwrap().expect("the interface is there");
    network.set_up(index, 1420).await.unwrap();
    network.add_address(index, "10.86.0.1/32".parse().unwrap()).await.unwrap();
    network.add_address(index, "fd63::1/128".parse().unwrap()).await.unwrap();
    network.add_route(index, "10.86.0.2/32".parse().unwrap()).await.unwrap();
    network.add_route(index, "fd63::2/128".parse().unwrap()).await.unwrap();
    index
}

#[test]
fn packets_pass_both_ways_and_the_interface_goes_with_the_handle() {
    in_namespace(|| {
        block_on(async {
            let mut tun = Tun::open(&config("cqtest0")).unwrap();
            let network = Network::open().unwrap();
            let index = bring_up(&network, "cqtest0").await;
            // Doing it again changes nothing and is no error.
            assert_eq!(bring_up(&network, "cqtest0").await, index);
            let ours = network.addresses().await.unwrap();
            assert!(ours.iter().any(|a| a.interface == index && a.address == "10.86.0.1/32".parse().unwrap()));

            let socket = UdpSocket::bind("10.86.0.1:4000").unwrap();
            socket.send_to(b"ping", "10.86.0.2:5000").unwrap();
            let mut batch = PacketBatch::default();
            let packet = loop {
                tun.read_batch(&mut batch).unwrap();
                // The kernel sends router solicitations of its own.
                if let Some(packet) = batch.packets().find(|p| p[0] >> 4 == 4) {
                    break packet.to_vec();
                }
            };
            assert_eq!(&packet[12..20], [10, 86, 0, 1, 10, 86, 0, 2]);
            assert_eq!(&packet[28..], b"ping");

            let mut answer = packet;
            for i in 0..4 {
                answer.swap(12 + i, 16 + i);
            }
            answer.swap(20, 22);
            answer.swap(21, 23);
            tun.write(&answer).unwrap();
            let mut received = [0; 16];
            let (length, from) = socket.recv_from(&mut received).unwrap();
            assert_eq!((&received[..length], from.to_string().as_str()), (&b"ping"[..], "10.86.0.2:5000"));

            network.remove_route(index, "10.86.0.2/32".parse().unwrap()).await.unwrap();
            network.remove_route(index, "10.86.0.2/32".parse().unwrap()).await.unwrap();
            assert!(socket.send_to(b"ping", "10.86.0.2:5000").is_err(), "no route is left");
            network.remove_address(index, "10.86.0.1/32".parse().unwrap()).await.unwrap();
            assert!(UdpSocket::bind("10.86.0.1:4001").is_err(), "the address is gone");

            drop(tun);
            assert_eq!(network.index_of("cqtest0").await.unwrap(), None);
            network.remove_link(index).await.unwrap();
        });
    });
}

#[test]
fn a_blocked_reader_is_woken() {
    in_namespace(|| {
        let mut tun = Tun::open(&config("cqtest1")).unwrap();
        let waker = tun.waker();
        let reader = std::thread::spawn(move || tun.read_batch(&mut PacketBatch::default()));
        waker.wake();
        let error = reader.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    });
}

#[test]
fn an_impossible_name_and_a_taken_interface_are_errors() {
    in_namespace(|| {
        for name in ["", "a-name-that-is-too-long", "a/b"] {
            let error = Tun::open(&config(name)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
        }
        let _first = Tun::open(&config("cqtest2")).unwrap();
        let error = Tun::open(&config("cqtest2")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    });
}

#[test]
fn changes_of_interfaces_and_addresses_are_heard_and_seen() {
    in_namespace(|| {
        block_on(async {
            let (network, mut changes) = (Network::open().unwrap(), Changes::listen().unwrap());
            let links = network.links().await.unwrap();
            assert!(links.iter().all(|link| link.loopback && !link.carries), "{links:?}");
            let _tun = Tun::open(&config("cqtest1")).unwrap();
            let index = bring_up(&network, "cqtest1").await;
            let heard = tokio::time::timeout(std::time::Duration::from_secs(10), changes.next()).await;
            assert_eq!(heard, Ok(Some(())));
            let links = network.links().await.unwrap();
            let ours = links.iter().find(|link| link.index == index).unwrap();
            assert!(ours.name == "cqtest1" && ours.carries && !ours.loopback, "{ours:?}");
            network.remove_address(index, "10.86.0.1/32".parse().unwrap()).await.unwrap();
            let ours = network.addresses().await.unwrap().into_iter().filter(|attached| attached.interface == index);
            assert!(ours.map(|attached| attached.address).all(|address| address.addr().is_ipv6()));
        });
    });
}
