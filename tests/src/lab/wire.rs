//! The cables between hosts: the outer network.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{Host, until};

/// The name of the outer interface on every host.
pub const WIRE: &str = "wire";
/// The name of a second one.
pub const SPARE: &str = "spare";
/// The bridge of a switch or of a router's inner network.
pub(super) const BRIDGE: &str = "bridge";

/// Joins two hosts by one cable. They are 192.0.2.1 and .2, 2001:db8::1 and ::2.
///
/// # Errors
/// What the kernel refuses.
pub fn join(a: &Host, b: &Host) -> anyhow::Result<()> {
    cable(a, WIRE, b, WIRE)?;
    number(&[a, b])?;
    running(&[(a, WIRE), (b, WIRE)])
}

/// Waits until the kernel calls links that are up running, which it does in its own time, and gives them routes.
fn running(links: &[(&Host, &'static str)]) -> anyhow::Result<()> {
    let is_running = |host: &Host, name: &'static str| {
        host.change(async move |handle, network| {
            let index = network.index_of(name).await?.context("no link")?;
            let link = handle.link().get().match_index(index).execute().try_next().await?.context("no link")?;
            Ok(link.header.flags.contains(LinkFlags::Running))
        })
    };
    links
        .iter()
        .try_for_each(|&(host, name)| until("the link runs", || is_running(host, name).is_ok_and(|running| running)))
}

/// Joins two hosts by a second cable. There they are 198.51.100.1 and .2.
///
/// # Errors
/// What the kernel refuses.
pub fn join_by_spare(a: &Host, b: &Host) -> anyhow::Result<()> {
    cable(a, SPARE, b, SPARE)?;
    for (host, number) in [a, b].into_iter().zip(1..) {
        address(host, SPARE, vec![format!("198.51.100.{number}/24").parse()?])?;
    }
    running(&[(a, SPARE), (b, SPARE)])
}

/// A network beyond a router, with one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The host is 203.0.113.2 and 2001:db8:1::2, the router 203.0.113.3 and 2001:db8:1::3.
    First,
    /// The host is 203.0.113.66 and 2001:db8:2::2, the router 203.0.113.67 and 2001:db8:2::3.
    Second,
}

/// Joins a router to a host that is beyond it for everybody else, and makes it the host's way to all others.
///
/// # Errors
/// What the kernel refuses.
pub fn join_beyond(router: &Host, host: &Host, network: Beyond) -> anyhow::Result<()> {
    let (name, first, number) = match network {
        Beyond::First => ("beyond1", 0, 1),
        Beyond::Second => ("beyond2", 64, 2),
    };
    cable(router, name, host, WIRE)?;
    for (end, link, last) in [(router, name, 3), (host, WIRE, 2)] {
        let addresses =
            [format!("203.0.113.{}/26", first + last).parse()?, format!("2001:db8:{number}::{last}/64").parse()?];
        address(end, link, addresses.into())?;
    }
    running(&[(router, name), (host, WIRE)])?;
    host.change(async move |handle, _| {
        let ipv4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(Ipv4Addr::new(203, 0, 113, first + 3)).build();
        let ipv6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 3));
        handle.route().add(ipv4).execute().await?;
        Ok(handle.route().add(ipv6.build()).execute().await?)
    })
}

/// Joins any number of hosts by a switch, which has to be kept. They are 192.0.2.1 and so on, 2001:db8::1 and so on.
///
/// # Errors
/// What the kernel refuses.
pub fn switch(hosts: &[&Host]) -> anyhow::Result<Host> {
    let switch = Host::new()?;
    bridge(&switch, None)?;
    for (port, host) in (0..).zip(hosts) {
        plug(&switch, port, host)?;
    }
    number(hosts)?;
    running(&hosts.iter().map(|&host| (host, WIRE)).collect::<Vec<_>>())?;
    Ok(switch)
}

/// Makes the bridge of a host that is a switch, or has one.
pub(super) fn bridge(host: &Host, own: Option<IpNet>) -> anyhow::Result<()> {
    host.change(async move |handle, network| {
        handle.link().add(LinkBridge::new(BRIDGE).up().build()).execute().await?;
        let index = network.index_of(BRIDGE).await?.context("no bridge")?;
        if let Some(own) = own {
            network.add_address(index, own).await?;
        }
        Ok(())
    })
}

/// Plugs a host into a switch.
pub(super) fn plug(switch: &Host, port: u8, host: &Host) -> anyhow::Result<()> {
    let port = format!("port{port}");
    cable(switch, &port, host, WIRE)?;
    switch.change(async move |handle, network| {
        let bridge = network.index_of(BRIDGE).await?.context("no bridge")?;
        let port = network.index_of(&port).await?.context("no port")?;
        Ok(handle.link().set(LinkUnspec::new_with_index(port).controller(bridge).up().build()).execute().await?)
    })
}

/// A cable from `near` to `far`, with the name of its end at each.
fn cable(near: &Host, name: &str, far: &Host, far_name: &str) -> anyhow::Result<()> {
    let (name, held, far_name) = (name.to_owned(), far.clone(), far_name.to_owned());
    near.change(async move |handle, network| {
        handle.link().add(LinkVeth::new(&name, "far").build()).execute().await?;
        let index = network.index_of("far").await?.context("no far end")?;
        let moved = LinkUnspec::new_with_index(index).name(&far_name).setns_by_fd(held.descriptor()).build();
        Ok(handle.link().set(moved).execute().await?)
    })
}

fn number(hosts: &[&Host]) -> anyhow::Result<()> {
    for (host, number) in hosts.iter().zip(1..) {
        let addresses: Vec<IpNet> =
            vec![format!("192.0.2.{number}/24").parse()?, format!("2001:db8::{number}/64").parse()?];
        address(host, WIRE, addresses)?;
    }
    Ok(())
}

/// Brings a host's interface up, with addresses.
pub(super) fn address(host: &Host, wire: &'static str, addresses: Vec<IpNet>) -> anyhow::Result<()> {
    host.network(async move |network| {
        let index = network.index_of(wire).await?.context("no outer link")?;
        network.set_up(index, 1500).await?;
        for address in addresses {
            network.add_address(index, address).await?;
        }
        Ok(())
    })
}
