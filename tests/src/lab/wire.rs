//! The cables between hosts: the outer network.

use anyhow::Context;
use ipnet::IpNet;
use os::network::Network;
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};

use super::Host;

/// The name of the outer interface on every host.
pub const WIRE: &str = "wire";

/// Joins two hosts by one cable. They are 192.0.2.1 and .2, 2001:db8::1 and ::2.
///
/// # Errors
/// What the kernel refuses.
pub fn join(a: &Host, b: &Host) -> anyhow::Result<()> {
    cable(a, WIRE, b)?;
    number(&[a, b])
}

/// Joins any number of hosts by a switch, which has to be kept. They are 192.0.2.1 and so on, 2001:db8::1 and so on.
///
/// # Errors
/// What the kernel refuses.
pub fn switch(hosts: &[&Host]) -> anyhow::Result<Host> {
    const BRIDGE: &str = "bridge";
    let switch = Host::new()?;
    change(&switch, async |handle, _| Ok(handle.link().add(LinkBridge::new(BRIDGE).up().build()).execute().await?))?;
    for (i, host) in hosts.iter().enumerate() {
        let port = format!("port{i}");
        cable(&switch, &port, host)?;
        change(&switch, async move |handle, network| {
            let bridge = network.index_of(BRIDGE).await?.context("no bridge")?;
            let port = network.index_of(&port).await?.context("no port")?;
            let plugged = LinkUnspec::new_with_index(port).controller(bridge).up().build();
            Ok(handle.link().set(plugged).execute().await?)
        })?;
    }
    number(hosts)?;
    Ok(switch)
}

/// A cable from `near`, where its end is called `name`, to `far`, where it is called [`WIRE`].
pub(super) fn cable(near: &Host, name: &str, far: &Host) -> anyhow::Result<()> {
    let (name, held) = (name.to_owned(), far.clone());
    change(near, async move |handle, network| {
        handle.link().add(LinkVeth::new(&name, "far").build()).execute().await?;
        let index = network.index_of("far").await?.context("no far end")?;
        let moved = LinkUnspec::new_with_index(index).name(WIRE).setns_by_fd(held.descriptor()).build();
        Ok(handle.link().set(moved).execute().await?)
    })
}

fn number(hosts: &[&Host]) -> anyhow::Result<()> {
    for (host, number) in hosts.iter().zip(1..) {
        let addresses: Vec<IpNet> =
            vec![format!("192.0.2.{number}/24").parse()?, format!("2001:db8::{number}/64").parse()?];
        host.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            network.set_up(index, 1500).await?;
            for address in addresses {
                network.add_address(index, address).await?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn change(
    host: &Host,
    work: impl AsyncFnOnce(rtnetlink::Handle, Network) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    host.network(async move |network| {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle, network).await
    })
}
