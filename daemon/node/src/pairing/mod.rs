//! Pairing by ticket (protocol.md 10): how two hosts come to know each other.
//!
//! A person carries a [`Ticket`] from the inviter to the joiner. The joiner, on a connection that proves both keys,
//! sends P1; the inviter answers P2, and from then on each is the other's peer, with a PSK that only they know. Both
//! sides are state machines without I/O: [`Inviter`] holds all tickets of a host, [`Joiner`] one join. What must be on
//! disk before an answer may leave is said by the methods that make it.
//!
//! Names and addresses in messages come from strangers: they are read only once the MAC is right, and believed only
//! within the rules of [`Ipv4Rules`]. The inner IPv6 address follows from a key alone.

mod addresses;
mod introduction;
mod invitation;
mod inviter;
mod ipv4;
mod joiner;
mod ticket;
mod wire;

pub use addresses::{default_ipv4, inner_ipv6, overlay};
pub use introduction::{HostName, HostNameError, Introduction, MAX_NAME};
pub use invitation::{Exchange, Invitation, InvitationState};
pub use inviter::{
    Accepted, Answer, Asker, CancelError, DEFAULT_LIFETIME, Host, InviteError, Inviter, MAX_LIFETIME, MAX_TICKETS, Now,
    Standing,
};
pub use ipv4::{Ipv4Fault, Ipv4Rules, Uncounted};
pub use joiner::{JoinError, Joined, Joiner};
pub use ticket::{MAX_ADDRESSES, MAX_TICKET, Ticket, TicketError, TicketId, TicketIdError, TicketSecret};
pub use wire::{MAX_MESSAGE, PairFault, Refusal};

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::peer_key::PeerKey;
use crate::secret::SecretKey32;

/// What pairing makes of the other side.
pub struct PairedPeer {
    /// Its key.
    pub key: PeerKey,
    /// Its name, in its own words.
    pub name: HostName,
    /// Its inner IPv4 address, if it counts.
    pub ipv4: Option<Ipv4Addr>,
    /// The pair's PSK.
    pub psk: SecretKey32,
}

impl PairedPeer {
    /// Its AllowedIPs: its inner addresses, until an administrator adds more.
    pub fn allowed_ips(&self) -> Vec<IpNet> {
        let ipv4 = self.ipv4.map(IpAddr::from);
        std::iter::once(inner_ipv6(self.key).into()).chain(ipv4).map(IpNet::from).collect()
    }
}
