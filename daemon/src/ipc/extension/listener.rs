//! Who comes to the packet socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::hello::Refused;
use os::{peercred, users};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

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

/// Serves sockets that were handed over by somebody whom the system let do so: on macOS, XPC.
pub async fn serve_handed_over(mut sockets: mpsc::Receiver<OwnedFd>, door: Door) {
    while let Some(socket) = sockets.recv().await {
        let stream = StdStream::from(socket);
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        match stream {
            Ok(stream) => drop(tokio::spawn(converse(stream, door.clone()))),
            Err(error) => tracing::warn!(%error, "what was handed over is no socket"),
        }
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
