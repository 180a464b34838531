//! The same traffic with and without what the kernel offers arrives the same, byte for byte.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Host, Pair};
use os::udp::{Ecn, Offload, ReceiveBatch, Transmit, UdpOptions, UdpSocket};

use super::{B_QUIC, Transfer, connected_by, pair, pattern};

pub(super) const ALL_OFF: &str = "[linux]\ntun_offload = false\nudp_segmentation = false\nudp_coalescing = false\n";
pub(super) const OLD: &str = "[linux]\ntun_udp_offload = false\n";
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A datagram as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    ecn: u8,
    bytes: Vec<u8>,
}

/// What the log says of what a daemon has.
const SUPER_PACKETS: &str = "super_packets=Some(TcpAndUdp)";
const OLD_KERNELS: &str = "super_packets=Some(Tcp)";
const NO_SUPER_PACKETS: &str = "super_packets=None";
const NO_RUNS: [&str; 2] = ["cuts=false", "merges=false"];

#[test]
fn with_every_offload() -> Result<()> {
    compare("", "", SUPER_PACKETS)
}

#[test]
fn as_on_a_kernel_without_super_packets_of_udp() -> Result<()> {
    compare(OLD, OLD, OLD_KERNELS)?;
    compare("", OLD, SUPER_PACKETS)
}

#[test]
fn with_none() -> Result<()> {
    compare(ALL_OFF, ALL_OFF, NO_SUPER_PACKETS)
}

#[test]
fn with_offload_at_one_end() -> Result<()> {
    compare("", ALL_OFF, SUPER_PACKETS)?;
    compare(ALL_OFF, "", NO_SUPER_PACKETS)
}

#[test]
fn without_super_packets_on_the_tun_device() -> Result<()> {
    const OFF: &str = "[linux]\ntun_offload = false\n";
    compare(OFF, OFF, NO_SUPER_PACKETS)
}

#[test]
fn without_the_kernel_cutting_or_merging_datagrams() -> Result<()> {
    compare("[linux]\nudp_segmentation = false\n", "[linux]\nudp_coalescing = false\n", SUPER_PACKETS)
}

#[test]
fn by_the_stream_only() -> Result<()> {
    const STREAM: &str = "carrier = \"stream\"\n";
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.a.prefix(STREAM)?;
    pair.connect()?;
    traffic(&pair)?;
    for daemon in [&pair.a, &pair.b] {
        ensure!(daemon.peer()?["path"]["kind"] == "stream");
    }
    Ok(())
}

#[test]
fn behind_the_shuttle() -> Result<()> {
    behind(Way::Shuttle)
}

#[test]
fn behind_the_swift_pump() -> Result<()> {
    behind(Way::Swift)
}

/// An extension's interface has nothing that the kernel offers, the other end's has all of it.
fn behind(way: Way) -> Result<()> {
    let Some(pair) = connected_by(way, &[B_QUIC])? else { return Ok(()) };
    super::paths::both_go_by("udp", &pair, LIMIT)?;
    traffic(&pair)
}

/// Carries traffic of all kinds between two daemons with these lines in their configurations; A says that it has this.
fn compare(a: &str, b: &str, has: &str) -> Result<()> {
    let Some(mut pair) = pair(&[B_QUIC], &[])? else { return Ok(()) };
    pair.a.configure(a)?;
    pair.b.configure(b)?;
    pair.connect()?;
    super::paths::both_go_by("udp", &pair, LIMIT)?;
    traffic(&pair)?;
    // After the traffic: what a kernel turns out not to take is not used any more.
    ensure!(pair.a.logged(has) == 1, "{}", pair.a.log());
    for (daemon, lines) in [(&pair.a, a), (&pair.b, b)] {
        let without = [lines.contains("udp_segmentation = false"), lines.contains("udp_coalescing = false")];
        for (told, without) in NO_RUNS.into_iter().zip(without) {
            ensure!((daemon.logged(told) > 0) == without, "'{told}': {}", daemon.log());
        }
        let health = daemon.ask("status")?["health"].to_string();
        ensure!(!health.contains("kernel_lacks"), "what is switched off is not missed: {health}");
    }
    Ok(())
}

fn traffic(pair: &Pair) -> Result<()> {
    for address in [IpAddr::from(pair.id_b.ipv4), pair.id_b.ipv6.into()] {
        Transfer::start(&pair.host_b, &pair.host_a, address, pattern(1_234_567), Duration::ZERO)?.finish()?;
        datagrams(&pair.host_a, &pair.host_b, address)?;
    }
    for address in [IpAddr::from(pair.id_a.ipv4), pair.id_a.ipv6.into()] {
        Transfer::start(&pair.host_a, &pair.host_b, address, pattern(1_000_001), Duration::ZERO)?.finish()?;
        datagrams(&pair.host_b, &pair.host_a, address)?;
    }
    Ok(())
}

/// Sends datagrams of all lengths, alone and in runs that the kernel hands over as one, with each congestion mark, and in
/// fragments; all of them arrive as they were sent.
fn datagrams(from: &Host, to: &Host, address: IpAddr) -> Result<()> {
    let unspecified: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let receiver = to.run(move || socket(unspecified, Offload::Never))?;
    let target = SocketAddr::new(address, receiver.address().port());
    let waker = receiver.waker();
    let (arrived, arrivals) = channel();
    let receiving = std::thread::spawn(move || receive(&receiver, &arrived));
    let sent = from.spawn(move || send(unspecified, target)).join().ok().context("the sender panicked")??;
    let seen = collect(&arrivals, sent.len());
    waker.wake();
    let _ = receiving.join();
    let (sent, seen) = (BTreeSet::from_iter(sent), seen?);
    ensure!(sent == seen, "{:?} arrived otherwise", sent.symmetric_difference(&seen).map(brief).collect::<Vec<_>>());
    Ok(())
}

fn brief(datagram: &Datagram) -> (u8, usize) {
    (datagram.ecn, datagram.bytes.len())
}

fn socket(address: IpAddr, coalescing: Offload) -> Result<UdpSocket> {
    Ok(UdpSocket::open((address, 0).into(), &UdpOptions { coalescing, ..UdpOptions::default() })?)
}

fn send(unspecified: IpAddr, to: SocketAddr) -> Result<Vec<Datagram>> {
    let sender = socket(unspecified, Offload::IfOffered)?;
    let mut sent = Vec::new();
    let mut mark = 0_u8;
    for ecn in [Ecn::Off, Ecn::Capable1, Ecn::Capable0, Ecn::Congested] {
        for (stride, length) in [(1, 1), (63, 63), (1372, 1372), (500, 2750), (1200, 1200 * 7 + 1), (37, 37 * 20)] {
            // No two datagrams are alike.
            mark += 1;
            let bytes: Vec<u8> = (0..length).map(|at: usize| mark ^ (at / stride) as u8).collect();
            let transmit = Transmit { to, from: None, ecn, bytes: &bytes, stride };
            ensure!(sender.send(&transmit)? == length.div_ceil(stride));
            sent.extend(bytes.chunks(stride).map(|bytes| Datagram { ecn: ecn.bits(), bytes: bytes.to_vec() }));
        }
    }
    // Longer than the tunnel's MTU: the kernel makes fragments of it.
    let fragments = std::net::UdpSocket::bind((unspecified, 0))?;
    let bytes = pattern(4001);
    fragments.send_to(&bytes, to)?;
    sent.push(Datagram { ecn: 0, bytes });
    Ok(sent)
}

fn receive(socket: &UdpSocket, arrived: &Sender<Datagram>) {
    let mut batch = ReceiveBatch::default();
    while socket.receive(&mut batch).is_ok() {
        for (arrival, run) in batch.runs() {
            for bytes in run.chunks(arrival.stride) {
                let _ = arrived.send(Datagram { ecn: arrival.ecn.bits(), bytes: bytes.to_vec() });
            }
        }
    }
}

fn collect(arrivals: &Receiver<Datagram>, count: usize) -> Result<BTreeSet<Datagram>> {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        match arrivals.recv_timeout(LIMIT) {
            Ok(datagram) => ensure!(seen.insert(datagram), "one arrived twice"),
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("only {} of {count} arrived", seen.len()),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the receiver ended"),
        }
    }
    Ok(seen)
}
