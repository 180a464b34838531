//! A socket with its QUIC endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use node::drops::DropCounters;
use os::udp::{UdpNote, UdpOptions, UdpSocket};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};

use super::Error;
use super::ends::Ends;
use super::queue::Queue;
use super::reader::Reader;
use super::socket::QuicSocket;

/// A bound socket. It lives as long as anything uses it: a listener, a dial, a connection.
#[derive(Clone)]
pub(super) struct Bound {
    /// The address that was asked for; its port may be 0.
    pub(super) asked: SocketAddr,
    pub(super) endpoint: Endpoint,
    pub(super) socket: Arc<UdpSocket>,
}

impl Bound {
    /// Binds a socket and has it read by `receive`.
    pub(super) fn open(
        asked: SocketAddr,
        options: &UdpOptions,
        settings: impl FnOnce(SocketAddr) -> Result<(EndpointConfig, ServerConfig), Error>,
        receive: &dyn Fn(Reader) -> io::Result<()>,
        drops: &Arc<DropCounters>,
        ends: &Ends,
    ) -> Result<Self, Error> {
        let socket = Arc::new(UdpSocket::open(asked, options)?);
        let (address, cuts, merges) = (socket.address(), socket.run_length() > 1, socket.merges_runs());
        tracing::debug!(%address, cuts, merges, "a socket is made");
        socket.notes().iter().for_each(tell);
        let (config, server) = settings(socket.address())?;
        let queue = Arc::new(Queue::new(Arc::clone(drops)));
        let failed = |error| Error::Reader(asked, error);
        let quic = QuicSocket::new(Arc::clone(&socket), Arc::clone(&queue), Arc::clone(drops), ends.clone());
        let runtime = Arc::new(TokioRuntime);
        let endpoint =
            Endpoint::new_with_abstract_socket(config, Some(server), Arc::new(quic), runtime).map_err(failed)?;
        receive(Reader::new(Arc::clone(&socket), queue, Arc::clone(drops))).map_err(failed)?;
        Ok(Self { asked, endpoint, socket })
    }
}

fn tell(note: &UdpNote) {
    match note {
        UdpNote::Unmarked(_) | UdpNote::SmallBuffer { .. } => tracing::warn!(%note, "UDP"),
        // Slower, but all that some systems have.
        UdpNote::NoSegmentation | UdpNote::NoCoalescing | UdpNote::Fragments => tracing::debug!(%note, "UDP"),
    }
}
