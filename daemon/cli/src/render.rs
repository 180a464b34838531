//! Answers for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use cryprq_ipc_proto::message::{PeerStatus, Status};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const ODD: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// This host, what is wrong, and each peer.
pub(crate) fn status(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}  {DIM}{}{DIM:#}", safe(&status.name), status.peer_id)?;
    let ipv4 = status.addresses.ipv4.map(|ip| format!("{ip}  ")).unwrap_or_default();
    writeln!(out, "  addresses  {ipv4}{}", status.addresses.ipv6)?;
    for item in &status.health {
        writeln!(out, "  {ODD}! {}{ODD:#}", safe(&item.text))?;
        if let Some(hint) = &item.hint {
            writeln!(out, "    {}", safe(hint))?;
        }
    }
    if status.peers.is_empty() {
        writeln!(out, "\nno peers: add [[peer]] to the configuration")?;
    }
    status.peers.iter().try_for_each(|p| peer(out, p))
}

fn peer(out: &mut dyn Write, peer: &PeerStatus) -> io::Result<()> {
    let color = color_of(&peer.state);
    writeln!(out, "\n{color}● {}{color:#} {BOLD}{}{BOLD:#}  {DIM}{}{DIM:#}", peer.state, safe(&peer.name), peer.id)?;
    let heard = peer.last_authentic_ms.map_or("never".into(), |ms| format!("{} ago", duration(ms)));
    writeln!(out, "  last heard {heard}")?;
    if let Some(path) = &peer.path {
        let rtt = path.rtt_ms.map(|ms| format!(", {ms:.1} ms")).unwrap_or_default();
        writeln!(out, "  path       {} by {}{rtt}, MTU {}", path.kind, place(&path.address), path.mtu)?;
    }
    if let (Some(cipher), Some(next)) = (&peer.cipher, peer.next_rotation_ms) {
        writeln!(out, "  keys       {cipher}, made {} times, next in {}", peer.rotations, duration(next))?;
    }
    writeln!(out, "  traffic    {} received, {} sent", bytes(peer.rx_bytes), bytes(peer.tx_bytes))?;
    if peer.chain_resets > 0 {
        writeln!(
            out,
            "  {ODD}! started without its chain {} times: it was restarted, or somebody has its identity{ODD:#}",
            peer.chain_resets
        )?;
    }
    writeln!(out, "  allowed    {}", peer.allowed_ips.join(", "))
}

/// One line a peer.
pub(crate) fn peers(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let width = status.peers.iter().map(|peer| safe(&peer.name).chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  {:10}  {:>12}  {:>10}  {:>10}  ID", "NAME", "STATE", "LAST HEARD", "RECEIVED", "SENT")?;
    for peer in &status.peers {
        let color = color_of(&peer.state);
        let heard = peer.last_authentic_ms.map_or("never".into(), |ms| format!("{} ago", duration(ms)));
        let (name, received, sent) = (safe(&peer.name), bytes(peer.rx_bytes), bytes(peer.tx_bytes));
        writeln!(
            out,
            "{name:width$}  {color}{:10}{color:#}  {heard:>12}  {received:>10}  {sent:>10}  {}",
            peer.state, peer.id
        )?;
    }
    Ok(())
}

fn color_of(state: &str) -> Style {
    match state {
        "connected" => GOOD,
        "stalled" | "connecting" => ODD,
        "refused" => BAD,
        _ => DIM,
    }
}

/// Text of others, without what a terminal would obey.
fn safe(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// The address without the PeerId that stands beside it anyway.
fn place(address: &str) -> &str {
    address.split("/p2p/").next().unwrap_or(address)
}

fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == UNITS[0] { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cryprq_ipc_proto::message::{Addresses, HealthItem, PathStatus};

    use super::*;

    fn example() -> Status {
        Status {
            version: "0.1.0".into(),
            peer_id: "12D3KooWSelf".into(),
            name: "laptop".into(),
            addresses: Addresses { ipv4: Some([10, 86, 0, 2].into()), ipv6: "fd63:7279:7072::2".parse().unwrap() },
            state: "running".into(),
            since: "2026-01-01T00:00:00Z".into(),
            ingress: "tun".into(),
            listen: vec![],
            health: vec![HealthItem {
                code: "listen".into(),
                since: "2026-01-01T00:00:00Z".into(),
                text: "cannot listen\u{1b}[2J".into(),
                hint: Some("choose another port".into()),
            }],
            drops: BTreeMap::new(),
            peers: vec![PeerStatus {
                id: "12D3KooWPeer".into(),
                name: "gateway".into(),
                state: "connected".into(),
                path: Some(PathStatus {
                    kind: "stream".into(),
                    address: "/ip4/192.0.2.2/udp/41820/quic-v1/p2p/12D3KooWPeer".into(),
                    rtt_ms: Some(12.34),
                    mtu: 1420,
                }),
                cipher: Some("aes-256-gcm".into()),
                last_authentic: Some("2026-01-01T00:00:00Z".into()),
                last_authentic_ms: Some(2100),
                handshake_at: None,
                next_rotation_ms: Some(272_000),
                rotations: 3,
                rx_bytes: 1_572_864,
                tx_bytes: 900,
                rx_bps: 0,
                tx_bps: 0,
                drops: BTreeMap::new(),
                allowed_ips: vec!["10.86.0.1/32".into()],
                psk: true,
                chain_resets: 0,
                failures: BTreeMap::new(),
            }],
        }
    }

    fn plain(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        render(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn status_reads_like_this() {
        let expected = "\
laptop  12D3KooWSelf
  addresses  10.86.0.2  fd63:7279:7072::2
  ! cannot listen\\u{1b}[2J
    choose another port

● connected gateway  12D3KooWPeer
  last heard 2 s ago
  path       stream by /ip4/192.0.2.2/udp/41820/quic-v1, 12.3 ms, MTU 1420
  keys       aes-256-gcm, made 3 times, next in 4 min
  traffic    1.5 MiB received, 900 B sent
  allowed    10.86.0.1/32
";
        assert_eq!(plain(|out| status(out, &example())), expected);
    }

    #[test]
    fn peers_read_like_this() {
        let expected = "\
NAME     STATE         LAST HEARD    RECEIVED        SENT  ID
gateway  connected        2 s ago     1.5 MiB       900 B  12D3KooWPeer
";
        assert_eq!(plain(|out| peers(out, &example())), expected);
    }

    #[test]
    fn spans_and_sizes_have_the_unit_that_fits() {
        let spans = [900, 119_000, 120_000, 7_200_000, 172_800_000].map(duration);
        assert_eq!(spans, ["900 ms", "119 s", "2 min", "2 h", "2 days"]);
        assert_eq!([0, 1023, 1024, 5 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 TiB"]);
    }
}
