//! A daemon that only talks: it answers each verb with what stands in a file.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::{read_request, write_reply};
use cryprq_ipc_proto::message::Request;
use serde_json::{Deserializer, Value};

/// A listening daemon. It answers until the program ends; its socket goes with this handle.
pub struct FakeDaemon {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl FakeDaemon {
    /// Answers the verb `status` with the JSON objects of `REPLIES/status.json`, one line each, and so on. What has no
    /// file is refused as an unknown verb.
    ///
    /// # Errors
    /// When there is no place for a socket.
    pub fn start(replies: &Path) -> std::io::Result<Self> {
        let daemon = Self { folder: tempfile::tempdir()?, asked: Arc::default() };
        let listener = UnixListener::bind(daemon.socket())?;
        let (replies, asked) = (replies.to_owned(), Arc::clone(&daemon.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (replies, asked) = (replies.clone(), Arc::clone(&asked));
                // A client that leaves ends its conversation, which is all there is to it.
                std::thread::spawn(move || drop(converse(stream, &replies, &asked)));
            }
        });
        Ok(daemon)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(stream: UnixStream, replies: &Path, asked: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let answer = match read_request(line?.as_bytes()) {
            Ok(line) => {
                let answer = lines(replies, line.request.name())?;
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(line.request);
                answer
            }
            Err((id, error)) => write_reply(Some(&id), &Err(error)) + "\n",
        };
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The objects of a file, a line each.
fn lines(replies: &Path, verb: &str) -> std::io::Result<String> {
    let Ok(text) = std::fs::read(replies.join(verb).with_extension("json")) else {
        let error = ErrorBody::new(ErrorCode::UnknownVerb, format!("there is no verb '{verb}'"));
        return Ok(write_reply(Some(&Value::Null), &Err(error)) + "\n");
    };
    let objects: Vec<Value> = Deserializer::from_slice(&text).into_iter().collect::<Result<_, _>>()?;
    Ok(objects.iter().map(|object| format!("{object}\n")).collect())
}
