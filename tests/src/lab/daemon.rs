//! Daemons of the lab.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use net::peer_id;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node::crypto::Identity as NodeIdentity;
use node::pairing::{default_ipv4, inner_ipv6};
use node::secret::{HeapStore, SecretKey32, SecretStore};
use serde_json::Value;

use super::Host;

/// How long the lab waits for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// Who a daemon of the lab is: everything follows from one byte.
#[derive(Clone, Debug)]
pub struct Identity {
    seed: [u8; 32],
    /// Its PeerId.
    pub id: String,
    /// Its inner IPv4 address.
    pub ipv4: std::net::Ipv4Addr,
    /// Its inner IPv6 address.
    pub ipv6: std::net::Ipv6Addr,
}

impl Identity {
    /// The identity of a byte.
    ///
    /// # Errors
    /// Never for the seeds in use.
    pub fn new(byte: u8) -> anyhow::Result<Self> {
        let seed = [byte; 32];
        let key = NodeIdentity::from_seed(HeapStore.keep(SecretKey32::new(seed))?)?.public();
        let ipv4 = default_ipv4(key, "10.86.0.0/16".parse()?).context("the range has room")?;
        Ok(Self { seed, id: peer_id::format(key), ipv4, ipv6: inner_ipv6(key) })
    }
}

/// A peer of a daemon: who, and where to dial it.
pub struct Peering<'a> {
    /// Who.
    pub peer: &'a Identity,
    /// Multiaddrs; without any it has to dial us.
    pub addresses: &'a [&'a str],
}

/// A daemon in a host's namespace, with a folder of its own.
pub struct Daemon {
    host: Host,
    folder: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Writes the configuration and the identity; starts nothing yet.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(host: &Host, folder: PathBuf, own: &Identity, peers: &[Peering<'_>]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let state = folder.join("state");
        os::files::ensure_private_dir(&state)?;
        os::files::write_atomically(&state.join("identity.key"), &own.seed)?;
        let mut config = format!("[node]\nname = \"lab\"\nstate_dir = \"{}\"\n", state.display());
        for Peering { peer, addresses } in peers {
            config += &format!(
                "[[peer]]\nid = \"{}\"\nname = \"peer\"\naddresses = {addresses:?}\nallowed_ips = [\"{}/32\", \"{}/128\"]\n",
                peer.id, peer.ipv4, peer.ipv6
            );
        }
        std::fs::write(folder.join("cryprq.toml"), config)?;
        Ok(Self { host: host.clone(), folder, child: None })
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; its log says why.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let program = Self::program("cryprqd")?;
        let (folder, log) = (self.folder.clone(), File::options().append(true).create(true).open(self.log_path())?);
        let child = self.host.run(move || {
            Command::new(program)
                .arg("--config")
                .arg(folder.join("cryprq.toml"))
                .arg("--runtime-dir")
                .arg(folder.join("run"))
                .stderr(log)
                .spawn()
        })?;
        self.child = Some(child);
        until("the daemon answers", || self.ask("hello").is_ok()).with_context(|| self.log())
    }

    /// A program of the workspace that was built with this one: beside it, or one folder up from a test.
    ///
    /// # Errors
    /// When it is not built.
    pub fn program(name: &str) -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe()?;
        let folders = own.ancestors().skip(1).take(2).map(Path::to_owned);
        let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
        found.with_context(|| {
            format!("{name} is not built: run 'cargo build --workspace --bins' first (tests/run does)")
        })
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where the control socket is.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run").join(cryprq_ipc_proto::paths::CONTROL_SOCKET)
    }

    /// Asks the daemon over its socket, as any script would.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, verb: &str) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(LIMIT))?;
        writeln!(stream, "{{\"v\":1,\"cmd\":\"{verb}\"}}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The status of the only peer.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peer(&self) -> anyhow::Result<Value> {
        Ok(self.ask("status")?["peers"][0].take())
    }

    /// Waits until the only peer is connected.
    ///
    /// # Errors
    /// When it is not in time; the log says why.
    pub fn wait_connected(&self) -> anyhow::Result<()> {
        until("the peer is connected", || self.peer().is_ok_and(|peer| peer["state"] == "connected"))
            .with_context(|| self.log())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the daemon without a word.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("no daemon runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the daemon to stop and waits for it.
    ///
    /// # Errors
    /// When there is none, or it does not stop in time.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("no daemon runs")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let mut status = None;
        let stopped = until("the daemon stops", || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if stopped.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        stopped?;
        status.context("no exit status")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for a condition.
///
/// # Errors
/// When it does not hold in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    while !condition() {
        anyhow::ensure!(Instant::now() < end, "not within {} s: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
