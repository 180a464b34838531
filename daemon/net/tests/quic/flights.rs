//! Datagrams of strangers, and what comes back.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::support::{Host, dialler, in_time, multiaddr};

/// First flights of `count` handshakes: what clients send before anybody answers.
pub(crate) async fn first_flights(count: usize) -> Vec<Vec<Vec<u8>>> {
    let recorder = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = Host::new(99);
    let address = multiaddr(recorder.local_addr().unwrap(), None);
    let _dials: Vec<_> = (0..count).map(|_| client.start_dial(&address, dialler())).collect();
    let mut flights: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
    let recording = async {
        // The hello with its post-quantum key takes two packets.
        while flights.values().filter(|flight| flight.len() >= 2).count() < count {
            let mut bytes = [0; 1500];
            let (length, _) = recorder.recv_from(&mut bytes).await.unwrap();
            let id = bytes[6..6 + usize::from(bytes[5])].to_vec();
            let flight = flights.entry(id).or_default();
            if flight.len() < 2 {
                flight.push(bytes[..length].to_vec());
            }
        }
    };
    in_time("first flights", recording).await;
    flights.into_values().collect()
}

/// A source of datagrams that can count what comes back.
pub(crate) struct Source {
    socket: UdpSocket,
    pub(crate) sent: usize,
}

impl Source {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, sent: 0 }
    }

    pub(crate) fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.sent += self.socket.send_to(datagram, to).unwrap();
    }

    /// What came back by now.
    pub(crate) fn answers(&self) -> Vec<Vec<u8>> {
        let mut bytes = [0; 2000];
        std::iter::from_fn(|| self.socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec())).collect()
    }
}
