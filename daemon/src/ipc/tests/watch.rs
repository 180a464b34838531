use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, Role};
use cryprq_ipc_proto::json::read_event;
use cryprq_ipc_proto::message::{Event, EventBody};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::ipc::stream::{Outlook, outlook};
use crate::ipc::watch::States;

async fn line(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    timeout(LIMIT, stream.read_line(&mut line)).await.expect("an event in time").unwrap();
    line
}

async fn frame(stream: &mut BufReader<UnixStream>) -> Frame<'static> {
    let read = async {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.unwrap();
        let header = Header::read(&header).unwrap();
        let mut body = vec![0; header.length];
        stream.read_exact(&mut body).await.unwrap();
        // Only packet frames borrow, and here are none.
        Frame::read(&header, body.leak()).unwrap()
    };
    timeout(LIMIT, read).await.expect("a frame in time")
}

fn rename(daemon: &Daemon, name: &str) {
    daemon.status.lock().unwrap().name = name.to_owned();
}

/// The first event is the whole state, the second the new name alone.
fn check(daemon: &Daemon, first: Event, second: &Event) {
    assert_eq!(first, Event { seq: 1, body: EventBody::State(Box::new(status())) });
    let EventBody::Change(change) = &second.body else { panic!("{second:?}") };
    let mut told = status();
    change.clone().apply(&mut told);
    assert_eq!((second.seq, &told), (2, &*daemon.status.lock().unwrap()));
    let json = serde_json::to_value(second).unwrap();
    assert_eq!(json, serde_json::json!({ "seq": 2, "event": "change", "name": "renamed" }));
}

#[tokio::test]
async fn lines_tell_the_state_once_and_then_only_what_changed() {
    let daemon = Daemon::start();
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(b"{\"cmd\":\"watch\",\"id\":7}\n").await.unwrap();
    let first = line(&mut stream).await;
    let value: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&value["id"], &value["schema"], &value["event"]), (&7.into(), &1.into(), &"state".into()));
    rename(&daemon, "renamed");
    let second = read_event(line(&mut stream).await.as_bytes()).unwrap();
    check(&daemon, read_event(first.as_bytes()).unwrap(), &second);
}

#[tokio::test]
async fn frames_tell_the_same_with_the_requests_id() {
    let daemon = Daemon::start();
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(&Frame::Hello(Hello::new("test", Role::App)).write(1).unwrap()).await.unwrap();
    stream.write_all(&Frame::Request(Request::Watch {}).write(7).unwrap()).await.unwrap();
    assert!(matches!(frame(&mut stream).await, Frame::HelloAck(_)));
    let Frame::Event(first) = frame(&mut stream).await else { panic!("no event") };
    rename(&daemon, "renamed");
    let Frame::Event(second) = frame(&mut stream).await else { panic!("no event") };
    check(&daemon, first, &second);
}

#[tokio::test]
async fn http_tells_the_same_as_lines_of_a_response_that_does_not_end() {
    let daemon = Daemon::start();
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(b"GET /v1/watch HTTP/1.1\r\nHost: cryprq\r\n\r\n").await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head += &line(&mut stream).await;
    }
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: application/jsonl"), "{head}");
    let mut event = async || {
        // A chunk: its size, its bytes, an empty line.
        line(&mut stream).await;
        let event = line(&mut stream).await;
        assert_eq!(line(&mut stream).await, "\r\n");
        read_event(event.as_bytes()).unwrap()
    };
    let first = event().await;
    rename(&daemon, "renamed");
    check(&daemon, first, &event().await);
}

#[tokio::test]
async fn measurements_alone_wait_for_company_and_come_with_the_next_news() {
    let hour = Duration::from_secs(3600);
    let daemon = Daemon::with(Timing { look: Duration::from_millis(5), pace: hour, ..Timing::default() });
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(b"{\"cmd\":\"watch\"}\n").await.unwrap();
    line(&mut stream).await;
    daemon.status.lock().unwrap().drops.insert("out_no_peer".into(), 7);
    let seen = daemon.looks.load(Ordering::Relaxed) + 3;
    let looked = async {
        while daemon.looks.load(Ordering::Relaxed) < seen {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, looked).await.unwrap();
    rename(&daemon, "renamed");
    let second = read_event(line(&mut stream).await.as_bytes()).unwrap();
    let json = serde_json::to_value(second).unwrap();
    let expected = serde_json::json!({ "out_no_peer": 7 });
    assert_eq!((&json["seq"], &json["name"], &json["drops"]), (&2.into(), &"renamed".into(), &expected));
}

#[tokio::test]
async fn measurements_alone_are_told_at_their_pace() {
    let short = Duration::from_millis(5);
    let daemon = Daemon::with(Timing { look: short, pace: short, ..Timing::default() });
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(b"{\"cmd\":\"watch\"}\n").await.unwrap();
    line(&mut stream).await;
    daemon.status.lock().unwrap().drops.insert("out_no_peer".into(), 7);
    let second = serde_json::to_value(read_event(line(&mut stream).await.as_bytes()).unwrap()).unwrap();
    assert_eq!(second, serde_json::json!({ "seq": 2, "event": "change", "drops": { "out_no_peer": 7 } }));
}

#[tokio::test]
async fn a_watch_ends_with_a_reason_when_the_daemon_stops() {
    let daemon = Daemon::start();
    let mut stream = BufReader::new(daemon.connect().await);
    stream.write_all(b"{\"cmd\":\"watch\"}\n").await.unwrap();
    line(&mut stream).await;
    daemon.control.abort();
    let refused = read_event(line(&mut stream).await.as_bytes()).unwrap_err();
    assert_eq!((refused.code, line(&mut stream).await.as_str()), (ErrorCode::NotRunning, ""));
}

/// Sends `request`, reads nothing while the state changes all the time, and gives what had come when the daemon closed.
async fn without_reading(request: &[u8]) -> Vec<u8> {
    let short = Duration::from_millis(40);
    let daemon = Daemon::with(Timing { slow: short, look: short / 20, ..Timing::default() });
    let state = Arc::clone(&daemon.status);
    let changing = tokio::spawn(async move {
        for name in ["a", "b"].into_iter().cycle() {
            state.lock().unwrap().name = name.repeat(30_000);
            tokio::task::yield_now().await;
        }
    });
    let mut stream = daemon.connect().await;
    stream.write_all(request).await.unwrap();
    let closed = async {
        while outlook(&stream) != Outlook::Gone {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, closed).await.expect("the client is cut off");
    changing.abort();
    everything(&mut stream).await
}

/// What the kernel and this process may hold for a client that does not read.
const HELD: usize = 1 << 20;

#[tokio::test]
async fn attack_13_a_client_that_does_not_read_is_cut_off_with_a_reason_after_whole_lines() {
    let held = without_reading(b"{\"cmd\":\"watch\"}\n").await;
    assert!(held.len() < HELD, "{} bytes", held.len());
    let text = String::from_utf8(held).unwrap();
    let lines: Vec<_> = text.lines().map(|line| read_event(line.as_bytes())).collect();
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().code, ErrorCode::Busy);
    assert!(events.len() > 1 && events.iter().all(Result::is_ok), "{} events", events.len());
}

#[tokio::test]
async fn attack_13_frames_and_http_cut_off_such_a_client_too() {
    let hello = Frame::Hello(Hello::new("test", Role::App)).write(1).unwrap();
    let watch = Frame::Request(Request::Watch {}).write(7).unwrap();
    let held = without_reading(&[hello, watch].concat()).await;
    assert!(held.len() < HELD, "{} bytes", held.len());
    let reason = Frame::Error(ErrorBody::new(ErrorCode::Busy, "cut off: the events were not read").hint("watch again"));
    assert!(held.ends_with(&reason.write(7).unwrap()), "the reason is the last that was sent");
    let held = without_reading(b"GET /v1/watch HTTP/1.1\r\nHost: cryprq\r\n\r\n").await;
    assert!(held.len() < HELD, "{} bytes", held.len());
}

#[tokio::test]
async fn attack_13_a_watch_whose_client_left_is_over_although_nothing_changes() {
    let daemon = Daemon::start();
    for watch in [&b"{\"cmd\":\"watch\"}\n"[..], b"GET /v1/watch HTTP/1.1\r\nHost: cryprq\r\n\r\n"] {
        let mut stream = BufReader::new(daemon.connect().await);
        stream.write_all(watch).await.unwrap();
        line(&mut stream).await;
        drop(stream);
        let alone = async { while !metrics(&daemon).await.contains("cryprq_ipc_clients 1\n") {} };
        timeout(LIMIT, alone).await.expect("its place is free");
    }
}

async fn metrics(daemon: &Daemon) -> String {
    let answer = daemon.exchange(b"{\"cmd\":\"metrics\"}\n").await;
    serde_json::from_slice::<Value>(&answer).unwrap()["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn attack_13_nobody_looks_at_the_state_while_nobody_watches() {
    let (calls, mut queue) = mpsc::channel(4);
    let look = Duration::from_millis(5);
    let states = States::start(calls, Timing { look, ..Timing::default() });
    let mut looked = async |limit: Duration| match timeout(limit, queue.recv()).await {
        Ok(Some(call)) => call.reply.send(Ok(Reply::Status(Box::new(status())))).is_ok(),
        Ok(None) | Err(_) => false,
    };
    let mut watcher = states.watch();
    assert!(looked(LIMIT).await && watcher.wait().await);
    assert!(looked(LIMIT).await, "again while it is watched");
    drop(watcher);
    // One look may be under way, and may come late.
    let mut more = 0;
    for _ in 0..4 {
        more += u32::from(looked(look * 10).await);
    }
    assert!(more <= 1, "{more} looks for nobody");
}
