//! What others on the same host may try with the control socket. Each test is named after an attack that was tried on
//! programs like this one; those that need no running daemon stand beside the code.

mod abuse;
mod identity;
mod reach;
mod secrets;
mod versions;

use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header, MAGIC};
use cryprq_ipc_proto::hello::{Hello, Role};
use cryprq_ipc_proto::json::{read_reply, request_of};
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::verb::{VERBS, Verb};
use serde_json::{Map, Value, json};

/// A request for each verb, every text in it being `text`, but for those that have to be something else to be read.
fn requests(text: &str) -> impl Iterator<Item = (&'static Verb, Map<String, Value>, Request)> {
    let all = [
        ("peer", json!(text)),
        ("name", json!(text)),
        ("addresses", json!([text])),
        ("allowed_ips", json!([text])),
        ("psk", json!(text)),
        ("ticket", json!(text)),
        ("invite", json!(text)),
        ("level", json!(text)),
    ];
    VERBS.iter().map(move |verb| {
        let mut object = Map::from_iter([("cmd".to_owned(), json!(verb.name))]);
        for (key, value) in &all {
            object.insert((*key).to_owned(), value.clone());
            if !is_known(verb, key) {
                object.remove(*key);
            }
        }
        let request = request_of(object.clone()).expect("every field of the verb is known here");
        (verb, object, request)
    })
}

/// Whether a verb has this field: with an impossible value, a known field is refused for another reason than an unknown.
fn is_known(verb: &Verb, key: &str) -> bool {
    let object = Map::from_iter([("cmd".to_owned(), json!(verb.name)), (key.to_owned(), json!({ "no": "value" }))]);
    request_of(object).is_err_and(|error| !error.message.contains("unknown field"))
}

fn line(object: &Map<String, Value>) -> Vec<u8> {
    format!("{}\n", Value::Object(object.clone())).into_bytes()
}

fn frames(request: &Request) -> Vec<u8> {
    let hello = Frame::Hello(Hello::new("attack", Role::Script)).write(1).expect("it fits");
    [hello, Frame::Request(request.clone()).write(2).expect("it fits")].concat()
}

/// The verb's first route, asked for `object`.
fn http(verb: &Verb, object: &Map<String, Value>) -> Vec<u8> {
    let route = &verb.routes[0];
    let (mut body, mut path) = (object.clone(), route.path.to_owned());
    body.remove("cmd");
    if let Some(name) = route.parameter() {
        let id = body.remove(name).and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        path = path.replace("ID", &encoded);
    }
    let (method, body) = (route.method.name(), Value::Object(body).to_string());
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: cryprq\r\nConnection: close\r\nContent-Length: {}", body.len());
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// The refusal in an answer of any framing; `None` for an answer that is none.
fn refusal(answer: &[u8]) -> Option<ErrorBody> {
    if answer.first() == Some(&MAGIC[0]) {
        return frames_in(answer).into_iter().find_map(|frame| {
            let Frame::Error(error) = frame else { return None };
            Some(error)
        });
    }
    read_reply(body(answer)).err()
}

fn frames_in(mut answer: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((header, after)) = answer.split_first_chunk::<HEADER>() {
        let header = Header::read(header).expect("a header");
        let (body, after) = after.split_at(header.length);
        frames.push(Frame::read(&header, body).expect("a frame"));
        answer = after;
    }
    frames
}

/// What follows the head of an HTTP response; a line as a whole.
fn body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
    &answer[head..]
}
