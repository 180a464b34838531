//! Two daemons in network namespaces carry real traffic.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Host, Identity, Peering, join, until};

const QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
const TCP: &str = "/ip4/192.0.2.2/tcp/41820";
const PORT: u16 = 7000;

/// A dials B; B only knows A.
struct Lab {
    a: Daemon,
    b: Daemon,
    host_a: Host,
    host_b: Host,
    id_a: Identity,
    id_b: Identity,
    _folder: tempfile::TempDir,
}

/// Whether B has A as a peer.
#[derive(PartialEq)]
enum Knows {
    Yes,
    No,
}

/// Two joined hosts, or `None` with a line that says why this machine has none.
fn lab(a_dials: &[&str], b_knows_a: Knows) -> Result<Option<Lab>> {
    let (host_a, host_b) = match (Host::new(), Host::new()) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(error), _) | (_, Err(error)) => {
            println!("skipped: end-to-end tests: {error:#}");
            return Ok(None);
        }
    };
    join(&host_a, &host_b)?;
    let folder = tempfile::tempdir()?;
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let a = Daemon::new(&host_a, folder.path().join("a"), &id_a, &[Peering { peer: &id_b, addresses: a_dials }])?;
    let known = [Peering { peer: &id_a, addresses: &[] }];
    let known = if b_knows_a == Knows::Yes { &known[..] } else { &[] };
    let b = Daemon::new(&host_b, folder.path().join("b"), &id_b, known)?;
    Ok(Some(Lab { a, b, host_a, host_b, id_a, id_b, _folder: folder }))
}

/// Bytes that no other test and no protocol sends.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// B serves `payload` on one TCP connection, `pace` between its pieces.
fn serve(
    host: &Host,
    address: IpAddr,
    payload: Vec<u8>,
    pace: Duration,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let listener = host.run(move || TcpListener::bind(SocketAddr::new(address, PORT)))?;
    Ok(host.spawn(move || {
        let (mut stream, _) = listener.accept()?;
        for piece in payload.chunks(8 * 1024) {
            stream.write_all(piece)?;
            std::thread::sleep(pace);
        }
        Ok(())
    }))
}

/// A reads everything from B; `during` is called with what has come so far.
fn fetch(host: &Host, address: IpAddr) -> std::thread::JoinHandle<Result<Vec<u8>>> {
    host.spawn(move || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), Duration::from_secs(20))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        Ok(received)
    })
}

fn joined<T>(thread: std::thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
}

#[test]
fn ipv4_and_ipv6_pass_and_the_outer_link_shows_nothing_of_it() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC, TCP], Knows::Yes)? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;
    lab.a.wait_connected()?;
    let payload = pattern(300_000);
    let canary = payload[150_000..150_064].to_vec();
    let holds = |seen: &[u8], what: &[u8]| seen.windows(what.len()).any(|window| window == what);
    for address in [IpAddr::from(lab.id_b.ipv4), lab.id_b.ipv6.into()] {
        let capture = Capture::start(&lab.host_a)?;
        let served = serve(&lab.host_b, address, payload.clone(), Duration::ZERO)?;
        ensure!(joined(fetch(&lab.host_a, address))? == payload, "every byte arrives once and in order");
        joined(served)?;
        let seen = capture.finish()?;
        ensure!(seen.len() > payload.len(), "the capture saw the tunnel's frames");
        ensure!(!holds(&seen, &canary), "the outer link shows the payload");
        let inner: Vec<u8> = match address {
            IpAddr::V4(ip) => [lab.id_a.ipv4.octets(), ip.octets()].concat(),
            IpAddr::V6(ip) => [lab.id_a.ipv6.octets(), ip.octets()].concat(),
        };
        ensure!(!holds(&seen, &inner), "the outer link shows the inner addresses");
    }
    // The same search without the tunnel finds the payload: the search itself works.
    let outer: IpAddr = "192.0.2.2".parse()?;
    let capture = Capture::start(&lab.host_a)?;
    let served = serve(&lab.host_b, outer, payload.clone(), Duration::ZERO)?;
    ensure!(joined(fetch(&lab.host_a, outer))? == payload);
    joined(served)?;
    ensure!(holds(&capture.finish()?, &canary), "without the tunnel the payload is seen");
    Ok(())
}

#[test]
fn one_connection_outlives_rotations_and_the_death_of_a_daemon() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC, TCP], Knows::Yes)? else { return Ok(()) };
    // B first this time, and A only once B waits.
    lab.b.start()?;
    lab.a.start()?;
    lab.a.wait_connected()?;
    let payload = pattern(1_000_000);
    let address = IpAddr::from(lab.id_b.ipv4);
    let served = serve(&lab.host_b, address, payload.clone(), Duration::from_millis(40))?;
    let fetched = fetch(&lab.host_a, address);
    for round in 2..=4 {
        lab.a.ask("rotate")?;
        until("new keys are in use", || lab.a.peer().is_ok_and(|peer| peer["rotations"].as_u64() >= Some(round)))?;
    }
    lab.a.kill()?;
    lab.a.start()?;
    lab.a.wait_connected()?;
    ensure!(joined(fetched)? == payload, "the connection completes, every byte once");
    joined(served)
}

#[test]
fn rotations_under_load_drop_nothing() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC], Knows::Yes)? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;
    lab.a.wait_connected()?;
    lab.b.wait_connected()?;
    let address = IpAddr::from(lab.id_b.ipv4);
    let payload = pattern(600_000);
    let before = [lab.a.ask("status")?["drops"].take(), lab.b.ask("status")?["drops"].take()];
    let served = serve(&lab.host_b, address, payload.clone(), Duration::from_millis(20))?;
    let fetched = fetch(&lab.host_a, address);
    let mut rotations = 1;
    while !fetched.is_finished() {
        lab.b.ask("rotate")?;
        rotations += 1;
        until("new keys", || lab.b.peer().is_ok_and(|p| p["rotations"].as_u64() >= Some(rotations)))?;
    }
    ensure!(joined(fetched)? == payload);
    joined(served)?;
    ensure!(rotations > 5, "only {rotations} rotations");
    let after = [lab.a.ask("status")?["drops"].take(), lab.b.ask("status")?["drops"].take()];
    ensure!(before == after, "dropped during rotations: {before:?} became {after:?}");
    Ok(())
}

#[test]
fn where_udp_is_blocked_tcp_carries_the_tunnel() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC, TCP], Knows::Yes)? else { return Ok(()) };
    const RULES: &str = "table ip t { chain c { type filter hook input priority 0; udp dport 41820 drop; } }";
    if lab.host_b.firewall(RULES)?.is_none() {
        println!("skipped: UDP blocked: this machine has no nft");
        return Ok(());
    }
    lab.a.start()?;
    lab.b.start()?;
    lab.a.wait_connected()?;
    let path = lab.a.peer()?["path"]["address"].take();
    ensure!(path.as_str().is_some_and(|path| path.contains("/tcp/")), "the path is {path}");
    let address = IpAddr::from(lab.id_b.ipv4);
    let served = serve(&lab.host_b, address, pattern(10_000), Duration::ZERO)?;
    ensure!(joined(fetch(&lab.host_a, address))? == pattern(10_000));
    joined(served)
}

#[test]
fn a_link_that_comes_back_carries_the_same_connection() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC], Knows::Yes)? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;
    lab.a.wait_connected()?;
    let address = IpAddr::from(lab.id_b.ipv4);
    let payload = pattern(400_000);
    let served = serve(&lab.host_b, address, payload.clone(), Duration::from_millis(40))?;
    let fetched = fetch(&lab.host_a, address);
    until("half of it came", || lab.a.peer().is_ok_and(|p| p["rx_bytes"].as_u64() > Some(200_000)))?;
    lab.host_b.set_wire(false)?;
    until("the silence is seen", || lab.a.peer().is_ok_and(|p| p["state"] != "connected"))?;
    lab.host_b.set_wire(true)?;
    ensure!(joined(fetched)? == payload);
    joined(served)
}

#[test]
fn a_host_that_is_no_peer_gets_nothing() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC, TCP], Knows::No)? else { return Ok(()) };
    lab.b.start()?;
    lab.a.start()?;
    until("A tries", || lab.a.log().contains("Connecting"))?;
    // What would have to happen cannot be waited for; both transports are tried many times in this while.
    std::thread::sleep(Duration::from_secs(5));
    ensure!(lab.a.peer()?["state"] == "connecting", "a stranger is not let in");
    ensure!(lab.b.ask("status")?["peers"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}

#[test]
fn a_running_daemon_holds_one_capability_and_leaves_nothing_behind() -> Result<()> {
    let Some(mut lab) = lab(&[QUIC], Knows::Yes)? else { return Ok(()) };
    lab.a.start()?;
    let pid = lab.a.pid().context("it runs")?;
    let interfaces = |host: &Host| host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
    ensure!(interfaces(&lab.host_a)?.contains("cryprq0"));
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // CAP_NET_ADMIN is number 12.
        ensure!(field("CapEff:") == Some("0000000000001000"), "effective: {:?}", field("CapEff:"));
        ensure!(field("CapPrm:") == Some("0000000000001000"), "permitted: {:?}", field("CapPrm:"));
        ensure!(field("NoNewPrivs:") == Some("1"));
    }
    ensure!(lab.a.stop()?.success(), "SIGTERM ends it with exit 0");
    ensure!(!interfaces(&lab.host_a)?.contains("cryprq0"), "the interface is gone");
    ensure!(!lab.a.socket().exists(), "the socket is gone");
    Ok(())
}
