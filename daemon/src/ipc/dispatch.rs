//! From a request to its answer, whatever framing it came in.

use std::sync::Arc;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{Reply, Request, Status};
use tokio::sync::{mpsc, oneshot};

use super::audit::Audit;
use super::metrics;
use super::places::Places;
use super::stream::Timing;
use super::watch::{States, Watcher};
use super::{Authority, Call, Caller};

/// What answers all requests of all connections.
#[derive(Clone)]
pub(super) struct Dispatcher {
    authority: Authority,
    calls: mpsc::Sender<Call>,
    states: States,
    audit: Arc<Audit>,
    places: Places,
}

/// An answer.
pub(super) enum Answer {
    /// One message.
    Reply(Reply),
    /// Events, until the caller leaves.
    Watch(Watcher),
}

impl Dispatcher {
    pub(super) fn new(authority: Authority, calls: mpsc::Sender<Call>, places: Places, timing: Timing) -> Self {
        let states = States::start(calls.clone(), timing);
        Self { authority, calls, states, audit: Arc::default(), places }
    }

    /// Answers one request, if its caller may make it.
    ///
    /// # Errors
    /// The refusal.
    pub(super) async fn answer(&self, caller: &Caller, request: Request) -> Result<Answer, ErrorBody> {
        if let Err(refused) = self.authority.check(caller, &request).await {
            self.audit.refused(caller.credentials.as_ref().map(|credentials| credentials.uid), request.name());
            return Err(refused);
        }
        if request == (Request::Watch {}) {
            return Ok(Answer::Watch(self.states.watch()));
        }
        if request == (Request::Metrics {}) {
            let status = status(&self.calls, caller).await?;
            return Ok(Answer::Reply(Reply::Metrics { text: metrics::text(&status, self.places.taken()) }));
        }
        call(&self.calls, caller, request).await.map(Answer::Reply)
    }
}

/// Asks the control task for the state of this host.
pub(super) async fn status(calls: &mpsc::Sender<Call>, caller: &Caller) -> Result<Status, ErrorBody> {
    let Reply::Status(status) = call(calls, caller, Request::Status {}).await? else {
        return Err(ErrorBody::new(ErrorCode::Internal, "the control task did not tell the state"));
    };
    Ok(*status)
}

async fn call(calls: &mpsc::Sender<Call>, caller: &Caller, request: Request) -> Result<Reply, ErrorBody> {
    let stopping = || ErrorBody::new(ErrorCode::NotRunning, "the daemon is stopping");
    let (reply, answered) = oneshot::channel();
    calls.send(Call { request, caller: caller.clone(), reply }).await.map_err(|_| stopping())?;
    answered.await.unwrap_or_else(|_| Err(stopping()))
}
