//! The socket as quinn sees it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use node::drops::{DropCounters, DropReason};
use os::udp::{Ecn, Transmit, UdpSocket, is_too_long};
use quinn::udp::{self, EcnCodepoint, RecvMeta};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::ends::Ends;
use super::queue::{MAX_RUN, Queue};

/// Datagrams that quinn may send as one run: as many as it makes at most, which doubles what a circuit carries. It reserves
/// room for all as soon as a connection sends anything, and keeps it, which a thousand idle peers would pay for; so beyond
/// [`FEW`] connections a run is short.
const LONG_RUN: usize = 10;
const SHORT_RUN: usize = 2;
const FEW: usize = 32;

/// Sends straight to the socket; receives what a [`super::Reader`] queued.
///
/// It never reports an error: quinn would close the connection that sends, or all of the endpoint, for what passes by
/// itself (a route that is missing for a moment, an interface that is down).
pub(super) struct QuicSocket {
    socket: Arc<UdpSocket>,
    queue: Arc<Queue>,
    drops: Arc<DropCounters>,
    ends: Ends,
}

impl QuicSocket {
    pub(super) const fn new(socket: Arc<UdpSocket>, queue: Arc<Queue>, drops: Arc<DropCounters>, ends: Ends) -> Self {
        Self { socket, queue, drops, ends }
    }
}

impl Drop for QuicSocket {
    /// The last connection of the endpoint is gone: nobody needs what arrives.
    fn drop(&mut self) {
        self.socket.waker().wake();
    }
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicSocket").field("address", &self.socket.address()).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        let transmit = Transmit {
            to: transmit.destination,
            from: transmit.src_ip,
            ecn: match transmit.ecn {
                None => Ecn::Off,
                Some(EcnCodepoint::Ect0) => Ecn::Capable0,
                Some(EcnCodepoint::Ect1) => Ecn::Capable1,
                Some(EcnCodepoint::Ce) => Ecn::Congested,
            },
            bytes: transmit.contents,
            stride: transmit.segment_size.unwrap_or(transmit.contents.len()),
        };
        match self.socket.send(&transmit) {
            // Packets that found no room are lost like any that the network loses.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // QUIC measures the path's MTU by sending what may be too long.
            Err(error) if is_too_long(&error) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, to = %transmit.to, "a QUIC packet could not be sent");
                self.drops.count(DropReason::QuicSend);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = self.queue.drain(cx, bufs.len().min(meta.len()), |index, run| {
            // The queue makes no run that is longer than quinn's buffers.
            let length = run.bytes.len().min(bufs[index].len());
            bufs[index][..length].copy_from_slice(&run.bytes[..length]);
            meta[index] = RecvMeta {
                addr: run.arrival.from,
                len: length,
                stride: run.arrival.stride.min(length),
                ecn: EcnCodepoint::from_bits(run.arrival.ecn.bits()),
                dst_ip: run.arrival.to,
            };
        });
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.address())
    }

    fn max_transmit_segments(&self) -> usize {
        let longest = if self.ends.count() <= FEW { LONG_RUN } else { SHORT_RUN };
        self.socket.run_length().min(longest)
    }

    fn max_receive_segments(&self) -> usize {
        MAX_RUN
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Waits for room in the send buffer; each connection has one of its own.
struct Poller {
    socket: Arc<QuicSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = &mut *self;
        let writable = waiting.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            // An error means that the runtime ends; sending then finds out by itself.
            Box::pin(async move { _ = socket.socket.writable().await })
        });
        ready!(writable.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use os::udp::{Offload, UdpOptions};

    use super::*;

    fn socket(options: &UdpOptions, drops: &Arc<DropCounters>, ends: Ends) -> QuicSocket {
        let socket = Arc::new(UdpSocket::open("0.0.0.0:0".parse().unwrap(), options).unwrap());
        QuicSocket::new(socket, Arc::new(Queue::new(Arc::clone(drops))), Arc::clone(drops), ends)
    }

    fn sent(to: &str, bytes: &[u8]) -> (io::Result<()>, u64) {
        let drops = Arc::new(DropCounters::default());
        let socket = Arc::new(socket(&UdpOptions::default(), &drops, Ends::default()));
        let transmit = udp::Transmit {
            destination: to.parse().unwrap(),
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: None,
        };
        let mut poller = Arc::clone(&socket).create_io_poller();
        let result = loop {
            futures::executor::block_on(std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx))).unwrap();
            let result = socket.try_send(&transmit);
            if result.as_ref().err().map(io::Error::kind) != Some(io::ErrorKind::WouldBlock) {
                break result;
            }
        };
        (result, drops.get(DropReason::QuicSend))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_the_system_refuses_to_send_is_counted_and_ends_no_connection() {
        // Broadcasts need a right that the socket does not have.
        let (result, counted) = sent("255.255.255.255:9", b"x");
        assert!(result.is_ok() && counted == 1);
    }

    #[tokio::test]
    async fn a_run_is_short_where_many_connections_would_reserve_room_for_it() {
        let run = |connections, options: &UdpOptions| {
            socket(options, &Arc::default(), Ends::of(connections)).max_transmit_segments()
        };
        let cuts = UdpOptions::default();
        assert_eq!([0, FEW, FEW + 1, 1000].map(|count| run(count, &cuts)), [10, 10, 2, 2]);
        let singly = UdpOptions { segmentation: Offload::Never, ..UdpOptions::default() };
        assert_eq!([0, 1000].map(|count| run(count, &singly)), [1, 1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_probe_that_is_too_long_is_no_fault() {
        let (result, counted) = sent("127.0.0.1:9", &[0; 65_508]);
        assert!(result.is_ok() && counted == 0);
    }
}
