//! The control socket with a control task that is made up, asked over real connections.

mod frames;
mod http;
mod lines;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{Addresses, Reply, Request, Status};
use cryprq_ipc_proto::verb::{VERBS, Verb};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::listener::serve_with;
use super::stream::Timing;
use super::{Authority, Call};
use crate::config::{Access, Who};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon whose state the test sets, for callers of our own user.
struct Daemon {
    folder: tempfile::TempDir,
    status: Arc<Mutex<Status>>,
    asked: Arc<Mutex<Vec<Request>>>,
    looks: Arc<AtomicUsize>,
    control: tokio::task::JoinHandle<()>,
}

impl Daemon {
    fn start() -> Self {
        Self::with(Timing { look: Duration::from_millis(20), ..Timing::default() })
    }

    fn with(timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = os::sockets::listen(&folder.path().join("s"), 0o600, None).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let own = [Who::Root, Who::User(own_name())];
        let all = || BTreeSet::from(own.clone());
        let access = Access { observe: all(), operate: all(), admin: all() };
        let (calls, queue) = mpsc::channel(4);
        tokio::spawn(serve_with(listener, Authority::new(access, "cryprq".into()), calls, timing));
        let (status, asked, looks) = (Arc::new(Mutex::new(status())), Arc::default(), Arc::default());
        let control = tokio::spawn(control(queue, Arc::clone(&status), Arc::clone(&asked), Arc::clone(&looks)));
        Self { folder, status, asked, looks, control }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// What comes back for `bytes` until the daemon closes, after our own half is closed.
    async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // A daemon that refuses early may have closed before all of it was written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        everything(&mut stream).await
    }
}

/// Answers what it knows, and remembers what it was asked.
async fn control(
    mut queue: mpsc::Receiver<Call>,
    status: Arc<Mutex<Status>>,
    asked: Arc<Mutex<Vec<Request>>>,
    looks: Arc<AtomicUsize>,
) {
    while let Some(Call { request, reply, .. }) = queue.recv().await {
        let answer = if request == (Request::Status {}) {
            looks.fetch_add(1, Ordering::Relaxed);
            Ok(Reply::Status(Box::new(status.lock().unwrap().clone())))
        } else if request == (Request::Config {}) {
            Ok(Reply::Config { toml: "x".repeat(100_000) })
        } else if request == (Request::Reload {}) {
            Err(ErrorBody::new(ErrorCode::InvalidConfig, "no").hint("yes"))
        } else {
            asked.lock().unwrap().push(request);
            Ok(Reply::Done {})
        };
        let _ = reply.send(answer);
    }
}

fn own_name() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name
}

async fn everything(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("the daemon closes");
    // A close with unread bytes is a reset, after what was written before it.
    let _ = read;
    bytes
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        peer_id: "12D3KooWSelf".into(),
        name: "laptop".into(),
        addresses: Addresses { ipv4: None, ipv6: "fd63::1".parse().unwrap() },
        state: "running".into(),
        since: "2026-01-01T00:00:00Z".into(),
        ingress: "tun".into(),
        listen: Vec::new(),
        health: Vec::new(),
        drops: BTreeMap::new(),
        exit: None,
        peers: Vec::new(),
    }
}

/// The fields that a verb needs besides `cmd`.
fn needed(verb: &Verb) -> Value {
    let request = |fields: Value| {
        let mut object = fields.as_object().unwrap().clone();
        object.insert("cmd".into(), verb.name.into());
        cryprq_ipc_proto::json::request_of(object).is_ok()
    };
    let forms = ["{}", r#"{"peer":"a b"}"#, r#"{"level":"info"}"#, r#"{"ticket":"t"}"#, r#"{"invite":"a b"}"#];
    let mut forms = forms.iter().map(|form| serde_json::from_str(form).unwrap());
    forms.find(|form: &Value| request(form.clone())).expect("one of these forms fits every verb")
}
