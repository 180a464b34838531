//! The shuttle's interface, as the daemon wants it, and what an extension's system does besides: it leads traffic into the
//! interface, leaves out what is excluded, and asks the resolvers.
//!
//! On macOS the daemon's datagrams stay outside because their sockets are bound to an interface; here they carry a mark.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::prefix::Prefix;
use ipnet::IpNet;
use os::network::Network;
use os::network::policy::{DefaultRoute, Family, PolicyRule, Selection, Way};
use os::resolv_conf;
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::lab::netlink;

/// The mark of a daemon's datagrams, unless its configuration says another.
pub const MARK: u32 = 25458;
/// The table of what is led into the interface, and the priority of the rule that leads there.
const TABLE: u32 = 25459;
const PRIORITY: u32 = 5300;
/// How long the kernel may take to deliver to a new address.
const DELIVERED: Duration = Duration::from_secs(9);

/// An interface that is there, and what was done to it.
pub struct Interface {
    runtime: Runtime,
    network: Network,
    routes: Handle,
    index: u32,
    addresses: BTreeSet<IpNet>,
    included: BTreeSet<IpNet>,
    excluded: BTreeSet<IpNet>,
    resolvers: Vec<IpAddr>,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// When there is none, or the kernel does not tell.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (network, routes, index) = runtime.block_on(async {
            let network = Network::open()?;
            let index = network.index_of(name).await?.context("the interface vanished")?;
            anyhow::Ok((network, netlink()?, index))
        })?;
        Ok(Self {
            runtime,
            network,
            routes,
            index,
            addresses: BTreeSet::new(),
            included: BTreeSet::new(),
            excluded: BTreeSet::new(),
            resolvers: Vec::new(),
        })
    }

    /// Gives the interface these addresses, routes and this MTU, and the host these resolvers, and takes back what was
    /// before.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn apply(&mut self, settings: &TunnelSettings) -> anyhow::Result<()> {
        let wanted = nets(&settings.addresses)?;
        let (included, excluded) = (nets(&settings.included)?, nets(&settings.excluded)?);
        let Self { runtime, network, routes, index, .. } = self;
        runtime.block_on(async {
            network.set_up(*index, settings.mtu).await?;
            for address in wanted.difference(&self.addresses) {
                network.add_address(*index, *address).await?;
            }
            for address in self.addresses.difference(&wanted) {
                network.remove_address(*index, *address).await?;
            }
            for net in self.included.difference(&included) {
                match leads_all(net, *index) {
                    Some((rule, route)) => {
                        network.remove_rule(&rule).await?;
                        network.remove_default(&route).await?;
                    }
                    None => network.remove_route(*index, *net).await?,
                }
            }
            for net in self.excluded.difference(&excluded) {
                routes.route().del(left_out(*net)).execute().await.with_context(|| format!("take {net} in"))?;
            }
            for net in excluded.difference(&self.excluded) {
                routes.route().add(left_out(*net)).execute().await.with_context(|| format!("leave {net} out"))?;
            }
            // All of them: with the last address of a family the kernel removes the family's routes.
            for net in &included {
                match leads_all(net, *index) {
                    Some((rule, route)) => {
                        network.add_default(&route).await?;
                        network.add_rule(&rule).await?;
                    }
                    None => network.add_route(*index, *net).await?,
                }
            }
            until_delivered(&wanted).await
        })?;
        (self.addresses, self.included, self.excluded) = (wanted, included, excluded);
        self.ask(&settings.dns)
    }

    /// Names are asked there; where the host itself would ask, if nothing is said.
    fn ask(&mut self, resolvers: &[IpAddr]) -> anyhow::Result<()> {
        if self.resolvers == resolvers {
            return Ok(());
        }
        if !self.resolvers.is_empty() {
            resolv_conf::restore(resolv_conf::PATH.as_ref())?;
            self.resolvers.clear();
        }
        if !resolvers.is_empty() {
            resolv_conf::replace(resolv_conf::PATH.as_ref(), resolvers)?;
            self.resolvers = resolvers.to_vec();
        }
        Ok(())
    }

    /// Takes back all that does not go with the interface.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn undo(&mut self) -> anyhow::Result<()> {
        let mtu = 1500;
        let nothing = TunnelSettings { addresses: vec![], included: vec![], excluded: vec![], dns: vec![], mtu };
        self.apply(&nothing)
    }
}

/// Waits until the kernel delivers what comes for these: an IPv6 address is there at once, and its route a moment later.
async fn until_delivered(addresses: &BTreeSet<IpNet>) -> anyhow::Result<()> {
    let end = Instant::now() + DELIVERED;
    for net in addresses {
        let IpAddr::V6(address) = net.addr() else { continue };
        let address = format!("{:032x}", u128::from(address));
        while !has_local_route(&address)? {
            ensure!(Instant::now() < end, "nothing is delivered to {net}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Whether an address, in hexadecimal digits, is one of this host's own for the kernel of this thread's network.
fn has_local_route(address: &str) -> anyhow::Result<bool> {
    // `RTF_LOCAL` of linux/ipv6_route.h.
    const LOCAL: u32 = 0x8000_0000;
    let table = std::fs::read_to_string("/proc/thread-self/net/ipv6_route")?;
    let mut routes = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    Ok(routes.any(|route| {
        let flags = route.get(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        route.first() == Some(&address) && flags.is_some_and(|flags| flags & LOCAL != 0)
    }))
}

/// What leads all traffic of a family into the interface, if this is all of it.
fn leads_all(net: &IpNet, index: u32) -> Option<(PolicyRule, DefaultRoute)> {
    let family = Family::of(net.addr());
    let selection = Selection::Unmarked { mark: MARK, table: TABLE };
    let rule = PolicyRule { family, priority: PRIORITY, selection };
    let route = DefaultRoute { family, table: TABLE, way: Way::Interface(index) };
    (net.prefix_len() == 0).then_some((rule, route))
}

/// What is excluded is looked up in the host's other tables.
fn left_out(net: IpNet) -> RouteMessage {
    match net {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .table_id(TABLE)
            .kind(RouteType::Throw)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .table_id(TABLE)
            .kind(RouteType::Throw)
            .build(),
    }
}

fn nets(prefixes: &[Prefix]) -> anyhow::Result<BTreeSet<IpNet>> {
    prefixes.iter().map(|prefix| Ok(IpNet::new(prefix.address(), prefix.length())?)).collect()
}
