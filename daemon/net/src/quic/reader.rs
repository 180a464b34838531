//! The reading side of a socket: belongs to one thread, which may be anybody's.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use node::demux::{Kind, datagrams, kind};
use node::drops::{DropCounters, DropReason};
use node::time::Time;
use os::udp::{Arrival, ReceiveBatch, UdpSocket};

use super::queue::Queue;
use crate::plane::Trouble;

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
    trouble: Trouble,
    /// Whether there may be something to read.
    ready: Cell<bool>,
    /// Until when it is left alone, after an error.
    rest: Option<Time>,
}

impl Reader {
    pub(super) fn new(socket: Arc<UdpSocket>, quic: Arc<Queue>, drops: Arc<DropCounters>) -> Self {
        let (batch, ready) = (ReceiveBatch::default(), Cell::new(true));
        Self { socket, quic, drops, batch, trouble: Trouble::default(), ready, rest: None }
    }

    /// The socket that it reads.
    pub fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    /// What the socket refuses.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Reads what is there; [`Self::deliver`] hands it on. After an error the socket rests for a moment, and whoever reads
    /// others beside it goes on with them.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, or it rests; `Interrupted` once nobody uses the socket any more.
    pub fn try_receive(&mut self, clock: fn() -> Time) -> io::Result<()> {
        if self.rest.is_some_and(|rest| clock() < rest) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.rest.take().is_none() && !self.ready.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.socket.try_receive(&mut self.batch) {
            Ok(()) => {
                self.trouble.works();
                // Less than there was room for is all that there was.
                self.ready.set(self.batch.is_full());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.ready.set(false);
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.trouble.works();
                } else {
                    self.complain(&error);
                    self.rest = Some(clock() + PAUSE);
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    /// What to wait for until [`Self::try_receive`] has something to say; nothing while it rests.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rest.is_none().then(|| self.socket.awaited()).into_iter().flatten()
    }

    /// When its rest is over, if it rests.
    pub(crate) const fn rest(&self) -> Option<Time> {
        self.rest
    }

    /// Says that there may be something to read.
    pub(crate) fn set_ready(&self) {
        self.ready.set(true);
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
                Ok(()) => self.trouble.works(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                Err(error) => {
                    self.complain(&error);
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Tells the first of several errors.
    fn complain(&self, error: &io::Error) {
        if self.trouble.fails(error) {
            tracing::warn!(%error, "a UDP socket cannot be read; trying again");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{Ipv4Addr, UdpSocket as StdSocket};
    use std::os::fd::AsFd;

    use futures::task::noop_waker;
    use os::bell::wait_readable;
    use os::udp::{Ecn, Transmit, UdpOptions};

    use super::*;

    /// A reader whose socket fails each time that the other handle sends: nobody is there.
    pub(crate) fn failing() -> (Reader, StdSocket) {
        let (reader, ..) = reader();
        let other = StdSocket::from(reader.socket.as_fd().try_clone_to_owned().unwrap());
        // Where nobody else comes: an address of this process's own, and no port that the system gives away.
        let [.., high, low] = std::process::id().to_be_bytes();
        other.connect((Ipv4Addr::new(127, 53, high, low), 4182)).unwrap();
        (reader, other)
    }

    /// A reader, and one that sends to it.
    pub(crate) fn heard() -> (Reader, StdSocket) {
        let ((reader, ..), sender) = (reader(), StdSocket::bind("127.0.0.1:0").unwrap());
        sender.connect(reader.socket.address()).unwrap();
        (reader, sender)
    }

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
    fn a_socket_that_fails_is_left_alone_for_a_moment() {
        const AT: Time = Time::from_nanos(1_000_000_000);
        let (mut reader, other) = failing();
        other.send(b"x").unwrap();
        drop(wait_readable(reader.awaited(), None).unwrap());
        let mut receive = |clock| reader.try_receive(clock).map_err(|error| error.kind());
        assert_eq!(receive(|| AT), Err(io::ErrorKind::WouldBlock));
        let answers = StdSocket::bind(other.peer_addr().unwrap()).unwrap();
        answers.send_to(&[0x10; 48], other.local_addr().unwrap()).unwrap();
        assert_eq!(receive(|| AT), Err(io::ErrorKind::WouldBlock), "it rests");
        assert_eq!((reader.rest(), reader.awaited().count()), (Some(AT + PAUSE), 0));
        assert!(reader.try_receive(|| AT + PAUSE).is_ok());
        assert_eq!((reader.rest(), reader.awaited().count()), (None, 2));
    }

    #[test]
    fn a_socket_is_not_asked_again_until_there_is_something() {
        let (mut reader, sender) = heard();
        let clock = || Time::from_nanos(0);
        for round in 0..2 {
            sender.send(&[0x10; 48]).unwrap();
            if round > 0 {
                assert!(reader.try_receive(clock).is_err(), "nobody said that there is something");
                drop(wait_readable(reader.awaited(), None).unwrap());
                reader.set_ready();
            }
            assert!(reader.try_receive(clock).is_ok());
        }
        // As many as it takes at once may not be all.
        for _ in 0..20 {
            sender.send(&[0x10; 48]).unwrap();
        }
        reader.set_ready();
        while reader.try_receive(clock).is_ok() {}
        assert_eq!(wait_readable(reader.awaited(), Some(Duration::ZERO)).unwrap().next(), Some(false), "all were read");
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
