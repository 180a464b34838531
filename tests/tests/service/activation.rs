//! A control socket that the service manager made.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use cryprq_ipc_proto::launchd::CONTROL_SOCKET_NAME;
use cryprq_tests::local::Folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// As sd_listen_fds(3) has it, for a listener that is this script's standard input.
const HANDED_OVER: &str = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;

/// The daemon's command line, with a listener as the service manager's socket `name`.
fn started_with(folder: &Folder, listener: OwnedFd, name: &str) -> Result<Command> {
    let daemon = folder.command()?;
    let mut command = Command::new("sh");
    command.args(["-c", HANDED_OVER, "sh"]).arg(daemon.get_program()).args(daemon.get_args());
    command.env("LISTEN_FDNAMES", name).stdin(Stdio::from(listener)).stderr(Stdio::piped());
    Ok(command)
}

#[test]
fn the_daemon_serves_on_the_socket_of_the_service_manager_and_leaves_it_there() -> Result<()> {
    let folder = Folder::new("")?;
    let path = folder.path().join("handed-over.sock");
    let listener = UnixListener::bind(&path)?;
    let mut child = started_with(&folder, listener.try_clone()?.into(), CONTROL_SOCKET_NAME)?.spawn()?;
    // The socket listens already, so whoever calls waits for the daemon.
    let mut caller = UnixStream::connect(&path)?;
    caller.set_read_timeout(Some(Duration::from_secs(30)))?;
    caller.write_all(b"{\"cmd\":\"hello\"}\n")?;
    let mut told = String::new();
    BufReader::new(caller).read_line(&mut told)?;
    ensure!(told.contains(env!("CARGO_PKG_VERSION")), "{told}");
    ensure!(!folder.socket().exists(), "no second socket was made");
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "SIGTERM ends it with {status}");
    ensure!(path.exists(), "the socket is the service manager's");
    Ok(())
}

#[test]
fn a_socket_of_another_name_is_not_taken_and_one_that_does_not_listen_is_refused() -> Result<()> {
    let folder = Folder::new("")?;
    let (_near, far) = UnixStream::pair()?;
    let refused = started_with(&folder, far.into(), CONTROL_SOCKET_NAME)?.output()?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && told.contains("no listening Unix socket"), "{told}");

    let listener = UnixListener::bind(folder.path().join("other.sock"))?;
    let mut command = started_with(&folder, listener.into(), "other")?;
    command.stderr(fs::File::create(folder.path().join("log"))?);
    let local = folder.start_by(command)?;
    ensure!(local.folder.socket().exists(), "its own socket is made");
    Ok(())
}
