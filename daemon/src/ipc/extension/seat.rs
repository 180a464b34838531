//! The one place of an extension.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::ipc::stream::{Outlook, outlook};

/// Taken by one extension at a time.
#[derive(Clone)]
pub(super) struct Seat {
    free: Arc<Semaphore>,
    /// The socket of the one that sits, or sat.
    holder: Arc<Mutex<Option<OwnedFd>>>,
}

impl Default for Seat {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(1)), holder: Arc::default() }
    }
}

/// The seat is free again when this is dropped.
pub(super) struct Seated {
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Takes the seat for the extension at the other end of `socket`, which waits for as long as `farewell` for that of one
    /// that is gone.
    ///
    /// # Errors
    /// The refusal to tell a second extension.
    pub(super) async fn take(&self, socket: &impl AsFd, farewell: Duration) -> Result<Seated, ErrorBody> {
        let refused = || {
            ErrorBody::new(ErrorCode::ExtensionAttached, "another extension is attached")
                .hint("stop the other one first; 'cryprq status' shows when none is attached")
        };
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if !self.holder_is_gone() => return Err(refused()),
            // Nobody tells of a death: the successor may be here before it was noticed.
            Err(_) => match timeout(farewell, Arc::clone(&self.free).acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(refused()),
            },
        };
        let socket: io::Result<OwnedFd> = socket.as_fd().try_clone_to_owned();
        *self.holder() = socket.ok();
        Ok(Seated { _permit: permit })
    }

    fn holder_is_gone(&self) -> bool {
        self.holder().as_ref().is_some_and(|socket| outlook(socket) == Outlook::Gone)
    }

    fn holder(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
