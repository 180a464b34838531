//! A daemon of this machine without a TUN device and without peers elsewhere, for tests of its control socket.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use cryprq_ipc_proto::paths::CONTROL_SOCKET;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{programs, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A user of this machine.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// The one group.
    pub gid: u32,
}

impl User {
    /// In no group that a daemon could be told to serve.
    pub const STRANGER: Self = Self { uid: 65_534, gid: 65_534 };

    /// The member of [`GROUP`].
    ///
    /// # Errors
    /// When this machine has no such user.
    pub fn member() -> anyhow::Result<Self> {
        let uid = os::users::user_id(GROUP)?.context("no user daemon")?;
        Ok(Self { uid, gid: os::users::group_id(GROUP)?.context("no group daemon")? })
    }
}

/// The group of the control socket in these tests: every system has it.
pub const GROUP: &str = "daemon";

/// Whether this process may become other users; says in a line that tests are skipped if not.
pub fn can_be_others(what: &str) -> bool {
    let root = os::users::effective_uid() == 0;
    if !root {
        println!("skipped: {what}: run as root, who can be other users");
    }
    root
}

/// A folder with everything that a daemon needs.
pub struct Folder(TempDir);

impl Folder {
    /// A folder for a daemon with the usual configuration and `more`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(more: &str) -> anyhow::Result<Self> {
        Self::for_group(GROUP, more)
    }

    /// The same with another group for the control socket.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn for_group(group: &str, more: &str) -> anyhow::Result<Self> {
        // Other users have to reach the socket.
        let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
        let state = folder.path().join("state");
        os::files::ensure_private_dir(&state)?;
        let config = format!(
            "[node]\nname = \"local\"\nstate_dir = \"{}\"\n[network]\ningress = \"none\"\n\
             [listen]\nport = 0\naddresses = [\"127.0.0.1\"]\nadvertise = [\"/ip4/203.0.113.1/udp/41820/quic-v1\"]\ntcp = false\n[ipc]\ngroup = \"{group}\"\n\
             access.observe = [\"group:{GROUP}\"]\naccess.operate = [\"group:{GROUP}\"]\n{more}",
            state.display(),
        );
        fs::write(folder.path().join("cryprq.toml"), config)?;
        Ok(Self(folder))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder of the control socket.
    pub fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run().join(CONTROL_SOCKET)
    }

    /// A program that was built with the tests, where other users find it.
    ///
    /// # Errors
    /// When it was not built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let here = self.path().join(name);
        if !here.exists() {
            fs::copy(programs()?.join(name), &here).with_context(|| format!("{name} was not built"))?;
        }
        Ok(here)
    }

    /// The daemon's command line.
    ///
    /// # Errors
    /// When it was not built.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(self.program("cryprqd")?);
        command.arg("--config").arg(self.path().join("cryprq.toml")).arg("--runtime-dir").arg(self.run());
        command.env("CRYPRQ_LOG", "trace").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not; its log says why.
    pub fn start(self) -> anyhow::Result<Local> {
        let command = self.command()?;
        self.start_by(command)
    }

    /// Starts the daemon by a command line that was changed.
    ///
    /// # Errors
    /// When it does not answer; its log says why.
    pub fn start_by(self, mut command: Command) -> anyhow::Result<Local> {
        let log = fs::File::create(self.path().join("log"))?;
        let child = command.stderr(log).spawn()?;
        let local = Local { folder: self, child };
        until("the daemon answers", || local.ask(r#"{"cmd":"hello"}"#).is_ok()).with_context(|| local.log())?;
        Ok(local)
    }
}

/// A running daemon.
pub struct Local {
    /// Its folder.
    pub folder: Folder,
    child: Child,
}

impl Local {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// A connection of our own user.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn connect(&self) -> anyhow::Result<UnixStream> {
        let stream = UnixStream::connect(self.folder.socket())?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    /// What comes back for `said` until the daemon closes.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn say(&self, said: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        // A daemon that refuses may have closed before it heard everything.
        let _ = stream.write_all(said).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        Ok(told)
    }

    /// The answer to one line.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask(&self, line: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.say(format!("{line}\n").as_bytes())?)?)
    }

    /// The same as [`Self::say`] by another user; `None` when the kernel refuses that user the socket.
    ///
    /// # Errors
    /// When the program that says it fails.
    pub fn say_as(&self, user: User, said: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let mut child = self.caller(user, "say")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // One that is refused ends before it reads.
        let _ = child.stdin.take().context("no standard input")?.write_all(said);
        let Output { status, stdout, .. } = child.wait_with_output()?;
        anyhow::ensure!(status.success() || status.code() == Some(13), "cryprq-caller: {status}");
        Ok(status.success().then_some(stdout))
    }

    /// `cryprq-caller` as another user.
    ///
    /// # Errors
    /// When it was not built.
    pub fn caller(&self, user: User, what: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.folder.program("cryprq-caller")?);
        command.arg(what).arg(self.folder.socket()).uid(user.uid).gid(user.gid);
        Ok(command)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
