//! ICMP echo, as `ping` does it.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Host;

const ECHO_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const REPLY_V6: u8 = 129;

/// Sends one echo request and gives its round trip.
///
/// # Errors
/// `TimedOut` without an answer within `limit`, else the kernel's refusal.
pub fn ping(host: &Host, address: IpAddr, limit: Duration) -> io::Result<Duration> {
    host.run(move || {
        let (domain, protocol, request, reply) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, ECHO_V4, REPLY_V4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, ECHO_V6, REPLY_V6),
        };
        let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        let mut token = [0; 8];
        aws_lc_rs::rand::fill(&mut token).map_err(|_| io::Error::other("no randomness"))?;
        let begun = Instant::now();
        socket.send_to(&echo(request, token), &SocketAddr::new(address, 0).into())?;
        let mut packet = [0; 1500];
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let length = match socket.read(&mut packet) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                result => result?,
            };
            if answers(&packet[..length], address, reply, token) {
                return Ok(begun.elapsed());
            }
        }
    })
}

/// An echo message of which only type, checksum and payload matter (RFC 792, RFC 4443 section 4.1).
fn echo(kind: u8, token: [u8; 8]) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = kind;
    message[8..].copy_from_slice(&token);
    // The kernel writes the checksum of ICMPv6, whose sum covers addresses that it chooses.
    if kind == ECHO_V4 {
        let sum: u32 = message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let sum = !(((folded & 0xffff) + (folded >> 16)) as u16);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Whether a packet is the answer. IPv4 raw sockets give the IP header too.
fn answers(packet: &[u8], address: IpAddr, reply: u8, token: [u8; 8]) -> bool {
    let message = match address {
        IpAddr::V4(_) => packet.first().and_then(|first| packet.get(usize::from(first & 0xf) * 4..)),
        IpAddr::V6(_) => Some(packet),
    };
    message.is_some_and(|message| message.first() == Some(&reply) && message.get(8..16) == Some(&token[..]))
}
