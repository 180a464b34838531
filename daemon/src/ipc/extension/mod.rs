//! The packet socket: one extension at a time shuttles inner packets between its interface and the packet loops
//! (`docs/ipc.md`).
//!
//! A connection is greeted and given its settings by its `conversation`, a task. Once the extension is ready, the packet
//! loops read and write the socket themselves: the `Source` is their end for what comes, the `Outlet` for what goes.
//! Other frames than packets go on to the conversation from there.

mod conversation;
mod listener;
mod outlet;
mod seat;
mod source;
#[cfg(test)]
mod tests;

pub use listener::{serve_extensions, serve_handed_over};

use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use net::plane::{Device, nothing};
use node::drops::DropCounters;
use tokio::sync::{mpsc, oneshot, watch};

use outlet::Absent;
use seat::Seat;

/// What the control task wants of the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// What its interface shall be like.
    pub settings: TunnelSettings,
    /// Whether it shall end, and why.
    pub stop: Option<StopReason>,
}

/// What the control task hears of the extension.
pub enum Event {
    /// It is ready: inner packets come from it and go to it, and these settings are in force.
    Attached(Device, TunnelSettings),
    /// Other settings are in force.
    InForce(TunnelSettings),
    /// It left. The next one waits for the answer.
    Detached(oneshot::Sender<()>),
}

/// The control task's end.
pub struct Extensions {
    /// What it wants.
    pub orders: watch::Sender<Orders>,
    /// What it hears.
    pub events: mpsc::Receiver<Event>,
}

/// What all conversations share.
#[derive(Clone)]
pub struct Door {
    seat: Seat,
    orders: watch::Receiver<Orders>,
    events: mpsc::Sender<Event>,
    drops: Arc<DropCounters>,
    timing: Timing,
}

/// How long an extension may keep us waiting.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// For its hello.
    hello: Duration,
    /// Until settings are in force.
    ready: Duration,
    /// For its farewell, once it is gone and its successor is there.
    farewell: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { hello: Duration::from_secs(10), ready: Duration::from_secs(20), farewell: Duration::from_secs(2) }
    }
}

/// Both ends of the door. `drops` counts packets that no extension takes and that wait for it in vain.
pub fn door(drops: Arc<DropCounters>) -> (Door, Extensions) {
    let nothing = TunnelSettings { addresses: vec![], included: vec![], excluded: vec![], dns: vec![], mtu: 0 };
    let (orders, ordered) = watch::channel(Orders { settings: nothing, stop: None });
    let (events, heard) = mpsc::channel(4);
    let door = Door { seat: Seat::default(), orders: ordered, events, drops, timing: Timing::default() };
    (door, Extensions { orders, events: heard })
}

/// The packet loops' end while no extension is attached: what would go there is dropped and counted.
pub fn absent() -> Device {
    let (source, wake) = nothing();
    Device { source: Box::new(source), sink: Box::new(Absent), wake }
}
