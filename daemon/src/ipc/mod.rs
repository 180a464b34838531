//! The control socket: JSON lines from local callers whom the kernel identifies (`docs/ipc.md`).

mod auth;
mod server;

pub use auth::{Authority, Caller};
pub use server::serve;

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
