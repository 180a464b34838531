//! What the log says of whom.

use anyhow::{Result, ensure};
use cryprq_tests::lab::until;
use nix::sys::signal::Signal;

use super::friends;

#[test]
fn lines_from_info_on_name_no_address_no_key_and_nobody() -> Result<()> {
    let Some(mut pair) = friends("info")? else { return Ok(()) };
    pair.a.ask("rotate")?;
    until("new keys", || pair.a.peer().is_ok_and(|peer| peer["rotations"].as_u64() >= Some(2)))?;
    pair.a.request(r#"{"cmd":"down","peer":"gateway-of-b"}"#)?;
    pair.a.request(r#"{"cmd":"up","peer":"gateway-of-b"}"#)?;
    pair.a.wait_connected()?;
    // Silence, a lost peer, a refused configuration.
    pair.host_b.set_wire(false)?;
    pair.b.kill()?;
    pair.host_b.set_wire(true)?;
    pair.b.start()?;
    pair.b.wait_connected()?;
    pair.a.configure("[[peer]]\nid = \"nobody\"\nname = \"someone\"\n")?;
    pair.a.signal(Signal::SIGHUP)?;
    until("it is refused", || pair.a.health().is_ok_and(|codes| codes.contains(&"config_refused".into())))?;
    ensure!(pair.a.stop()?.success());
    let key = |id: &str| -> Result<String> { Ok(net::peer_id::parse(id)?.to_string()) };
    let (a, b) = (&pair.id_a, &pair.id_b);
    let hidden = [
        a.id[..].into(),
        b.id[..].into(),
        key(&a.id)?,
        key(&b.id)?,
        "gateway-of-b".into(),
        "laptop-of-a".into(),
        "someone".into(),
        "192.0.2.".into(),
        "2001:db8:".into(),
        a.ipv4.to_string(),
        b.ipv4.to_string(),
        a.ipv6.to_string(),
        b.ipv6.to_string(),
    ];
    let logs = pair.a.log() + &pair.b.log();
    for line in logs.lines() {
        let found = hidden.iter().find(|hidden| line.contains(hidden.as_str()));
        ensure!(found.is_none(), "{found:?} in: {line}");
    }
    ensure!(logs.lines().count() > 10 && logs.contains("new keys"), "too little was judged:\n{logs}");
    Ok(())
}

#[test]
fn who_asks_for_more_learns_which_peer_has_which_number() -> Result<()> {
    let Some(pair) = friends("debug")? else { return Ok(()) };
    let log = pair.a.log();
    let told = |line: &str| line.contains("peer=0") && line.contains(&pair.id_b.id) && line.contains("gateway-of-b");
    ensure!(log.lines().any(told), "{log}");
    Ok(())
}
