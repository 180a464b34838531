//! Where we listen, and where we should but cannot.

use net::Multiaddr;
use net::multiaddr::Protocol;

use super::Supervisor;
use super::health::{Fault, News};

impl Supervisor {
    /// An address is listened on; it may be one of several that a configured one stands for.
    pub(super) fn listens(&mut self, address: Multiaddr) {
        let wanted: Vec<_> = self.deaf.iter().filter(|wanted| serves(wanted, &address)).cloned().collect();
        for wanted in wanted {
            self.deaf.remove(&wanted);
            self.health.clear(Fault::Listen, &wanted.to_string());
        }
        self.listening.insert(address);
    }

    /// A configured address cannot be listened on; it is tried again.
    pub(super) fn does_not_listen(&mut self, wanted: &Multiaddr, error: &str) {
        tracing::debug!(address = %wanted, "not listening");
        self.listening.retain(|address| !serves(wanted, address));
        self.deaf.insert(wanted.clone());
        let text = format!("cannot listen on {wanted}: {error}");
        let hint = "stop what uses the port, or choose another listen.port";
        if self.health.note(Fault::Listen, &wanted.to_string(), text, hint) == News::New {
            tracing::warn!(%error, "cannot listen; trying again");
        }
    }
}

/// Whether a listener on `wanted` listens on `address`.
fn serves(wanted: &Multiaddr, address: &Multiaddr) -> bool {
    let mut pairs = wanted.iter().zip(address.iter());
    let same = |(wanted, actual): (Protocol<'_>, Protocol<'_>)| {
        if let (Protocol::Ip4(any), Protocol::Ip4(_)) = (&wanted, &actual) {
            any.is_unspecified() || wanted == actual
        } else if let (Protocol::Ip6(any), Protocol::Ip6(_)) = (&wanted, &actual) {
            any.is_unspecified() || wanted == actual
        } else if let (Protocol::Udp(0), Protocol::Udp(_)) | (Protocol::Tcp(0), Protocol::Tcp(_)) = (&wanted, &actual) {
            true
        } else {
            wanted == actual
        }
    };
    wanted.iter().count() == address.iter().count() && pairs.all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_every_address_of_its_family_and_transport() {
        let serves = |wanted: &str, address: &str| serves(&wanted.parse().unwrap(), &address.parse().unwrap());
        assert!(serves("/ip4/0.0.0.0/udp/41820/quic-v1", "/ip4/192.0.2.1/udp/41820/quic-v1"));
        assert!(serves("/ip6/::/tcp/0", "/ip6/2001:db8::1/tcp/39871"));
        assert!(serves("/ip4/192.0.2.1/tcp/41820", "/ip4/192.0.2.1/tcp/41820"));
        assert!(!serves("/ip4/192.0.2.1/tcp/41820", "/ip4/192.0.2.2/tcp/41820"));
        assert!(!serves("/ip4/0.0.0.0/tcp/41820", "/ip6/2001:db8::1/tcp/41820"));
        assert!(!serves("/ip4/0.0.0.0/tcp/41820", "/ip4/192.0.2.1/udp/41820/quic-v1"));
        assert!(!serves("/ip4/0.0.0.0/tcp/41820", "/ip4/192.0.2.1/tcp/41821"));
        assert!(!serves("/ip4/0.0.0.0/udp/41820/quic-v1", "/ip4/192.0.2.1/udp/41820"));
    }
}
