use cryprq_ipc_proto::limits::MAX_LINE;
use serde_json::json;

use super::*;

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// The response to one request whose head and body are given; the connection is closed after it.
async fn send(daemon: &Daemon, request: &str) -> Response {
    let mut stream = daemon.connect().await;
    let _ = stream.write_all(request.as_bytes()).await;
    let answer = String::from_utf8(everything(&mut stream).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: cryprq\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    send(daemon, &request).await
}

#[tokio::test]
async fn every_route_of_the_table_asks_for_its_verb() {
    let daemon = Daemon::start();
    for verb in VERBS.iter().filter(|verb| verb.name != "watch") {
        for route in verb.routes {
            let path = route.path.replace("ID", "a%20b");
            let mut fields = needed(verb);
            if let Some(name) = route.parameter() {
                fields.as_object_mut().unwrap().remove(name);
            }
            daemon.asked.lock().unwrap().clear();
            let response = ask(&daemon, route.method.name(), &path, &fields.to_string()).await;
            let expected = if verb.name == "reload" { 422 } else { 200 };
            assert_eq!(response.status, expected, "{path}: {}", response.body);
            let asked = daemon.asked.lock().unwrap().pop();
            assert!(asked.is_none_or(|asked| {
                let told = serde_json::to_value(&asked).unwrap();
                asked.name() == verb.name && route.parameter().is_none_or(|name| told[name] == "a b")
            }));
        }
    }
}

#[tokio::test]
async fn answers_are_json_with_a_schema_and_are_not_stored() {
    let daemon = Daemon::start();
    let response = ask(&daemon, "GET", "/v1/status", "").await;
    assert_eq!((response.status, response.json()["schema"].clone()), (200, json!(1)));
    assert_eq!(response.json()["name"], "laptop");
    assert_eq!(response.json().get("id"), None, "HTTP has no need of ids");
    assert!(response.head.contains("content-type: application/json"), "{}", response.head);
    assert!(response.head.contains("cache-control: no-store"), "{}", response.head);
    let refused = ask(&daemon, "POST", "/v1/reload", "").await;
    let expected = json!({ "error": { "code": "invalid_config", "message": "no", "hint": "yes" }, "schema": 1 });
    assert_eq!((refused.status, refused.json()), (422, expected));
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let daemon = Daemon::start();
    let response = ask(&daemon, "GET", "/metrics", "").await;
    assert!(
        response.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{}",
        response.head
    );
    assert!(response.body.contains("cryprq_ipc_clients 1\n"), "{}", response.body);
}

#[tokio::test]
async fn one_connection_answers_one_request_after_the_other() {
    let daemon = Daemon::start();
    let one = "GET /v1/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /v1/version HTTP/1.1\r\nHost: CrypRQ\r\nConnection: close\r\n\r\n";
    let response = send(&daemon, &format!("{one}{one}{last}")).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.body.matches("HTTP/1.1 200 OK").count(), 2, "two more after the first");
}

#[tokio::test]
async fn who_has_nothing_more_to_say_is_answered_all_the_same() {
    let daemon = Daemon::start();
    let answer = daemon.exchange(b"GET /v1/version HTTP/1.1\r\nHost: cryprq\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn attack_11_what_a_web_page_could_send_is_refused() {
    let daemon = Daemon::start();
    for header in [
        "Origin: http://evil.example",
        "origin: null",
        "Referer: http://evil.example/",
        "Sec-Fetch-Site: same-origin",
        "sec-fetch-mode: cors",
    ] {
        let response =
            send(&daemon, &format!("POST /v1/up HTTP/1.1\r\nHost: cryprq\r\n{header}\r\nConnection: close\r\n\r\n"))
                .await;
        assert_eq!(
            (response.status, &response.json()["error"]["code"]),
            (403, &json!("permission_denied")),
            "{header}"
        );
    }
    for (hosts, status) in [
        ("Host: evil.example\r\n", 403),
        ("Host: cryprq.evil.example\r\n", 403),
        ("Host: 127.0.0.1\r\n", 403),
        ("Host: cryprq\r\nHost: evil.example\r\n", 400),
        ("", 400),
    ] {
        let response = send(&daemon, &format!("POST /v1/up HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await;
        assert_eq!(response.status, status, "{hosts}");
    }
    let absolute = "POST http://evil.example/v1/up HTTP/1.1\r\nHost: cryprq\r\nConnection: close\r\n\r\n";
    assert_eq!(send(&daemon, absolute).await.status, 400);
    let preflight = send(&daemon, "OPTIONS /v1/up HTTP/1.1\r\nHost: cryprq\r\nConnection: close\r\n\r\n").await;
    assert_eq!(preflight.status, 405);
    assert!(!preflight.head.contains("access-control"), "{}", preflight.head);
    assert!(daemon.asked.lock().unwrap().is_empty(), "nothing of it was done");
}

#[tokio::test]
async fn attack_11_http_without_a_host_is_nobody_and_not_the_daemon_itself() {
    let daemon = Daemon::start();
    assert_eq!(send(&daemon, "POST /v1/up HTTP/1.0\r\n\r\n").await.status, 400);
    assert!(daemon.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn attack_08_paths_methods_and_bodies_that_are_none_have_their_status() {
    let daemon = Daemon::start();
    for (method, path, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/v1/status/../config", "", 404),
        ("GET", "/v1/status?x=1", "", 400),
        ("DELETE", "/v1/status", "", 405),
        ("POST", "/v1/peers/%zz/ping", "", 400),
        ("POST", "/v1/peers/%ff/ping", "", 400),
        ("POST", "/v1/peers/x/ping", "{\"peer\":\"y\"}", 400),
        ("POST", "/v1/up", "{\"cmd\":\"down\"}", 400),
        ("POST", "/v1/up", "{\"id\":7}", 400),
        ("POST", "/v1/up", "{\"v\":2}", 400),
        ("POST", "/v1/up", "[]", 400),
        ("POST", "/v1/up", "nonsense", 400),
        ("POST", "/v1/up", "{\"peer\":1}", 400),
        ("POST", "/v1/up", "{\"path\":\"/etc/passwd\"}", 400),
        ("GET", "/v1/peers/%00", "", 200),
    ] {
        let response = ask(&daemon, method, path, body).await;
        assert_eq!(response.status, status, "{method} {path} {body}: {}", response.body);
        let code = &response.json()["error"]["code"];
        assert!(status == 200 || code.is_string(), "{}", response.body);
    }
    let allowed = ask(&daemon, "PUT", "/v1/peers/x", "").await;
    assert!(allowed.head.contains("allow: get, patch, delete"), "{}", allowed.head);
    let long = ask(&daemon, "POST", "/v1/up", &" ".repeat(MAX_LINE + 1)).await;
    assert_eq!((long.status, &long.json()["error"]["code"]), (413, &json!("too_large")));
    assert!(daemon.asked.lock().unwrap().iter().all(|asked| asked.name() == "peers"), "nothing of it was done");
}

#[tokio::test]
async fn attack_08_a_body_of_chunks_counts_as_a_whole() {
    let daemon = Daemon::start();
    let head = "POST /v1/up HTTP/1.1\r\nHost: cryprq\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let good = send(&daemon, &format!("{head}8\r\n{{\"peer\":\r\n4\r\n\"x\"}}\r\n0\r\n\r\n")).await;
    assert_eq!(good.status, 200, "{}", good.body);
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let long = send(&daemon, &format!("{head}{}0\r\n\r\n", chunk.repeat(5))).await;
    assert_eq!(long.status, 413, "{}", long.body);
}
