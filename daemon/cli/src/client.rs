//! One connection to the daemon.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::json::{RequestLine, read_reply, write_request};
use cryprq_ipc_proto::message::{Reply, Request};

const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    NotRunning(PathBuf),
    NotAllowed(PathBuf),
    Io(io::Error),
    Refused(ErrorBody),
    Output(io::Error),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning(path) => write!(f, "no daemon answers at {}", path.display()),
            Self::NotAllowed(path) => write!(f, "you may not open {}", path.display()),
            Self::Io(error) => write!(f, "the daemon did not answer: {error}"),
            Self::Refused(body) => body.fmt(f),
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl ClientError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning(_) => Some("sudo systemctl start cryprqd".into()),
            Self::NotAllowed(_) => Some("sudo usermod -aG cryprq $USER, then log in again".into()),
            Self::Refused(body) => body.hint.clone(),
            Self::Io(_) | Self::Output(_) => None,
        }
    }
}

pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                ClientError::NotAllowed(path.to_owned())
            } else {
                ClientError::NotRunning(path.to_owned())
            }
        })?;
        stream.set_read_timeout(Some(LIMIT)).map_err(ClientError::Io)?;
        stream.set_write_timeout(Some(LIMIT)).map_err(ClientError::Io)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let line = write_request(&RequestLine { id: serde_json::Value::Null, request: request.clone() }) + "\n";
        self.0.get_mut().write_all(line.as_bytes()).map_err(ClientError::Io)?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).map_err(ClientError::Io)?;
        if answer.is_empty() {
            return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        read_reply(answer.as_bytes()).map_err(ClientError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use cryprq_ipc_proto::error::ErrorCode;

    use super::*;

    /// A daemon that answers one request with `answer`.
    fn daemon(answer: &'static str) -> (PathBuf, std::thread::JoinHandle<String>) {
        let path = std::env::temp_dir().join(format!("cryprq-client-{}-{}", std::process::id(), answer.len()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            request
        });
        (path, served)
    }

    #[test]
    fn a_request_goes_out_as_one_line_and_the_answer_is_read() {
        let (path, served) = daemon("{\"schema\":1,\"id\":null,\"reply\":\"hello\",\"version\":\"9\"}\n");
        let reply = Client::connect(&path).unwrap().ask(&Request::Hello {}).unwrap();
        assert_eq!(reply, Reply::Hello { version: "9".into() });
        let request: serde_json::Value = serde_json::from_str(&served.join().unwrap()).unwrap();
        assert_eq!((&request["cmd"], &request["v"]), (&"hello".into(), &1.into()));
    }

    #[test]
    fn a_refusal_keeps_its_code_and_hint() {
        let (path, served) = daemon(
            "{\"schema\":1,\"error\":{\"code\":\"permission_denied\",\"message\":\"no\",\"hint\":\"sudo x\"}}\n",
        );
        let refused = Client::connect(&path).unwrap().ask(&Request::Down { peer: None }).unwrap_err();
        assert_eq!(refused.hint().as_deref(), Some("sudo x"));
        assert!(matches!(refused, ClientError::Refused(body) if body.code == ErrorCode::PermissionDenied));
        served.join().unwrap();
    }

    #[test]
    fn no_daemon_and_a_daemon_that_leaves_are_told_apart() {
        let nowhere = Client::connect(Path::new("/nonexistent/control.sock"));
        assert!(matches!(nowhere, Err(ClientError::NotRunning(_))));
        let (path, served) = daemon("");
        assert!(matches!(Client::connect(&path).unwrap().ask(&Request::Hello {}), Err(ClientError::Io(_))));
        served.join().unwrap();
    }
}
