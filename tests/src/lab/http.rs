//! A file over HTTP/1.1 on one TCP connection, at a pace.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{Context as Hash, SHA256};

use super::Host;

const PORT: u16 = 8080;
const PIECE: usize = 8 * 1024;
/// Longer than any fault that the lab makes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one file to one connection.
pub struct Server(JoinHandle<anyhow::Result<String>>);

/// A file that was fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Download {
    /// Bytes of the body.
    pub length: u64,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// From the first byte sent to the last received.
    pub time: Duration,
}

/// The SHA-256 of a body.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    finished(Hash::new(&SHA256), bytes)
}

fn finished(mut hash: Hash, rest: &[u8]) -> [u8; 32] {
    hash.update(rest);
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

impl Server {
    /// Listens on an address of the host. The body takes about `time` if the network allows.
    ///
    /// # Errors
    /// When the host does not have the address.
    pub fn start(host: &Host, address: IpAddr, body: Vec<u8>, time: Duration) -> io::Result<Self> {
        let listener = host.run(move || TcpListener::bind(SocketAddr::new(address, PORT)))?;
        Ok(Self(host.spawn(move || {
            let (stream, _) = listener.accept()?;
            // One connection and no other: a client that came back would be refused.
            drop(listener);
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut reader = BufReader::new(stream);
            let (request, _) = head(&mut reader)?;
            let path = request.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
            let path = path.with_context(|| format!("not a request: {request}"))?.to_owned();
            let mut stream = reader.into_inner();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
            let (begun, pieces) = (Instant::now(), body.len().div_ceil(PIECE).max(1));
            for (piece, number) in body.chunks(PIECE).zip(0_u32..) {
                let due = time.mul_f64(f64::from(number) / pieces as f64);
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                stream.write_all(piece)?;
            }
            Ok(path)
        })))
    }

    /// Waits until the file is served and gives the path that was asked for.
    ///
    /// # Errors
    /// What broke the connection.
    pub fn finish(self) -> anyhow::Result<String> {
        self.0.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    }
}

/// Fetches `path` on one TCP connection; `progress` is told how many bytes of how many came.
pub fn fetch(
    host: &Host,
    address: IpAddr,
    path: &str,
    mut progress: impl FnMut(u64, u64) + Send + 'static,
) -> JoinHandle<anyhow::Result<Download>> {
    let path = path.to_owned();
    host.spawn(move || {
        let begun = Instant::now();
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let (status, total) = head(&mut reader)?;
        ensure!(status == "HTTP/1.1 200 OK", "the server says {status}");
        let total = total.context("no length")?;
        let (mut hash, mut length, mut piece) = (Hash::new(&SHA256), 0, vec![0; 64 * 1024]);
        loop {
            match reader.read(&mut piece)? {
                0 => break,
                read => {
                    hash.update(&piece[..read]);
                    length += read as u64;
                    progress(length, total);
                }
            }
        }
        ensure!(length == total, "{length} of {total} bytes came");
        Ok(Download { length, digest: finished(hash, &[]), time: begun.elapsed() })
    })
}

/// The first line of a message, and the content's length if it is told.
fn head(reader: &mut impl BufRead) -> io::Result<(String, Option<u64>)> {
    let (mut first, mut length) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        match &first {
            _ if line.is_empty() => return Ok((first.unwrap_or_default(), length)),
            None => first = Some(line.to_owned()),
            Some(_) => length = line.strip_prefix("content-length: ").and_then(|value| value.parse().ok()).or(length),
        }
    }
}
