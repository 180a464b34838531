use cryprq_ipc_proto::limits::MAX_LINE;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::*;
use crate::ipc::places::MAX_PER_USER;

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ask(daemon: &Daemon, request: &str) -> Value {
    lines(&daemon.exchange(request.as_bytes()).await).remove(0)
}

#[tokio::test]
async fn requests_are_answered_in_order_on_one_connection() {
    let daemon = Daemon::start();
    let requests = "{\"v\":1,\"id\":0,\"cmd\":\"up\"}\n{\"id\":1,\"cmd\":\"status\"}\n{\"id\":2,\"cmd\":\"down\"}";
    let answers = lines(&daemon.exchange(requests.as_bytes()).await);
    let told: Vec<_> = answers.iter().map(|answer| (answer["id"].clone(), answer["reply"].clone())).collect();
    let expected = [(0, "done"), (1, "status"), (2, "done")].map(|(id, reply)| (json!(id), json!(reply)));
    assert_eq!(told, expected);
    assert!(answers.iter().all(|answer| answer["schema"] == 1));
}

#[tokio::test]
async fn every_verb_reaches_the_control_task_or_is_answered_here() {
    let daemon = Daemon::start();
    // A watch has no end of its own.
    for verb in VERBS.iter().filter(|verb| verb.name != "watch") {
        let mut line = needed(verb);
        line["cmd"] = verb.name.into();
        let answer = ask(&daemon, &format!("{line}\n")).await;
        let refused = verb.name == "reload";
        assert_eq!(answer["error"]["code"] == "invalid_config", refused, "{}: {answer}", verb.name);
    }
    let asked: Vec<_> = daemon.asked.lock().unwrap().iter().map(Request::name).collect();
    let here = ["status", "watch", "metrics", "config", "reload"];
    assert_eq!(asked, VERBS.iter().map(|verb| verb.name).filter(|name| !here.contains(name)).collect::<Vec<_>>());
}

#[tokio::test]
async fn attack_08_an_endless_line_is_cut_off_with_a_reason() {
    let daemon = Daemon::start();
    let answers = lines(&daemon.exchange(&vec![b' '; MAX_LINE + 1]).await);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["error"]["code"], "too_large");
}

#[tokio::test]
async fn attack_08_what_is_no_request_is_told_so_and_the_next_line_is_read() {
    let daemon = Daemon::start();
    let nonsense = b"nonsense\n\n\xff\x00\n{\"cmd\":\"fly\"}\n{\"cmd\":\"up\"}\n";
    let answers = lines(&daemon.exchange(nonsense).await);
    let codes: Vec<_> = answers.iter().map(|answer| answer["error"]["code"].as_str()).collect();
    let bad = Some("bad_request");
    assert_eq!(codes, [bad, bad, bad, Some("unknown_verb"), None]);
}

#[tokio::test]
async fn attack_08_a_client_that_dawdles_or_says_nothing_is_cut_off() {
    let short = Duration::from_millis(30);
    let daemon = Daemon::with(Timing { idle: short, ..Timing::default() });
    let mut silent = daemon.connect().await;
    assert_eq!(everything(&mut silent).await, b"");
    // Whoever begins may think before that.
    let daemon = Daemon::with(Timing { slow: short, ..Timing::default() });
    for begun in [&b"{\"cmd\":"[..], b"\xc9\x52\x01", b"GET /v1/sta"] {
        let mut slow = daemon.connect().await;
        slow.write_all(begun).await.unwrap();
        assert_eq!(everything(&mut slow).await, b"", "{}", begun.escape_ascii());
    }
}

#[tokio::test]
async fn attack_13_more_clients_than_places_are_told_so_and_find_one_when_others_leave() {
    let daemon = Daemon::start();
    let mut held = Vec::new();
    for _ in 0..MAX_PER_USER {
        let mut stream = BufReader::new(daemon.connect().await);
        stream.write_all(b"{\"cmd\":\"up\"}\n").await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        held.push(stream);
    }
    let refused = lines(&everything(&mut daemon.connect().await).await);
    assert_eq!(refused[0]["error"]["code"], "too_many_clients");
    held.clear();
    let found = async { while ask(&daemon, "{\"cmd\":\"up\"}\n").await["reply"] != "done" {} };
    timeout(LIMIT, found).await.unwrap();
}

#[tokio::test]
async fn attack_13_a_flood_on_one_connection_leaves_others_their_turn() {
    let daemon = Daemon::start();
    let (mut reader, mut writer) = daemon.connect().await.into_split();
    let flood = tokio::spawn(async move { while writer.write_all(&FLOOD.repeat(1000)).await.is_ok() {} });
    let drain = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    for _ in 0..50 {
        let answer = timeout(LIMIT, ask(&daemon, "{\"cmd\":\"up\"}\n")).await.unwrap();
        assert_eq!(answer["reply"], "done");
    }
    assert!(!flood.is_finished() && !drain.is_finished(), "the flood went on all the time");
    flood.abort();
    drain.abort();
}

const FLOOD: &[u8] = b"{\"cmd\":\"status\"}\n";
