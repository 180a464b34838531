//! Somebody who calls the control socket, for tests that need another user than their own.
//!
//! Ends with 13 when it may not connect.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// `EACCES`, as the exit code.
const DENIED: u8 = 13;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["say", socket] => say(socket),
        ["hand-over", socket] => hand_over(socket),
        ["hold", socket, count] => hold(socket, count.parse().unwrap_or(0)),
        _ => Err(io::Error::other("usage: cryprq-caller say|hand-over|hold SOCKET [COUNT]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => DENIED.into(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what standard input holds, and prints what comes back.
fn say(socket: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said)?;
    // A daemon that refuses may have closed before it heard everything.
    let _ = stream.write_all(&said).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    io::stdout().write_all(&told)
}

/// Gives a connection of its own to whoever is at the other end of standard input, and ends.
fn hand_over(socket: &str) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let descriptors = [stream.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(io::stdin().as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    Ok(())
}

/// Opens connections and asks on each; prints how many were served, and holds them until standard input ends.
fn hold(socket: &str, count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = UnixStream::connect(socket)?;
        let mut answer = [0; 256];
        let asked = stream.write_all(b"{\"cmd\":\"hello\"}\n").and_then(|()| stream.read(&mut answer));
        if asked.is_ok_and(|read| String::from_utf8_lossy(&answer[..read]).contains("\"version\"")) {
            held.push(stream);
        }
    }
    println!("{}", held.len());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
