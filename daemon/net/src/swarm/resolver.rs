//! Who is asked for the names in addresses.

use std::net::Ipv4Addr;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::read_system_conf;

/// The system's name servers; where it has none (yet), this machine itself, as resolv.conf(5) has it.
pub(super) fn name_servers() -> (ResolverConfig, ResolverOpts) {
    read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(%error, "the system names no name server: names are asked of this machine itself");
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
    })
}
