//! HTTP/1.1, for `curl --unix-socket`, Prometheus and whatever else cannot do better.

mod body;
mod gate;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::{read_object, request_of, write_event, write_reply};
use cryprq_ipc_proto::limits::MAX_LINE;
use cryprq_ipc_proto::message::Reply;
use cryprq_ipc_proto::verb::{Method, Route, Routed};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::dispatch::{Answer, Dispatcher};
use super::stream::{Connection, Words, tell};
use super::watch::Watcher;
use super::{Caller, metrics};
use body::Body;

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonl";
/// Head of a request, and what is kept of an answer that the client has not taken yet.
const BUFFER: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Answers requests in their order until the client leaves.
pub(super) async fn converse(connection: Connection, caller: &Caller, dispatcher: &Dispatcher) {
    let timing = connection.timing;
    let Ok((stream, socket)) = connection.into_parts() else { return };
    let client = Client { caller, dispatcher, socket: Arc::new(socket), slow: timing.slow };
    let service = service_fn(async |request| {
        Ok::<_, Infallible>(client.respond(request).await.unwrap_or_else(|refused| *refused))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(timing.slow).max_buf_size(BUFFER).max_headers(MAX_HEADERS);
    // Who has nothing more to say (`nc -N`) may still want the answer.
    server.half_close(true);
    // However it ended: there is nobody left to tell.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

type Refused = Box<Response<Body>>;

/// Who asks.
struct Client<'a> {
    caller: &'a Caller,
    dispatcher: &'a Dispatcher,
    socket: Arc<OwnedFd>,
    slow: Duration,
}

impl Client<'_> {
    async fn respond(&self, request: hyper::Request<Incoming>) -> Result<Response<Body>, Refused> {
        gate::check(&request).map_err(refuse)?;
        let (head, body) = request.into_parts();
        let Target { verb, parameter } = route(head.method.as_str(), head.uri.path())?;
        let mut object = Map::from_iter([("cmd".to_owned(), Value::from(verb))]);
        object.extend(parameter.map(|(name, value)| (name.to_owned(), value.into())));
        for (key, value) in read_body(body, self.slow).await.map_err(refuse)? {
            if object.contains_key(&key) {
                return Err(refuse(ErrorBody::new(ErrorCode::BadRequest, format!("'{key}' is told by the path"))));
            }
            object.insert(key, value);
        }
        let request = request_of(object).map_err(refuse)?;
        match self.dispatcher.answer(self.caller, request).await.map_err(refuse)? {
            Answer::Reply(Reply::Metrics { text }) => Ok(response(StatusCode::OK, metrics::CONTENT_TYPE, text)),
            Answer::Reply(reply) => Ok(response(StatusCode::OK, JSON, write_reply(None, &Ok(reply)) + "\n")),
            Answer::Watch(watcher) => Ok(self.events(watcher)),
        }
    }

    fn events(&self, watcher: Watcher) -> Response<Body> {
        let (mut outlet, body) = Body::events(Arc::clone(&self.socket), self.slow);
        let slow = self.slow;
        tokio::spawn(async move {
            let encode = |event: &Result<_, _>| {
                let line = (write_event(None, event) + "\n").into_bytes();
                if event.is_ok() { Words::More(line) } else { Words::Last(line) }
            };
            tell(watcher, &mut outlet, slow, encode).await;
        });
        response(StatusCode::OK, JSON_LINES, body)
    }
}

struct Target {
    verb: &'static str,
    parameter: Option<(&'static str, String)>,
}

fn route(method: &str, path: &str) -> Result<Target, Refused> {
    let bad = |code, message: &str| refuse(ErrorBody::new(code, message));
    match Route::find(method, path) {
        Routed::Verb { verb, parameter: None } => Ok(Target { verb: verb.name, parameter: None }),
        Routed::Verb { verb, parameter: Some((name, value)) } => match decode(value) {
            Some(value) => Ok(Target { verb: verb.name, parameter: Some((name, value)) }),
            None => Err(bad(ErrorCode::BadRequest, "the path is not percent-encoded UTF-8")),
        },
        Routed::Nowhere => Err(bad(ErrorCode::UnknownVerb, "there is nothing at this path")),
        Routed::Methods(methods) => {
            let allowed = methods.into_iter().map(Method::name).collect::<Vec<_>>().join(", ");
            let mut refused = bad(ErrorCode::UnknownVerb, &format!("this path takes {allowed}"));
            *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            if let Ok(allowed) = HeaderValue::try_from(allowed) {
                refused.headers_mut().insert(ALLOW, allowed);
            }
            Err(refused)
        }
    }
}

/// Percent-decoding (RFC 3986, section 2.1).
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                (u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, after)
            }
            (b'%', _) => return None,
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// The fields that the body adds: none, or those of a JSON object.
async fn read_body(body: Incoming, slow: Duration) -> Result<Map<String, Value>, ErrorBody> {
    let refused = |code, message: &str| Err(ErrorBody::new(code, message));
    let bytes = match timeout(slow, Limited::new(body, MAX_LINE).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refused(ErrorCode::TooLarge, &format!("a request has at most {MAX_LINE} bytes"));
        }
        Ok(Err(_)) => return refused(ErrorCode::BadRequest, "the body ended early"),
        Err(_) => return refused(ErrorCode::TimedOut, "the body did not come in time"),
    };
    if bytes.trim_ascii().is_empty() { Ok(Map::new()) } else { read_object(&bytes) }
}

fn refuse(error: ErrorBody) -> Refused {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Box::new(response(status, JSON, write_reply(None, &Err(error)) + "\n"))
}

fn response(status: StatusCode, content: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    // Answers may hold a ticket.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
