//! Two hosts with a cable between them, each with a daemon.

use anyhow::Context;

use super::{Daemon, Host, Identity, Peering, join};
use crate::extension::{Extension, Way};

/// The one carrier that all frames go by in this run, if there is one. `stream` is as where no datagrams pass: what tests
/// say holds there, too.
pub fn carrier() -> Option<String> {
    std::env::var("CRYPRQ_LAB_CARRIER").ok()
}

/// Has a daemon that was not started yet send its frames by [`carrier`].
///
/// # Errors
/// When its configuration cannot be written.
pub fn go_by_carrier(daemon: &Daemon) -> anyhow::Result<()> {
    carrier().map_or(Ok(()), |carrier| daemon.prefix(&format!("carrier = \"{carrier}\"\n")))
}

/// A daemon's frames to its first peer, which is connected, go by [`carrier`].
///
/// # Errors
/// When they do not.
pub fn goes_by_carrier(daemon: &Daemon) -> anyhow::Result<()> {
    let Some(carrier) = carrier() else { return Ok(()) };
    let kind = daemon.peer()?["path"]["kind"].take();
    anyhow::ensure!(kind == *carrier, "frames go by {kind}");
    Ok(())
}

/// Two joined hosts, A and B. Dropped, they are gone with all that their daemons wrote.
pub struct Pair {
    /// A's daemon.
    pub a: Daemon,
    /// B's.
    pub b: Daemon,
    /// 192.0.2.1.
    pub host_a: Host,
    /// 192.0.2.2.
    pub host_b: Host,
    /// Who A is: [`Identity::new`] of 1.
    pub id_a: Identity,
    /// Who B is: [`Identity::new`] of 2.
    pub id_b: Identity,
    /// Holds a folder for each daemon.
    pub folder: tempfile::TempDir,
    /// How inner packets get to A's daemon.
    pub way: Way,
    /// Who plays the extension's part for A, once it is attached.
    pub extension: Option<Extension>,
}

impl Pair {
    /// Daemons with these peers; nothing is started yet. `None`, with a line that says why, where a machine has no hosts for
    /// `whom`.
    ///
    /// # Errors
    /// When a folder cannot be written, the kernel refuses the cable, or the daemon was not built.
    pub fn new(whom: &str, peers_of_a: &[Peering<'_>], peers_of_b: &[Peering<'_>]) -> anyhow::Result<Option<Self>> {
        let Some([host_a, host_b]) = Host::several(whom) else { return Ok(None) };
        join(&host_a, &host_b)?;
        let folder = tempfile::tempdir()?;
        let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
        let a = Daemon::new(&host_a, folder.path().join("a"), &id_a, peers_of_a)?;
        let b = Daemon::new(&host_b, folder.path().join("b"), &id_b, peers_of_b)?;
        [&a, &b].into_iter().try_for_each(go_by_carrier)?;
        let way = Way::Interface;
        Ok(Some(Self { a, b, host_a, host_b, id_a, id_b, folder, way, extension: None }))
    }

    /// Daemons that are each other's peers, `a` and `b`, and dial these addresses.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_peers(whom: &str, a_dials: &[&str], b_dials: &[&str]) -> anyhow::Result<Option<Self>> {
        let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
        let peers_of_a = [Peering { peer: &id_b, name: "b", addresses: a_dials }];
        let peers_of_b = [Peering { peer: &id_a, name: "a", addresses: b_dials }];
        Self::new(whom, &peers_of_a, &peers_of_b)
    }

    /// The same, but inner packets get to A's daemon this way; before it is started.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn by(mut self, way: Way) -> anyhow::Result<Self> {
        way.configure(&self.a)?;
        self.way = way;
        Ok(self)
    }

    /// Starts both daemons, A first, and waits for their tunnel, and until an extension of A is attached.
    ///
    /// # Errors
    /// When a daemon does not start, or there is no tunnel or no extension in time.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        self.a.start()?;
        self.b.start()?;
        self.attach()?;
        self.a.wait_connected()?;
        self.b.wait_connected()?;
        goes_by_carrier(&self.a)
    }

    /// An extension attaches to A's daemon, which runs, if that takes one.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn attach(&mut self) -> anyhow::Result<()> {
        let attached = self.way.attach(&self.host_a, &self.a, self.folder.path().join("pump"));
        self.extension = attached.with_context(|| self.a.log())?;
        Ok(())
    }
}
