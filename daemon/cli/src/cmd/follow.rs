//! The state of the daemon as it changes.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use cryprq_ipc_proto::message::{Reply, Request, Status};

use super::Context;
use crate::client::Answer;
use crate::error::{Result, foreign};

const PAUSE: Duration = Duration::from_millis(200);

/// Shows each state to `see`, as the daemon's line and as what it says, until it has seen enough, or until `end`.
pub(super) fn status<T>(
    context: &Context<'_>,
    end: Option<Instant>,
    mut see: impl FnMut(&str, &Status) -> Result<ControlFlow<T>>,
) -> Result<Option<T>> {
    let mut client = context.connect()?;
    loop {
        let Answer { line, reply: Reply::Status(status) } = client.ask(&Request::Status {})? else {
            return Err(foreign());
        };
        if let ControlFlow::Break(seen) = see(&line, &status)? {
            return Ok(Some(seen));
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}
