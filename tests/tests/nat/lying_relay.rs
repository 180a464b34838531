//! A relay that lies costs what it could keep back anyway, and nothing else.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{
    AfterGrant, Capture, Circuit, Daemon, Host, Identity, Internet, Lies, LyingRelay, Peering, Tamper, Transfer, cpu,
    memory, pattern, until_within,
};

use super::{Ids, LIMIT, RELAY, relay};

/// The relay's number in the internet, and those of A and B.
const LIAR: u8 = 11;
const A: u8 = 1;
const B: u8 = 2;
/// A and B do not reach each other but by a relay.
const APART: &str = "table ip apart { chain i { type filter hook input priority 0; ip saddr 203.0.113.1 drop; }; \
                     chain o { type filter hook output priority 0; ip daddr 203.0.113.1 drop; }; }";
/// A connection whose other end says nothing is noticed by libp2p's ping: after 15 s it asks, and waits for 20.
const SILENCE: Duration = Duration::from_secs(90);

/// Whether there is a relay that does not lie as well.
#[derive(Clone, Copy)]
enum Honest {
    None,
    Too,
}

/// A and B, which have places at a relay that lies, and A dials B there.
struct Deceived {
    liar: LyingRelay,
    a: Daemon,
    b: Daemon,
    host_a: Host,
    host_b: Host,
    ids: Ids,
    honest: Option<Daemon>,
    folder: tempfile::TempDir,
    internet: Internet,
}

impl Deceived {
    /// Nothing but the relay is started.
    fn new() -> Result<Option<Self>> {
        Self::made(&[], Honest::None)
    }

    /// The same with an honest relay that runs, too: A knows B by both.
    fn beside_an_honest_one() -> Result<Option<Self>> {
        Self::made(&[], Honest::Too)
    }

    /// `more` are further peers of B, which do not dial.
    fn made(more: &[(&str, &Identity)], honest: Honest) -> Result<Option<Self>> {
        let Some(internet) = Internet::new()? else { return Ok(None) };
        let (host_liar, host_a, host_b) = (internet.host(LIAR)?, internet.host(A)?, internet.host(B)?);
        host_b.firewall(APART)?.context("no nft")?;
        let liar = LyingRelay::start(&host_liar, &format!("203.0.113.{LIAR}"))?;
        let folder = tempfile::tempdir()?;
        let ids = Ids { relay: Identity::new(1)?, a: Identity::new(2)?, b: Identity::new(3)? };
        let at_honest = format!("/ip4/203.0.113.{RELAY}/tcp/41820/p2p/{}", ids.relay.id);
        let (at_relays, honest) = match honest {
            Honest::None => (vec![liar.address.clone()], None),
            Honest::Too => {
                let mut honest = relay(&internet.host(RELAY)?, folder.path(), &ids)?;
                honest.start()?;
                (vec![liar.address.clone(), at_honest], Some(honest))
            }
        };
        let circuits: Vec<_> = at_relays.iter().map(|relay| format!("{relay}/p2p-circuit")).collect();
        let circuits: Vec<_> = circuits.iter().map(String::as_str).collect();
        let knows_b = Peering { peer: &ids.b, name: "b", addresses: &circuits };
        let a = Daemon::new(&host_a, folder.path().join("a"), &ids.a, &[knows_b])?;
        let mut peers = vec![Peering { peer: &ids.a, name: "a", addresses: &[] }];
        peers.extend(more.iter().map(|&(name, peer)| Peering { peer, name, addresses: &[] }));
        let b = Daemon::new(&host_b, folder.path().join("b"), &ids.b, &peers)?;
        for daemon in [&a, &b] {
            daemon.configure(&format!("[relay]\nuse = {at_relays:?}\n"))?;
        }
        Ok(Some(Self { liar, a, b, host_a, host_b, ids, honest, folder, internet }))
    }

    fn connect(&mut self) -> Result<()> {
        self.b.start()?;
        self.b_has_places(1)?;
        self.a.start()?;
        self.connected()
    }

    fn connected(&self) -> Result<()> {
        until_within("A and B are connected", SILENCE, || {
            [(&self.a, "b"), (&self.b, "a")]
                .iter()
                .all(|(daemon, peer)| daemon.peer_named(peer).is_ok_and(|peer| peer["state"] == "connected"))
        })
        .with_context(|| self.logs())
    }

    fn b_has_places(&self, times: usize) -> Result<()> {
        until_within("the relay keeps a place for B", LIMIT, || self.b.logged("a relay keeps a place") >= times)
            .with_context(|| self.logs())
    }

    fn transfer(&self) -> Result<()> {
        let address = self.ids.b.ipv4.into();
        Transfer::start(&self.host_b, &self.host_a, address, pattern(200_000), Duration::ZERO)?
            .finish()
            .with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        let honest = self.honest.as_ref().map(Daemon::log).unwrap_or_default();
        format!("{:?}\nA:\n{}\nB:\n{}\nhonest:\n{honest}", self.liar.asked(), self.a.log(), self.b.log())
    }
}

/// How often a daemon complains of relays.
fn complaints(daemon: &Daemon) -> Result<usize> {
    Ok(daemon.health()?.iter().filter(|code| *code == "relay").count())
}

/// What a daemon works, between two moments.
struct Work {
    pid: u32,
    used: Duration,
    begun: Instant,
}

impl Work {
    fn of(daemon: &Daemon) -> Result<Self> {
        let pid = daemon.pid().context("it does not run")?;
        Ok(Self { pid, used: cpu(pid)?, begun: Instant::now() })
    }

    /// It did not spin.
    fn was_little(self) -> Result<()> {
        let (used, passed) = (cpu(self.pid)? - self.used, self.begun.elapsed());
        ensure!(used < passed / 2, "it worked for {used:?} of {passed:?}");
        Ok(())
    }
}

#[test]
fn a_place_that_is_over_or_never_ends_is_asked_for_once_and_carries_circuits() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    for (times, expire) in (1..).zip([u64::MAX, u64::MAX / 2, 0, 1]) {
        scene.liar.lie(Lies { expire: Some(expire), ..Lies::default() });
        let before = scene.liar.asked().places;
        scene.b.start()?;
        scene.b_has_places(times)?;
        // In the meantime the relay is asked as often as its time says.
        scene.a.start()?;
        scene.connected()?;
        scene.transfer()?;
        ensure!(scene.b.is_running() && complaints(&scene.b)? == 0, "{}", scene.logs());
        let asked = scene.liar.asked().places - before;
        ensure!(asked <= 4, "for {expire}, A and B asked {asked} times");
        scene.a.stop()?;
        scene.b.stop()?;
    }
    Ok(())
}

#[test]
fn a_place_that_is_taken_back_at_once_is_asked_for_ever_more_rarely() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    scene.liar.lie(Lies { after_grant: AfterGrant::HangUp, ..Lies::default() });
    let begun = Instant::now();
    scene.b.start()?;
    until_within("it is asked again and again", LIMIT, || scene.liar.asked().places >= 4)?;
    // Between them are pauses of 0, 2 and 4 s.
    ensure!(begun.elapsed() > Duration::from_secs(5), "after {:?}\n{}", begun.elapsed(), scene.logs());
    ensure!(scene.b.logged("a relay keeps a place") > 0, "it was granted");
    until_within("B says so, once", LIMIT, || complaints(&scene.b).is_ok_and(|times| times == 1))
        .with_context(|| scene.logs())?;
    scene.liar.lie(Lies::default());
    until_within("all is well", LIMIT, || complaints(&scene.b).is_ok_and(|times| times == 0))
        .with_context(|| scene.logs())?;
    scene.a.start()?;
    scene.connected()
}

#[test]
fn a_place_that_is_not_renewed_is_asked_for_ever_more_rarely_while_its_circuits_go_on() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    scene.liar.lie(Lies { expire: Some(0), after_grant: AfterGrant::RefuseRenewal, ..Lies::default() });
    scene.connect()?;
    let asked = |times| scene.liar.asked_by(&scene.ids.b.id).is_ok_and(|asked| asked >= times);
    // Whatever the relay says, a place is kept for so long that it is asked for again after 30 s.
    until_within("B asks for a longer time", 2 * LIMIT, || asked(2)).with_context(|| scene.logs())?;
    let (refused, down) = (Instant::now(), scene.b.logged("connection down"));
    until_within("B asks again and again", LIMIT, || asked(5)).with_context(|| scene.logs())?;
    // Between them are pauses of 0, 2 and 4 s.
    ensure!(refused.elapsed() > Duration::from_secs(5), "after {:?}\n{}", refused.elapsed(), scene.logs());
    until_within("B says so, once", LIMIT, || complaints(&scene.b).is_ok_and(|times| times == 1))
        .with_context(|| scene.logs())?;
    scene.transfer()?;
    ensure!(scene.b.is_running() && scene.b.logged("connection down") == down, "{}", scene.logs());
    Ok(())
}

#[test]
fn a_place_is_where_the_relay_is_and_not_where_it_says() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    let mut places: Vec<_> = (0..200).map(|number| format!("/ip4/198.18.0.{number}/tcp/41820")).collect();
    places.extend(["/ip4/127.0.0.1/tcp/41820".into(), format!("/ip4/{}/tcp/41820", scene.ids.b.ipv4)]);
    let places = places.iter().map(|place| Ok(place.parse()?)).collect::<Result<_>>()?;
    scene.liar.lie(Lies { places, ..Lies::default() });
    scene.connect()?;
    let status = scene.b.ask("status")?;
    let listen = status["listen"].as_array().context("no list")?;
    let circuits: Vec<_> = listen.iter().filter_map(|at| at.as_str()).filter(|at| at.contains("p2p-circuit")).collect();
    ensure!(circuits.len() == 1 && circuits[0].starts_with(&scene.liar.address), "{listen:?}");
    Ok(())
}

#[test]
fn a_relay_that_leads_to_another_host_is_told_of_and_nothing_is_said_there() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    let (host, id) = (scene.internet.host(3)?, Identity::new(4)?);
    let knows_a = Peering { peer: &scene.ids.a, name: "a", addresses: &[] };
    let mut other = Daemon::new(&host, scene.folder.path().join("other"), &id, &[knows_a])?;
    other.configure(&format!("[relay]\nuse = [\"{}\"]\n", scene.liar.address))?;
    other.start()?;
    until_within("the other host has a place", LIMIT, || other.logged("a relay keeps a place") > 0)?;
    scene.liar.lie(Lies { circuit: Circuit::JoinTo(id.id.parse()?), ..Lies::default() });
    scene.b.start()?;
    scene.a.start()?;
    until_within("A is told, more than once", LIMIT, || {
        let obstacle = scene.a.peer_named("b").map(|mut peer| peer["obstacle"].take());
        scene.a.logged("dialling failed") >= 2 && obstacle.is_ok_and(|obstacle| obstacle["code"] == "another_host")
    })
    .with_context(|| format!("{}\nother:\n{}", scene.logs(), other.log()))?;
    let b = scene.a.peer_named("b")?;
    ensure!(b["state"] == "connecting" && b["rotations"] == 0 && b["tx_bytes"] == 0, "{b}");
    let a = other.peer_named("a")?;
    ensure!(a["rotations"] == 0 && a["rx_bytes"] == 0, "{a}");
    scene.liar.lie(Lies::default());
    scene.connected()?;
    scene.transfer()
}

#[test]
fn where_an_honest_relay_leads_to_a_host_another_keeps_nobody_from_it() -> Result<()> {
    let Some(mut scene) = Deceived::beside_an_honest_one()? else { return Ok(()) };
    scene.b.start()?;
    scene.b_has_places(2)?;
    let nobody = Circuit::JoinTo(Identity::new(9)?.id.parse()?);
    for (circuit, tamper) in [
        (Circuit::Refuse, Tamper::Nothing),
        (Circuit::Swallow, Tamper::Nothing),
        (nobody, Tamper::Nothing),
        (Circuit::Join, Tamper::Flip),
        (Circuit::Join, Tamper::Stall),
        (Circuit::Join, Tamper::End),
    ] {
        let asked = scene.liar.asked().circuits;
        scene.liar.lie(Lies { circuit: circuit.clone(), tamper, ..Lies::default() });
        scene.a.start()?;
        scene.connected().with_context(|| format!("{circuit:?} {tamper:?}"))?;
        scene.transfer()?;
        let path = scene.a.peer_named("b")?["path"].take();
        ensure!(path["relay"] == scene.ids.relay.id, "{circuit:?} {tamper:?}: {path}");
        println!("{circuit:?} {tamper:?}: the liar was asked for {} circuits", scene.liar.asked().circuits - asked);
        scene.a.stop()?;
    }
    ensure!(scene.liar.asked().circuits > 0, "the liar was tried");
    Ok(())
}

#[test]
fn whoever_a_circuit_is_said_to_be_of_it_is_whoever_proves_to_be() -> Result<()> {
    let id_c = Identity::new(5)?;
    let Some(mut scene) = Deceived::made(&[("c", &id_c)], Honest::None)? else { return Ok(()) };
    scene.liar.lie(Lies { circuit: Circuit::InTheNameOf(id_c.id.parse()?), ..Lies::default() });
    scene.connect()?;
    scene.transfer()?;
    let c = scene.b.peer_named("c")?;
    ensure!(c["state"] != "connected" && c["rotations"] == 0 && c["rx_bytes"] == 0, "B sees {c}");
    Ok(())
}

#[test]
fn a_flood_of_forged_circuits_leaves_the_honest_one_alone() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    scene.connect()?;
    scene.transfer()?;
    let pid = scene.b.pid().context("B runs")?;
    let before = memory(pid, "VmRSS")?;
    let down = scene.b.logged("connection down");
    scene.liar.flood(&scene.ids.b.id, 3000)?;
    for _ in 0..5 {
        scene.transfer()?;
    }
    let more = memory(pid, "VmRSS")? - before;
    ensure!(more < 64.0, "B took {more} MiB more");
    ensure!(scene.b.is_running() && scene.b.logged("connection down") == down, "{}", scene.logs());
    Ok(())
}

#[test]
fn bytes_that_are_changed_doubled_left_out_or_cut_off_end_a_circuit_and_reach_nobody() -> Result<()> {
    for tamper in [Tamper::Flip, Tamper::Double, Tamper::Lose, Tamper::End] {
        // A new one each time: after each circuit that did not last the pause before the next grows.
        let Some(mut scene) = Deceived::new()? else { return Ok(()) };
        scene.connect()?;
        scene.transfer()?;
        let (down, forged) = (scene.a.logged("connection down"), scene.a.peer_named("b")?["drops"].take());
        let circuits = scene.liar.asked().circuits;
        scene.liar.lie(Lies { tamper, ..Lies::default() });
        let transfer =
            Transfer::start(&scene.host_b, &scene.host_a, scene.ids.b.ipv4.into(), pattern(100_000), Duration::ZERO)?;
        until_within("the circuit ends", SILENCE, || scene.a.logged("connection down") > down)
            .with_context(|| format!("{tamper:?}\n{}", scene.logs()))?;
        until_within("another is asked for", LIMIT, || scene.liar.asked().circuits > circuits)
            .with_context(|| scene.logs())?;
        let drops = scene.a.peer_named("b")?["drops"].take();
        ensure!(drops["frame_forged"] == forged["frame_forged"], "no frame came out of it: {drops}");
        scene.liar.lie(Lies::default());
        // Not a byte of it was wrong.
        transfer.finish().with_context(|| format!("{tamper:?}\n{}", scene.logs()))?;
        scene.connected()?;
    }
    Ok(())
}

#[test]
fn a_circuit_that_passes_nothing_any_more_is_given_up() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    scene.connect()?;
    let down = scene.a.logged("connection down");
    scene.liar.lie(Lies { tamper: Tamper::Stall, ..Lies::default() });
    let work = Work::of(&scene.a)?;
    until_within("A gives it up", SILENCE, || scene.a.logged("connection down") > down)
        .with_context(|| scene.logs())?;
    work.was_little()?;
    scene.liar.lie(Lies::default());
    scene.connected()?;
    scene.transfer()
}

#[test]
fn addresses_that_a_relay_claims_to_see_us_at_are_believed_in_small_numbers_and_nothing_is_sent_there() -> Result<()> {
    let Some(mut scene) = Deceived::new()? else { return Ok(()) };
    let victim = scene.internet.host(66)?;
    scene.connect()?;
    let capture = Capture::start(&victim)?;
    let mut lies = vec!["/ip4/203.0.113.66/tcp/41820".parse()?, "/ip4/127.0.0.1/tcp/41820".parse()?];
    for number in 0..2000 {
        lies.push(format!("/ip4/{}/tcp/41820", Ipv4Addr::from(0x0808_0000 + number)).parse()?);
    }
    scene.liar.claim_to_see(&scene.ids.b.id, lies)?;
    until_within("B has heard them", LIMIT, || {
        scene.b.ask("status").is_ok_and(|status| status["drops"]["sightings_many"].as_u64() > Some(1500))
    })
    .with_context(|| scene.logs())?;
    scene.transfer()?;
    let seen = capture.finish()?;
    let from_b = [203, 0, 113, B];
    ensure!(
        !seen.packets().any(|frame| frame[12..14] == [8, 0] && frame.get(26..30) == Some(&from_b)),
        "B spoke to it"
    );
    Ok(())
}
