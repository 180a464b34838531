//! The TUN interface: made with the daemon, journalled, undone with it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use ipnet::IpNet;
use os::journal::{Change, Journal, Undo};
use os::network::Network;
use os::tun::{Tun, TunConfig, TunOffload};

use super::OwnAddresses;

/// A TUN interface with its addresses.
pub struct Interface {
    network: Network,
    index: u32,
    name: String,
    mtu: u16,
    routes: BTreeSet<IpNet>,
    journal: Journal,
    partial_checksums: bool,
}

impl Interface {
    /// Makes the interface after noting it in the journal, and brings it up with our addresses.
    ///
    /// # Errors
    /// What failed and what mends it.
    pub async fn open(name: &str, mtu: u16, own: &OwnAddresses, mut journal: Journal) -> anyhow::Result<(Self, Tun)> {
        journal.note(Change::Link { name: name.to_owned() })?;
        let tun = Tun::open(&TunConfig { name: name.to_owned(), offload: TunOffload::Probe }).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::NotFound {
                "load the driver: modprobe tun"
            } else if error.kind() == io::ErrorKind::PermissionDenied {
                "run as root, or with CAP_NET_ADMIN"
            } else if error.kind() == io::ErrorKind::ResourceBusy {
                "another program has it: choose another network.interface"
            } else {
                "see network.interface in the configuration"
            };
            anyhow::anyhow!("cannot make the interface {name}: {error}; {hint}")
        })?;
        let network = Network::open()?;
        let index = network.index_of(name).await?.context("the interface vanished")?;
        network.set_up(index, mtu).await?;
        let (name, partial_checksums) = (name.to_owned(), tun.merge_rule().is_some());
        let interface = Self { network, index, name, mtu, routes: BTreeSet::new(), journal, partial_checksums };
        for address in own.all() {
            interface.add_address(address).await?;
        }
        Ok((interface, tun))
    }

    /// Whether the device completes partial checksums (capability `CSUM_PARTIAL`).
    pub const fn takes_partial_checksums(&self) -> bool {
        self.partial_checksums
    }

    async fn add_address(&self, address: IpAddr) -> anyhow::Result<()> {
        if self.carries(address) {
            self.network.add_address(self.index, address.into()).await?;
        }
        Ok(())
    }

    /// Below 1280 bytes there is no IPv6 (RFC 8200, section 5).
    const fn carries(&self, address: IpAddr) -> bool {
        address.is_ipv4() || self.mtu >= 1280
    }

    /// Gives the interface another IPv4 address.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn set_ipv4(&mut self, old: Option<Ipv4Addr>, new: Option<Ipv4Addr>) -> anyhow::Result<()> {
        if old == new {
            return Ok(());
        }
        if let Some(new) = new {
            self.add_address(new.into()).await?;
        }
        if let Some(old) = old {
            self.network.remove_address(self.index, IpAddr::from(old).into()).await?;
            // With the last address of a family the kernel removes the family's routes.
            let routes = std::mem::take(&mut self.routes);
            self.set_routes(routes).await?;
        }
        Ok(())
    }

    /// Routes these prefixes to the interface, and no others.
    ///
    /// # Errors
    /// The system's refusal; the routes before it are set.
    pub async fn set_routes(&mut self, wanted: BTreeSet<IpNet>) -> anyhow::Result<()> {
        let stale: Vec<_> = self.routes.difference(&wanted).copied().collect();
        for prefix in stale {
            self.network.remove_route(self.index, prefix).await?;
            self.routes.remove(&prefix);
        }
        for prefix in wanted {
            if !self.routes.contains(&prefix) && self.carries(prefix.addr()) {
                self.network.add_route(self.index, prefix).await?;
                self.routes.insert(prefix);
            }
        }
        Ok(())
    }

    /// The interface went with its last handle; the journal is brought up to date.
    pub async fn close(mut self) {
        // What fails here is in the journal and dealt with at the next start.
        if self.network.remove_link(&self.name).await.is_ok() {
            let _ = self.journal.undo_all(&mut Undone);
        }
    }
}

/// Undoes what an earlier run left, for the next start and for `cryprqd --cleanup`.
///
/// # Errors
/// What could not be undone; it stays in the journal.
pub async fn undo(mut journal: Journal) -> anyhow::Result<()> {
    if journal.changes().is_empty() {
        return Ok(());
    }
    let network = Network::open()?;
    for change in journal.changes() {
        match change {
            Change::Link { name } => network.remove_link(name).await?,
            Change::Socket { path } => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            },
        }
    }
    Ok(journal.undo_all(&mut Undone)?)
}

/// For changes that were undone already: undoing links is asynchronous, and the journal is not.
struct Undone;

impl Undo for Undone {
    fn undo(&mut self, _change: &Change) -> io::Result<()> {
        Ok(())
    }
}
