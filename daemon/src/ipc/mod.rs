//! The control socket: local callers whom the kernel identifies (`docs/ipc.md`).
//!
//! Each connection speaks one of three framings, told apart by its first byte: JSON lines (`lines`), binary frames
//! (`frames`), HTTP (`http`). All of them hand their requests to one `Dispatcher`, which asks
//! [`Authority`] about each and passes it on to the control task. The packet socket is the [`extension`]'s.

mod audit;
mod auth;
mod dispatch;
pub mod extension;
mod frames;
mod http;
mod lines;
mod listener;
mod metrics;
mod places;
mod stream;
mod watch;

pub use auth::{Authority, Caller};
pub use listener::serve;

use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::message::{Reply, Request};
use tokio::sync::oneshot;

/// A request that its caller may make, on its way to the control task.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// By whom.
    pub caller: Caller,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Reply, ErrorBody>>,
}

#[cfg(test)]
mod tests;
