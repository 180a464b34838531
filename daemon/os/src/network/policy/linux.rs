//! rtnetlink.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};
use rtnetlink::RouteMessageBuilder;

use super::{DefaultRoute, Family, PolicyRule, Selection, Transport, WIDEST_SPECIFIC, Way};
use crate::network::linux::{failed, is};
use crate::network::{Network, NetworkError};

const MAIN: u32 = 254;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of what is refused while nothing better leads out: the worst.
const LAST: u32 = u32::MAX;

impl Network {
    /// Adds a rule, unless it is there already; whether it was missing.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn add_rule(&self, rule: &PolicyRule) -> Result<bool, NetworkError> {
        let mut request = self.handle().rule().add();
        *request.message_mut() = rule_message(rule);
        match request.execute().await {
            Err(error) if is(&error, libc::EEXIST) => Ok(false),
            result => result.map(|()| true).map_err(failed(format!("add a routing rule for {}", rule.family))),
        }
    }

    /// Removes a rule; one that is not there is no error.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn remove_rule(&self, rule: &PolicyRule) -> Result<(), NetworkError> {
        match self.handle().rule().del(rule_message(rule)).execute().await {
            Err(error) if is(&error, libc::ENOENT) || is(&error, libc::EAFNOSUPPORT) => Ok(()),
            result => result.map_err(failed(format!("remove a routing rule for {}", rule.family))),
        }
    }

    /// Adds a default route, unless there is one already; whether it was missing.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn add_default(&self, route: &DefaultRoute) -> Result<bool, NetworkError> {
        match self.handle().route().add(route_message(route)).execute().await {
            Err(error) if is(&error, libc::EEXIST) => Ok(false),
            result => result.map(|()| true).map_err(failed(format!("add the default route of {}", route.family))),
        }
    }

    /// Removes a default route; one that is not there, or that went with its interface, is no error.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn remove_default(&self, route: &DefaultRoute) -> Result<(), NetworkError> {
        match self.handle().route().del(route_message(route)).execute().await {
            Err(error) if [libc::ESRCH, libc::ENODEV, libc::EAFNOSUPPORT].iter().any(|&gone| is(&error, gone)) => {
                Ok(())
            }
            result => result.map_err(failed(format!("remove the default route of {}", route.family))),
        }
    }

    /// Whether a table holds any route of a family.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn has_routes(&self, family: Family, table: u32) -> Result<bool, NetworkError> {
        Ok(self.routes_of(family).await?.iter().any(|route| table_of(route) == table))
    }

    /// Whether the main table has a default route of a family.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn has_default(&self, family: Family) -> Result<bool, NetworkError> {
        let leads_out = |route: &RouteMessage| {
            table_of(route) == MAIN
                && route.header.destination_prefix_length == 0
                && route.header.kind == RouteType::Unicast
        };
        Ok(self.routes_of(family).await?.iter().any(leads_out))
    }

    /// Whether the main table leads a prefix to an interface.
    pub(in crate::network) async fn is_routed(&self, interface: u32, prefix: IpNet) -> Result<bool, NetworkError> {
        let leads_there = |route: &RouteMessage| {
            let mut to = prefix.prefix_len() == 0;
            let mut out = false;
            for attribute in &route.attributes {
                to |= *attribute == RouteAttribute::Destination(prefix.network().into());
                out |= *attribute == RouteAttribute::Oif(interface);
            }
            table_of(route) == MAIN && route.header.destination_prefix_length == prefix.prefix_len() && to && out
        };
        Ok(self.routes_of(Family::of(prefix.addr())).await?.iter().any(leads_there))
    }

    async fn routes_of(&self, family: Family) -> Result<Vec<RouteMessage>, NetworkError> {
        let filter = match family {
            Family::Ipv4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::Ipv6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let routes = self.handle().route().get(filter).execute().try_collect().await;
        routes.map_err(failed(format!("read the routes of {family}")))
    }
}

fn table_of(route: &RouteMessage) -> u32 {
    let number = route
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None });
    number.unwrap_or_else(|| route.header.table.into())
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}

fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    let table = match rule.selection {
        Selection::FromPort { transport, port } => {
            let protocol = match transport {
                Transport::Tcp => TCP,
                Transport::Udp => UDP,
            };
            message.attributes.push(RuleAttribute::IpProtocol(protocol.into()));
            message.attributes.push(RuleAttribute::SourcePortRange(RulePortRange { start: port, end: port }));
            MAIN
        }
        Selection::Specific => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(u32::from(WIDEST_SPECIFIC) - 1));
            MAIN
        }
        Selection::Unmarked { mark, table } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::FwMask(u32::MAX));
            table
        }
    };
    message.attributes.push(RuleAttribute::Table(table));
    message
}

fn route_message(route: &DefaultRoute) -> RouteMessage {
    match route.family {
        Family::Ipv4 => led(RouteMessageBuilder::<Ipv4Addr>::new(), route).build(),
        Family::Ipv6 => led(RouteMessageBuilder::<Ipv6Addr>::new(), route).build(),
    }
}

fn led<A>(builder: RouteMessageBuilder<A>, route: &DefaultRoute) -> RouteMessageBuilder<A> {
    let builder = builder.table_id(route.table);
    match route.way {
        Way::Interface(index) => builder.output_interface(index),
        Way::Unreachable => builder.kind(RouteType::Unreachable).priority(LAST),
    }
}
