//! Binary frames: a hello, then a request a frame, an answer a frame.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, Refused, Role, Side};
use cryprq_ipc_proto::limits::FRAME_VERSION;
use cryprq_ipc_proto::message::Request;
use zeroize::Zeroizing;

use super::Caller;
use super::dispatch::{Answer, Dispatcher};
use super::stream::{Connection, Outlet, Words, tell};

/// What the daemon says of itself.
pub(super) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Greets, then answers requests in their order until the client leaves. A watch takes the connection over. A frame
/// that is none ends it, after the reason.
pub(super) async fn converse(mut connection: Connection, caller: &Caller, dispatcher: &Dispatcher) {
    if !greet(&mut connection).await {
        return;
    }
    loop {
        let (id, request) = match next(&mut connection).await {
            Next::Request { id, request } => (id, request),
            Next::Foreign { id, error } => {
                connection.write(refusal(id, error)).await;
                return;
            }
            Next::End => return,
        };
        let bytes = match dispatcher.answer(caller, request).await {
            Ok(Answer::Reply(reply)) => Frame::Reply(reply).write(id).unwrap_or_else(|error| too_long(id, error)),
            Err(error) => refusal(id, error),
            Ok(Answer::Watch(watcher)) => {
                let slow = connection.timing.slow;
                let encode = |event: &Result<_, ErrorBody>| match event {
                    Ok(event) => match Frame::Event(Clone::clone(event)).write(id) {
                        Ok(frame) => Words::More(frame),
                        Err(error) => Words::Last(too_long(id, error)),
                    },
                    Err(error) => Words::Last(refusal(id, error.clone())),
                };
                return tell(watcher, &mut connection, slow, encode).await;
            }
        };
        if !connection.write(bytes).await {
            return;
        }
    }
}

/// Reads the hello and answers it; whether the conversation goes on.
async fn greet(connection: &mut Connection) -> bool {
    let (id, answer) = match read(connection).await {
        Read::Frame(header, body) => (header.id, welcome(&header, &body)),
        Read::Foreign(error) => (0, Err(not_understood(error))),
        Read::End => return false,
    };
    let (frame, goes_on) = match answer {
        Ok(ack) => (Frame::HelloAck(ack), true),
        Err(refused) => (Frame::Refused(refused), false),
    };
    let Ok(bytes) = frame.write(id) else { return false };
    connection.write(bytes).await && goes_on
}

fn welcome(header: &Header, body: &[u8]) -> Result<cryprq_ipc_proto::hello::HelloAck, Refused> {
    let refused = |code, message: &str| Refused { error: ErrorBody::new(code, message), older: None };
    let Frame::Hello(hello) = Frame::read(header, body).map_err(not_understood)? else {
        return Err(refused(ErrorCode::BadRequest, "the first frame is a hello"));
    };
    let Hello { role: Role::Cli | Role::App | Role::Script, .. } = &hello else {
        return Err(refused(ErrorCode::Unsupported, "this socket carries no packets"));
    };
    hello.answer(BUILD)
}

/// The refusal of a first frame that is none.
pub(super) fn not_understood(error: FrameError) -> Refused {
    match error {
        FrameError::Version(theirs) if theirs > FRAME_VERSION => Refused::version(theirs, Side::Daemon),
        FrameError::Version(theirs) => Refused::version(theirs, Side::Client),
        FrameError::Magic
        | FrameError::Reserved
        | FrameError::Kind(_)
        | FrameError::TooLong { .. }
        | FrameError::Truncated
        | FrameError::Trailing(_)
        | FrameError::NotCanonical
        | FrameError::Malformed(_)
        | FrameError::PacketLength(_) => Refused { error: error.into(), older: None },
    }
}

enum Next {
    Request { id: u32, request: Request },
    Foreign { id: u32, error: ErrorBody },
    End,
}

async fn next(connection: &mut Connection) -> Next {
    let (header, body) = match read(connection).await {
        Read::Frame(header, body) => (header, body),
        Read::Foreign(error) => return Next::Foreign { id: 0, error: error.into() },
        Read::End => return Next::End,
    };
    let id = header.id;
    match Frame::read(&header, &body) {
        Ok(Frame::Request(request)) => Next::Request { id, request },
        Ok(_) => {
            Next::Foreign { id, error: ErrorBody::new(ErrorCode::BadRequest, "after the hello come only requests") }
        }
        Err(error) => Next::Foreign { id, error: error.into() },
    }
}

enum Read {
    Frame(Header, Zeroizing<Vec<u8>>),
    Foreign(FrameError),
    End,
}

/// The next frame; memory is taken only for a body that its header may have.
async fn read(connection: &mut Connection) -> Read {
    if connection.first_byte().await.is_none() {
        return Read::End;
    }
    let mut header = [0; HEADER];
    if !connection.read(&mut header).await {
        return Read::End;
    }
    let header = match Header::read(&header) {
        Ok(header) => header,
        Err(error) => return Read::Foreign(error),
    };
    let mut body = Zeroizing::new(vec![0; header.length]);
    if connection.read(&mut body).await { Read::Frame(header, body) } else { Read::End }
}

fn refusal(id: u32, error: ErrorBody) -> Vec<u8> {
    // A refusal is a few lines; nothing is told if it should ever not fit.
    Frame::Error(error).write(id).unwrap_or_default()
}

fn too_long(id: u32, error: FrameError) -> Vec<u8> {
    refusal(id, ErrorBody::from(error).hint("ask in JSON lines or by HTTP, whose answers may be longer"))
}
