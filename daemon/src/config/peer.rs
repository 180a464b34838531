//! The fields of a peer, read alike from the configuration, from `peers.toml` and from local callers.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use net::address::{is_direct, is_relay};
use net::multiaddr::Protocol;
use net::{Multiaddr, peer_id};
use node::pairing::inner_ipv6;
use node::peer_key::PeerKey;
use node::tunnel::ChainRule;
use zeroize::Zeroizing;

/// A peer.
#[derive(Debug)]
pub struct PeerConfig {
    /// Its identity.
    pub key: PeerKey,
    /// Its name for people.
    pub name: String,
    /// Where to dial it.
    pub addresses: Vec<Multiaddr>,
    /// Prefixes that belong to it.
    pub allowed_ips: Vec<IpNet>,
    /// Where the PSK of a peer of the configuration stands.
    pub psk_file: Option<PathBuf>,
    /// The pair's PSK.
    pub psk: Option<Psk>,
    /// Whether a start without a chain needs an administrator.
    pub require_chain: ChainRule,
    /// Connect at start.
    pub up: bool,
    /// Whether it may send packets to other networks through this host.
    pub forward: bool,
}

/// A pair's PSK on its way into the daemon's store of secrets. What moves is a pointer, so that no copy is left behind.
pub struct Psk(Box<Zeroizing<[u8; 32]>>);

impl Psk {
    /// A copy of a PSK.
    pub fn copy_of(psk: &[u8; 32]) -> Self {
        let mut copy = Box::new(Zeroizing::new([0; 32]));
        copy.copy_from_slice(psk);
        Self(copy)
    }

    /// The bytes, for the store of secrets.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(…)")
    }
}

impl PeerConfig {
    /// A peer of which nothing is known but its key: its PeerId for a name, and its derived IPv6 address.
    pub fn new(key: PeerKey) -> Self {
        Self {
            key,
            name: peer_id::format(key),
            addresses: Vec::new(),
            allowed_ips: vec![IpNet::from(IpAddr::from(inner_ipv6(key)))],
            psk_file: None,
            psk: None,
            require_chain: ChainRule::Optional,
            up: true,
            forward: false,
        }
    }

    /// Everything but the PSK, which has one owner.
    pub fn without_psk(&self) -> Self {
        Self {
            key: self.key,
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            allowed_ips: self.allowed_ips.clone(),
            psk_file: self.psk_file.clone(),
            psk: None,
            require_chain: self.require_chain,
            up: self.up,
            forward: self.forward,
        }
    }

    /// Whether what it sends to other networks can be told from what others send.
    ///
    /// # Errors
    /// When it owns every address.
    pub fn check_forward(&self) -> Result<(), String> {
        match self.allowed_ips.iter().find(|prefix| self.forward && prefix.prefix_len() == 0) {
            Some(prefix) => {
                Err(format!("{prefix} in allowed_ips would let it send as anybody: name its own addresses"))
            }
            None => Ok(()),
        }
    }
}

/// Whether people may call a host or a peer so: 1 to 63 bytes, all printable.
///
/// # Errors
/// What a name is.
pub fn check_name(name: &str) -> Result<(), String> {
    // Quotes and backslashes are printable, though escaped where they might be mistaken.
    let rest = name.replace(['\'', '"', '\\'], "");
    if (1..=63).contains(&name.len()) && rest.escape_debug().to_string() == rest {
        Ok(())
    } else {
        Err("a name has 1 to 63 bytes, all printable".into())
    }
}

/// Reads a multiaddr to dial a peer at. It may end with the peer's own PeerId, which is not kept.
///
/// # Errors
/// What one looks like.
pub fn read_peer_address(text: &str, peer: PeerKey) -> Result<Multiaddr, String> {
    let mut address = read_address(text)?;
    if let Some(Protocol::P2p(id)) = address.iter().last() {
        if peer_id::from_key(peer) != id {
            return Err(format!("'{}' is the address of another peer", text.escape_debug()));
        }
        address.pop();
    }
    Ok(address)
}

/// Reads a multiaddr.
///
/// # Errors
/// What one looks like.
pub fn read_address(text: &str) -> Result<Multiaddr, String> {
    let form = |_| format!("'{}' is no multiaddr such as /ip4/203.0.113.1/udp/41820/quic-v1", text.escape_debug());
    text.parse().map_err(form)
}

/// Reads a multiaddr that a ticket can name.
///
/// # Errors
/// What one looks like.
pub fn read_direct_address(text: &str) -> Result<Multiaddr, String> {
    let address = read_address(text)?;
    let form =
        || format!("'{}' is no address of a host, such as /dns4/gw.example.org/udp/41820/quic-v1", text.escape_debug());
    if is_direct(&address) { Ok(address) } else { Err(form()) }
}

/// Reads the multiaddr of a relay with its PeerId.
///
/// # Errors
/// What one looks like.
pub fn read_relay_address(text: &str) -> Result<Multiaddr, String> {
    let address = read_address(text)?;
    let form = || {
        let text = text.escape_debug();
        format!("'{text}' is no relay, such as /dns4/relay.example.org/udp/41820/quic-v1/p2p/12D3KooW…")
    };
    if is_relay(&address) { Ok(address) } else { Err(form()) }
}

/// Reads a prefix of a peer's.
///
/// # Errors
/// What one looks like.
pub fn read_prefix(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("'{}' is no prefix such as 10.86.0.1/32", text.escape_debug()))
}

/// Reads a PSK: 32 bytes in hex or base64.
///
/// # Errors
/// How to make one.
pub fn read_psk(text: &[u8]) -> Result<Psk, String> {
    let text = text.trim_ascii();
    let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(text).or_else(|_| data_encoding::BASE64.decode(text));
    let decoded = Zeroizing::new(decoded.unwrap_or_default());
    let form = |_| "a PSK is 32 bytes in hex or base64: make it with 'openssl rand -hex 32'".to_owned();
    let psk: &[u8; 32] = decoded.as_slice().try_into().map_err(form)?;
    if *psk == [0; 32] { Err("a PSK of zeros protects nothing".into()) } else { Ok(Psk::copy_of(psk)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mislead_on_a_terminal_are_refused() {
        for good in ["gateway", "Ada's laptop", "büro", "a\\b", "服务器"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{1b}[31mred", "\u{202e}yawetag", "zero\u{200b}width", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_may_name_the_peer_itself_and_no_other() {
        let peer = |id| peer_id::parse(id).unwrap();
        let (a, b) = (
            "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
            "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
        );
        let address = "/ip4/203.0.113.1/udp/41820/quic-v1";
        let read = |peer| read_peer_address(&format!("{address}/p2p/{a}"), peer);
        assert_eq!(read(peer(a)).unwrap().to_string(), address);
        assert!(read(peer(b)).unwrap_err().contains("another peer"));
    }

    #[test]
    fn a_psk_is_never_printed() {
        let hex = "ab".repeat(32);
        let psk = read_psk(hex.as_bytes()).unwrap();
        assert_eq!((psk.expose(), format!("{psk:?}")), (&[0xab; 32], "Psk(…)".into()));
        let refused = read_psk(b"abab").unwrap_err();
        assert!(!refused.contains("abab"), "{refused}");
    }
}
