//! Which way frames go: by datagrams where they pass, by a stream where they do not, and back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, Daemon, Flow, Host, WIRE, until_within};
use ipnet::IpNet;

use super::{B_QUIC, B_TCP, Pair, Transfer, connected_by, logs, pattern};

/// A busy machine gets three times what the protocol promises.
const FALL_BACK: Duration = Duration::from_secs(15);
const RETURN: Duration = Duration::from_secs(20);
const NO_UDP: &str = "table inet t { chain i { type filter hook input priority 0; meta l4proto udp iifname wire drop; }; \
                      chain o { type filter hook output priority 0; meta l4proto udp oifname wire drop; }; }";
const ALL_AGAIN: &str = "delete table inet t";

fn kind(daemon: &Daemon) -> Option<String> {
    Some(daemon.peer().ok()?["path"]["kind"].as_str()?.to_owned())
}

pub(super) fn both_go_by(kind_of_path: &str, pair: &Pair, limit: Duration) -> Result<()> {
    until_within(&format!("both go by {kind_of_path}"), limit, || {
        [&pair.a, &pair.b].into_iter().all(|daemon| kind(daemon).as_deref() == Some(kind_of_path))
    })
    .with_context(|| logs(pair))
}

/// A pair whose frames go by datagrams.
fn by_datagrams(way: Way, a_dials: &[&str]) -> Result<Option<Pair>> {
    let Some(pair) = connected_by(way, a_dials)? else { return Ok(None) };
    both_go_by("udp", &pair, RETURN)?;
    Ok(Some(pair))
}

#[test]
fn frames_go_by_datagrams_over_either_family() -> Result<()> {
    for address in [B_QUIC, super::B_QUIC_V6] {
        let Some(pair) = by_datagrams(Way::Interface, &[address])? else { return Ok(()) };
        let other = pair.a.peer()?["path"]["address"].take();
        ensure!(address.starts_with(other.as_str().context("a path has an address")?), "{other} is not {address}");
        pair.a.wait_for("b", |peer| peer["path"]["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0))?;
        Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(500_000), Duration::ZERO)?
            .finish()?;
    }
    Ok(())
}

#[test]
fn where_a_hundredth_or_a_twentieth_of_the_datagrams_is_lost_frames_go_by_them_all_the_same() -> Result<()> {
    for every in [100, 20] {
        let Some(mut pair) = super::pair(&[B_QUIC], &[])? else { return Ok(()) };
        for daemon in [&pair.a, &pair.b] {
            // Of those that are handed over as one, the firewall takes all or none.
            daemon.configure("[linux]\nudp_segmentation = false\n")?;
        }
        pair.connect()?;
        both_go_by("udp", &pair, RETURN)?;
        let falls = || [&pair.a, &pair.b].map(|daemon| daemon.logged(" path=\"stream\""));
        let before = falls();
        let lossy = format!(
            "table ip t {{ chain i {{ type filter hook input priority 0; \
             meta l4proto udp iifname wire numgen inc mod {every} 0 counter drop; }}; }}"
        );
        for host in [&pair.host_a, &pair.host_b] {
            if host.firewall(&lossy)?.is_none() {
                println!("skipped: a lossy link: this machine has no nft");
                return Ok(());
            }
        }
        Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(1_000_000), Duration::ZERO)?
            .finish()
            .with_context(|| logs(&pair))?;
        ensure!(falls() == before, "every {every}th is lost: {}", logs(&pair));
        both_go_by("udp", &pair, RETURN)?;
    }
    Ok(())
}

#[test]
fn where_ipv6_leads_nowhere_ipv4_carries_the_tunnel_from_the_start_and_when_it_breaks() -> Result<()> {
    const NOWHERE: &str = "table ip6 t { chain c { type filter hook input priority 0; udp dport 41820 drop; }; }";
    let by_ipv4 = |pair: &Pair| {
        until_within("frames go by IPv4", FALL_BACK, || {
            pair.a.peer().is_ok_and(|peer| {
                peer["path"]["kind"] == "udp"
                    && peer["path"]["address"].as_str().is_some_and(|address| address.starts_with("/ip4/"))
            })
        })
        .with_context(|| logs(pair))
    };
    for from_the_start in [true, false] {
        let Some(mut pair) = super::pair(&[super::B_QUIC_V6, B_QUIC], &[])? else { return Ok(()) };
        let nowhere = |pair: &Pair| pair.host_b.firewall(NOWHERE);
        if from_the_start && nowhere(&pair)?.is_none() {
            println!("skipped: broken IPv6: this machine has no nft");
            return Ok(());
        }
        pair.connect()?;
        let body = pattern(1_000_000);
        let flow = Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), body, Duration::from_secs(2))?;
        if !from_the_start {
            until_within("packets flow", FALL_BACK, || flow.arrived() > 0)?;
            nowhere(&pair)?;
        }
        by_ipv4(&pair)?;
        flow.finish().with_context(|| logs(&pair))?;
    }
    Ok(())
}

/// Cuts UDP so many times for `time` under a flow, which goes on by the stream and returns to datagrams by itself; gives
/// how long the two sides took to fall back each time. `None` where that cannot be done.
fn cut(way: Way, a_dials: &[&str], times: u32, time: Duration) -> Result<Option<Vec<Duration>>> {
    let Some(pair) = by_datagrams(way, a_dials)? else { return Ok(None) };
    let pieces = pattern(16_000_000);
    let flow = Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pieces, times * (time + RETURN / 2))?;
    let mut both = Vec::new();
    for _ in 0..times {
        let before = flow.arrived();
        until_within("the flow goes on", FALL_BACK, || flow.arrived() > before).with_context(|| logs(&pair))?;
        flow.forget_gaps();
        let begun = Instant::now();
        if pair.host_b.firewall(NO_UDP)?.is_none() {
            println!("skipped: UDP cut: this machine has no nft");
            return Ok(None);
        }
        both_go_by("stream", &pair, FALL_BACK)?;
        both.push(begun.elapsed());
        let before = flow.arrived();
        until_within("the flow goes on", FALL_BACK, || flow.arrived() > before).with_context(|| logs(&pair))?;
        std::thread::sleep(time.saturating_sub(begun.elapsed()));
        pair.host_b.firewall(ALL_AGAIN)?;
        both_go_by("udp", &pair, RETURN)?;
        println!("fell back after {:?}", both.last());
        println!("the flow stood still for {:?}", flow.longest_gap());
    }
    flow.finish().with_context(|| logs(&pair))?;
    Ok(Some(both))
}

/// Another process may have had the processor, but not each time; and a busy machine gets twice what is promised. How long
/// it took is printed.
fn at_best(times: &[Duration], promised: Duration) -> Result<()> {
    ensure!(times.iter().any(|time| *time <= 2 * promised), "it took {times:?}, {promised:?} is promised");
    Ok(())
}

#[test]
fn where_udp_is_cut_for_5_s_and_tcp_has_to_be_dialled_a_flow_is_on_the_stream_within_5_s() -> Result<()> {
    let Some(both) = cut(Way::Interface, &[B_QUIC, B_TCP], 3, Duration::from_secs(5))? else { return Ok(()) };
    at_best(&both, Duration::from_secs(5))
}

#[test]
fn where_udp_is_cut_for_5_s_and_tcp_is_connected_a_flow_is_on_the_stream_within_2_and_a_half_s() -> Result<()> {
    let Some(both) = cut(Way::Interface, &[B_TCP], 3, Duration::from_secs(5))? else { return Ok(()) };
    // Who sends nothing is told by the other, and believes it.
    at_best(&both, Duration::from_millis(2500))
}

#[test]
fn where_udp_is_cut_for_a_minute_the_stream_carries_a_flow_on_until_it_is_back() -> Result<()> {
    let Some(both) = cut(Way::Interface, &[B_QUIC, B_TCP], 1, Duration::from_secs(60))? else { return Ok(()) };
    at_best(&both, FALL_BACK)
}

#[test]
fn where_udp_is_cut_the_stream_carries_a_flow_through_the_shuttle_on() -> Result<()> {
    cut(Way::Shuttle, &[B_TCP], 1, Duration::ZERO).map(drop)
}

#[test]
fn where_udp_is_cut_the_stream_carries_a_flow_through_the_swift_pump_on() -> Result<()> {
    cut(Way::Swift, &[B_TCP], 1, Duration::ZERO).map(drop)
}

#[test]
fn a_flow_to_a_host_that_changes_its_address_in_the_middle_stands_still_for_a_second_at_most() -> Result<()> {
    let Some(pair) = by_datagrams(Way::Interface, &[B_QUIC])? else { return Ok(()) };
    let body = pattern(6_000_000);
    let flow = Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), body, Duration::from_secs(30))?;
    let mut gaps = Vec::new();
    for number in 1..=3_u8 {
        let [old, new] = [number - 1, number].map(|number| match number {
            0 => "192.0.2.1/24".to_owned(),
            number => format!("192.0.2.{}/24", 76 + number),
        });
        let before = flow.arrived();
        until_within("bytes arrive", RETURN, || flow.arrived() > before + 50_000).with_context(|| logs(&pair))?;
        flow.forget_gaps();
        move_to(&pair.host_a, &old, &new)?;
        until_within("B follows", FALL_BACK, || {
            let address = pair.b.peer().map(|peer| peer["path"]["address"].clone());
            address.is_ok_and(|address| address == format!("/ip4/{}/udp/41820", new.trim_end_matches("/24")))
        })
        .with_context(|| logs(&pair))?;
        let before = flow.arrived();
        until_within("the flow goes on", RETURN, || flow.arrived() > before).with_context(|| logs(&pair))?;
        println!("the flow stood still for {:?}", flow.longest_gap());
        gaps.push(flow.longest_gap());
    }
    flow.finish().with_context(|| logs(&pair))?;
    at_best(&gaps, Duration::from_secs(1))
}

/// A firewall that knows QUIC by its first bits and lets everything else through.
const NO_QUIC: &str =
    "table inet q { chain i { type filter hook input priority 0; iifname wire udp dport 41820 @th,64,2 != 0 drop; }; }";

#[test]
fn where_quic_does_not_pass_peers_that_tell_each_other_their_candidates_go_by_datagrams() -> Result<()> {
    let Some(mut pair) = Pair::of_peers("paths without QUIC", &[B_QUIC, B_TCP], &[])? else { return Ok(()) };
    if pair.host_a.firewall(NO_QUIC)?.and(pair.host_b.firewall(NO_QUIC)?).is_none() {
        println!("skipped: paths without QUIC: this machine has no nft");
        return Ok(());
    }
    pair.connect()?;
    both_go_by("udp", &pair, RETURN)?;
    let by_quic = |line: &str| line.contains("connection up") && line.contains("quic-v1");
    ensure!(!pair.a.log().lines().any(by_quic), "{}", logs(&pair));
    Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(500_000), Duration::ZERO)?.finish()
}

#[test]
fn a_dialling_host_that_changes_its_address_loses_no_packet() -> Result<()> {
    changes_its_address(Way::Interface)
}

#[test]
fn a_dialling_host_that_changes_its_address_loses_no_packet_of_the_shuttle() -> Result<()> {
    changes_its_address(Way::Shuttle)
}

#[test]
fn a_dialling_host_that_changes_its_address_loses_no_packet_of_the_swift_pump() -> Result<()> {
    changes_its_address(Way::Swift)
}

fn changes_its_address(way: Way) -> Result<()> {
    let Some(pair) = by_datagrams(way, &[B_QUIC])? else { return Ok(()) };
    let flow = Flow::start(&pair.host_a, &pair.host_b, pair.id_b.ipv4.into(), 500, Duration::from_millis(5))?;
    until_within("packets arrive", RETURN, || flow.arrived() > 100)?;
    move_to(&pair.host_a, "192.0.2.1/24", "192.0.2.77/24")?;
    until_within("B follows", FALL_BACK, || {
        let address = pair.b.peer().map(|peer| peer["path"]["address"].clone());
        address.is_ok_and(|address| address == "/ip4/192.0.2.77/udp/41820")
    })
    .with_context(|| logs(&pair))?;
    let arrived = flow.arrived();
    until_within("and more arrive", RETURN, || flow.arrived() > arrived + 100)?;
    let tally = flow.finish()?;
    ensure!(tally.repeated == 0, "{tally:?}");
    // While the host has no address at all its kernel refuses what the daemon sends.
    let refused = pair.a.peer()?["drops"]["out_no_path"].as_u64().unwrap_or(0);
    ensure!(tally.lost <= refused, "{tally:?}, of which {refused} had no way out");
    Ok(())
}

/// Takes an address from a host's outer interface and gives it another.
fn move_to(host: &Host, from: &str, to: &str) -> Result<()> {
    let (from, to): (IpNet, IpNet) = (from.parse()?, to.parse()?);
    host.network(async move |network| {
        let index = network.index_of(WIRE).await?.context("no outer link")?;
        network.remove_address(index, from).await?;
        Ok(network.add_address(index, to).await?)
    })
}

#[test]
fn the_outer_link_shows_only_quic_and_frames() -> Result<()> {
    for (way, address) in [(Way::Interface, B_QUIC), (Way::Interface, super::B_QUIC_V6), (Way::Shuttle, B_QUIC)] {
        let Some(pair) = by_datagrams(way, &[address])? else { return Ok(()) };
        let capture = Capture::start(&pair.host_a)?;
        Transfer::start(&pair.host_b, &pair.host_a, pair.id_b.ipv4.into(), pattern(300_000), Duration::ZERO)?
            .finish()?;
        // Handshakes go by QUIC.
        let rotations = || pair.a.peer().ok()?["rotations"].as_u64();
        let before = rotations();
        pair.a.ask("rotate")?;
        until_within("the keys rotate", FALL_BACK, || rotations() > before).with_context(|| logs(&pair))?;
        let seen = capture.finish()?;
        let (mut frames, mut quic) = (0, 0);
        for packet in seen.packets() {
            match of_ours(packet)? {
                None => {}
                Some([0x10..=0x12, 0, 0, 0, ..]) => frames += 1,
                // A long header, or a short one: the second bit is set in both.
                Some([first, ..]) if first & 0x40 != 0 => quic += 1,
                Some(other) => anyhow::bail!("a datagram that begins with {:02x?}", &other[..other.len().min(16)]),
            }
        }
        ensure!(frames > 20 && quic > 0, "by {address}: {frames} frames, {quic} packets of QUIC");
    }
    Ok(())
}

/// The datagram in an Ethernet frame, which must be one between the daemons' ports; nothing of what finds neighbours.
fn of_ours(frame: &[u8]) -> Result<Option<&[u8]>> {
    let packet = frame.get(14..).context("half a frame")?;
    let (protocol, header, length) = match ([frame[12], frame[13]], packet.first()) {
        ([8, 6], _) => return Ok(None),
        ([8, 0], Some(first)) => {
            (packet[9], usize::from(first & 15) * 4, usize::from(u16::from_be_bytes([packet[2], packet[3]])))
        }
        ([0x86, 0xdd], Some(_)) => (packet[6], 40, 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))),
        _ => anyhow::bail!("a frame of another kind: {:02x?}", &frame[..20]),
    };
    let content = packet.get(header..length).context("a packet is cut off")?;
    match (protocol, frame[12], content) {
        // Neighbour and router discovery, and what says which groups a host listens to.
        (58, 0x86, [133..=137 | 143, ..]) | (0, 0x86, [58, ..]) => Ok(None),
        (17, _, [0xa3, 0x5c, 0xa3, 0x5c, _, _, _, _, datagram @ ..]) => Ok(Some(datagram)),
        _ => anyhow::bail!("protocol {protocol} with {:02x?}", &content[..content.len().min(20)]),
    }
}
