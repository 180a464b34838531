//! Pairings that a crash or the network cuts off. One side is played by this test over the product's own swarm, so that
//! it can stop exactly where it wants.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, Identity, until};
use cryprq_tests::seams::SystemRandom;
use net::inbound::Inbound;
use net::quic::on_own_threads;
use net::swarm::{Discovery, Guests, Net, NetConfig, NetEvent, Serve, Tcp};
use net::{Multiaddr, peer_id};
use node::drops::DropCounters;
use node::pairing::{Answer, Asker, DEFAULT_LIFETIME, HostName, Inviter, Ipv4Rules, Joiner, Now, Standing, Ticket};
use node::router::PeerSlot;
use os::clock::boottime;
use os::udp::UdpOptions;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{invite, join_by, lab, listed, tickets_of};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a swarm with an identity of the lab on a host for as long as `work` takes.
fn play<T: Send + 'static>(
    host: &Host,
    seed: u8,
    address: &'static str,
    work: impl AsyncFnOnce(Net, mpsc::Receiver<NetEvent>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let address: IpAddr = address.parse()?;
    host.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let drops = Arc::new(DropCounters::default());
            let (net, events) = net::swarm::start(NetConfig {
                identity_seed: Zeroizing::new([seed; 32]),
                listen: vec![address],
                port: 41820,
                udp: UdpOptions::default(),
                tcp: Tcp::Listen,
                relays: vec![],
                serve: Serve::Nobody,
                discovery: Discovery::Off,
                advertise: vec![],
                inner: vec![],
                inbound: Arc::new(Inbound::new(Arc::clone(&drops)).expect("descriptors are left")),
                receive: on_own_threads(Arc::clone(&drops)),
                drops,
                clock: boottime,
            })?;
            tokio::time::timeout(LIMIT, work(net, events)).await.context("too slow")?
        })
    })
}

/// What `pick` takes of the next events.
async fn next<T>(events: &mut mpsc::Receiver<NetEvent>, mut pick: impl FnMut(NetEvent) -> Option<T>) -> Result<T> {
    loop {
        if let Some(found) = pick(events.recv().await.context("the swarm runs")?) {
            return Ok(found);
        }
    }
}

fn rules() -> Result<Ipv4Rules> {
    Ok(Ipv4Rules { range: "10.86.0.0/16".parse()?, own: None, taken: vec![], direct: vec![], outer: vec![] })
}

/// B's P1 for a ticket; two of one nonce are the same, byte for byte.
fn p1_of(b: &Identity, ticket: &str, nonce: u8) -> Result<Joiner> {
    struct Same(u8);
    impl node::crypto::RandomSource for Same {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), node::crypto::RandomError> {
            out.fill(self.0);
            Ok(())
        }
    }
    let (own, ticket) = (peer_id::parse(&b.id)?, Ticket::parse(ticket)?);
    Ok(Joiner::start(own, &ticket, HostName::new("b")?, None, &mut Same(nonce))?)
}

/// Plays a B that sends P1, hears P2, and is gone before any handshake.
fn asked_and_gone(host: &Host, b: &Identity, ticket: &str, nonce: u8) -> Result<Vec<u8>> {
    let (joiner, addresses) = (p1_of(b, ticket, nonce)?, Ticket::parse(ticket)?.addresses);
    let addresses = addresses.into_iter().map(Multiaddr::try_from).collect::<Result<Vec<_>, _>>()?;
    play(host, 2, "192.0.2.2", async move |net, mut events| {
        net.join(joiner.inviter(), addresses, joiner.p1().to_vec()).await;
        let answered = |event| if let NetEvent::PairingAnswered { answer, .. } = event { Some(answer) } else { None };
        let answer = next(&mut events, answered).await?;
        joiner.read(&answer, &rules()?)?;
        Ok(answer)
    })
}

#[test]
fn a_lost_answer_is_given_again_also_by_an_inviter_that_was_killed() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    lab.a.start()?;
    let (_, ticket) = invite(&lab.a, 600_000)?;
    let first = asked_and_gone(&lab.host_b, &lab.id_b, &ticket, 7)?;
    let peer = lab.a.peer()?;
    ensure!(peer["id"] == lab.id_b.id.as_str() && peer["psk"] == true, "{peer}");
    ensure!(asked_and_gone(&lab.host_b, &lab.id_b, &ticket, 7)? == first, "the same bytes get the same answer");

    // Killed after the ticket was written and before the peer was.
    lab.a.kill()?;
    std::fs::remove_file(lab.a.state().join("peers.toml"))?;
    lab.a.start()?;
    let peer = lab.a.peer()?;
    ensure!(peer["id"] == lab.id_b.id.as_str() && peer["psk"] == true, "the start finishes the pairing: {peer}");
    ensure!(asked_and_gone(&lab.host_b, &lab.id_b, &ticket, 7)? == first);

    // B lost its state: other bytes, another answer, and both ends agree.
    ensure!(asked_and_gone(&lab.host_b, &lab.id_b, &ticket, 8)? != first);
    lab.b.start()?;
    let joined = join_by(&lab.b, &ticket)?;
    ensure!(joined["peer"] == lab.id_a.id.as_str(), "{joined}");
    lab.a.wait_connected()?;
    lab.b.wait_connected()?;
    ensure!(listed(&lab.a)?["used_by"] == lab.id_b.id.as_str());
    ensure!(lab.a.ask("status")?["peers"].as_array().map(Vec::len) == Some(1), "one peer, not one per answer");
    Ok(())
}

/// Plays an A that invites, and answers one P1; gives the ticket to `told` first.
fn invite_and_go(host: &Host, a: &Identity, told: std::sync::mpsc::Sender<String>) -> Result<Vec<u8>> {
    let own = peer_id::parse(&a.id)?;
    play(host, 1, "192.0.2.1", async move |net, mut events| {
        net.set_guests(Guests::Admit).await;
        let listening = |event| if let NetEvent::Listening(address) = event { Some(address) } else { None };
        let address = next(&mut events, listening).await?;
        let now = Now { boot: boottime(), wall: 0 };
        let mut inviter = Inviter::restore(own, vec![], now);
        let ticket = inviter.invite(now, DEFAULT_LIFETIME, &[address.to_vec()], &mut SystemRandom)?;
        told.send(ticket.encode().to_string())?;
        let asked = |event| match event {
            NetEvent::PairingAsked { peer, stream, p1 } => Some((peer, stream, p1)),
            _ => None,
        };
        let (peer, stream, p1) = next(&mut events, asked).await?;
        let host = node::pairing::Host { name: HostName::new("a")?, ipv4: rules()? };
        let asker = Asker { key: peer, standing: Standing::Stranger };
        let Answer::Accept(accepted) = inviter.answer(now, asker, &p1, &host, &mut SystemRandom) else {
            anyhow::bail!("a good P1 is accepted");
        };
        net.answer_pairing(stream, Some(accepted.p2)).await;
        // B connects anew, as a peer; this host lets it in and answers no handshake.
        net.allow(peer, PeerSlot(1), Arc::default()).await;
        let up = |event| matches!(event, NetEvent::ConnectionUp { .. }).then_some(());
        next(&mut events, up).await?;
        Ok(p1)
    })
}

#[test]
fn a_joiner_that_was_killed_knows_its_inviter_and_repeats_its_question_after_a_failed_handshake() -> Result<()> {
    let Some(mut lab) = lab()? else { return Ok(()) };
    lab.b.start()?;
    let (told, ticket) = std::sync::mpsc::channel();
    let (host, a) = (lab.host_a.clone(), lab.id_a.clone());
    let inviter = std::thread::spawn(move || invite_and_go(&host, &a, told));
    let joined = join_by(&lab.b, &ticket.recv_timeout(LIMIT)?)?;
    ensure!(joined["peer"] == lab.id_a.id.as_str(), "{joined}");
    let p1 = inviter.join().map_err(|_| anyhow::anyhow!("the inviter panicked"))??;
    ensure!(tickets_of(&lab.b).contains("p1"), "kept until the first handshake is complete");

    // Killed after the join was written and before the peer was.
    lab.b.kill()?;
    std::fs::remove_file(lab.b.state().join("peers.toml"))?;
    lab.b.start()?;
    let peer = lab.b.peer()?;
    ensure!(peer["id"] == lab.id_a.id.as_str() && peer["psk"] == true, "the start finishes the pairing: {peer}");
    let path = lab.b.ask("status")?;
    ensure!(path["addresses"]["ipv4"].is_string(), "{path}");

    let key = peer_id::parse(&lab.id_b.id)?;
    let again = play(&lab.host_a, 1, "192.0.2.1", async move |net, mut events| {
        net.allow(key, PeerSlot(1), Arc::default()).await;
        loop {
            match events.recv().await.context("the swarm runs")? {
                // Every handshake fails.
                NetEvent::HandshakeIncoming { peer, attempt, .. } => {
                    net.close_handshake(peer, attempt, node::tunnel::Close::Reset).await;
                }
                NetEvent::PairingAsked { p1, .. } => return Ok(p1),
                _ => {}
            }
        }
    })?;
    ensure!(again == p1, "the same bytes, after a restart too");
    // The real A knows nothing of it; B keeps its question.
    until("B is still there", || lab.b.ask("hello").is_ok())?;
    ensure!(tickets_of(&lab.b).contains("p1"));
    Ok(())
}
