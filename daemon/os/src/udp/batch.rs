//! Datagrams of one receive call, in reused buffers.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use socket2::SockAddrStorage;

use super::Ecn;
use super::message::Control;

/// Buffers of one call. Under load each holds up to 64 merged datagrams; at rest only the first few are ever touched.
pub(super) const BUFFERS: usize = 4;
/// The longest run that the kernel hands out.
const BUFFER: usize = 65_536;

/// A run of datagrams as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it came from.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, if the kernel says.
    pub to: Option<IpAddr>,
    /// Its congestion bits.
    pub ecn: Ecn,
    /// The length of each datagram but the last, which may be shorter. Never zero.
    pub stride: usize,
}

/// What one receive call brought.
pub struct ReceiveBatch {
    pub(super) buffers: Box<[u8]>,
    pub(super) names: Box<[SockAddrStorage; BUFFERS]>,
    pub(super) controls: Box<[Control; BUFFERS]>,
    pub(super) arrivals: Vec<(Arrival, usize)>,
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self {
            buffers: vec![0; BUFFERS * BUFFER].into_boxed_slice(),
            names: Box::new(std::array::from_fn(|_| SockAddrStorage::zeroed())),
            controls: Box::new([Control::EMPTY; BUFFERS]),
            arrivals: Vec::with_capacity(BUFFERS),
        }
    }
}

impl ReceiveBatch {
    /// The runs in the order in which they came. An empty datagram is an empty run.
    pub fn runs(&mut self) -> impl Iterator<Item = (Arrival, &mut [u8])> {
        let buffers = self.buffers.chunks_exact_mut(BUFFER);
        self.arrivals.iter().zip(buffers).map(|(&(arrival, length), buffer)| (arrival, &mut buffer[..length]))
    }

    /// Where in the buffers the runs lie, in the order in which they came, and the buffers.
    pub fn parts(&mut self) -> (impl Iterator<Item = (Arrival, Range<usize>)>, &mut [u8]) {
        let runs = self.arrivals.iter().enumerate();
        let runs = runs.map(|(number, &(arrival, length))| (arrival, number * BUFFER..number * BUFFER + length));
        (runs, &mut self.buffers)
    }

    /// How many runs it holds.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether there was room for no more: the kernel may have others.
    pub fn is_full(&self) -> bool {
        self.arrivals.len() == BUFFERS
    }

    /// The buffers that the kernel may fill, one for each run.
    pub(super) fn rooms(&mut self) -> impl Iterator<Item = Room<'_>> {
        let buffers = self.buffers.chunks_exact_mut(BUFFER);
        let places = self.names.iter_mut().zip(self.controls.iter_mut());
        buffers.zip(places).map(|(buffer, (name, control))| Room { buffer, name, control })
    }
}

/// Room for one run and for what the kernel says of it.
pub(super) struct Room<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) name: &'b mut SockAddrStorage,
    pub(super) control: &'b mut Control,
}
