//! The Swift pump in the place of the extension: packets of a real tunnel pass through Swift code.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::hello::HelloAck;
use cryprq_ipc_proto::prefix::Prefix;
use cryprq_tests::lab::{Flow, Host, Identity, Pair, Transfer, iperf3, iperf3_server, pattern, ping, until};
use cryprq_tests::repository::root;
use cryprq_tests::swift::{Pump, program};
use nix::sys::signal::Signal;

const B_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
/// The time that a busy machine gets for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(9);

/// A behind the pump, and B with an interface of its own; the tunnel stands.
fn connected(program: &Path) -> Result<Option<(Pair, Pump)>> {
    let Some(mut pair) = Pair::of_peers("the Swift pump", &[B_QUIC], &[])? else { return Ok(None) };
    pair.a.take_from_extension()?;
    pair.connect()?;
    let pump = Pump::start(program, &pair.host_a, &pair.a.tun_socket(), pair.folder.path().join("pump"))?;
    pump.wait_in_force().with_context(|| pair.a.log())?;
    Ok(Some((pair, pump)))
}

fn passes(pair: &Pair) -> Result<()> {
    for address in [IpAddr::from(pair.id_b.ipv4), pair.id_b.ipv6.into()] {
        ping(&pair.host_a, address, LIMIT).with_context(|| format!("A pings {address}:\n{}", pair.a.log()))?;
    }
    Ok(())
}

#[test]
fn both_families_and_whole_downloads_pass_through_swift() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((pair, _pump)) = connected(&program)? else { return Ok(()) };
    passes(&pair)?;
    let body = pattern(2_000_000);
    let ways =
        [(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into()), (&pair.host_a, &pair.host_b, pair.id_a.ipv6.into())];
    for (server, client, address) in ways {
        let transfer = Transfer::start(server, client, address, body.clone(), Duration::ZERO)?;
        transfer.finish().with_context(|| format!("from {address}"))?;
    }
    Ok(())
}

#[test]
fn iperf_passes_through_swift_both_ways() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((pair, _pump)) = connected(&program)? else { return Ok(()) };
    let address = pair.id_b.ipv4.to_string();
    let Ok(_server) = iperf3_server(&pair.host_b, &address) else {
        println!("skipped: iperf through Swift: there is no iperf3");
        return Ok(());
    };
    for direction in [&[][..], &["-R"]] {
        let mut rate = None;
        until("iperf3 measures", || {
            rate = iperf3(&pair.host_a, &address, direction).and_then(|sum| sum["bits_per_second"].as_f64());
            rate.is_some()
        })
        .with_context(|| pair.a.log())?;
        let rate = rate.unwrap_or_default();
        println!("iperf3 {direction:?} through Swift: {:.0} Mbit/s", rate / 1e6);
        ensure!(rate > 0.0, "nothing passed");
    }
    Ok(())
}

#[test]
fn a_killed_daemon_is_found_again_without_a_new_session() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((mut pair, pump)) = connected(&program)? else { return Ok(()) };
    passes(&pair)?;
    for times in 1..=2 {
        pair.a.kill()?;
        pump.wait_said(r#""reasserting":"true""#, times)?;
        pair.a.start()?;
        pump.wait_said(r#""reasserting":"false""#, times)?;
        pair.a.wait_connected()?;
        passes(&pair)?;
    }
    ensure!(pump.times("started") == 1 && pump.times("cancelled") == 0, "{:#?}", pump.said());
    ensure!(pump.times("apply") == 1, "the settings stayed as they were: {:#?}", pump.said());
    Ok(())
}

#[test]
fn sleep_holds_packets_back_and_wake_lets_them_pass() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((pair, pump)) = connected(&program)? else { return Ok(()) };
    passes(&pair)?;
    pump.signal(Signal::SIGUSR1)?;
    pump.wait_said("asleep", 1)?;
    let flow = Flow::start(&pair.host_b, &pair.host_a, pair.id_a.ipv4.into(), 100, Duration::from_millis(10))?;
    until("packets are held back", || {
        pair.a.peer().is_ok_and(|peer| peer["drops"]["extension_away"].as_u64() > Some(0))
    })
    .with_context(|| pair.a.log())?;
    pump.signal(Signal::SIGUSR2)?;
    let before = flow.arrived();
    until("packets come again", || flow.arrived() > before).with_context(|| pair.a.log())?;
    ensure!(pump.times("reasserting") == 0, "it was attached all the time: {:#?}", pump.said());
    Ok(())
}

#[test]
fn a_peer_that_is_added_changes_the_settings() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((pair, pump)) = connected(&program)? else { return Ok(()) };
    let third = Identity::new(3)?.id;
    let add = format!(r#"{{"v":1,"cmd":"peer_add","peer":"{third}","name":"c","allowed_ips":["10.99.7.0/24"]}}"#);
    let added = pair.a.request(&add)?;
    ensure!(added["error"].is_null(), "{added}");
    pump.wait_said("10.99.7.0", 1)?;
    ensure!(pump.times("apply") == 2, "{:#?}", pump.said());
    passes(&pair)
}

#[test]
fn a_second_extension_is_refused_and_the_first_stays() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((pair, pump)) = connected(&program)? else { return Ok(()) };
    // On the other host, whose interface may have the same name: the socket is a file that both see.
    let mut second = Pump::start(&program, &pair.host_b, &pair.a.tun_socket(), pair.folder.path().join("second"))?;
    ensure!(!second.wait()?.success());
    ensure!(second.times("cryprqd refuses") == 1, "{:#?}", second.said());
    passes(&pair)?;
    ensure!(pump.times("reasserting") == 0);
    Ok(())
}

#[test]
fn stop_of_the_system_is_told_and_stop_of_the_daemon_is_obeyed() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some((mut pair, mut pump)) = connected(&program)? else { return Ok(()) };
    pump.signal(Signal::SIGTERM)?;
    ensure!(pump.wait()?.success(), "{:#?}", pump.said());
    until("the daemon heard it", || pair.a.logged("the extension stopped") == 1).with_context(|| pair.a.log())?;
    let mut pump = Pump::start(&program, &pair.host_a, &pair.a.tun_socket(), pair.folder.path().join("next"))?;
    pump.wait_said("started", 1)?;
    pair.a.signal(Signal::SIGINT)?;
    ensure!(pair.a.wait()?.success());
    ensure!(pump.wait()?.code() == Some(1));
    ensure!(pump.times(r#""cancelled":"cryprqd was stopped""#) == 1, "{:#?}", pump.said());
    Ok(())
}

#[test]
fn a_daemon_of_another_version_and_garbage_end_the_start_with_an_error() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some([host]) = Host::several("the Swift pump") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let refused = cryprq_ipc_proto::hello::Refused::version(1, cryprq_ipc_proto::hello::Side::Client);
    let conversations = [
        (Frame::Refused(refused).write(1)?, "the client is older"),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "no frame"),
        (Frame::Ready.write(0)?, "what it may not say now"),
    ];
    for (number, (bytes, told)) in conversations.into_iter().enumerate() {
        let socket = folder.path().join(format!("{number}.sock"));
        let listener = UnixListener::bind(&socket)?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                // A pump that has read enough hangs up.
                let _ = stream.write_all(&bytes);
                let _ = stream.read(&mut [0; 64]);
            }
        });
        let mut pump = Pump::start(&program, &host, &socket, folder.path().join(format!("{number}.out")))?;
        pump.wait_said(told, 1)?;
        if number == 0 {
            ensure!(pump.wait()?.code() == Some(1), "{:#?}", pump.said());
        } else {
            // Such a daemon is given another chance, until the 20 s of a start are over.
            pump.wait_said(told, 2)?;
            ensure!(!pump.has_ended(), "{:#?}", pump.said());
        }
    }
    Ok(())
}

/// A daemon that greets, pushes settings and, once they are in force, says something else; until the pump hangs up.
fn says_once_in_force(mut stream: UnixStream, greeting: &[u8], said: &[u8]) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(greeting)?;
    // Its hello and "ready", which follow each other at once.
    let mut heard = Vec::new();
    let ready = Frame::Ready.write(1)?;
    while !heard.ends_with(&ready) {
        let mut bytes = [0; 256];
        let length = stream.read(&mut bytes)?;
        ensure!(length > 0, "the pump hangs up before it is ready");
        heard.extend_from_slice(&bytes[..length]);
    }
    stream.write_all(said)?;
    // What it read from its interface may come first.
    while stream.read(&mut [0; 256])? > 0 {}
    Ok(())
}

#[test]
fn attack_08_garbage_amid_packets_ends_the_connection_and_not_the_pump() -> Result<()> {
    let Some(program) = program("swift-pump") else { return Ok(()) };
    let Some([host]) = Host::several("the Swift pump") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let vector = |name: &str| std::fs::read(root().join(format!("ipc-proto/vectors/{name}.bin")));
    let net =
        |address: [u8; 4], length| Prefix::new(address.into(), length).map_err(|error| anyhow::anyhow!("{error}"));
    let (addresses, included) = (vec![net([10, 86, 0, 2], 32)?], vec![net([10, 86, 0, 0], 16)?]);
    let settings = TunnelSettings { addresses, included, excluded: vec![], dns: vec![], mtu: 1420 };
    let ack = HelloAck { version: 1, build: "test".into(), features: 0 };
    let greeting = [Frame::HelloAck(ack).write(0)?, Frame::TunnelSettings(settings).write(1)?].concat();
    let good = vector("packets__three")?;
    let socket = folder.path().join("tun.sock");
    let listener = UnixListener::bind(&socket)?;
    let mut pump = Pump::start(&program, &host, &socket, folder.path().join("out"))?;
    let garbage = [
        "refuse__packets_over_long",
        "refuse__more_packets_than_bytes",
        "refuse__packet_of_0",
        "refuse__packet_of_65536",
        "refuse__bad_magic",
    ];
    for (times, name) in (1..).zip(garbage) {
        let (stream, _) = listener.accept()?;
        // Good packets come before it, in one go.
        says_once_in_force(stream, &greeting, &[&good[..], &vector(name)?].concat()).context(name)?;
        pump.wait_said(r#""reasserting":"true""#, times)?;
        ensure!(!pump.has_ended(), "{name}: {:#?}", pump.said());
    }
    let (mut stream, _) = listener.accept()?;
    stream.write_all(&greeting)?;
    pump.wait_said(r#""reasserting":"false""#, garbage.len())?;
    ensure!(pump.times("cancelled") == 0 && pump.times("started") == 1, "{:#?}", pump.said());
    Ok(())
}
