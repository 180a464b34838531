//! A download inside the tunnel, and what it downloads.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Download, Host, Server, digest, fetch};

/// Bytes that no other test and no protocol sends.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A download that runs beside the test.
pub struct Transfer {
    server: Server,
    client: JoinHandle<anyhow::Result<Download>>,
    expected: [u8; 32],
    arrivals: Arc<Mutex<Arrivals>>,
}

struct Arrivals {
    last: Instant,
    bytes: u64,
    longest_gap: Duration,
}

impl Arrivals {
    fn arrived(&mut self, bytes: u64) {
        self.longest_gap = self.longest_gap.max(self.last.elapsed());
        (self.last, self.bytes) = (Instant::now(), bytes);
    }
}

impl Transfer {
    /// Begins a download of `body` from an address of `server`, taking about `time` if the network allows.
    ///
    /// # Errors
    /// When the server does not have the address.
    pub fn start(server: &Host, client: &Host, address: IpAddr, body: Vec<u8>, time: Duration) -> anyhow::Result<Self> {
        let expected = digest(&body);
        let server = Server::start(server, address, body, time)?;
        let begun = Arrivals { last: Instant::now(), bytes: 0, longest_gap: Duration::ZERO };
        let arrivals = Arc::new(Mutex::new(begun));
        let noted = Arc::clone(&arrivals);
        let client = fetch(client, address, "/file", move |bytes, _| lock(&noted).arrived(bytes));
        Ok(Self { server, client, expected, arrivals })
    }

    /// How many bytes came.
    pub fn arrived(&self) -> u64 {
        lock(&self.arrivals).bytes
    }

    /// Measures gaps from now on.
    pub fn forget_gaps(&self) {
        lock(&self.arrivals).longest_gap = Duration::ZERO;
    }

    /// The longest time in which nothing came, until something did.
    pub fn longest_gap(&self) -> Duration {
        lock(&self.arrivals).longest_gap
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.client.is_finished()
    }

    /// Waits for the end, when every byte has come once and in order.
    ///
    /// # Errors
    /// When one has not.
    pub fn finish(self) -> anyhow::Result<()> {
        let download = self.client.join().ok().context("the client panicked")??;
        ensure!(download.digest == self.expected, "other bytes came than were sent");
        ensure!(self.server.finish()? == "/file");
        Ok(())
    }
}

fn lock(arrivals: &Mutex<Arrivals>) -> std::sync::MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
