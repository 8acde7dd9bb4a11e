use quipu_core::{AppendError, MemoryStore, ReadError, StorageError};
use quipu_server::config::Limits;
use quipu_server::security::Denied;
use serde_json::json;

use super::client::{World, request};
use super::spied::Spied;

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::new().await;
    for path in ["/nothing", "/streams/a/nothing", "/event", "/health", "//", "/%00"] {
        world.get(path).await.is_problem(404, "not-found");
    }
    world.send("POST", "/nothing", &[], b"{}").await.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_a_problem_that_lists_those_it_has() {
    let world = World::new().await;
    let cases = [
        ("POST", "/frontier", "GET"),
        ("DELETE", "/append", "POST"),
        ("PATCH", "/streams/s", "GET, POST, DELETE"),
        ("BREW", "/streams/s/metadata", "GET, PUT"),
    ];
    for (method, path, allowed) in cases {
        let reply = world.send(method, path, &[], b"").await;

        let problem = reply.is_problem(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some(allowed));
        let list: Vec<&str> = allowed.split(", ").collect();
        assert_eq!(problem["allowed"], json!(list));
    }
}

#[tokio::test]
async fn formats_that_are_not_read_or_written_are_problems() {
    let world = World::new().await;
    let send = async |path: &str, kind: &str| {
        world.send("POST", path, &[("Content-Type", kind)], b"{}").await
    };

    let problem = send("/streams/s", "text/plain").await.is_problem(415, "unsupported-media-type");
    assert_eq!(problem["accepted"].as_array().unwrap().len(), 4);
    world.send("POST", "/append", &[], b"{}").await.is_problem(415, "unsupported-media-type");
    send("/append", "application/x-ndjson").await.is_problem(415, "unsupported-media-type");
    let accept = [("Accept", "text/html;q=0.9, image/png")];
    let problem = world.send("GET", "/events", &accept, b"").await;
    let problem = problem.is_problem(406, "not-acceptable");
    assert_eq!(problem["formats"][0], "application/json");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let world = World::with_limits(Limits { request_size_max: 1_000, ..Limits::default() }).await;
    let fits = format!("{{\"type\":\"T\",\"data\":\"{}\"}}", "x".repeat(900));
    let large = format!("{{\"type\":\"T\",\"data\":\"{}\"}}", "x".repeat(2_000));
    let kind = [("Content-Type", "application/json")];
    let head = "POST /streams/s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = |body: &str| format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());

    world.send("POST", "/streams/s", &kind, fits.as_bytes()).await.is(201);
    world.send_raw(chunked(&fits).as_bytes()).await.is(201);
    let told = world.send("POST", "/streams/s", &kind, large.as_bytes()).await;
    let untold = world.send_raw(chunked(&large).as_bytes()).await;

    assert_eq!(told.is_problem(413, "too-large")["size_max"], 1_000);
    assert_eq!(untold.is_problem(413, "too-large")["size_max"], 1_000);
    assert_eq!(world.get("/frontier").await.is(200)["frontier"], 2);
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_answered_at_once() {
    let world = World::with_limits(Limits { request_size_max: 1_000, ..Limits::default() }).await;
    let head = "POST /streams/s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n";

    world.send_raw(head.as_bytes()).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused() {
    let world = World::new().await;
    let event = json!({"type": "T", "data": "x".repeat(17 << 20)});

    let problem = world.post("/streams/s", &event).await.is_problem(413, "too-large");

    assert_eq!((&problem["index"], &problem["size_max"]), (&json!(0), &json!(16 << 20)));
}

#[tokio::test]
async fn json_that_is_wrong_is_shown_with_line_and_column() {
    let world = World::new().await;
    let kind = [("Content-Type", "application/json")];
    let cases = [
        ("", 1, 1, "an event is a JSON object"),
        ("7", 1, 1, "an event is a JSON object"),
        ("{\"type\":\"T\",\n\"colour\":1}", 2, 8, "unknown field `colour`"),
        ("[{\"type\":\"T\"},\n {\"type\":7}]", 2, 10, "expected a string"),
        ("[{\"type\":\"T\"},\n [1]]", 2, 2, "an event is a JSON object"),
        ("{\"type\":\"T\",\"type\":\"T\"}", 1, 18, "duplicate field"),
        ("{\"type\":\"T\",\"id\":\"7\"}", 1, 20, "is not a UUID"),
        ("{\"type\":\"T\",\"data\":{]}", 1, 21, "key must be a string"),
        ("{\"type\":\"T\"} x", 1, 14, "trailing"),
    ];
    for (body, line, column, reason) in cases {
        let reply = world.send("POST", "/streams/s", &kind, body.as_bytes()).await;

        let problem = reply.is_problem(400, "malformed-json");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{body}: {problem}");
        assert_eq!(
            (&problem["line"], &problem["column"]),
            (&json!(line), &json!(column)),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_a_problem_that_names_it() {
    let world = World::new().await;
    let cases = [
        ("/events?colour=red", "colour"),
        ("/events?from=first", "from"),
        ("/events?from=1&from=2", "from"),
        ("/events?limit=0", "limit"),
        ("/events?limit=-1", "limit"),
        ("/events?direction=up", "direction"),
        ("/events?as_of=yesterday", "as_of"),
        ("/streams/s?query=type:A", "query"),
        ("/position", "at"),
        ("/position?at=noon", "at"),
        ("/streams?after=%01", "after"),
    ];
    for (path, name) in cases {
        let problem = world.get(path).await.is_problem(400, "malformed-request");

        assert_eq!(problem["parameter"], name, "{path}");
    }
    world.get("/events?query=%ff").await.is_problem(400, "malformed-request");
}

#[tokio::test]
async fn a_wrong_query_is_a_problem_that_shows_where() {
    let world = World::new().await;

    let problem = world.get("/events?query=type:A+colour:red").await;
    let problem = problem.is_problem(400, "malformed-query");

    assert_eq!((&problem["term"], &problem["offset"]), (&json!("colour:red"), &json!(7)));
}

#[tokio::test]
async fn failures_of_the_store_are_problems_that_say_whether_to_come_again() {
    let store = MemoryStore::new();
    let spied = Spied::new(store.clone());
    let world = World::over(store, spied.clone(), Limits::default()).await;
    let cause = || StorageError::new("sector 7 of the disk");
    let forbidden = Denied::Forbidden { principal: "ada".into(), what: "append to s".into() };
    let cases = [
        (AppendError::Overloaded, 503, "overloaded", true),
        (AppendError::Closed, 503, "closed", true),
        (AppendError::DiskFull, 507, "disk-full", true),
        (AppendError::ReadOnly, 403, "read-only", false),
        (AppendError::OutcomeUnknown(cause()), 500, "outcome-unknown", true),
        (AppendError::Storage(cause()), 500, "storage-failed", false),
        (
            AppendError::Storage(StorageError::new(Denied::Unauthenticated)),
            401,
            "unauthenticated",
            false,
        ),
        (AppendError::Storage(StorageError::new(forbidden)), 403, "forbidden", false),
    ];
    for (failure, status, name, is_retryable) in cases {
        spied.failures.lock().unwrap().push_back(failure);

        let reply = world.post("/streams/s", &json!({"type": "T"})).await;

        let problem = reply.is_problem(status, name);
        assert_eq!(problem["retryable"], is_retryable, "{problem}");
        assert_eq!(reply.header("retry-after").is_some(), status == 503);
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
        assert!(!reply.text().contains("sector"), "what failed below is in the log alone");
    }
    spied.read_failures.lock().unwrap().push_back(ReadError::Closed);
    world.get("/events").await.is_problem(503, "closed");
    world.get("/events").await.is(200);
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_an_explanation() {
    let world = World::new().await;
    let problem = world.get("/nothing").await.is_problem(404, "not-found");

    let explained = world.get(problem["type"].as_str().unwrap()).await;

    assert_eq!(explained.status, 200);
    assert!(explained.text().starts_with(problem["title"].as_str().unwrap()));
    world.get("/problems/of-mine").await.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_problem() {
    let world = World::new().await;
    let mut bytes = request("GET", "/nothing", &[], b"");
    bytes.extend(request("POST", "/append", &[("Content-Type", "application/json")], b"{]"));
    bytes.extend(request("GET", "/frontier", &[("Connection", "close")], b""));

    let answer = super::client::exchange(world.address, &bytes).await;

    let text = String::from_utf8(answer).unwrap();
    let statuses: Vec<&str> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["404", "400", "200"]);
}
