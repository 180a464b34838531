//! A NAT between a client and a server.

use std::net::SocketAddr;

use libp2p::{Multiaddr, PeerId};
use tokio::net::UdpSocket;

use crate::support::multiaddr;

/// Passes datagrams on while it runs.
pub(crate) struct Nat {
    server: SocketAddr,
    inside: UdpSocket,
    outside: UdpSocket,
}

impl Nat {
    pub(crate) async fn new(server: SocketAddr) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { server, inside, outside: mapping(server).await }
    }

    /// Where the client reaches the server.
    pub(crate) fn address(&self, server: PeerId) -> Multiaddr {
        multiaddr(self.inside.local_addr().unwrap(), Some(server))
    }

    /// Makes another mapping, and gives its address; what was under way to the old one is lost.
    pub(crate) async fn forget(&mut self) -> SocketAddr {
        self.outside = mapping(self.server).await;
        self.outside.local_addr().unwrap()
    }

    /// Runs for ever.
    pub(crate) async fn run(&self) {
        let (mut up, mut down) = ([0; 2000], [0; 2000]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((length, from)) = self.inside.recv_from(&mut up) => {
                    client = Some(from);
                    self.outside.send(&up[..length]).await.unwrap();
                }
                Ok(length) = self.outside.recv(&mut down) => {
                    if let Some(client) = client {
                        self.inside.send_to(&down[..length], client).await.unwrap();
                    }
                }
            }
        }
    }
}

async fn mapping(server: SocketAddr) -> UdpSocket {
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    outside.connect(server).await.unwrap();
    outside
}
