//! Who comes to the packet socket.

use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::hello::Refused;
use os::{peercred, users};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Door;
use super::conversation::converse;

/// Connections at the same time, those before their hello included.
pub(super) const MAX_CONNECTIONS: usize = 8;

/// Serves whoever connects as root, or as the daemon's own user, until the control task is gone.
pub async fn serve_extensions(listener: UnixListener, door: Door) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while !door.events.is_closed() {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others may give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Err(error) = admit(&stream) {
            tracing::warn!(%error, "refused at the packet socket");
            refuse(&stream, error);
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let error = ErrorBody::new(ErrorCode::TooManyClients, "too many connections are open already");
            refuse(&stream, error.hint("close one and try again"));
            continue;
        };
        let door = door.clone();
        tokio::spawn(async move {
            converse(stream, door).await;
            drop(place);
        });
    }
}

/// The mode of the socket keeps others out; this holds for descriptors that were handed on.
fn admit(stream: &UnixStream) -> Result<(), ErrorBody> {
    let refused = |message: &str| ErrorBody::new(ErrorCode::PermissionDenied, message);
    let caller = peercred::of(stream).map_err(|_| refused("the system does not say who you are"))?;
    if caller.uid == 0 || caller.uid == users::effective_uid() {
        return Ok(());
    }
    Err(refused("only root may carry packets").hint("run the extension as root"))
}

/// Nobody waits for it to be read.
fn refuse(stream: &UnixStream, error: ErrorBody) {
    let refused = Frame::Refused(Refused { error, older: None });
    let _ = refused.write(0).map(|bytes| stream.try_write(&bytes));
}
