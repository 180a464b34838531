//! Daemons of the lab.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use net::peer_id;
use nix::sys::signal::Signal;
use node::crypto::Identity as NodeIdentity;
use node::pairing::{default_ipv4, inner_ipv6};
use node::secret::{HeapStore, SecretKey32, SecretStore};
use serde_json::Value;

use super::{Host, Process};

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
        Self::from_seed([byte; 32])
    }

    /// One of many identities, none of which is that of a byte.
    ///
    /// # Errors
    /// Never for the seeds in use.
    pub fn numbered(number: u32) -> anyhow::Result<Self> {
        let mut seed = *b"one of many identities, number 0";
        seed[28..].copy_from_slice(&number.to_le_bytes());
        Self::from_seed(seed)
    }

    fn from_seed(seed: [u8; 32]) -> anyhow::Result<Self> {
        let key = NodeIdentity::from_seed(HeapStore.keep(SecretKey32::new(seed))?)?.public();
        let ipv4 = default_ipv4(key, "10.86.0.0/16".parse()?).context("the range has room")?;
        Ok(Self { seed, id: peer_id::format(key), ipv4, ipv6: inner_ipv6(key) })
    }
}

/// A peer of a daemon: who, and where to dial it.
pub struct Peering<'a> {
    /// Who.
    pub peer: &'a Identity,
    /// What the daemon calls it.
    pub name: &'a str,
    /// Multiaddrs; without any it has to dial us.
    pub addresses: &'a [&'a str],
}

/// A daemon on a host, with a folder of its own.
pub struct Daemon {
    host: Host,
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    user: Option<u32>,
    process: Option<Process>,
}

impl Daemon {
    /// Writes a configuration with peers, and an identity; starts nothing yet.
    ///
    /// # Errors
    /// When the folder cannot be written, or the daemon was not built.
    pub fn new(host: &Host, folder: PathBuf, own: &Identity, peers: &[Peering<'_>]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let state = folder.join("state");
        os::files::ensure_private_dir(&state)?;
        os::files::write_atomically(&state.join("identity.key"), &own.seed)?;
        let mut config = format!("[node]\nname = \"lab\"\nstate_dir = \"{}\"\n", state.display());
        for Peering { peer, name, addresses } in peers {
            config += &format!(
                "[[peer]]\nid = \"{}\"\nname = \"{name}\"\naddresses = {addresses:?}\nallowed_ips = [\"{}/32\", \"{}/128\"]\n",
                peer.id, peer.ipv4, peer.ipv6
            );
        }
        std::fs::write(folder.join("cryprq.toml"), config)?;
        Ok(Self::by(programs()?.join("cryprqd"), host, folder))
    }

    /// Adds lines to the configuration, for the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, toml: &str) -> anyhow::Result<()> {
        let mut file = File::options().append(true).open(self.folder.join("cryprq.toml"))?;
        Ok(file.write_all(toml.as_bytes())?)
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Puts lines before the sections of the configuration, for the next start.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn prefix(&self, toml: &str) -> anyhow::Result<()> {
        let file = self.folder.join("cryprq.toml");
        let rest = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(file, toml.to_owned() + &rest)?)
    }

    /// A daemon on a named host, with an empty configuration and the state folder of every daemon.
    pub fn unconfigured(host: &Host) -> Self {
        Self::by(Path::new(super::PROGRAMS).join("cryprqd"), host, "/var/lib/daemon".into())
    }

    fn by(program: PathBuf, host: &Host, folder: PathBuf) -> Self {
        Self { host: host.clone(), program, folder, environment: Vec::new(), user: None, process: None }
    }

    /// The same daemon by another program, which has to stand beside the first.
    #[must_use]
    pub fn run_by(mut self, program: &str) -> Self {
        self.program.set_file_name(program);
        self
    }

    /// Another program for the next start, which has to stand beside the first.
    pub fn set_program(&mut self, program: &str) {
        self.program.set_file_name(program);
    }

    /// A variable in its environment from the next start on.
    pub fn set_env(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.retain(|(set, _)| *set != name);
        self.environment.push((name, value.into()));
    }

    /// Whether it was started and did not end.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The same daemon with a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The same daemon as another user than root.
    #[must_use]
    pub const fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    /// Runs the daemon, which refuses to start; gives its exit code and what it says.
    ///
    /// # Errors
    /// When it starts all the same.
    pub fn refusal(&self) -> anyhow::Result<(i32, String)> {
        let mut command = self.command();
        let Output { status, stderr, .. } = self.host.run(move || -> anyhow::Result<Output> {
            let mut child = command.stderr(Stdio::piped()).spawn()?;
            let ended = until("the daemon refuses", || child.try_wait().is_ok_and(|status| status.is_some()));
            if ended.is_err() {
                child.kill()?;
                child.wait()?;
            }
            ended?;
            Ok(child.wait_with_output()?)
        })?;
        let told = String::from_utf8_lossy(&stderr).into_owned();
        let code = status.code().filter(|code| *code != 0);
        Ok((code.with_context(|| format!("it ended with {status}: {told}"))?, told))
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; its log says why.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let (mut command, folder, log) = (self.command(), self.folder.clone(), self.log_path());
        command.stderr(self.host.run(move || -> io::Result<File> {
            std::fs::create_dir_all(&folder)?;
            File::options().append(true).create(true).open(folder.join("cryprq.toml"))?;
            File::options().append(true).create(true).open(log)
        })?);
        self.process = Some(Process::start(&self.host, command)?);
        let mut ended = false;
        let answered = until("the daemon answers", || {
            ended = !self.is_running();
            ended || self.ask("hello").is_ok()
        });
        answered
            .and_then(|()| if ended { anyhow::bail!("the daemon ended") } else { Ok(()) })
            .with_context(|| self.log())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.folder.join("cryprq.toml")).arg("--runtime-dir").arg(self.folder.join("run"));
        command.env("CRYPRQ_LOG", "debug").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs the daemon's `--cleanup`.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn cleanup(&self) -> anyhow::Result<()> {
        let mut command = self.command();
        command.arg("--cleanup");
        let Output { status, stderr, .. } = self.host.output(command)?;
        anyhow::ensure!(status.success(), "--cleanup: {}", String::from_utf8_lossy(&stderr));
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        let path = self.log_path();
        self.host.run(move || std::fs::read_to_string(path)).unwrap_or_default()
    }

    /// How many lines of the log hold `what`.
    pub fn logged(&self, what: &str) -> usize {
        self.log().lines().filter(|line| line.contains(what)).count()
    }

    /// The folder of configuration, log, socket and, with peers, state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the control socket is.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run").join(cryprq_ipc_proto::paths::CONTROL_SOCKET)
    }

    /// Where the packet socket is, if the daemon has one.
    pub fn tun_socket(&self) -> PathBuf {
        self.folder.join("run").join(cryprq_ipc_proto::paths::TUN_SOCKET)
    }

    /// Takes inner packets from a shuttle, from the next start on.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn take_from_extension(&self) -> anyhow::Result<()> {
        self.configure("[network]\ningress = \"extension\"\n")
    }

    /// Asks the daemon over its socket, as any script would.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, verb: &str) -> anyhow::Result<Value> {
        self.request(&format!("{{\"v\":1,\"cmd\":\"{verb}\"}}"))
    }

    /// Sends the daemon one line of JSON and gives its answer, which may be a refusal.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn request(&self, line: &str) -> anyhow::Result<Value> {
        let (socket, line) = (self.socket(), line.to_owned());
        self.host.run(move || {
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(LIMIT))?;
            writeln!(stream, "{line}")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(serde_json::from_str(&answer)?)
        })
    }

    /// The codes of the daemon's health items.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn health(&self) -> anyhow::Result<Vec<String>> {
        let status = self.ask("status")?;
        let items = status["health"].as_array().context("no health items")?.iter();
        items.map(|item| Ok(item["code"].as_str().context("no code")?.to_owned())).collect()
    }

    /// Runs `cryprq` with these arguments against the daemon, `input` on its standard input.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn cli(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.program.with_file_name("cryprq"));
        command.args(arguments).env("CRYPRQ_SOCKET", self.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let Output { status, stdout, stderr } = self.host.run(move || -> anyhow::Result<Output> {
            let mut child = command.spawn().context("cannot start cryprq")?;
            // One that does not read may have ended already.
            let _ = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
            Ok(child.wait_with_output()?)
        })?;
        let told = String::from_utf8_lossy(&stderr);
        anyhow::ensure!(status.success(), "cryprq {}: {}", arguments.join(" "), told.trim_end());
        Ok(String::from_utf8(stdout)?)
    }

    /// The status of the only peer.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peer(&self) -> anyhow::Result<Value> {
        Ok(self.ask("status")?["peers"][0].take())
    }

    /// The status of the peer with this name.
    ///
    /// # Errors
    /// When the daemon does not answer or has no such peer.
    pub fn peer_named(&self, name: &str) -> anyhow::Result<Value> {
        let mut status = self.ask("status")?;
        let peers = status["peers"].as_array_mut().context("no list of peers")?;
        let found = peers.iter_mut().find(|peer| peer["name"] == name);
        Ok(found.with_context(|| format!("no peer {name}"))?.take())
    }

    /// Waits until the status of the peer with this name is as it should be.
    ///
    /// # Errors
    /// When it is not in time; the log says why.
    pub fn wait_for(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        until(&format!("peer {name} is as it should be"), || self.peer_named(name).is_ok_and(|peer| is_so(&peer)))
            .with_context(|| self.log())
    }

    /// Waits until every peer is connected.
    ///
    /// # Errors
    /// When one is not in time; the log says why.
    pub fn wait_connected(&self) -> anyhow::Result<()> {
        until("the peers are connected", || {
            self.ask("status").is_ok_and(|status| {
                let peers = status["peers"].as_array().filter(|peers| !peers.is_empty());
                peers.is_some_and(|peers| peers.iter().all(|peer| peer["state"] == "connected"))
            })
        })
        .with_context(|| self.log())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// When there is no daemon.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.as_ref().context("no daemon runs")?.signal(signal)
    }

    /// Kills the daemon without a word.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait().map(drop)
    }

    /// Asks the daemon to stop and waits for it.
    ///
    /// # Errors
    /// When there is none, or it does not stop in time.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Waits until the daemon ends.
    ///
    /// # Errors
    /// When there is none, or it does not end in time; then it is killed.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let mut process = self.process.take().context("no daemon runs")?;
        let mut status = None;
        until("the daemon ends", || {
            status = process.ended();
            status.is_some()
        })?;
        status.context("no exit status")
    }
}

/// The folder of the programs that were built with this one: its own, or the one above that of a test.
///
/// # Errors
/// When they were not built.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut folders = own.ancestors().skip(1).take(2);
    let found = folders.find(|folder| folder.join("cryprqd").is_file()).map(Path::to_owned);
    found.context("the daemon is not built: run 'cargo build --workspace --bins' first (tests/run does)")
}

/// Waits for a condition.
///
/// # Errors
/// When it does not hold in time.
pub fn until(what: &str, condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    until_within(what, LIMIT, condition)
}

/// Waits for a condition for at most `limit`.
///
/// # Errors
/// When it does not hold in time.
pub fn until_within(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    while !condition() {
        anyhow::ensure!(Instant::now() < end, "not within {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
