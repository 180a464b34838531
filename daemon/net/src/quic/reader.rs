//! The reading side of a socket: belongs to one thread, which may be anybody's.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use node::demux::{Kind, datagrams, kind};
use node::drops::{DropCounters, DropReason};
use os::udp::{Arrival, ReceiveBatch, UdpSocket};

use super::queue::Queue;

/// How long a thread leaves a socket alone that fails, for example because its interface is down.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the frames of a socket, on the thread that reads it.
pub trait FrameSink {
    /// Takes the frame at `at` of the receive buffers, where it may be opened.
    fn frame(&mut self, buffers: &mut [u8], at: Range<usize>, arrival: &Arrival);
}

/// What becomes of the reading side of each listening socket.
pub type Receive = Box<dyn Fn(Reader) -> io::Result<()> + Send>;

/// Frames that nothing carries further: they are dropped and counted.
#[derive(Debug)]
pub struct UncarriedFrames(Arc<DropCounters>);

impl UncarriedFrames {
    /// Counts in `drops`.
    pub const fn new(drops: Arc<DropCounters>) -> Self {
        Self(drops)
    }
}

impl FrameSink for UncarriedFrames {
    fn frame(&mut self, _buffers: &mut [u8], _at: Range<usize>, _arrival: &Arrival) {
        self.0.count(DropReason::FrameUncarried);
    }
}

/// A thread for each socket, on which frames are dropped.
pub fn on_own_threads(drops: Arc<DropCounters>) -> Receive {
    Box::new(move |reader| {
        let sink = UncarriedFrames::new(Arc::clone(&drops));
        std::thread::Builder::new().name("cryprq-udp".into()).spawn(move || reader.run(sink)).map(drop)
    })
}

/// Reads a socket and hands on what arrives. Without a running reader its QUIC connections hear nothing.
pub struct Reader {
    socket: Arc<UdpSocket>,
    quic: Arc<Queue>,
    drops: Arc<DropCounters>,
    batch: ReceiveBatch,
    complained: bool,
}

impl Reader {
    pub(super) fn new(socket: Arc<UdpSocket>, quic: Arc<Queue>, drops: Arc<DropCounters>) -> Self {
        Self { socket, quic, drops, batch: ReceiveBatch::default(), complained: false }
    }

    /// The socket that it reads.
    pub fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    /// Reads what is there; [`Self::deliver`] hands it on.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; `Interrupted` once nobody uses the socket any more; otherwise the socket's
    /// error, after which it may be tried again.
    pub fn try_receive(&mut self) -> io::Result<()> {
        self.socket.try_receive(&mut self.batch)
    }

    /// Hands on what was read: frames to `sink`, QUIC packets to quinn. The buffers, where frames still lie.
    pub fn deliver(&mut self, sink: &mut impl FrameSink) -> &mut [u8] {
        let mut quic = false;
        let (runs, buffers) = self.batch.parts();
        for (arrival, run) in runs {
            for at in datagrams(run, arrival.stride) {
                match kind(&buffers[at.clone()]) {
                    Ok(Kind::Frame) => sink.frame(buffers, at, &arrival),
                    Ok(Kind::Quic) => {
                        self.quic.push(arrival, &buffers[at]);
                        quic = true;
                    }
                    Err(reason) => self.drops.count(reason),
                }
            }
        }
        if quic {
            self.quic.wake();
        }
        buffers
    }

    fn read(&mut self, sink: &mut impl FrameSink) -> io::Result<()> {
        self.socket.receive(&mut self.batch)?;
        self.deliver(sink);
        Ok(())
    }

    /// Reads until nobody uses the socket any more.
    pub fn run(mut self, mut sink: impl FrameSink) {
        loop {
            match self.read(&mut sink) {
                Ok(()) => self.complained = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                Err(error) => self.pause(&error),
            }
        }
    }

    /// Waits a little after an error, and tells the first of several.
    pub fn pause(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(%error, "a UDP socket cannot be read; trying again");
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;

    use futures::task::noop_waker;
    use os::udp::{Ecn, Transmit, UdpOptions};

    use super::*;

    #[derive(Default)]
    struct Seen(Vec<Vec<u8>>);

    impl FrameSink for Seen {
        fn frame(&mut self, buffers: &mut [u8], at: Range<usize>, _arrival: &Arrival) {
            self.0.push(buffers[at].to_vec());
        }
    }

    fn reader() -> (Reader, Arc<Queue>, Arc<DropCounters>) {
        let drops = Arc::new(DropCounters::default());
        let quic = Arc::new(Queue::new(Arc::clone(&drops)));
        let socket = UdpSocket::open("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        (Reader::new(Arc::new(socket), Arc::clone(&quic), Arc::clone(&drops)), quic, drops)
    }

    fn packets(quic: &Queue) -> Vec<Vec<u8>> {
        let (waker, mut seen) = (noop_waker(), Vec::new());
        let cx = std::task::Context::from_waker(&waker);
        while quic.drain(&cx, 32, |_, run| seen.extend(run.bytes.chunks(run.arrival.stride).map(<[u8]>::to_vec))) > 0 {}
        seen
    }

    #[test]
    fn a_merged_run_is_sorted_datagram_by_datagram() {
        let (mut reader, quic, drops) = reader();
        let sender = UdpSocket::open("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let firsts = [0x10, 0x40, 0x13, 0x41, 0x12, 0x3f, 0x80];
        let mut run = firsts.map(|first| [first; 100]).concat();
        // The last one is shorter.
        run.extend([0x11; 33]);
        let to = reader.socket().address();
        sender.send(&Transmit { to, from: None, ecn: Ecn::Off, bytes: &run, stride: 100 }).unwrap();
        let mut frames = Seen::default();
        reader.read(&mut frames).unwrap();
        assert_eq!(reader.batch.len(), 1, "the kernel merged them");
        assert_eq!(frames.0, [vec![0x10; 100], vec![0x12; 100], vec![0x11; 33]]);
        assert_eq!(packets(&quic), [[0x40; 100], [0x41; 100]]);
        let dropped = [(DropReason::FrameType, 1), (DropReason::FramePunch, 1), (DropReason::QuicVersion, 1)];
        assert_eq!(drops.snapshot(), dropped);
    }

    #[test]
    fn empty_datagrams_and_frames_without_a_carrier_are_counted() {
        let (mut reader, _quic, drops) = reader();
        let sender = StdSocket::bind("127.0.0.1:0").unwrap();
        for datagram in [&[][..], &[0x10; 48]] {
            sender.send_to(datagram, reader.socket().address()).unwrap();
        }
        let mut sink = UncarriedFrames::new(Arc::clone(&drops));
        while drops.total() < 2 {
            reader.read(&mut sink).unwrap();
        }
        assert_eq!(drops.snapshot(), [(DropReason::FrameLength, 1), (DropReason::FrameUncarried, 1)]);
    }
}
