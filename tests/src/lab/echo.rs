//! A host that answers.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::Host;

/// Answers every datagram at an address of the host's, for as long as this process lives.
///
/// # Errors
/// When the address cannot be bound.
pub fn echo(host: &Host, address: SocketAddr) -> io::Result<()> {
    let socket = host.run(move || UdpSocket::bind(address))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    Ok(())
}
