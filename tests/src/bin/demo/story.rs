//! What the demo does, from first to last.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Daemon, Host, join, ping, programs, until};
use serde_json::Value;

use crate::control::without_tunnel;
use crate::download::{Ends, eventful, fast};
use crate::secrets::{Inner, Secrets};
use crate::table::{Failed, Table};

/// Bytes per second of the paced download, and of the file for the speed test.
const PACE: usize = 512 * 1024;
const SPEED: usize = 4 << 20;
const PINGS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(5);
const ROTATIONS: usize = 4;

/// One end.
struct End {
    host: Host,
    daemon: Daemon,
}

/// Tells the whole story; whether all went well. The paced download takes `time`.
pub(crate) fn tell(time: Duration) -> bool {
    let mut table = Table::new();
    // A step that failed has printed its row, and those after it make no sense.
    let _: Result<(), Failed> = chapters(&mut table, time);
    table.end()
}

fn chapters(table: &mut Table, time: Duration) -> Result<(), Failed> {
    let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
    let (mut home, mut laptop) = table.step("two hosts", |_| hosts())?;
    let capture = table.step("capture", |_| {
        Ok((Capture::start(&laptop.host)?, "every frame on the cable between them is recorded".into()))
    })?;
    table.step("two daemons", |_| {
        home.daemon.start()?;
        laptop.daemon.start()?;
        Ok(((), "cryprqd on each, with an empty configuration".into()))
    })?;
    table.step("paired by a ticket", |_| pair(&home.daemon, &laptop.daemon))?;
    let (own, other) = table.step("connected", |_| connected(&home.daemon, &laptop.daemon))?;
    table.step("ping", |_| pings(&laptop.host, other))?;
    let secrets = table.step("a secret file", |_| {
        let secrets = Secrets::new(PACE * seconds, own, other)?;
        let what = format!("{} of random bytes with a canary, a canary in its URL", size(secrets.body.len()));
        Ok((secrets, what))
    })?;
    let eventful = table.step("download", |table| {
        let ends =
            Ends { client: (&laptop.host, &mut laptop.daemon), server: (&home.host, &home.daemon), address: other };
        let eventful = eventful(table, ends, &secrets, time)?;
        let took = eventful.download.time.as_secs_f64();
        let what =
            format!("{} over HTTP in {took:.1} s on one TCP connection, SHA-256 equal", size(secrets.body.len()));
        Ok((eventful, what))
    })?;
    table.step("keys rotated", |_| {
        ensure!(eventful.rotations >= ROTATIONS, "only {} times during the download", eventful.rotations);
        Ok(((), format!("{} times during the download", eventful.rotations)))
    })?;
    table.step("a daemon killed", |_| {
        let (died, back) = (eventful.died.as_secs_f64(), eventful.back.as_secs_f64());
        Ok(((), format!("laptop's after {died:.1} s by SIGKILL, and restarted; {back:.1} s later bytes came again")))
    })?;
    // A leak is told, and then whether the search can be trusted.
    let unseen = table.step("seen on the cable", |_| {
        let seen = capture.finish()?;
        let found = secrets.found_in(&seen)?;
        ensure!(
            seen.bytes.len() > secrets.body.len(),
            "the capture holds less than the file: {}",
            size(seen.bytes.len())
        );
        ensure!(found.is_empty(), "{}", found.join(", "));
        Ok(((), format!("{} in {} frames: neither file, URL nor inner addresses", size(seen.bytes.len()), seen.frames)))
    });
    table.step("seen without a tunnel", |_| {
        let found = secrets.found_in(&without_tunnel(&secrets, own, other)?)?;
        ensure!(found.len() == secrets.number(), "the search found only {found:?}, so it proves nothing");
        Ok(((), format!("by the same search: {}", found.join(", "))))
    })?;
    table.step("speed", |_| {
        let download = fast(&laptop.host, &home.host, other, SPEED * seconds)?;
        let bits = download.length as f64 * 8.0 / download.time.as_secs_f64();
        Ok(((), format!("{} at {:.2} Gbit/s, both ends on this machine", size(SPEED * seconds), bits / 1e9)))
    })?;
    unseen
}

fn hosts() -> Result<((End, End), String)> {
    let programs = programs()?;
    let end = |name| -> Result<End> {
        let host = Host::named(name, &programs)?;
        Ok(End { daemon: Daemon::unconfigured(&host), host })
    };
    let (home, laptop) = (end("home")?, end("laptop")?);
    join(&home.host, &laptop.host)?;
    Ok(((home, laptop), "home and laptop, namespaces joined by one cable".into()))
}

fn pair(home: &Daemon, laptop: &Daemon) -> Result<((), String)> {
    until("home listens", || home.ask("status").is_ok_and(|status| status["listen"][0].is_string()))?;
    let told = home.cli(&["invite"], "")?;
    let ticket = told.split_whitespace().find(|word| word.starts_with("cryprq:"));
    let ticket = ticket.with_context(|| format!("no ticket in what cryprq invite says: {told}"))?;
    laptop.cli(&["join", "-"], ticket)?;
    Ok(((), "cryprq invite on home, cryprq join on laptop".into()))
}

fn connected(home: &Daemon, laptop: &Daemon) -> Result<((Inner, Inner), String)> {
    let begun = Instant::now();
    laptop.wait_connected()?;
    home.wait_connected()?;
    let took = begun.elapsed().as_secs_f64();
    let peer = laptop.peer()?;
    ensure!(peer["psk"] == true, "the ticket gave the pair no PSK");
    let cipher = peer["cipher"].as_str().context("no cipher")?;
    let what = format!("{took:.1} s later, ML-KEM-768 and X25519, {cipher}, a PSK from the ticket");
    Ok(((inner(&laptop.ask("status")?)?, inner(&home.ask("status")?)?), what))
}

fn inner(status: &Value) -> Result<Inner> {
    let text =
        |family: &str| status["addresses"][family].as_str().with_context(|| format!("no inner {family} address"));
    Ok(Inner { ipv4: text("ipv4")?.parse()?, ipv6: text("ipv6")?.parse()? })
}

fn pings(from: &Host, to: Inner) -> Result<((), String)> {
    let mut told = Vec::new();
    for address in [std::net::IpAddr::from(to.ipv4), to.ipv6.into()] {
        let times: Vec<Duration> =
            (0..PINGS).map(|_| ping(from, address, PATIENCE)).collect::<Result<_, _>>().context(address)?;
        let best = times.iter().min().copied().unwrap_or_default();
        told.push(format!("{address} {:.2} ms", best.as_secs_f64() * 1e3));
    }
    Ok(((), told.join(", ")))
}

fn size(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
