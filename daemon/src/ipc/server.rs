//! Connections of the control socket.

use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::{read_request, write_reply};
use cryprq_ipc_proto::limits::MAX_LINE;
use cryprq_ipc_proto::message::Reply;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Authority, Call, Caller};

const MAX_CLIENTS: usize = 64;
/// A client that says nothing for so long is cut off.
const IDLE: Duration = Duration::from_secs(60);
/// A line, once begun, is finished within this time, and an answer is taken within it.
const SLOW: Duration = Duration::from_secs(10);

/// Serves callers until the control task is gone.
pub async fn serve(listener: UnixListener, authority: Authority, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    while !calls.is_closed() {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors: others may give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let error =
                ErrorBody::new(ErrorCode::TooManyClients, format!("{MAX_CLIENTS} clients are connected already"));
            let _ = stream.try_write(answer(&Value::Null, &Err(error)).as_bytes());
            continue;
        };
        let (authority, calls) = (authority.clone(), calls.clone());
        tokio::spawn(async move {
            let caller = Caller { credentials: os::peercred::of(&stream).ok() };
            converse(&mut stream, &caller, &authority, &calls).await;
            drop(place);
        });
    }
}

fn answer(id: &Value, reply: &Result<Reply, ErrorBody>) -> String {
    write_reply(id, reply) + "\n"
}

async fn converse(stream: &mut UnixStream, caller: &Caller, authority: &Authority, calls: &mpsc::Sender<Call>) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = match next_line(&mut reader).await {
            Line::Whole(line) => line,
            Line::TooLong => {
                let error = ErrorBody::new(ErrorCode::TooLarge, format!("a request has at most {MAX_LINE} bytes"));
                let _ = timeout(SLOW, writer.write_all(answer(&Value::Null, &Err(error)).as_bytes())).await;
                return;
            }
            Line::End => return,
        };
        let (id, reply) = respond(&line, caller, authority, calls).await;
        match timeout(SLOW, writer.write_all(answer(&id, &reply).as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

/// The next line without its line break; never more than [`MAX_LINE`] bytes are held.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Line {
    match timeout(IDLE, reader.fill_buf()).await {
        Ok(Ok(bytes)) if !bytes.is_empty() => {}
        Ok(Ok(_) | Err(_)) | Err(_) => return Line::End,
    }
    let rest = async {
        let mut line = Vec::new();
        loop {
            let Ok(bytes) = reader.fill_buf().await else { return Line::End };
            if bytes.is_empty() {
                return if line.is_empty() { Line::End } else { Line::Whole(line) };
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(bytes.len());
            if line.len() + taken > MAX_LINE {
                return Line::TooLong;
            }
            line.extend_from_slice(&bytes[..taken]);
            reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Line::Whole(line);
            }
        }
    };
    timeout(SLOW, rest).await.unwrap_or(Line::End)
}

async fn respond(
    line: &[u8],
    caller: &Caller,
    authority: &Authority,
    calls: &mpsc::Sender<Call>,
) -> (Value, Result<Reply, ErrorBody>) {
    let request = match read_request(line) {
        Ok(request) => request,
        Err((id, error)) => return (id, Err(error)),
    };
    let (id, request) = (request.id, request.request);
    if let Err(refused) = authority.check(caller, &request) {
        let uid = caller.credentials.as_ref().map(|c| c.uid);
        tracing::warn!(uid, verb = request.name(), "refused");
        return (id, Err(refused));
    }
    let (reply, answered) = oneshot::channel();
    let stopping = || ErrorBody::new(ErrorCode::NotRunning, "the daemon is stopping");
    if calls.send(Call { request, caller: caller.clone(), reply }).await.is_err() {
        return (id, Err(stopping()));
    }
    (id, answered.await.unwrap_or_else(|_| Err(stopping())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::config::{Access, Who};

    use super::*;

    /// A daemon that answers `hello` and nothing else, for callers of our own user.
    fn daemon() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = os::sockets::listen(&path, 0o600, None).unwrap();
        listener.set_nonblocking(true).unwrap();
        let root = || BTreeSet::from([Who::Root]);
        let access = Access { observe: root(), operate: root(), admin: root() };
        let (calls, mut queue) = mpsc::channel(4);
        let listener = UnixListener::from_std(listener).unwrap();
        tokio::spawn(serve(listener, Authority::new(access, "cryprq".into()), calls));
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                let _ = call.reply.send(Ok(Reply::Hello { version: "test".into() }));
            }
        });
        (dir, path)
    }

    async fn ask(stream: &mut UnixStream, request: &[u8]) -> Option<Value> {
        stream.write_all(request).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    #[tokio::test]
    async fn requests_are_answered_in_order_on_one_connection() {
        let (_dir, path) = daemon();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        for id in 0..3 {
            let line = format!("{{\"v\":1,\"id\":{id},\"cmd\":\"hello\"}}\n");
            let reply = ask(&mut stream, line.as_bytes()).await.unwrap();
            assert_eq!((&reply["id"], &reply["version"]), (&Value::from(id), &Value::from("test")));
        }
    }

    #[tokio::test]
    async fn attack_08_an_endless_line_is_cut_off_with_a_reason() {
        let (_dir, path) = daemon();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let reply = ask(&mut stream, &vec![b' '; MAX_LINE + 1]).await.unwrap();
        assert_eq!(reply["error"]["code"], "too_large");
        assert_eq!(ask(&mut stream, b"").await, None, "the connection is closed");
    }

    #[tokio::test]
    async fn attack_13_more_clients_than_places_are_told_so() {
        let (_dir, path) = daemon();
        let mut held = Vec::new();
        for _ in 0..MAX_CLIENTS {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            assert!(ask(&mut stream, b"{\"cmd\":\"hello\"}\n").await.is_some());
            held.push(stream);
        }
        let mut late = UnixStream::connect(&path).await.unwrap();
        assert_eq!(ask(&mut late, b"").await.unwrap()["error"]["code"], "too_many_clients");
    }
}
