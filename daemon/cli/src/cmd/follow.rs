//! The state of the daemon as it changes.

use std::ops::ControlFlow;
use std::time::Instant;

use cryprq_ipc_proto::message::Status;

use super::Context;
use crate::error::Result;

/// Shows each state to `see`, as the daemon's line and as what it leads to, until it has seen enough, or until `end`.
pub(super) fn status<T>(
    context: &Context<'_>,
    end: Option<Instant>,
    mut see: impl FnMut(&str, &Status) -> Result<ControlFlow<T>>,
) -> Result<Option<T>> {
    let mut watch = context.connect()?.watch()?;
    while let Some((line, status)) = watch.next(end)? {
        if let ControlFlow::Break(seen) = see(&line, status)? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}
