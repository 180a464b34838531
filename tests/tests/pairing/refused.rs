//! Tickets that let nobody in.

use anyhow::{Result, ensure};
use cryprq_tests::lab::{Daemon, Identity, until};
use node::pairing::{Ticket, TicketSecret};
use serde_json::{Value, json};

use super::{code_of, invite, join_by, lab, listed, request};

#[test]
fn each_ticket_that_lets_nobody_in_says_why() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;

    let (id, ticket) = invite(&lab.a, 600_000)?;
    let at = ticket.len() - 9;
    let other = if &ticket[at..=at] == "A" { "B" } else { "A" };
    let mistyped = format!("{}{other}{}", &ticket[..at], &ticket[at + 1..]);
    ensure!(code_of(&join_by(&lab.b, &mistyped)?) == "ticket_malformed");
    ensure!(code_of(&join_by(&lab.b, "https://example.org")?) == "ticket_malformed");
    ensure!(code_of(&join_by(&lab.a, &ticket)?) == "bad_request", "its own host cannot use it");

    let cancel = |id: &str| request(&lab.a, &json!({ "cmd": "invite_cancel", "invite": id }));
    ensure!(cancel(&id)?["error"].is_null());
    ensure!(listed(&lab.a)?["state"] == "cancelled");
    ensure!(code_of(&join_by(&lab.b, &ticket)?) == "ticket_expired");
    ensure!(code_of(&cancel("00ff00ff00ff00ff")?) == "ticket_unknown");
    ensure!(code_of(&cancel("nonsense")?) == "bad_request");

    let (_, short) = invite(&lab.a, 1000)?;
    let expired =
        |list: &Value| list["invites"].as_array().is_some_and(|all| all.iter().any(|t| t["state"] == "expired"));
    until("it expires", || request(&lab.a, &json!({ "cmd": "invite_list" })).is_ok_and(|list| expired(&list)))?;
    ensure!(code_of(&join_by(&lab.b, &short)?) == "ticket_expired");
    for lifetime in [0, 8 * 24 * 3_600_000] {
        let refused = request(&lab.a, &json!({ "cmd": "invite", "expires_ms": lifetime }))?;
        ensure!(code_of(&refused) == "bad_request", "{refused}");
    }

    let (_, ticket) = invite(&lab.a, 600_000)?;
    let forged = |ticket: Ticket| ticket.encode().to_string();
    let unknown = forged(Ticket { id: "00ff00ff00ff00ff".parse()?, ..Ticket::parse(&ticket)? });
    ensure!(code_of(&join_by(&lab.b, &unknown)?) == "ticket_unknown");
    ensure!(listed(&lab.a)?["state"] == "open", "an unknown id burns nothing");
    let wrong = forged(Ticket { secret: TicketSecret::new([0; 16]), ..Ticket::parse(&ticket)? });
    for _ in 0..3 {
        ensure!(code_of(&join_by(&lab.b, &wrong)?) == "ticket_wrong_secret");
    }
    ensure!(listed(&lab.a)?["state"] == "burnt");
    ensure!(code_of(&join_by(&lab.b, &ticket)?) == "ticket_used");
    for daemon in [&lab.a, &lab.b] {
        ensure!(daemon.ask("status")?["peers"].as_array().is_some_and(Vec::is_empty), "nobody became a peer");
    }
    // A restart changes none of it.
    lab.a.kill()?;
    lab.a.start()?;
    ensure!(listed(&lab.a)?["state"] == "burnt");
    ensure!(code_of(&join_by(&lab.b, &ticket)?) == "ticket_used");
    Ok(())
}

#[test]
fn a_thief_that_was_first_is_seen_and_the_rightful_joiner_is_told() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    let thief_id = Identity::new(3)?;
    let mut thief = Daemon::new(&lab.host_b, lab.folder.path().join("thief"), &thief_id, &[])?;
    lab.a.start()?;
    let (_, ticket) = invite(&lab.a, 600_000)?;
    thief.start()?;
    ensure!(join_by(&thief, &ticket)?["error"].is_null());
    lab.a.wait_connected()?;
    ensure!(thief.stop()?.success());

    lab.b.start()?;
    ensure!(code_of(&join_by(&lab.b, &ticket)?) == "ticket_used");
    let used = listed(&lab.a)?;
    ensure!(used["used_by"] == thief_id.id.as_str(), "{used}");
    ensure!(lab.a.log().contains(&thief_id.id));
    let cancelled = request(&lab.a, &json!({ "cmd": "invite_cancel", "invite": used["id"] }))?;
    ensure!(code_of(&cancelled) == "ticket_used" && cancelled.to_string().contains(&thief_id.id), "{cancelled}");
    // The administrator throws it out, and its ticket does not let it in again.
    let removed = request(&lab.a, &json!({ "cmd": "peer_remove", "peer": thief_id.id }))?;
    ensure!(removed["error"].is_null(), "{removed}");
    lab.b.kill()?;
    thief.start()?;
    ensure!(code_of(&join_by(&thief, &ticket)?) == "already_exists", "it still believes to be a peer");
    ensure!(lab.a.ask("status")?["peers"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}
