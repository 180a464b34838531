//! Frames that somebody caught on their way and delivers from elsewhere.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Flow, Host, Identity, Peering, Seen, switch, until};
use serde_json::Value;
use tempfile::TempDir;

use super::{B_QUIC, hosts};

/// B's firewall drops what A sends; a capture sees it all the same.
const CAUGHT: &str = "table ip caught { chain i { type filter hook input priority 0; ip saddr 192.0.2.1 drop; }; }";
const LET_GO: &str = "delete table ip caught";
const TO_B: &str = "192.0.2.2:41820";

/// What is inside the Ethernet, IPv4 and UDP headers of those that carry frames of packets.
fn frames(seen: &Seen) -> Vec<Vec<u8>> {
    let datagrams = seen.packets().filter(|frame| frame[12..14] == [8, 0] && frame.get(23) == Some(&17));
    let datagrams = datagrams.filter(|frame| frame.get(26..30) == Some(&[192, 0, 2, 1]));
    datagrams
        .filter_map(|frame| frame.get(42..))
        .filter(|frame| frame.starts_with(&[0x10, 0, 0, 0]))
        .map(Vec::from)
        .collect()
}

/// How many bytes of datagrams one host sent another.
fn bytes(seen: &Seen, from: [u8; 4], to: [u8; 4]) -> usize {
    let between = |frame: &&[u8]| frame[12..14] == [8, 0] && frame.get(26..34) == Some(&[from, to].concat());
    seen.packets().filter(between).map(|frame| usize::from(u16::from_be_bytes([frame[16], frame[17]]))).sum()
}

/// Peers A and B, and C on the same network, which is nobody's.
struct Scene {
    a: Daemon,
    b: Daemon,
    hosts: [Host; 3],
    id_b: Identity,
    _switch: Host,
    _folder: TempDir,
}

impl Scene {
    /// A and B send each other datagrams.
    fn connected() -> Result<Option<Self>> {
        let Some(hosts) = hosts() else { return Ok(None) };
        let switch = switch(&hosts.each_ref())?;
        let folder = tempfile::tempdir()?;
        let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
        let knows = |peer, name, addresses| [Peering { peer, name, addresses }];
        let mut a = Daemon::new(&hosts[0], folder.path().join("a"), &id_a, &knows(&id_b, "b", &[B_QUIC]))?;
        let mut b = Daemon::new(&hosts[1], folder.path().join("b"), &id_b, &knows(&id_a, "a", &[]))?;
        a.start()?;
        b.start()?;
        until("frames go by datagrams", || {
            address(&b) == "/ip4/192.0.2.1/udp/41820" && address(&a) == "/ip4/192.0.2.2/udp/41820"
        })
        .with_context(|| format!("{}\n{}", a.log(), b.log()))?;
        Ok(Some(Self { a, b, hosts, id_b, _switch: switch, _folder: folder }))
    }

    /// How many frames B dropped for these reasons, whoever it takes them to be from.
    fn dropped(&self, reasons: &[&str]) -> u64 {
        let Ok(mut status) = self.b.ask("status") else { return 0 };
        let (all, peer) = (status["drops"].take(), status["peers"][0]["drops"].take());
        reasons.iter().flat_map(|reason| [&all, &peer].map(|drops| drops[reason].as_u64().unwrap_or(0))).sum()
    }
}

/// Where a daemon sends its only peer's frames.
fn address(daemon: &Daemon) -> Value {
    daemon.peer().map(|mut peer| peer["path"]["address"].take()).unwrap_or(Value::Null)
}

#[test]
fn captured_frames_from_another_address_move_nothing_and_are_not_answered_with_more() -> Result<()> {
    let Some(scene) = Scene::connected()? else { return Ok(()) };
    let Scene { a, b, hosts: [host_a, host_b, host_c], id_b, .. } = &scene;
    let count = |daemon: &Daemon, what: &str| daemon.peer().ok().and_then(|peer| peer[what].as_u64()).unwrap_or(0);
    let flow = Flow::start(host_a, host_b, id_b.ipv4.into(), 300, Duration::from_millis(2))?;
    until("packets arrive", || flow.arrived() > 50)?;

    // A fast one: what it delivers is authentic and new to B.
    let catch = Capture::start(host_b)?;
    if host_b.firewall(CAUGHT)?.is_none() {
        println!("skipped: frames delivered from elsewhere: this machine has no nft");
        return Ok(());
    }
    let sent = count(a, "tx_packets");
    until("A sends some more", || count(a, "tx_packets") > sent + 50)?;
    let caught = frames(&catch.finish()?);
    let (around_c, received) = (Capture::start(host_c)?, count(b, "rx_packets"));
    let injected = caught.clone();
    let delivered = host_c.run(move || -> Result<usize> {
        let socket = UdpSocket::bind("192.0.2.3:0")?;
        injected.iter().map(|frame| Ok(socket.send_to(frame, TO_B)?)).sum()
    })?;
    until("B takes them", || count(b, "rx_packets") >= received + 20).with_context(|| b.log())?;
    let is_at_c = || address(b).as_str().is_some_and(|at| at.contains("192.0.2.3"));
    ensure!(!is_at_c(), "B moved to {}", address(b));
    host_b.firewall(LET_GO)?;

    // A slow one: B knows them.
    let replayed = || scene.dropped(&["frame_replayed"]);
    let before = replayed();
    let again = host_c.run(move || -> Result<usize> {
        let socket = UdpSocket::bind("192.0.2.3:0")?;
        caught.iter().map(|frame| Ok(socket.send_to(frame, TO_B)?)).sum()
    })?;
    until("B drops them", || replayed() >= before + 20).with_context(|| b.log())?;
    let arrived = flow.arrived();
    until("the flow goes on", || flow.arrived() > arrived + 100).with_context(|| b.log())?;
    ensure!(!is_at_c(), "B moved to {}", address(b));
    // A that was caught for long gave datagrams up for a moment, and B with it.
    until("B sends to A as before", || address(b) == "/ip4/192.0.2.1/udp/41820").with_context(|| b.log())?;
    let seen = around_c.finish()?;
    let (b_to_c, c_to_b) = (bytes(&seen, [192, 0, 2, 2], [192, 0, 2, 3]), bytes(&seen, [192, 0, 2, 3], [192, 0, 2, 2]));
    ensure!(delivered + again > 10_000 && c_to_b > delivered + again, "{delivered} and {again} bytes were sent");
    ensure!(b_to_c <= c_to_b, "B sent {b_to_c} bytes for {c_to_b}");
    println!("B sent {b_to_c} bytes for {c_to_b}");
    ensure!(flow.finish()?.repeated == 0);
    Ok(())
}

#[test]
fn forged_frames_that_carry_a_valid_index_cost_a_thousand_opens_a_second_and_no_packet() -> Result<()> {
    const AT_ONCE: u64 = 1000;
    let Some(scene) = Scene::connected()? else { return Ok(()) };
    let Scene { b, hosts: [host_a, host_b, host_c], id_b, .. } = &scene;
    let catch = Capture::start(host_b)?;
    let flow = Flow::start(host_a, host_b, id_b.ipv4.into(), 300, Duration::from_millis(2))?;
    until("packets arrive", || flow.arrived() > 10)?;
    flow.finish()?;
    let mut forged = frames(&catch.finish()?).pop().context("a frame was caught")?;
    // A counter that no frame had, so that it is opened to be found out.
    forged[8..16].copy_from_slice(&(1_u64 << 32).to_le_bytes());

    let flow = Flow::start(host_a, host_b, id_b.ipv4.into(), 300, Duration::from_millis(5))?;
    let (around_c, begun) = (Capture::start(host_c)?, Instant::now());
    let opened = || scene.dropped(&["frame_forged"]);
    let both = || scene.dropped(&["frame_forged", "frame_rate_limited"]);
    for sent in (AT_ONCE..=10 * AT_ONCE).step_by(AT_ONCE as usize) {
        let forged = forged.clone();
        host_c.run(move || -> Result<()> {
            let socket = UdpSocket::bind("192.0.2.3:0")?;
            (0..AT_ONCE).try_for_each(|_| socket.send_to(&forged, TO_B).map(drop))?;
            Ok(())
        })?;
        // No more than B's socket holds.
        until("B drops them", || both() >= sent).with_context(|| b.log())?;
    }
    let (opened, both, passed) = (opened(), both(), begun.elapsed());
    ensure!(both == 10 * AT_ONCE, "of {} frames {both} are counted", 10 * AT_ONCE);
    let most = 1000 + 1000 * passed.as_millis() as u64 / 1000;
    ensure!((1000..=most).contains(&opened) && opened < both, "{opened} of {both} were opened in {passed:?}");
    ensure!(address(b) == "/ip4/192.0.2.1/udp/41820", "B moved to {}", address(b));
    let tally = flow.finish()?;
    ensure!(tally.lost == 0 && tally.repeated == 0, "{tally:?}\n{}", b.log());
    let answers = bytes(&around_c.finish()?, [192, 0, 2, 2], [192, 0, 2, 3]);
    ensure!(answers == 0, "B sent C {answers} bytes");
    Ok(())
}
