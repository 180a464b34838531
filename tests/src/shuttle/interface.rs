//! The shuttle's interface, as the daemon wants it.

use std::collections::BTreeSet;

use anyhow::Context;
use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::prefix::Prefix;
use ipnet::IpNet;
use os::network::Network;
use tokio::runtime::Runtime;

/// An interface that is there, and what was done to it.
pub struct Interface {
    runtime: Runtime,
    network: Network,
    index: u32,
    addresses: BTreeSet<IpNet>,
    routes: BTreeSet<IpNet>,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// When there is none, or the kernel does not tell.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (network, index) = runtime.block_on(async {
            let network = Network::open()?;
            let index = network.index_of(name).await?.context("the interface vanished")?;
            anyhow::Ok((network, index))
        })?;
        Ok(Self { runtime, network, index, addresses: BTreeSet::new(), routes: BTreeSet::new() })
    }

    /// Gives the interface these addresses, routes and this MTU, and takes from it what it had before. Resolvers and
    /// excluded prefixes are for an extension's system to handle and change nothing here.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn apply(&mut self, settings: &TunnelSettings) -> anyhow::Result<()> {
        let Self { runtime, network, index, addresses, routes } = self;
        let (wanted, included) = (nets(&settings.addresses)?, nets(&settings.included)?);
        runtime.block_on(async {
            network.set_up(*index, settings.mtu).await?;
            for address in wanted.difference(addresses) {
                network.add_address(*index, *address).await?;
            }
            for address in addresses.difference(&wanted) {
                network.remove_address(*index, *address).await?;
            }
            for route in routes.difference(&included) {
                network.remove_route(*index, *route).await?;
            }
            // All of them: with the last address of a family the kernel removes the family's routes.
            for route in &included {
                network.add_route(*index, *route).await?;
            }
            anyhow::Ok(())
        })?;
        (self.addresses, self.routes) = (wanted, included);
        Ok(())
    }
}

fn nets(prefixes: &[Prefix]) -> anyhow::Result<BTreeSet<IpNet>> {
    prefixes.iter().map(|prefix| Ok(IpNet::new(prefix.address(), prefix.length())?)).collect()
}
