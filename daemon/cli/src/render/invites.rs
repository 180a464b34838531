//! Tickets.

use std::io::{self, Write};

use cryprq_ipc_proto::message::InviteStatus;

use super::units::moment;
use super::{BAD, BOLD, DIM, GOOD};

/// A line a ticket, without secrets.
pub(crate) fn invites(out: &mut dyn Write, invites: &[InviteStatus]) -> io::Result<()> {
    if invites.is_empty() {
        return writeln!(out, "no tickets: 'cryprq invite' makes one");
    }
    writeln!(out, "{BOLD}{:16}  {:9}  {:12}  USED BY{BOLD:#}", "ID", "STATE", "GOOD")?;
    for invite in invites {
        let color = match invite.state.as_str() {
            "open" => GOOD,
            "burnt" => BAD,
            _ => DIM,
        };
        let good = if invite.state == "open" { moment(&invite.expires_at) } else { "-".into() };
        let used = match (&invite.used_by, &invite.used_at) {
            (Some(peer), Some(at)) => format!("{peer}, {}", moment(at)),
            (Some(peer), None) => peer.clone(),
            (None, _) => "-".into(),
        };
        writeln!(out, "{:16}  {color}{:9}{color:#}  {good:12}  {used}", invite.id, invite.state)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::render::example::plain;

    use super::*;

    fn invite(state: &str, used_by: Option<&str>) -> InviteStatus {
        InviteStatus {
            id: "e0e1e2e3e4e5e6e7".into(),
            state: state.into(),
            expires_at: "9999-01-01T00:00:00Z".into(),
            used_by: used_by.map(str::to_owned),
            used_at: None,
        }
    }

    #[test]
    fn invites_read_like_this() {
        let text = plain(|out| invites(out, &[invite("open", None), invite("used", Some("12D3KooWPhone"))]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "ID                STATE      GOOD          USED BY");
        assert!(lines[1].starts_with("e0e1e2e3e4e5e6e7  open       for ") && lines[1].ends_with("days  -"), "{text}");
        assert_eq!(lines[2], "e0e1e2e3e4e5e6e7  used       -             12D3KooWPhone");
        assert_eq!(plain(|out| invites(out, &[])), "no tickets: 'cryprq invite' makes one\n");
    }
}
