use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header, Kind};
use cryprq_ipc_proto::hello::{Hello, Role, Side};
use cryprq_ipc_proto::limits::MAX_CONTROL;

use super::*;

fn hello(role: Role) -> Vec<u8> {
    Frame::Hello(Hello::new("test", role)).write(1).unwrap()
}

fn request(id: u32, request: Request) -> Vec<u8> {
    Frame::Request(request).write(id).unwrap()
}

/// All frames in `bytes`, each with its id.
fn frames(mut bytes: &[u8]) -> Vec<(u32, Frame<'_>)> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let header = Header::read(header).unwrap();
        let (body, rest) = rest.split_at(header.length);
        all.push((header.id, Frame::read(&header, body).unwrap()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

async fn refused_as(daemon: &Daemon, bytes: &[u8]) -> (ErrorCode, Option<Side>) {
    let answer = daemon.exchange(bytes).await;
    match &frames(&answer)[..] {
        [(_, Frame::Refused(refused))] => (refused.error.code, refused.older),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_the_hello_every_verb_is_answered_with_its_own_id() {
    let daemon = Daemon::start();
    let mut bytes = hello(Role::Cli);
    bytes.extend(request(7, Request::Up { peer: None, exit: None }));
    bytes.extend(request(9, Request::Status {}));
    bytes.extend(request(8, Request::Reload {}));
    bytes.extend(request(6, Request::Config {}));
    bytes.extend(request(5, Request::Metrics {}));
    let answer = daemon.exchange(&bytes).await;
    let frames = frames(&answer);
    assert!(matches!(&frames[0], (1, Frame::HelloAck(ack)) if ack.version == 1));
    assert_eq!(frames[1], (7, Frame::Reply(Reply::Done {})));
    assert_eq!(frames[2], (9, Frame::Reply(Reply::Status(Box::new(status())))));
    assert!(matches!(&frames[3], (8, Frame::Error(error)) if error.code == ErrorCode::InvalidConfig));
    assert!(
        matches!(&frames[4], (6, Frame::Error(error)) if error.code == ErrorCode::TooLarge && error.hint.is_some()),
        "an answer that does not fit a frame is told so"
    );
    assert!(matches!(&frames[5], (5, Frame::Reply(Reply::Metrics { text })) if text.ends_with("# EOF\n")));
    assert_eq!(frames.len(), 6);
}

#[tokio::test]
async fn every_verb_of_the_table_passes_as_a_frame() {
    let daemon = Daemon::start();
    for verb in VERBS.iter().filter(|verb| verb.name != "watch") {
        let mut object = needed(verb).as_object().unwrap().clone();
        object.insert("cmd".into(), verb.name.into());
        let asked = cryprq_ipc_proto::json::request_of(object).unwrap();
        let answer = daemon.exchange(&[hello(Role::Script), request(3, asked)].concat()).await;
        assert!(matches!(frames(&answer)[1], (3, Frame::Reply(_) | Frame::Error(_))), "{}", verb.name);
    }
}

#[tokio::test]
async fn attack_08_the_wrong_first_frame_is_refused_with_its_reason() {
    let daemon = Daemon::start();
    let frame = |min_version, max_version| {
        let hello = Hello { min_version, max_version, ..Hello::new("test", Role::App) };
        Frame::Hello(hello).write(1).unwrap()
    };
    assert_eq!(refused_as(&daemon, &frame(2, 9)).await, (ErrorCode::VersionMismatch, Some(Side::Daemon)));
    assert_eq!(refused_as(&daemon, &frame(0, 0)).await, (ErrorCode::VersionMismatch, Some(Side::Client)));
    let mut future = hello(Role::Cli);
    future[2] = 2;
    assert_eq!(refused_as(&daemon, &future).await, (ErrorCode::VersionMismatch, Some(Side::Daemon)));
    assert_eq!(refused_as(&daemon, &hello(Role::Extension)).await, (ErrorCode::Unsupported, None));
    assert_eq!(refused_as(&daemon, &request(1, Request::Status {})).await, (ErrorCode::BadRequest, None));
    assert_eq!(refused_as(&daemon, b"\xc9\x53____________________").await, (ErrorCode::BadRequest, None));
    let mut trailing = hello(Role::Cli);
    trailing.push(0);
    trailing[8] += 1;
    assert_eq!(refused_as(&daemon, &trailing).await, (ErrorCode::BadRequest, None));
}

#[tokio::test]
async fn attack_08_a_frame_that_is_none_ends_the_connection_after_the_reason() {
    let daemon = Daemon::start();
    let up = request(4, Request::Up { peer: Some("x".into()), exit: None });
    let changed = |at: usize, to: u8| {
        let mut bytes = up.clone();
        bytes[at] = to;
        bytes
    };
    let over_long = Header { kind: Kind::Request, length: MAX_CONTROL, id: 4 }.write().unwrap();
    let mut four_gib = over_long;
    four_gib[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    for (what, bytes, code) in [
        ("four GiB", four_gib.to_vec(), ErrorCode::TooLarge),
        ("another kind", changed(3, 99), ErrorCode::BadRequest),
        ("no verb", changed(HEADER, 99), ErrorCode::BadRequest),
        ("a length that lies", changed(HEADER + 5, 200), ErrorCode::BadRequest),
        ("packets", Header { kind: Kind::Packets, length: 0, id: 4 }.write().unwrap().to_vec(), ErrorCode::BadRequest),
        ("a second hello", hello(Role::Cli), ErrorCode::BadRequest),
    ] {
        let answer = daemon.exchange(&[hello(Role::Cli), bytes, up.clone()].concat()).await;
        let frames = frames(&answer);
        assert!(matches!(&frames[1..], [(_, Frame::Error(error))] if error.code == code), "{what}: {frames:?}");
    }
    for truncated in [&up[..5], &up[..HEADER], &up[..up.len() - 1]] {
        let answer = daemon.exchange(&[&hello(Role::Cli)[..], truncated].concat()).await;
        assert_eq!(frames(&answer).len(), 1, "half a frame is no request");
    }
    assert!(daemon.asked.lock().unwrap().is_empty(), "nothing of it was done");
}
