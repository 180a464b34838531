//! rtnetlink.

use std::io;
use std::net::IpAddr;

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::mpsc;

use super::{Attached, Link, NetworkError};

/// How many packets wait in the TUN device before the host drops: short, so that latency under load stays bounded.
const QUEUE_LENGTH: u32 = 500;

/// A netlink socket.
#[derive(Clone, Debug)]
pub struct Network(Handle);

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |error| NetworkError { what: what.into(), error: error.to_string() }
}

pub(super) fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

impl Network {
    /// Opens the socket; its driver runs on the current tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.0
    }

    /// The index of an interface, if there is one of that name.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn index_of(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        match self.0.link().get().match_name(name.to_owned()).execute().try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if is(&error, libc::ENODEV) => Ok(None),
            Err(error) => Err(failed(format!("find the interface {name}"))(error)),
        }
    }

    /// Brings an interface up with a short queue. `mtu` is in bytes of inner packet.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn set_up(&self, interface: u32, mtu: u16) -> Result<(), NetworkError> {
        let change = LinkUnspec::new_with_index(interface).up().mtu(mtu.into()).txqueuelen(QUEUE_LENGTH).build();
        self.0.link().set(change).execute().await.map_err(failed("bring the interface up"))
    }

    /// Has the kernel make super-packets of at most `bytes` bytes for an interface.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn limit_super_packets(&self, interface: u32, bytes: u32) -> Result<(), NetworkError> {
        let limit = LinkUnspec::new_with_index(interface).append_extra_attribute(LinkAttribute::GsoMaxSize(bytes));
        self.0.link().set(limit.build()).execute().await.map_err(failed("limit its super-packets"))
    }

    /// Gives an interface an address; one that it has already is no error. IPv6 skips duplicate detection: nobody else
    /// is on a tunnel.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn add_address(&self, interface: u32, address: IpNet) -> Result<(), NetworkError> {
        let mut request = self.0.address().add(interface, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Err(error) if is(&error, libc::EEXIST) => Ok(()),
            result => result.map_err(failed(format!("add the address {address}"))),
        }
    }

    /// Takes an address from an interface; one that is not there is no error.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn remove_address(&self, interface: u32, address: IpNet) -> Result<(), NetworkError> {
        let filter = self.0.address().get().set_link_index_filter(interface);
        let found: Vec<AddressMessage> = filter.execute().try_collect().await.map_err(failed("read the addresses"))?;
        for message in found {
            if attached(&message).is_some_and(|found| found.address == address) {
                let removed = self.0.address().del(message).execute().await;
                removed.map_err(failed(format!("remove the address {address}")))?;
            }
        }
        Ok(())
    }

    /// Routes a prefix to an interface; a route that is there already is no error, unless it leads to another one.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn add_route(&self, interface: u32, prefix: IpNet) -> Result<(), NetworkError> {
        match self.0.route().add(route(interface, prefix)).execute().await {
            Err(error) if is(&error, libc::EEXIST) && self.is_routed(interface, prefix).await? => Ok(()),
            result => result.map_err(failed(format!("add the route {prefix}"))),
        }
    }

    /// Removes such a route; one that is not there is no error.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn remove_route(&self, interface: u32, prefix: IpNet) -> Result<(), NetworkError> {
        match self.0.route().del(route(interface, prefix)).execute().await {
            Err(error) if is(&error, libc::ESRCH) => Ok(()),
            result => result.map_err(failed(format!("remove the route {prefix}"))),
        }
    }

    /// All addresses of this host.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn addresses(&self) -> Result<Vec<Attached>, NetworkError> {
        let messages: Vec<AddressMessage> =
            self.0.address().get().execute().try_collect().await.map_err(failed("read the addresses"))?;
        Ok(messages.iter().filter_map(attached).collect())
    }

    /// All interfaces of this host.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let messages: Vec<LinkMessage> =
            self.0.link().get().execute().try_collect().await.map_err(failed("read the interfaces"))?;
        Ok(messages.into_iter().map(link).collect())
    }

    /// Removes an interface; one that is not there is no error.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn remove_link(&self, interface: u32) -> Result<(), NetworkError> {
        match self.0.link().del(interface).execute().await {
            Err(error) if is(&error, libc::ENODEV) => Ok(()),
            result => result.map_err(failed(format!("remove interface {interface}"))),
        }
    }
}

/// News about interfaces and addresses of this host.
#[derive(Debug)]
pub struct Changes(mpsc::Receiver<()>);

impl Changes {
    /// Listens on the current tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn listen() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // The connection ends with its last handle.
            let _handle = handle;
            while messages.next().await.is_some() {
                // One word that waits says as much as many.
                if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                    return;
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Waits until something changed since the last call; `None` when nothing will be heard any more.
    pub async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}

/// Whether an interface may have IPv6 addresses: the kernel has IPv6, and nobody switched it off.
pub fn has_ipv6(interface: &str) -> bool {
    let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    std::fs::read_to_string(switch).is_ok_and(|off| off.trim() == "0")
}

fn link(message: LinkMessage) -> Link {
    let name = message
        .attributes
        .into_iter()
        .find_map(|attribute| if let LinkAttribute::IfName(name) = attribute { Some(name) } else { None });
    let flags = message.header.flags;
    Link {
        index: message.header.index,
        name: name.unwrap_or_default(),
        loopback: flags.contains(LinkFlags::Loopback),
        carries: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp),
    }
}

fn route(interface: u32, prefix: IpNet) -> RouteMessage {
    match prefix.trunc() {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(interface)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(net.addr(), net.prefix_len())
            .output_interface(interface)
            .build(),
    }
}

fn attached(message: &AddressMessage) -> Option<Attached> {
    let mut local = None;
    let mut address: Option<IpAddr> = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            address = Some(*ip);
        }
    }
    let address = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(Attached { interface: message.header.index, address })
}
