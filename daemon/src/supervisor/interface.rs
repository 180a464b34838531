//! The TUN interface: made with the daemon, journalled, undone with it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use net::plane::Device;
use node::frame::longest_super_packet;
use node::tunnel::Input;
use os::journal::Change;
use os::network::{Network, has_ipv6};
use os::tun::{Tun, TunConfig, TunOffload};

use super::health::{Fault, News};
use super::surroundings::Snapshot;
use super::{OwnAddresses, Supervisor, settings};
use crate::config::Ingress;
use crate::system::System;

const TAKEN: &str = "another program has it: choose another network.interface";
/// One that is changed sooner than this after it was made is changed by a program that will do it again.
const SETTLED: Duration = Duration::from_secs(5);

/// A TUN interface with its addresses.
pub struct Interface {
    network: Network,
    index: u32,
    name: String,
    mtu: u16,
    /// Whether the kernel lets it have IPv6.
    ipv6: bool,
    routes: BTreeSet<IpNet>,
    partial_checksums: bool,
    made: Instant,
}

/// Why there is no interface, and what mends it.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the interface {name}: {why}")]
pub struct NoInterface {
    name: String,
    why: String,
    /// What mends it.
    pub hint: &'static str,
}

impl NoInterface {
    fn new(name: &str, error: impl ToString, hint: &'static str) -> Self {
        Self { name: name.to_owned(), why: error.to_string(), hint }
    }
}

impl Interface {
    /// Makes the interface after noting it in the journal, and brings it up with our addresses.
    ///
    /// # Errors
    /// [`NoInterface`]; nothing is left behind then.
    pub async fn open(
        name: &str,
        mtu: u16,
        own: &OwnAddresses,
        offload: TunOffload,
        system: &mut System,
    ) -> Result<(Self, Tun), NoInterface> {
        let odd = |error: &dyn std::fmt::Display| NoInterface::new(name, error, "see the log of the kernel");
        let network = Network::open().map_err(|error| odd(&error))?;
        // One that is there already is somebody else's: ours went with the daemon that made it.
        if network.index_of(name).await.map_err(|error| odd(&error))?.is_some() {
            return Err(NoInterface::new(name, "it exists already", TAKEN));
        }
        let noted = Change::Link { name: name.to_owned() };
        system.note(noted.clone()).map_err(|error| odd(&error))?;
        let tun = match Tun::open(&TunConfig { name: name.to_owned(), offload }) {
            Ok(tun) => tun,
            Err(error) => {
                // Nothing was made, so nothing is to be undone.
                system.strike(&noted);
                let hint = if error.kind() == io::ErrorKind::NotFound {
                    "load the driver: modprobe tun"
                } else if error.kind() == io::ErrorKind::PermissionDenied {
                    "run as root, or with CAP_NET_ADMIN"
                } else if error.kind() == io::ErrorKind::ResourceBusy {
                    TAKEN
                } else {
                    "see network.interface in the configuration"
                };
                return Err(NoInterface::new(name, error, hint));
            }
        };
        // Whatever fails from here on: the kernel takes the interface away with its last handle.
        let index = network.index_of(name).await.map_err(|error| odd(&error))?;
        let index = index.ok_or_else(|| odd(&"it vanished"))?;
        network.set_up(index, mtu).await.map_err(|error| odd(&error))?;
        if tun.merge_rule().is_some()
            && let Err(error) = network.limit_super_packets(index, longest_super_packet(mtu)).await
        {
            // Its super-packets take two sends then.
            tracing::debug!(%error, "the kernel keeps its own limit");
        }
        tracing::debug!(super_packets = ?tun.merge_rule(), "the interface is made");
        let (ipv6, partial_checksums, made) = (has_ipv6(name), tun.merge_rule().is_some(), Instant::now());
        let (name, routes) = (name.to_owned(), BTreeSet::new());
        let interface = Self { network, index, name, mtu, ipv6, routes, partial_checksums, made };
        if !own.all().any(|address| interface.carries(address)) {
            let why = "IPv6 is switched off on this host, and there is no inner IPv4 address";
            return Err(NoInterface::new(&interface.name, why, "see network.ipv4 in the configuration"));
        }
        for address in own.all() {
            interface.add_address(address).await.map_err(|error| odd(&error))?;
        }
        Ok((interface, tun))
    }

    /// What somebody else has done to it, if anything. With an interface that is taken down go its routes and IPv6
    /// addresses, and they do not come back with it.
    fn damage(&self, seen: &Snapshot, own: &OwnAddresses) -> Option<&'static str> {
        let link = seen.links.iter().find(|link| link.index == self.index);
        let Some(link) = link.filter(|link| link.name == self.name) else { return Some("it is gone") };
        if !link.carries {
            return Some("it was taken down");
        }
        let its = seen.addresses.iter().filter(|attached| attached.interface == self.index);
        let has = |address: IpAddr| its.clone().any(|attached| attached.address.addr() == address);
        let missing = own.all().any(|address| self.carries(address) && !has(address));
        missing.then_some("an address was taken from it")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index.
    pub const fn index(&self) -> u32 {
        self.index
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

    /// Whether it carries an address's family.
    pub const fn carries(&self, address: IpAddr) -> bool {
        (self.ipv6 || address.is_ipv4()) && settings::carries(self.mtu, address)
    }

    /// Whether the kernel lets it have IPv6.
    pub const fn has_ipv6(&self) -> bool {
        self.ipv6
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

    /// Routes these prefixes to the interface, and no others; the whole world is left to an exit, whoever it belongs to.
    ///
    /// # Errors
    /// The system's first refusal; all others are set.
    pub async fn set_routes(&mut self, wanted: BTreeSet<IpNet>) -> anyhow::Result<()> {
        let mut result = Ok(());
        let stale: Vec<_> = self.routes.difference(&wanted).copied().collect();
        for prefix in stale {
            match self.network.remove_route(self.index, prefix).await {
                Ok(()) => {
                    self.routes.remove(&prefix);
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        for prefix in wanted {
            if prefix.prefix_len() > 0 && !self.routes.contains(&prefix) && self.carries(prefix.addr()) {
                match self.network.add_route(self.index, prefix).await {
                    Ok(()) => {
                        self.routes.insert(prefix);
                    }
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        Ok(result?)
    }

    /// Takes it away, whatever it is called by now, and brings the journal up to date.
    pub async fn close(self, system: &mut System) {
        // What fails here is in the journal and dealt with at the next start.
        if self.network.remove_link(self.index).await.is_ok() {
            system.strike(&Change::Link { name: self.name });
        }
    }
}

impl Supervisor {
    /// Makes the interface, if one is wanted, and lets the packet loops go on with it.
    pub(super) async fn open_interface(&mut self) {
        if self.config.ingress != Ingress::Tun || self.interface.is_some() {
            return;
        }
        if let Err((error, hint)) = self.try_to_open_interface().await {
            if self.health.note(Fault::NoTun, "", error.to_string(), hint) == News::New {
                tracing::warn!(%error, hint, "no packet passes; trying again");
            }
            return;
        }
        self.health.clear(Fault::NoTun, "");
        let (params, slots) = (self.params(), self.peers.keys().copied().collect::<Vec<_>>());
        for slot in slots {
            // Whether the device completes checksums may be another than before.
            self.feed(slot, Input::ParamsChanged(params)).await;
        }
        self.renew_router().await;
        self.exit.look_again();
    }

    async fn try_to_open_interface(&mut self) -> Result<(), (anyhow::Error, &'static str)> {
        const DESCRIPTORS: &str = "give the daemon more descriptors and threads";
        let offload = self.config.linux.tun_options();
        let (name, mtu) = (&self.config.interface, self.config.mtu);
        let opened = Interface::open(name, mtu, &self.own, offload, &mut self.system).await;
        let (interface, tun) = opened.map_err(|error| {
            let hint = error.hint;
            (error.into(), hint)
        })?;
        let merges = tun.merge_rule();
        let device = Device::tun(tun).map_err(|error| (error.into(), DESCRIPTORS))?;
        self.plane.replace_device(device).map_err(|error| (error.into(), DESCRIPTORS))?;
        self.interface = Some(interface);
        self.judge_ipv6();
        self.judge_interface(offload, merges);
        Ok(())
    }

    /// Makes the interface anew when somebody else has changed it: it is the daemon's, and `cryprq down` is how to be
    /// without a tunnel.
    pub(super) async fn miss_interface(&mut self, seen: &Snapshot) {
        let Some(interface) = &self.interface else { return };
        let Some(what) = interface.damage(seen, &self.own) else { return };
        let (name, hasty) = (interface.name.clone(), interface.made.elapsed() < SETTLED);
        tracing::warn!(what, "somebody changed the interface, which is made anew");
        if let Some(interface) = self.interface.take() {
            interface.close(&mut self.system).await;
        }
        if let Err(error) = self.plane.replace_device(Device::none()) {
            tracing::error!(%error, "the packet loops cannot go on");
        }
        if hasty {
            // Whoever does this does it each time: not as fast as the two of us can.
            let hint =
                "find the program that does it, such as a network manager, and have it leave the interface alone";
            self.health.note(Fault::NoTun, "", format!("{name} is changed by another program: {what}"), hint);
            return;
        }
        self.open_interface().await;
    }
}
