//! Peers: one in full, or all in a table.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cryprq_ipc_proto::message::{Obstacle, PathStatus, PeerStatus};
use unicode_width::UnicodeWidthStr;

use super::sheet::{Sheet, cut, padded};
use super::units::{ago, bytes, rate, span};
use super::{BOLD, ODD, style_of};
use crate::output::Size;

/// What is said instead of an empty list.
pub(super) const NO_PEERS: &str = "no peers yet: 'cryprq invite' here and 'cryprq join' there make two hosts peers";

/// A peer in full; a relay among the peers that are `known` is called by its name.
pub(crate) fn peer(out: &mut dyn Write, size: Size, peer: &PeerStatus, known: &[PeerStatus]) -> io::Result<()> {
    let mut sheet = Sheet::new(out, size.columns);
    let (name, state, color) = (&peer.name, &peer.state, style_of(&peer.state));
    sheet.line(format_args!("{BOLD}{name}{BOLD:#}  {color}● {state}{color:#}"))?;
    sheet.field("id", &peer.id)?;
    sheet.field("heard", &ago(peer.last_authentic_ms))?;
    if let Some(path) = &peer.path {
        sheet.field("path", &way(path, known))?;
    }
    if let Some(keys) = keys(peer) {
        sheet.field("keys", &keys)?;
    }
    sheet.field("received", &amount(peer, peer.rx_bytes, peer.rx_bps))?;
    sheet.field("sent", &amount(peer, peer.tx_bytes, peer.tx_bps))?;
    sheet.field("allowed", &peer.allowed_ips.join(" "))?;
    if peer.forward {
        sheet.field("forward", "its packets go on to other networks")?;
    }
    if let Some(drops) = counts(&peer.drops) {
        sheet.field("dropped", &drops)?;
    }
    if let Some(failures) = counts(&peer.failures) {
        sheet.field("failed", &failures)?;
    }
    let not_direct = peer.path.as_ref().and_then(|path| path.not_direct.as_ref());
    for (what, obstacle) in [("", peer.obstacle.as_ref()), ("not direct: ", not_direct)] {
        if let Some(Obstacle { code: _, text, hint }) = obstacle {
            sheet.warning(ODD, &format!("{what}{text}"), hint.as_deref())?;
        }
    }
    if peer.chain_resets > 0 {
        let times = if peer.chain_resets == 1 { "time" } else { "times" };
        let (count, why) = (peer.chain_resets, "it was restarted, or somebody has its identity key");
        sheet.warning(ODD, &format!("it started without its chain {count} {times}: {why}"), None)?;
    }
    Ok(())
}

fn way(path: &PathStatus, known: &[PeerStatus]) -> String {
    // The PeerId stands above anyway.
    let address = path.address.split("/p2p/").next().unwrap_or(&path.address);
    let rtt = path.rtt_ms.map(|ms| format!(", {ms:.1} ms")).unwrap_or_default();
    let loss = path.loss_percent.map(|percent| format!(", {percent:.1} % lost")).unwrap_or_default();
    let name_of =
        |relay: &String| known.iter().find(|peer| peer.id == *relay).map_or(relay.clone(), |peer| peer.name.clone());
    let relay = path.relay.as_ref().map(|relay| format!(" by {}", name_of(relay))).unwrap_or_default();
    format!("{}{relay} {address}{rtt}{loss}, MTU {}", path.kind, path.mtu)
}

fn keys(peer: &PeerStatus) -> Option<String> {
    let (cipher, next) = (peer.cipher.as_ref()?, peer.next_rotation_ms?);
    let psk = if peer.psk { " with PSK" } else { "" };
    let times = if peer.rotations == 1 { "once".into() } else { format!("{} times", peer.rotations) };
    Some(format!("{cipher}{psk}, made {times}, again in {}", span(next)))
}

fn amount(peer: &PeerStatus, count: u64, bits: u64) -> String {
    if peer.path.is_some() { format!("{}, {}", bytes(count), rate(bits)) } else { bytes(count) }
}

/// Counts by reason, the largest first; `None` when there are none.
pub(super) fn counts(by_reason: &BTreeMap<String, u64>) -> Option<String> {
    let mut counts: Vec<_> = by_reason.iter().filter(|&(_, &count)| count > 0).collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let texts: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// A line a peer. The PeerId comes last and is cut where the terminal ends.
pub(crate) fn peers(out: &mut dyn Write, size: Size, peers: &[PeerStatus]) -> io::Result<()> {
    const LONGEST_NAME: usize = 24;
    if peers.is_empty() {
        return writeln!(out, "{NO_PEERS}");
    }
    let names = peers.iter().map(|peer| peer.name.width()).max().unwrap_or(0).clamp(4, LONGEST_NAME);
    let name = padded("NAME", names);
    writeln!(
        out,
        "{BOLD}{name}  {:10}  {:>10}  {:>8}  {:>10}  {:>10}  ID{BOLD:#}",
        "STATE", "HEARD", "RTT", "RECEIVED", "SENT"
    )?;
    let left = size.columns.saturating_sub(names + 10 + 10 + 8 + 10 + 10 + 6 * 2);
    for peer in peers {
        let (name, color) = (padded(&peer.name, names), style_of(&peer.state));
        let rtt = peer.path.as_ref().and_then(|path| path.rtt_ms).map_or("-".into(), |ms| format!("{ms:.1} ms"));
        writeln!(
            out,
            "{name}  {color}{:10}{color:#}  {:>10}  {rtt:>8}  {:>10}  {:>10}  {}",
            peer.state,
            ago(peer.last_authentic_ms),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
            cut(&peer.id, left.max(12))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::render::example;

    use super::*;

    #[test]
    fn peers_read_like_this() {
        let expected = "\
NAME     STATE            HEARD       RTT    RECEIVED        SENT  ID
gateway  connected      2 s ago   12.3 ms     1.5 MiB       900 B  12D3KooWGateway
phone    connecting       never         -         0 B         0 B  12D3KooWPhone
";
        let list = example::status().peers;
        assert_eq!(example::plain(|out| peers(out, example::WIDE, &list)), expected);
    }

    #[test]
    fn a_long_name_and_a_narrow_terminal_cost_the_end_of_the_peer_id_first() {
        let mut list = example::status().peers;
        list[0].name = "a-very-long-name-that-nobody-can-read".into();
        list[0].id = "12D3KooWAbcdefghijklmnopqrstuvwxyz".into();
        let text = example::plain(|out| peers(out, Size { columns: 100, rows: 25 }, &list));
        let row = text.lines().nth(1).unwrap();
        assert!(row.starts_with("a-very-long-name-that-n…  connected"), "{row}");
        assert!(row.ends_with("  12D3KooWAbcdefg…") && row.width() <= 100, "{row}");
    }

    #[test]
    fn a_path_tells_its_kind_and_a_relay_by_its_name_if_it_is_a_peer() {
        let known = example::status().peers;
        let mut path = known[0].path.clone().unwrap();
        path.kind = "udp".into();
        path.address = "/ip4/192.0.2.2/udp/41820".into();
        assert_eq!(way(&path, &known), "udp /ip4/192.0.2.2/udp/41820, 12.3 ms, 0.5 % lost, MTU 1420");
        path.kind = "relay".into();
        path.relay = Some("12D3KooWGateway".into());
        path.address = "/ip4/192.0.2.9/tcp/41820/p2p/12D3KooWGateway/p2p-circuit/p2p/12D3KooWPhone".into();
        let rest = "/ip4/192.0.2.9/tcp/41820, 12.3 ms, 0.5 % lost, MTU 1420";
        assert_eq!(way(&path, &known), format!("relay by gateway {rest}"));
        assert_eq!(way(&path, &known[1..]), format!("relay by 12D3KooWGateway {rest}"));
    }

    #[test]
    fn counts_begin_with_the_largest_and_leave_out_what_is_zero() {
        let by_reason = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 0), ("c".to_owned(), 7)]);
        assert_eq!(counts(&by_reason).as_deref(), Some("7 c, 1 a"));
        assert_eq!(counts(&BTreeMap::from([("a".to_owned(), 0)])), None);
    }
}
