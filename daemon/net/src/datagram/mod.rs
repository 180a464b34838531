//! Carrier C: sealed frames as datagrams, on the sockets that QUIC uses too (protocol.md 7.1; docs/carriers.md).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use node::drops::DropReason;
use node::frame::{FrameBatch, Run};
use node::path::Endpoint;
use os::udp::{Ecn, Transmit, UdpNote, UdpSocket, is_out_of_room, is_too_long};

use crate::plane::{Carrier, PeerStats};

/// How long a loop waits for room in a socket's send buffer before it drops.
const PATIENCE: Duration = Duration::from_millis(10);

/// The sockets that frames may leave from: those that somebody reads.
#[derive(Debug, Default)]
pub struct Sockets(ArcSwap<Vec<Arc<UdpSocket>>>);

impl Sockets {
    /// One more.
    pub fn add(&self, socket: &Arc<UdpSocket>) {
        self.0.rcu(|sockets| {
            let mut sockets = Vec::clone(sockets);
            sockets.push(Arc::clone(socket));
            sockets
        });
    }

    /// One less.
    pub fn remove(&self, socket: &Arc<UdpSocket>) {
        self.0.rcu(|sockets| {
            let mut sockets = Vec::clone(sockets);
            sockets.retain(|known| !Arc::ptr_eq(known, socket));
            sockets
        });
    }

    /// What each of them goes without.
    pub fn notes(&self) -> Vec<(SocketAddr, UdpNote)> {
        let sockets = self.0.load();
        sockets.iter().flat_map(|socket| socket.notes().into_iter().map(|note| (socket.address(), note))).collect()
    }

    /// The one that leads to an endpoint: bound to the local address that it names, or else to any.
    fn towards(&self, endpoint: &Endpoint) -> Option<Arc<UdpSocket>> {
        let sockets = self.0.load();
        let mut able = sockets.iter().filter(|socket| socket.reaches(endpoint.remote.ip()));
        let exact = able.clone().find(|socket| endpoint.local == Some(socket.address().ip()));
        exact.or_else(|| able.next()).cloned()
    }
}

/// Sends one peer's frames to one endpoint.
#[derive(Debug)]
pub struct DatagramCarrier {
    sockets: Arc<Sockets>,
    endpoint: Endpoint,
    stats: Arc<PeerStats>,
}

impl DatagramCarrier {
    /// A carrier to an endpoint; what it drops is counted in `stats`.
    pub const fn new(sockets: Arc<Sockets>, endpoint: Endpoint, stats: Arc<PeerStats>) -> Self {
        Self { sockets, endpoint, stats }
    }

    fn send_run(&self, socket: &UdpSocket, run: Run<'_>) {
        let mut rest = run.bytes;
        let mut waited = false;
        while !rest.is_empty() {
            match send(socket, &self.endpoint, Run { bytes: rest, stride: run.stride }) {
                Ok(frames) => {
                    rest = rest.get(frames * run.stride..).unwrap_or_default();
                    waited = false;
                }
                Err(error) if is_out_of_room(&error) && !waited => {
                    waited = true;
                    let _ = socket.wait_for_room(PATIENCE);
                }
                Err(error) => {
                    let reason = if is_out_of_room(&error) {
                        DropReason::OutQueueFull
                    } else if is_too_long(&error) {
                        DropReason::OutTooLong
                    } else {
                        DropReason::OutNoPath
                    };
                    return self.stats.drops().add(reason, rest.len().div_ceil(run.stride) as u64);
                }
            }
        }
    }
}

impl Carrier for DatagramCarrier {
    fn send(&self, frames: &FrameBatch) {
        let Some(socket) = self.sockets.towards(&self.endpoint) else {
            return self.stats.drops().add(DropReason::OutNoPath, frames.len() as u64);
        };
        frames.runs().for_each(|run| self.send_run(&socket, run));
    }
}

/// Sends a run; from an address that is not ours any more, the kernel chooses another.
fn send(socket: &UdpSocket, endpoint: &Endpoint, run: Run<'_>) -> io::Result<usize> {
    let transmit = |from: Option<IpAddr>| {
        let Run { bytes, stride } = run;
        socket.send(&Transmit { to: endpoint.remote, from, ecn: Ecn::Off, bytes, stride })
    };
    match transmit(endpoint.local) {
        Err(error) if endpoint.local.is_some() && !is_out_of_room(&error) => transmit(None),
        result => result,
    }
}
