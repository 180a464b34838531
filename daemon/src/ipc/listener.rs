//! Who connects, and which framing they speak.

use std::time::Duration;

use cryprq_ipc_proto::header::MAGIC;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::dispatch::Dispatcher;
use super::places::{Place, Places};
use super::stream::{Connection, Timing};
use super::{Authority, Call, Caller, frames, http, lines};

/// Serves callers until the control task is gone.
pub async fn serve(listener: UnixListener, authority: Authority, calls: mpsc::Sender<Call>) {
    serve_with(listener, authority, calls, Timing::default()).await;
}

pub(super) async fn serve_with(
    listener: UnixListener,
    authority: Authority,
    calls: mpsc::Sender<Call>,
    timing: Timing,
) {
    let places = Places::default();
    let dispatcher = Dispatcher::new(authority, calls.clone(), places.clone(), timing);
    while !calls.is_closed() {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others may give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let caller = Caller { credentials: os::peercred::of(&stream).ok() };
        match places.take(caller.credentials.as_ref().map(|credentials| credentials.uid)) {
            Ok(place) => drop(tokio::spawn(welcome(stream, caller, dispatcher.clone(), timing, place))),
            // What it speaks is not known yet, and nobody waits for it to say so.
            Err(error) => _ = stream.try_write(&lines::refusal(&Value::Null, error)),
        }
    }
}

async fn welcome(stream: UnixStream, caller: Caller, dispatcher: Dispatcher, timing: Timing, _place: Place) {
    let mut connection = Connection::new(stream, timing);
    match connection.first_byte().await {
        None => {}
        Some(first) if first == MAGIC[0] => frames::converse(connection, &caller, &dispatcher).await,
        Some(first) if first.is_ascii_uppercase() => http::converse(connection, &caller, &dispatcher).await,
        // Everything else is told in JSON what is wrong with it.
        Some(_) => lines::converse(connection, &caller, &dispatcher).await,
    }
}
