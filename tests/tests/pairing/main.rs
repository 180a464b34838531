//! Pairing by ticket between daemons in network namespaces (protocol.md 10).

#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one kind of event")]

mod interrupted;
mod refused;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Pair, until};
use serde_json::{Value, json};

/// A join may take a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two joined hosts that know nothing of each other. Nothing is started yet.
fn lab() -> Result<Option<Pair>> {
    Pair::new("pairing in namespaces", &[], &[])
}

/// The tickets and joins that a daemon keeps.
fn tickets_of(daemon: &Daemon) -> String {
    std::fs::read_to_string(daemon.state().join("tickets.toml")).unwrap_or_default()
}

/// Asks a daemon as any script would; a refusal is an answer too.
fn request(daemon: &Daemon, request: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// A new ticket.
fn invite(daemon: &Daemon, expires_ms: u64) -> Result<(String, String)> {
    // The addresses come from the listeners, which come up on their own.
    let mut made = Value::Null;
    until("there is an address to name", || {
        made = request(daemon, &json!({ "cmd": "invite", "expires_ms": expires_ms })).unwrap_or_default();
        made["error"].is_null()
    })
    .with_context(|| format!("{made}"))?;
    let text = |name: &str| made[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {made}"));
    Ok((text("invite")?, text("ticket")?))
}

fn join_by(daemon: &Daemon, ticket: &str) -> Result<Value> {
    request(daemon, &json!({ "cmd": "join", "ticket": ticket }))
}

/// The error's code, or the whole answer where there is none.
fn code_of(answer: &Value) -> String {
    answer["error"]["code"].as_str().map_or_else(|| answer.to_string(), str::to_owned)
}

/// The newest ticket as the list shows it.
fn listed(daemon: &Daemon) -> Result<Value> {
    Ok(request(daemon, &json!({ "cmd": "invite_list" }))?["invites"][0].take())
}

/// One line from B's address, fetched by A through the tunnel.
fn carries(lab: &Pair, address: IpAddr) -> Result<()> {
    let to = SocketAddr::new(address, 7000);
    let listener = lab.host_b.run(move || TcpListener::bind(to))?;
    let served = lab.host_b.spawn(move || -> Result<()> { Ok(listener.accept()?.0.write_all(b"through")?) });
    let got = lab.host_a.run(move || -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(20))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    served.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    ensure!(got == "through", "got {got:?}");
    Ok(())
}

#[test]
fn two_hosts_with_empty_configurations_pair_by_one_ticket_and_carry_traffic_under_its_psk() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;
    let (id, ticket) = invite(&lab.a, 600_000)?;
    ensure!(listed(&lab.a)?["state"] == "open");
    let joined = join_by(&lab.b, &ticket)?;
    ensure!(joined["peer"] == lab.id_a.id.as_str(), "{joined} {}", lab.b.log());
    ensure!(joined["addresses"]["ipv4"] == lab.id_b.ipv4.to_string(), "{joined}");
    lab.a.wait_connected()?;
    lab.b.wait_connected()?;
    for (daemon, other) in [(&lab.a, &lab.id_b), (&lab.b, &lab.id_a)] {
        let peer = daemon.peer()?;
        ensure!(peer["id"] == other.id.as_str() && peer["psk"] == true, "{peer}");
        let allowed = json!([format!("{}/128", other.ipv6), format!("{}/32", other.ipv4)]);
        ensure!(peer["allowed_ips"] == allowed, "{peer}");
    }
    carries(&lab, lab.id_b.ipv4.into())?;
    carries(&lab, lab.id_b.ipv6.into())?;

    let used = listed(&lab.a)?;
    ensure!((&used["id"], &used["state"]) == (&json!(id), &json!("used")), "{used}");
    ensure!(used["used_by"] == lab.id_b.id.as_str() && used["used_at"].is_string(), "{used}");
    ensure!(lab.a.log().contains(&lab.id_b.id), "the log says who used it");
    // Both secrets are gone from the disk, and never were in a log.
    until("the secrets go", || !(tickets_of(&lab.a) + &tickets_of(&lab.b)).contains("secret"))?;
    ensure!(!tickets_of(&lab.a).contains("p1") && tickets_of(&lab.a).contains(&lab.id_b.id));
    let body = &ticket["cryprq:".len()..];
    for log in [lab.a.log(), lab.b.log()] {
        ensure!(!log.contains(body), "a ticket in the log");
    }

    // Everything outlives both daemons.
    lab.a.kill()?;
    ensure!(lab.b.stop()?.success());
    lab.a.start()?;
    lab.b.start()?;
    lab.b.wait_connected()?;
    carries(&lab, lab.id_b.ipv6.into())?;
    ensure!(code_of(&join_by(&lab.b, &ticket)?) == "already_exists");
    Ok(())
}

#[test]
fn two_that_join_each_other_at_once_become_peers() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    lab.a.start()?;
    lab.b.start()?;
    let ((_, of_a), (_, of_b)) = (invite(&lab.a, 600_000)?, invite(&lab.b, 600_000)?);
    let (by_a, by_b) = std::thread::scope(|scope| {
        let by_a = scope.spawn(|| join_by(&lab.a, &of_b));
        let by_b = scope.spawn(|| join_by(&lab.b, &of_a));
        (by_a.join(), by_b.join())
    });
    let [Ok(by_a), Ok(by_b)] = [by_a, by_b] else { anyhow::bail!("a thread panicked") };
    let (by_a, by_b) = (by_a?, by_b?);
    let joined = [&by_a, &by_b].into_iter().filter(|answer| answer["error"].is_null()).count();
    ensure!(joined >= 1, "{by_a} {by_b}");
    for answer in [&by_a, &by_b] {
        let code = code_of(answer);
        ensure!(answer["error"].is_null() || ["peer_refused", "already_exists"].contains(&&*code), "{answer}");
    }
    lab.a.wait_connected()?;
    lab.b.wait_connected()?;
    ensure!(lab.a.peer()?["psk"] == true && lab.b.peer()?["psk"] == true);
    carries(&lab, lab.id_b.ipv6.into())
}
