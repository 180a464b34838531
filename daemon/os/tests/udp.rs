//! The UDP socket on loopback, with what the kernel offers and without it.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;

use os::udp::{Arrival, Ecn, MAX_RUN, Offload, ReceiveBatch, Transmit, UdpError, UdpNote, UdpOptions, UdpSocket};

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn open(ip: IpAddr, options: &UdpOptions) -> UdpSocket {
    UdpSocket::open((ip, 0).into(), options).unwrap()
}

fn run(to: SocketAddr, bytes: &[u8], stride: usize) -> Transmit<'_> {
    Transmit { to, from: None, ecn: Ecn::Off, bytes, stride }
}

/// Receives until `count` datagrams came; each with what is known of it.
fn datagrams(socket: &UdpSocket, count: usize) -> Vec<(Arrival, Vec<u8>)> {
    let (mut batch, mut seen) = (ReceiveBatch::default(), Vec::new());
    while seen.len() < count {
        socket.receive(&mut batch).unwrap();
        for (arrival, run) in batch.runs() {
            if run.is_empty() {
                seen.push((arrival, Vec::new()));
            }
            seen.extend(run.chunks(arrival.stride).map(|datagram| (arrival, datagram.to_vec())));
        }
    }
    seen
}

#[test]
fn every_way_to_send_reaches_every_way_to_receive() {
    let bytes: Vec<u8> = (0..10 * 1000 + 333).map(|i| (i / 1000) as u8).collect();
    for ip in LOOPBACKS {
        for segmentation in [Offload::IfOffered, Offload::Never] {
            for coalescing in [Offload::IfOffered, Offload::Never] {
                let options = UdpOptions { segmentation, coalescing, ..UdpOptions::default() };
                let (sender, receiver) = (open(ip, &options), open(ip, &options));
                assert_eq!(sender.send(&run(receiver.address(), &bytes, 1000)).unwrap(), 11);
                let seen = datagrams(&receiver, 11);
                let payloads: Vec<_> = seen.iter().map(|(_, datagram)| datagram.as_slice()).collect();
                let sent: Vec<_> = bytes.chunks(1000).collect();
                assert_eq!(payloads, sent, "{options:?}");
                assert!(seen.iter().all(|(arrival, _)| arrival.from == sender.address()));
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_cuts_and_merges_runs() {
    let (sender, receiver) = (open(LOOPBACKS[0], &UdpOptions::default()), open(LOOPBACKS[0], &UdpOptions::default()));
    assert_eq!(sender.run_length(), MAX_RUN);
    let bytes = [7; 10_333];
    sender.send(&run(receiver.address(), &bytes, 1000)).unwrap();
    let mut batch = ReceiveBatch::default();
    receiver.receive(&mut batch).unwrap();
    let runs: Vec<_> = batch.runs().map(|(arrival, run)| (arrival.stride, run.len())).collect();
    assert_eq!(runs, [(1000, 10_333)]);
    assert!(sender.notes().iter().all(|note| !matches!(note, UdpNote::NoSegmentation | UdpNote::NoCoalescing)));
    assert!(!sender.may_fragment());
}

#[test]
fn a_switched_off_offload_is_not_used_and_not_missed() {
    let options = UdpOptions { segmentation: Offload::Never, coalescing: Offload::Never, ..UdpOptions::default() };
    let socket = open(LOOPBACKS[0], &options);
    assert_eq!(socket.run_length(), 1);
    assert!(socket.notes().iter().all(|note| !matches!(note, UdpNote::NoSegmentation | UdpNote::NoCoalescing)));
}

#[test]
fn congestion_bits_and_addresses_arrive() {
    for ip in LOOPBACKS {
        let (sender, receiver) = (open(ip, &UdpOptions::default()), open(ip, &UdpOptions::default()));
        for ecn in [Ecn::Off, Ecn::Capable1, Ecn::Capable0, Ecn::Congested] {
            let transmit = Transmit { ecn, from: Some(ip), ..run(receiver.address(), b"x", 1) };
            sender.send(&transmit).unwrap();
            let seen = datagrams(&receiver, 1);
            assert_eq!(seen, [(Arrival { from: sender.address(), to: Some(ip), ecn, stride: 1 }, b"x".to_vec())]);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_source_address_is_the_one_asked_for() {
    let sender = open(Ipv4Addr::UNSPECIFIED.into(), &UdpOptions::default());
    let receiver = open(LOOPBACKS[0], &UdpOptions::default());
    // All of 127/8 is ours.
    let from = "127.5.6.7".parse().unwrap();
    sender.send(&Transmit { from: Some(from), ..run(receiver.address(), b"x", 1) }).unwrap();
    assert_eq!(datagrams(&receiver, 1)[0].0.from.ip(), from);
}

#[test]
fn long_runs_are_cut_to_what_the_kernel_takes() {
    let (sender, receiver) = (open(LOOPBACKS[0], &UdpOptions::default()), open(LOOPBACKS[0], &UdpOptions::default()));
    // More datagrams than one run may have, and more bytes.
    for (stride, count) in [(20, 3 * MAX_RUN + 1), (1400, MAX_RUN)] {
        let bytes = vec![9; stride * count];
        assert_eq!(sender.send(&run(receiver.address(), &bytes, stride)).unwrap(), count);
        assert_eq!(datagrams(&receiver, count).len(), count);
    }
    assert_eq!(sender.send(&run(receiver.address(), &[], 20)).unwrap(), 0);
}

#[test]
fn an_empty_datagram_is_an_empty_run() {
    let receiver = open(LOOPBACKS[0], &UdpOptions::default());
    let sender = StdSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&[], receiver.address()).unwrap();
    let seen = datagrams(&receiver, 1);
    assert_eq!((seen[0].1.len(), seen[0].0.stride), (0, 1));
}

#[test]
fn both_families_may_have_the_same_port() {
    // The first that nobody else has in the other family.
    let (_four, port, six) = std::iter::repeat_with(|| open(Ipv4Addr::UNSPECIFIED.into(), &UdpOptions::default()))
        .take(10)
        .find_map(|four| {
            let port = four.address().port();
            let six = UdpSocket::open((Ipv6Addr::UNSPECIFIED, port).into(), &UdpOptions::default()).ok()?;
            Some((four, port, six))
        })
        .unwrap();
    assert_eq!(six.address().port(), port);
    let again = UdpSocket::open((Ipv4Addr::UNSPECIFIED, port).into(), &UdpOptions::default());
    assert!(matches!(again, Err(UdpError::Bind { error, .. }) if error.kind() == ErrorKind::AddrInUse));
}

#[test]
fn a_blocked_receiver_is_woken_for_ever() {
    let socket = Arc::new(open(LOOPBACKS[0], &UdpOptions::default()));
    let waker = socket.waker();
    let receive = |socket: &UdpSocket| socket.receive(&mut ReceiveBatch::default()).unwrap_err().kind();
    let receiver = std::thread::spawn({
        let socket = Arc::clone(&socket);
        move || receive(&socket)
    });
    waker.wake();
    assert_eq!(receiver.join().unwrap(), ErrorKind::Interrupted);
    // Even when there is something to receive: a flood does not keep it.
    socket.send(&run(socket.address(), b"x", 1)).unwrap();
    assert_eq!(receive(&socket), ErrorKind::Interrupted);
}

#[cfg(target_os = "linux")]
#[test]
fn a_mark_is_set_or_its_absence_is_told() {
    let socket = open(LOOPBACKS[0], &UdpOptions { mark: Some(0x6371), ..UdpOptions::default() });
    let mark = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::Mark).unwrap();
    let told = socket.notes().iter().any(|note| matches!(note, UdpNote::Unmarked(_)));
    assert_ne!(mark == 0x6371, told, "either or");
}

#[test]
fn an_interface_that_is_not_there_is_an_error() {
    let options = UdpOptions { interface: Some("no-such-if".into()), ..UdpOptions::default() };
    let refused = UdpSocket::open("127.0.0.1:0".parse().unwrap(), &options);
    assert!(matches!(refused, Err(UdpError::Interface { interface, .. }) if interface == "no-such-if"));
}

/// What needs an interface of the test's own.
#[cfg(target_os = "linux")]
mod in_a_namespace {
    use super::*;

    use nix::sched::{CloneFlags, unshare};
    use os::network::Network;
    use os::tun::{PacketBatch, Tun, TunConfig, TunOffload};

    /// Runs `test` with a TUN device of MTU 1420 in a fresh network namespace, or says why it cannot.
    fn with_tun(test: impl FnOnce(Tun) + Send + 'static) {
        let worker = std::thread::spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                println!("skipped: UDP on an interface, no network namespace: {error}");
                return;
            }
            let tun = Tun::open(&TunConfig { name: "cqudp0".into(), offload: TunOffload::Off }).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let network = Network::open().unwrap();
                let index = network.index_of("cqudp0").await.unwrap().unwrap();
                network.set_up(index, 1420).await.unwrap();
                for address in ["10.86.0.1/32", "fd63::1/128"] {
                    network.add_address(index, address.parse().unwrap()).await.unwrap();
                }
                for route in ["10.86.0.2/32", "fd63::2/128"] {
                    network.add_route(index, route.parse().unwrap()).await.unwrap();
                }
            });
            test(tun);
        });
        worker.join().expect("the test in the namespace passed");
    }

    #[test]
    fn what_is_longer_than_the_interface_takes_is_refused_and_not_fragmented() {
        with_tun(|_tun| {
            for (from, to, headers) in [("10.86.0.1", "10.86.0.2:9", 28), ("fd63::1", "[fd63::2]:9", 48)] {
                let sender = open(from.parse().unwrap(), &UdpOptions::default());
                let bytes = [1; 1420];
                let send = |length: usize| sender.send(&run(to.parse().unwrap(), &bytes[..length], length));
                assert_eq!(send(1420 - headers).unwrap(), 1);
                assert_eq!(send(1420 - headers + 1).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
                // Too long for the interface is no fault of segmentation.
                let two = sender.send(&run(to.parse().unwrap(), &[1; 2842], 1421));
                assert_eq!(two.unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
                assert_eq!(sender.run_length(), MAX_RUN);
            }
        });
    }

    #[test]
    fn a_socket_kept_on_an_interface_sends_there_and_nowhere_else() {
        with_tun(|mut tun| {
            let on = |interface: &str| {
                let options = UdpOptions { interface: Some(interface.into()), ..UdpOptions::default() };
                open(Ipv4Addr::UNSPECIFIED.into(), &options)
            };
            let to = "10.86.0.2:9".parse().unwrap();
            // Where the routes lead elsewhere it is refused or lost, but never seen here.
            let _ = on("lo").send(&run(to, b"elsewhere", 9));
            on("cqudp0").send(&run(to, b"here", 4)).unwrap();
            let mut batch = PacketBatch::default();
            let packet = loop {
                tun.read_batch(&mut batch).unwrap();
                // The kernel sends router solicitations of its own.
                if let Some(packet) = batch.packets().find(|packet| packet[0] >> 4 == 4) {
                    break packet.to_vec();
                }
            };
            assert_eq!(&packet[28..], b"here");
        });
    }
}
