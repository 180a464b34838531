//! JSON lines: `{"v":1,"id":…,"cmd":"status"}` → `{"id":…,"schema":1,"reply":"status",…}`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::error::{ErrorBody, ErrorCode};
use crate::limits::{MAX_DEPTH, MAX_LINE, SCHEMA, VERSION};
use crate::message::{Event, Reply, Request};
use crate::verb::VERBS;

/// A request with the caller's own id, which the reply repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLine {
    /// Anything, or null.
    pub id: Value,
    /// What is asked.
    pub request: Request,
}

/// Reads one line, without its line break.
///
/// # Errors
/// The id, as far as it could be read, and the [`ErrorBody`] to answer with.
pub fn read_request(line: &[u8]) -> Result<RequestLine, (Value, ErrorBody)> {
    let mut object = read_object(line).map_err(|error| (Value::Null, error))?;
    let id = object.remove("id").unwrap_or(Value::Null);
    match request_of(object) {
        Ok(request) => Ok(RequestLine { id, request }),
        Err(error) => Err((id, error)),
    }
}

/// Reads a JSON object that a caller sent, within the limits of requests.
///
/// # Errors
/// The [`ErrorBody`] to answer with.
pub fn read_object(text: &[u8]) -> Result<Map<String, Value>, ErrorBody> {
    if text.len() > MAX_LINE {
        return Err(ErrorBody::new(ErrorCode::TooLarge, format!("a request has at most {MAX_LINE} bytes")));
    }
    let bad = |message: String| ErrorBody::new(ErrorCode::BadRequest, message);
    if depth(text) > MAX_DEPTH {
        return Err(bad(format!("a request nests at most {MAX_DEPTH} deep")));
    }
    serde_json::from_slice(text).map_err(|error| bad(format!("no JSON object: {error}")))
}

/// The request that an object without `id` makes.
///
/// # Errors
/// The [`ErrorBody`] to answer with.
pub fn request_of(mut object: Map<String, Value>) -> Result<Request, ErrorBody> {
    let bad = |message: &str| ErrorBody::new(ErrorCode::BadRequest, message);
    let version = object.remove("v").unwrap_or(Value::from(VERSION));
    if version != VERSION {
        return Err(other_version(&version));
    }
    let Some(name) = object.get("cmd").and_then(Value::as_str) else {
        return Err(bad("the request has no \"cmd\""));
    };
    if !VERBS.iter().any(|verb| verb.name == name) {
        let known: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        let error = ErrorBody::new(ErrorCode::UnknownVerb, format!("there is no verb '{name}'"));
        return Err(error.hint(format!("the verbs are {}", known.join(", "))));
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| bad(&error.to_string()))
}

/// The refusal of a request of another version than ours.
fn other_version(theirs: &Value) -> ErrorBody {
    let daemon = env!("CARGO_PKG_VERSION");
    let speaks = format!("the request is of version {theirs}, cryprqd {daemon} speaks {VERSION}");
    let (message, hint) = match theirs.as_u64().map(|theirs| theirs.cmp(&VERSION.into())) {
        Some(Ordering::Less) => (format!("the client is older: {speaks}"), "update the client"),
        Some(Ordering::Greater) => (format!("the daemon is older: {speaks}"), "update the daemon, or restart it"),
        Some(Ordering::Equal) | None => (speaks, "use the cryprq of the same version as the daemon"),
    };
    ErrorBody::new(ErrorCode::VersionMismatch, message).hint(hint)
}

/// One line for a request, without its line break.
pub fn write_request(line: &RequestLine) -> String {
    let mut object = object_of(&line.request);
    object.insert("v".into(), VERSION.into());
    object.insert("id".into(), line.id.clone());
    Value::Object(object).to_string()
}

/// One line for a reply or a refusal, without its line break. `id` is the request's, where it has one.
pub fn write_reply(id: Option<&Value>, reply: &Result<Reply, ErrorBody>) -> String {
    answer(id, reply.as_ref().map(object_of))
}

/// One line of a watch, without its line break.
pub fn write_event(id: Option<&Value>, event: &Result<Event, ErrorBody>) -> String {
    answer(id, event.as_ref().map(object_of))
}

fn answer(id: Option<&Value>, body: Result<Map<String, Value>, &ErrorBody>) -> String {
    let mut object = body.unwrap_or_else(|error| Map::from_iter([("error".to_owned(), object_of(error).into())]));
    if let Some(id) = id {
        object.insert("id".into(), id.clone());
    }
    object.insert("schema".into(), SCHEMA.into());
    Value::Object(object).to_string()
}

/// Reads a reply line.
///
/// # Errors
/// The daemon's refusal, or [`ErrorCode::VersionMismatch`] when the line is no reply of this version.
pub fn read_reply(line: &[u8]) -> Result<Reply, ErrorBody> {
    read_answer(line)
}

/// Reads a line of a watch.
///
/// # Errors
/// Why the daemon ended it, or [`ErrorCode::VersionMismatch`] when the line is no event of this version.
pub fn read_event(line: &[u8]) -> Result<Event, ErrorBody> {
    read_answer(line)
}

fn read_answer<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ErrorBody> {
    let foreign = |error: serde_json::Error| {
        ErrorBody::new(ErrorCode::VersionMismatch, format!("the daemon's answer is not understood: {error}"))
            .hint("use the cryprq of the same version as the daemon")
    };
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(foreign)?;
    if let Some(error) = object.remove("error") {
        return Err(serde_json::from_value(error).map_err(foreign)?);
    }
    serde_json::from_value(Value::Object(object)).map_err(foreign)
}

fn object_of(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        // Our messages are structs with string keys.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// How deep brackets nest, without parsing: strings are passed over.
fn depth(line: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use crate::secret::SecretText;

    use super::*;

    fn refusal(line: &str) -> ErrorCode {
        read_request(line.as_bytes()).unwrap_err().1.code
    }

    #[test]
    fn each_verb_of_the_table_reads_back_as_written() {
        for verb in VERBS {
            let needed = match verb.name {
                "ping" | "peer_accept_chain_reset" | "peer_add" | "peer_set" | "peer_remove" => r#","peer":"gateway""#,
                "log_level" => r#","level":"debug""#,
                "join" => r#","ticket":"cryprq:AE""#,
                "invite_cancel" => r#","invite":"e0e1""#,
                _ => "",
            };
            let line = format!(r#"{{"v":1,"id":7,"cmd":"{}"{needed}}}"#, verb.name);
            let read = read_request(line.as_bytes()).unwrap();
            assert_eq!((read.request.name(), read.request.tier(), &read.id), (verb.name, verb.tier, &Value::from(7)));
            assert_eq!(read_request(write_request(&read).as_bytes()).unwrap(), read);
        }
    }

    #[test]
    fn an_id_comes_back_as_it_was_written_whatever_it_is() {
        for id in [
            "null",
            "-7",
            "18446744073709551615",
            "\"a\\n\"",
            "[1,{\"b\":2}]",
            "25.241202102937798",
            "204424414.67809114",
        ] {
            let line = format!(r#"{{"cmd":"status","id":{id}}}"#);
            let read = read_request(line.as_bytes()).unwrap();
            assert_eq!(read_request(write_request(&read).as_bytes()).unwrap(), read, "{id}");
        }
    }

    #[test]
    fn attack_08_malformed_requests_are_refused_by_name() {
        assert_eq!(refusal("nonsense"), ErrorCode::BadRequest);
        assert_eq!(refusal("[]"), ErrorCode::BadRequest);
        assert_eq!(refusal("{}"), ErrorCode::BadRequest);
        assert_eq!(refusal(r#"{"cmd":"statsu"}"#), ErrorCode::UnknownVerb);
        assert_eq!(refusal(r#"{"cmd":"status","path":"/etc/passwd"}"#), ErrorCode::BadRequest);
        assert_eq!(refusal(r#"{"v":2,"cmd":"status"}"#), ErrorCode::VersionMismatch);
        assert_eq!(
            refusal(&format!(r#"{{"cmd":"status","id":{}1{}}}"#, "[".repeat(9), "]".repeat(9))),
            ErrorCode::BadRequest
        );
        assert_eq!(refusal(&format!(r#"{{"cmd":"{}"}}"#, "x".repeat(MAX_LINE))), ErrorCode::TooLarge);
        assert!(read_request(br#"{"cmd":"status","id":"[[[[[[[[[[\"[["}"#).is_ok(), "brackets in strings do not nest");
    }

    #[test]
    fn replies_and_refusals_read_back_and_carry_id_and_schema() {
        let reply = Ok(Reply::Hello { version: "0.1.0".into() });
        let line = write_reply(Some(&Value::from("a")), &reply);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["id"], &value["schema"], &value["reply"]), (&"a".into(), &1.into(), &"hello".into()));
        assert_eq!(read_reply(line.as_bytes()), reply);
        let invite = Ok(Reply::Invite {
            invite: "e0e1".into(),
            ticket: SecretText::new("cryprq:AE".into()),
            expires_at: "2026-01-01T00:00:00Z".into(),
            addresses: vec![],
            reachable: "unknown".into(),
        });
        assert_eq!(
            read_reply(write_reply(Some(&Value::from(7)), &invite).as_bytes()),
            invite,
            "nothing is called like an id"
        );
        let refused = Err(ErrorBody::new(ErrorCode::PermissionDenied, "no").hint("sudo cryprq down"));
        assert_eq!(read_reply(write_reply(None, &refused).as_bytes()), refused);
        assert_eq!(read_reply(b"?").unwrap_err().code, ErrorCode::VersionMismatch);
    }
}
