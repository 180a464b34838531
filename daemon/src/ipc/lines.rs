//! JSON lines: a request a line, an answer a line.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::{read_request, write_event, write_reply};
use cryprq_ipc_proto::limits::MAX_LINE;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Caller;
use super::dispatch::{Answer, Dispatcher};
use super::stream::{Connection, Line, Outlet, Words, tell};

/// Answers requests in their order until the client leaves. A watch takes the connection over.
pub(super) async fn converse(mut connection: Connection, caller: &Caller, dispatcher: &Dispatcher) {
    while connection.first_byte().await.is_some() {
        let line = match connection.line(MAX_LINE).await {
            Line::Whole(line) => Zeroizing::new(line),
            Line::TooLong => {
                let error = ErrorBody::new(ErrorCode::TooLarge, format!("a request has at most {MAX_LINE} bytes"));
                connection.write(refusal(&Value::Null, error)).await;
                return;
            }
            Line::End => return,
        };
        let (id, answer) = match read_request(&line) {
            Ok(read) => (read.id, dispatcher.answer(caller, read.request).await),
            Err((id, error)) => (id, Err(error)),
        };
        let bytes = match answer {
            Ok(Answer::Reply(reply)) => ended(write_reply(Some(&id), &Ok(reply))),
            Err(error) => refusal(&id, error),
            Ok(Answer::Watch(watcher)) => {
                let slow = connection.timing.slow;
                let encode = |event: &Result<_, _>| {
                    let line = ended(write_event(Some(&id), event));
                    if event.is_ok() { Words::More(line) } else { Words::Last(line) }
                };
                return tell(watcher, &mut connection, slow, encode).await;
            }
        };
        if !connection.write(bytes).await {
            return;
        }
    }
}

/// A refusal's line.
pub(super) fn refusal(id: &Value, error: ErrorBody) -> Vec<u8> {
    ended(write_reply(Some(id), &Err(error)))
}

fn ended(line: String) -> Vec<u8> {
    (line + "\n").into_bytes()
}
