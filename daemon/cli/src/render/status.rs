//! This host.

use std::io::{self, Write};

use cryprq_ipc_proto::message::{ExitStatus, Status};

use super::sheet::Sheet;
use super::units::moment;
use super::{BAD, BOLD, DIM, GOOD, ODD, peer};
use crate::output::Size;

/// This host, what is wrong, and each peer in full.
pub(crate) fn status(out: &mut dyn Write, size: Size, status: &Status) -> io::Result<()> {
    host(&mut Sheet::new(out, size.columns), status)?;
    if status.peers.is_empty() {
        writeln!(out, "\n{}", super::peers::NO_PEERS)?;
    }
    status.peers.iter().try_for_each(|each| {
        writeln!(out)?;
        peer(out, size, each, &status.peers)
    })
}

fn host(sheet: &mut Sheet<'_>, status: &Status) -> io::Result<()> {
    let color = match status.state.as_str() {
        "running" => GOOD,
        "starting" | "stopping" => ODD,
        _ => BAD,
    };
    let since = moment(&status.since);
    let (name, state, version) = (&status.name, &status.state, &status.version);
    sheet.line(format_args!(
        "{BOLD}{name}{BOLD:#}  {color}{state}{color:#}  {DIM}version {version}, started {since}{DIM:#}"
    ))?;
    sheet.field("id", &status.peer_id)?;
    let ipv4 = status.addresses.ipv4.map(|ip| format!("{ip} ")).unwrap_or_default();
    sheet.field("addresses", &format!("{ipv4}{}", status.addresses.ipv6))?;
    if status.ingress != "tun" {
        sheet.field("ingress", &status.ingress)?;
    }
    if !status.listen.is_empty() {
        sheet.field("listening", &status.listen.join(" "))?;
    }
    if let Some(exit) = &status.exit {
        sheet.field("exit", &route(exit))?;
        if exit.state == ACTIVE {
            sheet.field("outside", &exit.outside.join("; "))?;
        }
    }
    if let Some(drops) = super::peers::counts(&status.drops) {
        sheet.field("dropped", &drops)?;
    }
    status.health.iter().try_for_each(|item| sheet.warning(ODD, &item.text, item.hint.as_deref()))
}

/// The state of an exit that all traffic goes through.
const ACTIVE: &str = "active";

/// What goes where.
fn route(exit: &ExitStatus) -> String {
    if exit.state != ACTIVE {
        return format!("{}, once it is connected; until then this host's own routes", exit.name);
    }
    let refused = [("IPv4", exit.ipv4), ("IPv6", exit.ipv6)].into_iter().filter(|(_, forwarded)| !forwarded);
    let refused: String = refused.map(|(family, _)| format!(", {family} refused")).collect();
    let dns: Vec<_> = exit.dns.iter().map(ToString::to_string).collect();
    let dns = if dns.is_empty() { String::new() } else { format!(", names by {}", dns.join(" ")) };
    let by = exit.dns_by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default();
    format!("{}{refused}{dns}{by}", exit.name)
}

#[cfg(test)]
mod tests {
    use crate::render::example;

    use super::*;

    #[test]
    fn status_reads_like_this() {
        let expected = "\
laptop  running  version 0.1.0, started SINCE
  id         12D3KooWLaptop
  addresses  10.86.0.2 fd63:7279:7072::2
  listening  /ip4/0.0.0.0/udp/41820/quic-v1 /ip4/0.0.0.0/tcp/41820
  dropped    3 no_owner
  ! the group 'cryprq' does not exist: only root may use the control socket
    sudo groupadd --system cryprq, then restart the daemon

gateway  ● connected
  id         12D3KooWGateway
  heard      2 s ago
  path       stream /ip4/192.0.2.2/udp/41820/quic-v1, 12.3 ms, 0.5 % lost, MTU 1420
  keys       aes-256-gcm with PSK, made 3 times, again in 5 min
  received   1.5 MiB, 12.3 Mbit/s
  sent       900 B, 0 bit/s
  allowed    10.86.0.1/32 fd63:7279:7072::1/128
  forward    its packets go on to other networks
  dropped    2 replayed, 1 too_old
  ! not direct: the peer does not answer datagrams
    look at its firewall

phone  ● connecting
  id         12D3KooWPhone
  heard      never
  received   0 B
  sent       0 B
  allowed    10.86.0.3/32
  failed     4 timeout
  ! not reached: /ip4/192.0.2.9/tcp/41820: Connection refused
    is the host on?
  ! it started without its chain 1 time: it was restarted, or somebody has its identity key
";
        assert_eq!(example::plain(|out| status(out, example::WIDE, &example::status())), expected);
    }

    #[test]
    fn long_values_go_on_below_themselves_on_a_narrow_terminal() {
        let narrow = Size { columns: 44, rows: 25 };
        let text = example::plain(|out| status(out, narrow, &example::status()));
        let listening = "\n  listening  /ip4/0.0.0.0/udp/41820/quic-v1\n             /ip4/0.0.0.0/tcp/41820\n";
        assert!(text.contains(listening), "{text}");
        assert!(text.contains("\n  ! the group 'cryprq' does not exist: only\n    root may use"), "{text}");
    }

    #[test]
    fn an_exit_says_what_goes_through_it_and_what_does_not() {
        let mut through = example::status();
        let shown = |status: &Status| {
            let text = example::plain(|out| super::status(out, example::WIDE, status));
            text.lines()
                .filter(|line| line.contains("exit ") || line.contains("outside "))
                .collect::<Vec<_>>()
                .join("\n")
        };
        through.exit = Some(ExitStatus {
            peer: "12D3KooWGateway".into(),
            name: "gateway".into(),
            state: "active".into(),
            ipv4: true,
            ipv6: false,
            dns: vec![[10, 86, 0, 1].into()],
            dns_by: Some("systemd-resolved".into()),
            outside: vec!["the LAN".into(), "the tunnel's own packets".into()],
        });
        let active = "  exit       gateway, IPv6 refused, names by 10.86.0.1 (systemd-resolved)\n  outside    the LAN; the tunnel's own packets";
        assert_eq!(shown(&through), active);
        through.exit.as_mut().unwrap().state = "waiting".into();
        assert_eq!(shown(&through), "  exit       gateway, once it is connected; until then this host's own routes");
    }

    #[test]
    fn who_has_no_peers_is_told_how_to_get_one() {
        let mut alone = example::status();
        alone.peers.clear();
        assert!(example::plain(|out| status(out, example::WIDE, &alone)).ends_with("make two hosts peers\n"));
    }

    #[test]
    fn a_state_has_its_colour() {
        let mut out = Vec::new();
        status(&mut out, example::WIDE, &example::status()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\u{1b}[32m● connected") && text.contains("\u{1b}[33m● connecting"), "{text:?}");
    }
}
