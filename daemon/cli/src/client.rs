//! One connection to the daemon.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::{RequestLine, read_event, read_reply, write_request};
use cryprq_ipc_proto::message::{Event, EventBody, Reply, Request, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clean;
use crate::error::{Result, broken, foreign, of_two_versions, unreachable};

/// How long an answer may take that the daemon has at hand.
const LIMIT: Duration = Duration::from_secs(10);
/// How long an answer may take that another host has to give: the daemon's own limits are shorter.
const FAR_LIMIT: Duration = Duration::from_secs(120);

/// An answer: as the daemon wrote it, for programs, and as it may be shown, for people.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The line, without its line break.
    pub(crate) line: String,
    /// What it says. Its strings hold nothing that a terminal would obey, but for those of [`is_document`].
    pub(crate) reply: Reply,
}

pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).map_err(|error| unreachable(path, &error))?;
        stream.set_write_timeout(Some(LIMIT)).map_err(|error| broken(&error))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.exchange(request).map_err(|error| self.with_versions(error))
    }

    fn exchange(&mut self, request: &Request) -> Result<Answer> {
        let limit = if waits_for_another_host(request) { FAR_LIMIT } else { LIMIT };
        self.0.get_ref().set_read_timeout(Some(limit)).map_err(|error| broken(&error))?;
        self.send(request)?;
        let line = self.line()?;
        let reply = shown(read_reply(line.as_bytes())?)?;
        Ok(Answer { line, reply })
    }

    /// Begins to watch; nothing else can be asked any more.
    pub(crate) fn watch(mut self) -> Result<Watch> {
        self.send(&Request::Watch {})?;
        Ok(Watch { client: self, status: None })
    }

    /// A fault that two versions of the programs explain, with both of them in its hint.
    fn with_versions(&mut self, error: ErrorBody) -> ErrorBody {
        if !matches!(error.code, ErrorCode::VersionMismatch | ErrorCode::UnknownVerb) {
            return error;
        }
        match self.version() {
            Some(daemon) => of_two_versions(error, env!("CARGO_PKG_VERSION"), &daemon),
            None => error,
        }
    }

    /// What the daemon says that it is. It is one of another version, so of its answer only this has to be as it is here.
    fn version(&mut self) -> Option<String> {
        self.0.get_ref().set_read_timeout(Some(LIMIT)).ok()?;
        self.send(&Request::Hello {}).ok()?;
        let answer: Value = serde_json::from_str(&self.line().ok()?).ok()?;
        answer.get("version")?.as_str().map(str::to_owned)
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let line = write_request(&RequestLine { id: Value::Null, request: request.clone() }) + "\n";
        // A daemon that turns us away has said so already, and closed: its word is worth more than the broken pipe.
        match self.0.get_mut().write_all(line.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(broken(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).map_err(|error| broken(&error))?;
        if read == 0 {
            return Err(broken(&io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// The state of the daemon as it changes.
pub(crate) struct Watch {
    client: Client,
    status: Option<Status>,
}

impl Watch {
    /// The next event, as the daemon wrote it, and the state that it leads to; `None` when `end` comes first. The first
    /// event, which the daemon has at hand, comes whenever `end` is.
    pub(crate) fn next(&mut self, end: Option<Instant>) -> Result<Option<(String, &Status)>> {
        let first = self.status.is_none();
        let left = if first { Some(LIMIT) } else { end.map(|end| end.saturating_duration_since(Instant::now())) };
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        self.client.0.get_ref().set_read_timeout(left).map_err(|error| broken(&error))?;
        let line = match self.client.line() {
            Err(error) if error.code == ErrorCode::TimedOut && !first => return Ok(None),
            line => line?,
        };
        let read = read_event(line.as_bytes()).and_then(cleaned::<Event>);
        // Whoever was refused does not watch, so it can ask something else.
        let event = read.map_err(|error| if first { self.client.with_versions(error) } else { error })?;
        let status = match (self.status.take(), event.body) {
            (_, EventBody::State(status)) => *status,
            (Some(mut status), EventBody::Change(change)) => {
                change.apply(&mut status);
                status
            }
            (None, EventBody::Change(_)) => return Err(foreign()),
        };
        Ok(Some((line, self.status.insert(status))))
    }
}

const fn waits_for_another_host(request: &Request) -> bool {
    matches!(request, Request::Join { .. } | Request::Ping { .. })
}

/// The reply as people may see it.
fn shown(reply: Reply) -> Result<Reply> {
    if is_document(&reply) { Ok(reply) } else { cleaned(reply) }
}

/// The message, its strings without what a terminal would obey.
fn cleaned<T: Serialize + DeserializeOwned>(message: T) -> Result<T> {
    serde_json::to_value(message).and_then(|value| serde_json::from_value(clean::value(value))).map_err(|_| foreign())
}

/// Whether the reply is a text of many lines, which the output cleans.
const fn is_document(reply: &Reply) -> bool {
    matches!(reply, Reply::Metrics { .. } | Reply::Config { .. })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use cryprq_ipc_proto::error::ErrorCode;

    use super::*;

    /// A daemon that answers one request with `answer`.
    fn daemon(answer: &'static str) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            request
        });
        (dir, path, served)
    }

    #[test]
    fn a_request_goes_out_as_one_line_and_the_answer_is_read() {
        let line = r#"{"schema":1,"id":null,"reply":"hello","version":"9","later":true}"#;
        let (_dir, path, served) =
            daemon("{\"schema\":1,\"id\":null,\"reply\":\"hello\",\"version\":\"9\",\"later\":true}\n");
        let answer = Client::connect(&path).unwrap().ask(&Request::Hello {}).unwrap();
        assert_eq!((answer.line.as_str(), answer.reply), (line, Reply::Hello { version: "9".into() }));
        let request: Value = serde_json::from_str(&served.join().unwrap()).unwrap();
        assert_eq!((&request["cmd"], &request["v"]), (&"hello".into(), &1.into()));
    }

    #[test]
    fn what_a_terminal_would_obey_does_not_reach_the_commands() {
        let (_dir, path, served) = daemon("{\"schema\":1,\"reply\":\"hello\",\"version\":\"9\\u001b[2J\\u202e\"}\n");
        let answer = Client::connect(&path).unwrap().ask(&Request::Hello {}).unwrap();
        assert_eq!(answer.reply, Reply::Hello { version: r"9\u{1b}[2J\u{202e}".into() });
        served.join().unwrap();
    }

    #[test]
    fn a_refusal_keeps_its_code_and_hint() {
        let (_dir, path, served) = daemon(
            "{\"schema\":1,\"error\":{\"code\":\"permission_denied\",\"message\":\"no\",\"hint\":\"sudo x\"}}\n",
        );
        let refused = Client::connect(&path).unwrap().ask(&Request::Down { peer: None }).unwrap_err();
        assert_eq!((refused.code, refused.hint.as_deref()), (ErrorCode::PermissionDenied, Some("sudo x")));
        served.join().unwrap();
    }

    #[test]
    fn no_daemon_and_a_daemon_that_leaves_are_told_apart() {
        let nowhere = Client::connect(Path::new("/nonexistent/control.sock")).err().unwrap();
        assert!(nowhere.code == ErrorCode::NotRunning && nowhere.message.contains("no such socket"), "{nowhere:?}");
        let (_dir, path, served) = daemon("");
        let left = Client::connect(&path).unwrap().ask(&Request::Hello {}).unwrap_err();
        assert!(left.code == ErrorCode::NotRunning && left.message.contains("went away"), "{left:?}");
        served.join().unwrap();
    }
}
