//! One long download, and what happens to the tunnel meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Download, Host, Server, digest, fetch, until};

use crate::secrets::{Inner, Secrets};
use crate::table::Table;

/// Out of the whole time, so many parts lie between two rotations, and the death of a daemon comes after so many.
const PARTS: f64 = 32.0;
const ROTATION: f64 = 6.0;
const DEATH: f64 = 15.0;

const LOOK: Duration = Duration::from_millis(50);

/// What happened during the download.
pub(crate) struct Eventful {
    pub(crate) download: Download,
    pub(crate) rotations: usize,
    /// When the daemon was killed, and how long after that bytes came again.
    pub(crate) died: Duration,
    pub(crate) back: Duration,
}

/// The host that downloads with its daemon, and the other one.
pub(crate) struct Ends<'a> {
    pub(crate) client: (&'a Host, &'a mut Daemon),
    pub(crate) server: (&'a Host, &'a Daemon),
    pub(crate) address: Inner,
}

/// Downloads the file at a pace that makes it take `time`; keys are rotated, and the client's daemon dies.
pub(crate) fn eventful(table: &mut Table, ends: Ends<'_>, secrets: &Secrets, time: Duration) -> Result<Eventful> {
    let Ends { client: (client, daemon), server: (server, other), address } = ends;
    let part = time.div_f64(PARTS);
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    let served = Server::start(server, address.ipv4.into(), secrets.body.clone(), time)?;
    let begun = Instant::now();
    let fetched = fetch(client, address.ipv4.into(), &secrets.path, move |length, _| {
        counted.store(length, Ordering::Relaxed);
    });
    let (mut rotations, mut next, mut death) = (0, part.mul_f64(ROTATION), None);
    while !fetched.is_finished() {
        let length = received.load(Ordering::Relaxed);
        let done = length as f64 / secrets.body.len() as f64;
        table.bar(done, &format!("{:4.1} s, rotations: {rotations}", begun.elapsed().as_secs_f64()));
        if death.is_none() && begun.elapsed() > part.mul_f64(DEATH) {
            let died = begun.elapsed();
            daemon.kill()?;
            let before = received.load(Ordering::Relaxed);
            daemon.start()?;
            until("bytes come again", || received.load(Ordering::Relaxed) > before || fetched.is_finished())?;
            death = Some((died, begun.elapsed() - died));
        }
        if begun.elapsed() > next {
            next += part.mul_f64(ROTATION);
            rotate(daemon, other)?;
            rotations += 1;
        }
        std::thread::sleep(LOOK);
    }
    let download = fetched.join().ok().context("the client panicked")??;
    ensure!(served.finish()? == secrets.path, "another path was asked for");
    ensure!(download.digest == digest(&secrets.body), "SHA-256 differs: other bytes came than were sent");
    let (died, back) = death.context("the download was over before the daemon could die")?;
    Ok(Eventful { download, rotations, died, back })
}

/// `cryprq rotate`, and the other side has the new keys.
fn rotate(daemon: &Daemon, other: &Daemon) -> Result<()> {
    let keys = || Ok::<_, anyhow::Error>(other.peer()?["rotations"].as_u64());
    let before = keys()?;
    daemon.cli(&["rotate"], "")?;
    until("new keys", || keys().is_ok_and(|now| now > before))
}

/// A download as fast as it goes.
pub(crate) fn fast(client: &Host, server: &Host, address: Inner, length: usize) -> Result<Download> {
    let body = vec![0x5a; length];
    let expected = digest(&body);
    let served = Server::start(server, address.ipv4.into(), body, Duration::ZERO)?;
    let fetched = fetch(client, address.ipv4.into(), "/speed", |_, _| {});
    let download = fetched.join().ok().context("the client panicked")??;
    served.finish()?;
    ensure!(download.digest == expected, "SHA-256 differs: other bytes came than were sent");
    Ok(download)
}
