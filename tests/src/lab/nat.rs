//! A made-up internet: hosts on a switch, and hosts behind routers that translate addresses.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context;
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;

use super::Host;
use super::wire::{BRIDGE, WIRE, address, bridge, plug};

/// How a router translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// A source keeps its port, whoever it speaks to, if nobody has it yet; only who was spoken to may answer.
    Cone,
    /// Each destination sees another port.
    Symmetric,
    /// As [`Nat::Cone`], but it answers packets that come before the hole is there: they take the port that a host's
    /// answer needs, for a while.
    Answering,
    /// As [`Nat::Cone`], and UDP does not pass.
    UdpBlocked,
    /// As [`Nat::Cone`], but UDP that comes for port 41820 is passed to the first host.
    Forwarding,
    /// As [`Nat::Forwarding`], also from inside: a host behind it reaches the first by the router's outer address, and is
    /// seen there at that address, too.
    Hairpin,
}

/// The switch that everybody is connected to, 203.0.113.0/24.
pub struct Internet {
    switch: Host,
    ports: AtomicU8,
}

/// A router, with a switch for the hosts behind it.
pub struct Router {
    host: Host,
    number: u8,
    hosts: AtomicU8,
}

impl Internet {
    /// An internet without anybody, or `None` with a line that says what this machine lacks.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new() -> anyhow::Result<Option<Self>> {
        let switch = match Host::new() {
            Ok(host) => host,
            Err(error) => {
                println!("skipped: networks behind NAT: {error:#}");
                return Ok(None);
            }
        };
        if switch.firewall("list ruleset")?.is_none() {
            println!("skipped: networks behind NAT: this machine has no nft");
            return Ok(None);
        }
        bridge(&switch, None)?;
        Ok(Some(Self { switch, ports: AtomicU8::new(0) }))
    }

    /// A host with the address 203.0.113.`number`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn host(&self, number: u8) -> anyhow::Result<Host> {
        let host = Host::new()?;
        plug(&self.switch, self.ports.fetch_add(1, Ordering::Relaxed), &host)?;
        address(&host, WIRE, vec![format!("203.0.113.{number}/24").parse()?])?;
        Ok(host)
    }

    /// A router with the address 203.0.113.`number`, and 10.`number`.0.0/24 behind it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn router(&self, number: u8, nat: Nat) -> anyhow::Result<Router> {
        let host = self.host(number)?;
        bridge(&host, Some(format!("10.{number}.0.1/24").parse()?))?;
        // What passes by the router from one of its hosts to another is not told to go there at once.
        host.run(|| {
            ["all", BRIDGE]
                .iter()
                .try_for_each(|link| std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/send_redirects"), "0"))?;
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        })?;
        let router = Router { host, number, hosts: AtomicU8::new(0) };
        router.translate(nat)?;
        Ok(router)
    }
}

impl Router {
    /// A host behind it: 10.N.0.2, then .3 and so on.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn host(&self) -> anyhow::Result<Host> {
        let port = self.hosts.fetch_add(1, Ordering::Relaxed);
        let host = Host::new()?;
        plug(&self.host, port, &host)?;
        let number = self.number;
        let own = format!("10.{number}.0.{}/24", port + 2).parse()?;
        address(&host, WIRE, vec![own])?;
        lead_out(&host, Ipv4Addr::new(10, number, 0, 1))?;
        Ok(host)
    }

    /// Gets the address 203.0.113.`number` in the place of its own, and knows no connection any more; the hosts behind it
    /// see nothing of that.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn renumber(&self, number: u8) -> anyhow::Result<()> {
        let (old, new): (IpNet, IpNet) =
            (format!("203.0.113.{}/24", self.number).parse()?, format!("203.0.113.{number}/24").parse()?);
        self.host.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            network.remove_address(index, old).await?;
            Ok(network.add_address(index, new).await?)
        })
    }

    /// The same, but it has both addresses for a moment, so that its link is never without one.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn renumber_without_a_gap(&self, number: u8) -> anyhow::Result<()> {
        // One of the same network would be the old one's companion, and go with it.
        let (old, new): (IpNet, IpNet) =
            (format!("203.0.113.{}/24", self.number).parse()?, format!("203.0.113.{number}/25").parse()?);
        self.host.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            network.add_address(index, new).await?;
            Ok(network.remove_address(index, old).await?)
        })
    }

    /// Translates in another way from now on. What it knew of connections stays with the kernel.
    ///
    /// # Errors
    /// What `nft` refuses.
    pub fn translate(&self, nat: Nat) -> anyhow::Result<()> {
        self.host.firewall(&self.rules(nat))?.context("no nft")
    }

    /// Has its link to the internet take packets of so many bytes.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_wire_mtu(&self, mtu: u16) -> anyhow::Result<()> {
        self.host.set_wire_mtu(mtu)
    }

    /// Nothing unasked comes in, neither to the hosts nor to the router itself: an early packet for it would take the
    /// mapping that a host's answer needs.
    fn rules(&self, nat: Nat) -> String {
        let masquerade = if nat == Nat::Symmetric { "masquerade random,fully-random" } else { "masquerade" };
        let udp = if nat == Nat::UdpBlocked { "meta l4proto udp drop;" } else { "" };
        let first = format!("10.{}.0.2", self.number);
        let (inside, outer) = (format!("10.{}.0.0/24", self.number), format!("203.0.113.{}", self.number));
        let forward = match nat {
            Nat::Forwarding => format!("iifname {WIRE} udp dport 41820 dnat to {first};"),
            Nat::Hairpin => format!("ip daddr {outer} udp dport 41820 dnat to {first};"),
            Nat::Cone | Nat::Answering | Nat::Symmetric | Nat::UdpBlocked => String::new(),
        };
        let back = match nat {
            Nat::Hairpin => format!("ct status dnat ip saddr {inside} snat to {outer};"),
            Nat::Cone | Nat::Answering | Nat::Symmetric | Nat::UdpBlocked | Nat::Forwarding => String::new(),
        };
        let silent = match nat {
            Nat::Answering => String::new(),
            Nat::Cone | Nat::Symmetric | Nat::UdpBlocked | Nat::Forwarding | Nat::Hairpin => {
                format!("iifname {WIRE} meta l4proto {{ udp, tcp }} ct state new drop;")
            }
        };
        format!(
            "table ip nat; delete table ip nat; table ip nat {{ \
             chain before {{ type nat hook prerouting priority dstnat; {forward} }}; \
             chain after {{ type nat hook postrouting priority srcnat; oifname {WIRE} {masquerade}; {back} }}; \
             chain own {{ type filter hook input priority filter; {silent} }}; \
             chain pass {{ type filter hook forward priority filter; {udp} ct status dnat accept; \
             iifname {WIRE} ct state new drop; }}; }}"
        )
    }
}

/// Gives a host its default route.
fn lead_out(host: &Host, gateway: Ipv4Addr) -> anyhow::Result<()> {
    host.change(async move |handle, _| {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        Ok(handle.route().add(route).execute().await?)
    })
}
