//! A server that tells who asks.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Host;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers each HTTP request with the address that it came from, until it is dropped.
pub struct Mirror {
    host: Host,
    at: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Mirror {
    /// Listens on an address of the host.
    ///
    /// # Errors
    /// When the host does not have the address.
    pub fn start(host: &Host, at: SocketAddr) -> io::Result<Self> {
        let listener = host.run(move || TcpListener::bind(at))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        host.spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that leaves early has seen enough.
                let _ = answer(stream);
            }
        });
        Ok(Self { host: host.clone(), at, stop })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let at = self.at;
        // Only to be looked at once more.
        let _ = self.host.run(move || TcpStream::connect(at));
    }
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let from = stream.peer_addr()?.ip().to_string();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = from.len();
    let mut stream = stream;
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{from}")
}
