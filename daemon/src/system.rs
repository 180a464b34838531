//! Changes of the system that outlive the process: each is noted in the journal before it is made, and struck out after it
//! was undone.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use os::firewall::{self, Gateway};
use os::journal::{Change, Journal};
use os::network::Network;
use os::{resolv_conf, resolved};

/// Called before and after each change and each undoing of one, so that tests can end the daemon there.
pub type Step = Arc<dyn Fn() + Send + Sync>;

/// What is to be done to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// What its note says in full.
    Plain(Change),
    /// The packet filter of a gateway, in the place of the one before.
    Firewall(Gateway),
    /// These resolvers in the place of what is in a file.
    Resolvers(PathBuf, Vec<IpAddr>),
    /// The same by systemd-resolved, at an interface.
    LinkResolvers {
        /// Its name.
        name: String,
        /// Its index.
        index: u32,
        /// The resolvers.
        servers: Vec<IpAddr>,
    },
}

impl Deed {
    /// What the journal says of it.
    pub fn change(&self) -> Change {
        match self {
            Self::Plain(change) => change.clone(),
            Self::Firewall(_) => Change::Firewall,
            Self::Resolvers(path, _) => Change::Resolvers { path: path.clone() },
            Self::LinkResolvers { name, index, .. } => Change::LinkResolvers { name: name.clone(), index: *index },
        }
    }

    /// Where names are asked after it, if it is about that.
    pub fn resolvers(&self) -> Option<&[IpAddr]> {
        match self {
            Self::Resolvers(_, servers) | Self::LinkResolvers { servers, .. } => Some(servers),
            Self::Plain(_) | Self::Firewall(_) => None,
        }
    }
}

/// The system, as far as the daemon changes it.
pub struct System {
    /// Where the daemon itself changes routes.
    network: Option<Network>,
    journal: Journal,
    step: Step,
}

impl System {
    /// The system with the changes that a journal holds.
    pub fn new(journal: Journal, step: Step) -> Self {
        Self { network: Network::open().ok(), journal, step }
    }

    /// Notes what the caller is about to do itself.
    ///
    /// # Errors
    /// When it cannot be noted; it must not be done then.
    pub fn note(&mut self, change: Change) -> anyhow::Result<()> {
        Ok(self.journal.note(change)?)
    }

    /// Strikes out what the caller undid itself.
    pub fn strike(&mut self, change: &Change) {
        // What stays in the journal is undone once more at the next start.
        let _ = self.journal.strike(change);
    }

    /// Does it, after noting it.
    ///
    /// # Errors
    /// The system's refusal; nothing has changed then.
    pub async fn make(&mut self, deed: &Deed) -> anyhow::Result<()> {
        let change = deed.change();
        let known = self.journal.changes().contains(&change);
        self.journal.note(change.clone())?;
        (self.step)();
        let result = self.apply(deed).await;
        (self.step)();
        if result.is_err() {
            match deed {
                // nft takes all or nothing, and where there is none it could not undo anything either.
                Deed::Firewall(_) if !known => self.strike(&change),
                Deed::Firewall(_) | Deed::Plain(_) | Deed::Resolvers(..) | Deed::LinkResolvers { .. } => {
                    self.unmake(&change).await?;
                }
            }
        }
        result
    }

    /// Does again what was made and another program has undone since then; whether there was anything to do.
    ///
    /// # Errors
    /// The system's refusal; the change stays in the journal.
    pub async fn keep(&self, deed: &Deed) -> anyhow::Result<bool> {
        match deed {
            Deed::Resolvers(path, servers) => Ok(resolv_conf::keep(path, servers)?),
            Deed::Plain(Change::Rule(rule)) => Ok(self.network()?.add_rule(rule).await?),
            Deed::Plain(Change::Default(route)) => Ok(self.network()?.add_default(route).await?),
            // What an administrator sets is left to him, and whoever restarts resolved does not make it forget.
            Deed::Plain(
                Change::Sysctl(_)
                | Change::Link { .. }
                | Change::Socket { .. }
                | Change::Firewall
                | Change::Resolvers { .. }
                | Change::LinkResolvers { .. },
            )
            | Deed::Firewall(_)
            | Deed::LinkResolvers { .. } => Ok(false),
        }
    }

    /// Undoes a change and strikes it out.
    ///
    /// # Errors
    /// The system's refusal; the change stays in the journal.
    pub async fn unmake(&mut self, change: &Change) -> anyhow::Result<()> {
        (self.step)();
        undo(self.network.as_ref(), change).await?;
        (self.step)();
        self.strike(change);
        Ok(())
    }

    /// Undoes everything, the last change first.
    ///
    /// # Errors
    /// What could not be undone; it stays in the journal, and the rest is undone all the same.
    pub async fn undo_all(&mut self) -> anyhow::Result<()> {
        if self.journal.changes().is_empty() {
            return Ok(());
        }
        let (network, step) = (self.network.clone(), Arc::clone(&self.step));
        let one = async |change: &Change| {
            step();
            undo(network.as_ref(), change).await.map_err(|error| io::Error::other(format!("{error:#}")))
        };
        Ok(self.journal.undo_all(one).await?)
    }

    /// The way to the host's routes.
    ///
    /// # Errors
    /// Where the daemon changes none itself.
    pub fn network(&self) -> anyhow::Result<&Network> {
        network(self.network.as_ref())
    }

    async fn apply(&self, deed: &Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Firewall(gateway) => Ok(gateway.load().await?),
            Deed::Resolvers(path, servers) => Ok(resolv_conf::replace(path, servers)?),
            Deed::LinkResolvers { index, servers, .. } => Ok(resolved::ask_at(*index, servers).await?),
            Deed::Plain(Change::Rule(rule)) => Ok(self.network()?.add_rule(rule).await.map(drop)?),
            Deed::Plain(Change::Default(route)) => Ok(self.network()?.add_default(route).await.map(drop)?),
            Deed::Plain(Change::Sysctl(sysctl)) => Ok(sysctl.set()?),
            // Made by those who note them, or by another deed.
            Deed::Plain(
                Change::Link { .. }
                | Change::Socket { .. }
                | Change::Firewall
                | Change::Resolvers { .. }
                | Change::LinkResolvers { .. },
            ) => Ok(()),
        }
    }
}

fn network(network: Option<&Network>) -> anyhow::Result<&Network> {
    network.context("the daemon changes no routes on this system")
}

/// Undoes a change; one that is not there any more is no error.
async fn undo(routes: Option<&Network>, change: &Change) -> anyhow::Result<()> {
    match change {
        // It went with the daemon that made it: whatever has the name by now is somebody else's.
        Change::Link { .. } => Ok(()),
        Change::Rule(rule) => Ok(network(routes)?.remove_rule(rule).await?),
        Change::Default(route) => Ok(network(routes)?.remove_default(route).await?),
        Change::Sysctl(sysctl) => Ok(sysctl.restore()?),
        Change::Firewall => Ok(firewall::remove().await?),
        Change::Resolvers { path } => Ok(resolv_conf::restore(path)?),
        Change::LinkResolvers { name, index } => Ok(resolved::revert(name, *index).await?),
        Change::Socket { path } => remove_file(path),
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
