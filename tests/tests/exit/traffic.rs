//! What goes through an exit, and what shows outside.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, Process, SHUTTLED, until};
use cryprq_tests::swift::PUMPED;

use super::scene::{CLIENT, FAR, GATEWAY, LAN, NAME, PORT, QUIC, Scene, TCP, ensure_same, run, sh, state};

pub(super) fn through(scene: &Scene) -> Result<()> {
    through_one_at(scene, GATEWAY)
}

/// The internet sees a gateway that is there.
pub(super) fn through_one_at(scene: &Scene, at: [&str; 2]) -> Result<()> {
    for (far, expected) in FAR.into_iter().zip(at) {
        let seen = scene.seen(far, if far.contains(':') { "-6" } else { "-4" })?;
        ensure!(seen == expected.parse::<IpAddr>()?, "{far} sees {seen}\n{}", scene.logs());
    }
    Ok(())
}

#[test]
fn the_internet_sees_the_gateway_over_both_families_and_names_are_asked_through_the_tunnel() -> Result<()> {
    the_internet_sees_the_gateway(Way::Interface, QUIC[0])
}

#[test]
fn over_ipv6_outside_the_internet_sees_the_gateway_too() -> Result<()> {
    the_internet_sees_the_gateway(Way::Interface, QUIC[1])
}

#[test]
fn through_the_shuttle_the_internet_sees_the_gateway_too() -> Result<()> {
    the_internet_sees_the_gateway(Way::Shuttle, QUIC[0])
}

#[test]
fn through_the_swift_pump_the_internet_sees_the_gateway_too() -> Result<()> {
    the_internet_sees_the_gateway(Way::Swift, QUIC[0])
}

fn the_internet_sees_the_gateway(way: Way, outer: &str) -> Result<()> {
    let Some(mut scene) = Scene::dialling(way, &[outer])? else { return Ok(()) };
    scene.connect()?;
    let before = state(&scene.host_client)?;
    for (far, own) in FAR.into_iter().zip(CLIENT) {
        ensure!(scene.seen(far, "-sS")? == own.parse::<IpAddr>()?, "without an exit the client is seen itself");
    }
    scene.exit_chosen()?;
    let capture = Capture::start(&scene.host_client)?;
    through(&scene)?;
    for (family, expected) in ["-4", "-6"].into_iter().zip(GATEWAY) {
        ensure!(scene.seen(NAME, family)? == expected.parse::<IpAddr>()?, "by its name, {family}");
    }
    bulk(&scene)?;
    let seen = capture.finish()?;
    let mut frames = 0;
    for packet in seen.packets() {
        frames += usize::from(is_ours(packet)?);
    }
    ensure!(frames > 100, "only {frames} frames were seen");
    scene.down()?;
    ensure!(scene.seen(FAR[0], "-4")? == CLIENT[0].parse::<IpAddr>()?, "without an exit it is seen itself again");
    ensure_same("down", &before, &state(&scene.host_client)?)
}

/// A bulk flow each way.
fn bulk(scene: &Scene) -> Result<()> {
    for way in [&["-c", FAR[0], "-n", "3M"][..], &["-c", FAR[1], "-n", "3M", "-R"]] {
        // One for each: a server that has just served one listens anew.
        let mut server = Command::new("iperf3");
        server.args(["-s", "-1", "-p", "5201"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _server = Process::start(&scene.internet, server)?;
        until("iperf3 listens", || sh(&scene.internet, "ss -Hltn sport = :5201").is_ok_and(|told| !told.is_empty()))?;
        run(&scene.host_client, "iperf3", way).with_context(|| scene.logs())?;
    }
    Ok(())
}

/// Whether an Ethernet frame of the client's outer link is one of the daemons' own; what else may be there is how a link
/// finds its neighbours.
///
/// # Errors
/// What must not be there.
pub(super) fn is_ours(frame: &[u8]) -> Result<bool> {
    let packet = frame.get(14..).unwrap_or_default();
    let (protocol, ports) = match frame.get(12..14) {
        Some([0x08, 0x06]) => return Ok(false),
        Some([0x08, 0x00]) => (packet[9], packet.get(usize::from(packet[0] & 15) * 4..).unwrap_or_default()),
        Some([0x86, 0xdd]) => (packet[6], packet.get(40..).unwrap_or_default()),
        other => anyhow::bail!("a frame of kind {other:02x?}"),
    };
    let port = |at: usize| ports.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    match protocol {
        17 | 6 if port(0) == Some(41820) && port(2) == Some(41820) => Ok(true),
        // Neighbour discovery and multicast listeners.
        58 | 0 | 2 => Ok(false),
        _ => anyhow::bail!("protocol {protocol} from port {:?} to {:?}", port(0), port(2)),
    }
}

#[test]
fn by_tcp_alone_the_tunnels_own_connection_stays_outside() -> Result<()> {
    the_tunnels_own_connection_stays_outside(Way::Interface)
}

#[test]
fn by_tcp_alone_the_tunnels_own_connection_stays_outside_of_the_shuttle_too() -> Result<()> {
    the_tunnels_own_connection_stays_outside(Way::Shuttle)
}

#[test]
fn by_tcp_alone_the_tunnels_own_connection_stays_outside_of_the_swift_pump_too() -> Result<()> {
    the_tunnels_own_connection_stays_outside(Way::Swift)
}

fn the_tunnels_own_connection_stays_outside(way: Way) -> Result<()> {
    let Some(mut scene) = Scene::dialling(way, &[TCP[0]])? else { return Ok(()) };
    for daemon in [&scene.client, &scene.gateway] {
        daemon.prefix("carrier = \"stream\"\n")?;
    }
    scene.exit()?;
    through(&scene)?;
    left_out(&scene, way)?;
    // It comes back by itself, though everything leads to an exit that is not there.
    scene.gateway.kill()?;
    until("the loss is noticed", || scene.client.peer().is_ok_and(|peer| peer["state"] != "connected"))?;
    left_out(&scene, way)?;
    scene.gateway.start()?;
    scene.client.wait_connected()?;
    scene.wait_active()?;
    through(&scene)?;
    let drops = scene.client.ask("status")?["drops"]["out_loop"].as_u64().unwrap_or(0);
    // The gateway also dials back, to tell whether the client can be reached, by IPv6 too. An extension's system knows
    // nothing of that, and leads the answer into the tunnel, where the loop guard stops it.
    ensure!(
        way != Way::Interface || drops == 0,
        "{drops} packets of our own were led into the tunnel\n{}",
        scene.logs()
    );
    Ok(())
}

/// An extension's system, which knows no ports, leaves out the host that the connection leads to, while it stands and
/// while it is tried again.
fn left_out(scene: &Scene, way: Way) -> Result<()> {
    let is_left_out =
        || sh(&scene.host_client, "ip route show table 25459").is_ok_and(|told| told.contains("throw 203.0.113.2"));
    if way == Way::Interface { Ok(()) } else { until("the gateway's own address is left out", is_left_out) }
}

#[test]
fn while_the_exit_is_gone_nothing_leaves_outside_but_for_the_lan() -> Result<()> {
    nothing_leaves_outside(Way::Interface)
}

#[test]
fn while_the_exit_is_gone_nothing_leaves_outside_of_the_shuttle_either() -> Result<()> {
    nothing_leaves_outside(Way::Shuttle)
}

#[test]
fn while_the_exit_is_gone_nothing_leaves_outside_of_the_swift_pump_either() -> Result<()> {
    nothing_leaves_outside(Way::Swift)
}

fn nothing_leaves_outside(way: Way) -> Result<()> {
    let Some(mut scene) = Scene::by(way)? else { return Ok(()) };
    scene.exit()?;
    scene.gateway.kill()?;
    let capture = Capture::start(&scene.host_client)?;
    let lost = sh(&scene.host_client, &format!("curl -sS --max-time 3 http://{}:{PORT}/ || echo lost", FAR[0]))?;
    ensure!(lost.ends_with("lost\n"), "{lost}");
    ensure!(scene.seen(LAN, "-4").context("the LAN")? == CLIENT[0].parse::<IpAddr>()?, "the LAN is reached");
    let seen = capture.finish()?;
    let far: std::net::Ipv4Addr = FAR[0].parse()?;
    ensure!(!seen.packets().any(|packet| packet.get(30..34) == Some(&far.octets())), "a packet went outside");
    let outside = scene.client.ask("status")?["exit"]["outside"].to_string();
    ensure!(outside.contains("LAN") && outside.contains("own packets"), "{outside}");
    Ok(())
}

#[test]
fn nothing_is_forwarded_for_anybody_else() -> Result<()> {
    let Some(mut scene) = Scene::new()? else { return Ok(()) };
    scene.exit()?;
    // The gateway became a router for its client. A neighbour that takes it for one gets nothing.
    sh(&scene.internet, "ip address add 100.64.0.7/32 dev lo")?;
    sh(&scene.host_gateway, "ip route add 198.18.0.0/15 via 203.0.113.3")?;
    sh(&scene.internet, "ip route add 198.18.0.1/32 via 203.0.113.2")?;
    let capture = Capture::start(&scene.host_gateway)?;
    let tried = sh(&scene.internet, "curl -sS --interface 100.64.0.7 --max-time 2 http://198.18.0.1/ || echo lost")?;
    ensure!(tried.ends_with("lost\n"), "{tried}");
    let seen = capture.finish()?;
    let to = [198, 18, 0, 1];
    let gateway = mac(&scene)?;
    let sent = seen.packets().filter(|packet| packet.get(30..34) == Some(&to));
    let (back, out): (Vec<_>, Vec<_>) = sent.partition(|packet| packet[6..12] == gateway);
    ensure!(!out.is_empty() && back.is_empty(), "{} went out and {} came back", out.len(), back.len());
    through(&scene)
}

/// The gateway's address on the link.
fn mac(scene: &Scene) -> Result<[u8; 6]> {
    let text =
        sh(&scene.host_gateway, "cat /sys/class/net/wire/address || ip -brief link show wire | awk '{print $3}'")?;
    let bytes: Result<Vec<u8>, _> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes?.try_into().ok().context("six bytes")
}

#[test]
fn a_family_that_the_exit_does_not_forward_is_refused_and_not_leaked() -> Result<()> {
    a_family_is_refused(Way::Interface, &IPV6)
}

#[test]
fn ipv4_that_the_exit_does_not_forward_is_refused_and_not_leaked_either() -> Result<()> {
    a_family_is_refused(Way::Interface, &IPV4)
}

#[test]
fn ipv4_that_the_exit_does_not_forward_is_refused_to_the_shuttle_either() -> Result<()> {
    a_family_is_refused(Way::Shuttle, &IPV4)
}

#[test]
fn a_family_that_the_exit_does_not_forward_is_refused_to_the_shuttle_too() -> Result<()> {
    a_family_is_refused(Way::Shuttle, &IPV6)
}

#[test]
fn a_family_that_the_exit_does_not_forward_is_refused_to_the_swift_pump_too() -> Result<()> {
    a_family_is_refused(Way::Swift, &IPV6)
}

/// A family that the gateway has no way out for, while the other one carries the tunnel and passes.
struct Missing {
    /// Its place among addresses of both families.
    place: usize,
    /// What the gateway lacks.
    without: &'static str,
    option: &'static str,
    /// The ICMP message that says "no route" (RFC 792, RFC 4443): protocol, type and code.
    refusal: [u8; 3],
}

const IPV4: Missing = Missing { place: 0, without: "ip route del default", option: "-4", refusal: [1, 3, 0] };
const IPV6: Missing = Missing { place: 1, without: "ip -6 route del default", option: "-6", refusal: [58, 1, 0] };

fn a_family_is_refused(way: Way, missing: &Missing) -> Result<()> {
    let other = if missing.place == 0 { &IPV6 } else { &IPV4 };
    let Some(mut scene) = Scene::dialling(way, &[QUIC[other.place]])? else { return Ok(()) };
    sh(&scene.host_gateway, missing.without)?;
    scene.connect()?;
    scene.client.cli(&["up", "--exit", "gateway"], "")?;
    until("the other family goes through", || {
        scene.client.ask("status").is_ok_and(|status| {
            let exit = &status["exit"];
            let forwarded = [&exit["ipv4"], &exit["ipv6"]];
            exit["state"] == "active" && *forwarded[missing.place] == false && *forwarded[other.place] == true
        })
    })
    .with_context(|| scene.logs())?;
    scene.wait_in_force()?;
    let capture = Capture::start(&scene.host_client)?;
    let inside = match way {
        // The kernel refuses it before there is a packet.
        Way::Interface => None,
        Way::Shuttle => Some(Capture::start_on(&scene.host_client, SHUTTLED)?),
        Way::Swift => Some(Capture::start_on(&scene.host_client, PUMPED)?),
    };
    let far = if missing.place == 0 { FAR[0].to_owned() } else { format!("[{}]", FAR[1]) };
    let asked = format!("curl -sS {} --max-time 10 http://{far}:{PORT}/ 2>&1 || true", missing.option);
    let told = sh(&scene.host_client, &asked)?;
    ensure!(told.contains("Failed to connect") && !told.contains("timed out"), "it is told at once: {told}");
    ensure!(scene.seen(FAR[other.place], other.option)? == GATEWAY[other.place].parse::<IpAddr>()?);
    for packet in capture.finish()?.packets() {
        is_ours(packet)?;
    }
    if let Some(inside) = inside {
        let seen = inside.finish()?;
        ensure!(seen.packets().any(|packet| is_refusal(packet, missing)), "no ICMP message {:?}", missing.refusal);
    }
    Ok(())
}

/// Whether an inner packet says that no route leads to the far end.
fn is_refusal(packet: &[u8], missing: &Missing) -> bool {
    let [protocol, kind, code] = missing.refusal;
    let far: IpAddr = FAR[missing.place].parse().expect("an address");
    match far {
        IpAddr::V4(far) => {
            packet.get(9) == Some(&protocol)
                && packet.get(12..16) == Some(&far.octets())
                && packet.get(20..22) == Some(&[kind, code])
        }
        IpAddr::V6(far) => {
            packet.get(6) == Some(&protocol)
                && packet.get(8..24) == Some(&far.octets())
                && packet.get(40..42) == Some(&[kind, code])
        }
    }
}
