//! The gate, as raw requests meet it.

use base64::Engine;
use quipu_server::security::{Credentials, Role, Secret};

use super::support::{Verdict, World, create, create_expired};

const IDENTIFY: &str = "/quipu.v1.Store/Identify";
const FRONTIER: &str = "/quipu.v1.Store/Frontier";

#[tokio::test]
async fn an_open_server_lets_this_machine_in_and_no_page_of_another_site() {
    let world = World::open().await;
    let port = world.address().port();

    assert_eq!(world.ask("GET /metrics", &[]).await.status(), 200);
    assert_eq!(world.ask(IDENTIFY, &[]).await.verdict(), Verdict::Passed);
    let foreign = [("host", "evil.example")];
    for operation in ["GET /metrics", "GET /health/live", IDENTIFY] {
        let verdict = world.ask(operation, &foreign).await.verdict();
        assert_eq!(verdict, Verdict::Forbidden, "{operation} by a bent name");
        let origin = [("origin", "http://evil.example")];
        let verdict = world.ask(operation, &origin).await.verdict();
        assert_eq!(verdict, Verdict::Forbidden, "{operation} for a foreign page");
    }
    let own = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let headers = [("host", host.as_str()), ("origin", own.as_str())];
    assert_eq!(world.ask("GET /metrics", &headers).await.status(), 200);
}

#[tokio::test]
async fn what_is_not_in_the_table_is_refused() {
    let world = World::open().await;

    for operation in [
        "GET /nothing",
        "DELETE /metrics",
        "GET /quipu.v1.Store/Identify",
        "POST /quipu.v1.Store/Identify",
        "/metrics",
        "/quipu.v1.Store/Destroy",
        "/quipu.v1.Store/Identify/",
        "//quipu.v1.Store/Identify",
        "/quipu.v1.Store/%49dentify",
        "GET /health/../metrics",
    ] {
        let answer = world.ask(operation, &[]).await;
        assert_eq!(answer.verdict(), Verdict::Unknown, "{operation}: {answer:?}");
    }
    assert_eq!(world.ask("HEAD /metrics", &[]).await.status(), 200);
}

#[tokio::test]
async fn whoever_shows_nothing_is_told_how_to_ask() {
    let mut credentials = Credentials::default();
    create(&mut credentials, "a", Role::Reader);
    let world = World::with(&credentials).await;

    let http = world.ask("GET /metrics", &[]).await;
    assert_eq!(http.status(), 401);
    assert_eq!(http.header("www-authenticate"), Some("Bearer"));
    assert_eq!(http.header("content-type"), Some("application/problem+json"));
    assert_eq!(http.json()["code"], "access.unauthenticated");

    let grpc = world.ask(IDENTIFY, &[]).await;
    assert_eq!((grpc.status(), grpc.header("grpc-status")), (200, Some("16")));
    assert_eq!(grpc.body(), "", "the status comes with the headers, nothing follows");
    assert_eq!(world.ask("GET /health/ready", &[]).await.status(), 200);
}

#[tokio::test]
async fn a_role_opens_what_it_is_for_and_nothing_else() {
    let mut credentials = Credentials::default();
    let reader = create(&mut credentials, "reader", Role::Reader);
    let operator = create(&mut credentials, "operator", Role::Operator);
    let expired = create_expired(&mut credentials, "expired", Role::Admin);
    let world = World::with(&credentials).await;

    for (token, frontier, metrics) in [
        (&reader, Verdict::Passed, Verdict::Forbidden),
        (&operator, Verdict::Forbidden, Verdict::Passed),
        (&expired, Verdict::Unauthenticated, Verdict::Unauthenticated),
    ] {
        assert_eq!(world.ask_as(&token.text, FRONTIER).await.verdict(), frontier);
        assert_eq!(world.ask_as(&token.text, "GET /metrics").await.verdict(), metrics);
    }
    let refused = world.ask_as(&reader.text, "GET /metrics").await.json();
    assert_eq!(refused["detail"], "reader may not operate: no role and no rule allows it");
}

#[tokio::test]
async fn a_token_that_is_almost_right_is_wrong() {
    let mut credentials = Credentials::default();
    let token = create(&mut credentials, "a", Role::Admin);
    let world = World::with(&credentials).await;
    let text = token.text.reveal();
    let other = create(&mut Credentials::default(), "a", Role::Admin);
    let mixed = format!("qp_{}_{}", token.id, other.text.reveal().rsplit('_').next().unwrap());

    for wrong in [
        &text[..text.len() - 1],
        &format!("{text}0"),
        &text.replacen("qp", "qs", 1),
        &mixed,
        "",
        "qp__",
    ] {
        let header = format!("Bearer {wrong}");
        let answer = world.ask("GET /metrics", &[("authorization", &header)]).await;
        assert_eq!(answer.verdict(), Verdict::Unauthenticated, "{answer:?}");
    }
    let header = format!("bearer {text}");
    assert_eq!(world.ask("GET /metrics", &[("authorization", &header)]).await.status(), 200);
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token() {
    let mut credentials = Credentials::default();
    let password = Secret::new("correct horse battery");
    credentials.add_user("ada", Role::Operator, &password).unwrap();
    let world = World::with(&credentials).await;
    let basic = |password: &str| {
        let text = format!("ada:{password}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };

    let right = basic(password.reveal());
    let session = world.ask("POST /session", &[("authorization", &right)]).await;
    assert_eq!(session.status(), 200, "{session:?}");
    assert_eq!(session.header("cache-control"), Some("no-store"));
    let token = Secret::new(session.json()["token"].as_str().unwrap());
    assert_eq!(world.ask_as(&token, "GET /metrics").await.status(), 200);

    let direct = world.ask("GET /metrics", &[("authorization", &right)]).await;
    assert_eq!(direct.status(), 401, "a password is no token");
    let wrong = basic("wrong horse battery");
    for status in [401, 401, 401, 429] {
        let answer = world.ask("POST /session", &[("authorization", &wrong)]).await;
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 429);
    }
    assert_eq!(
        world.ask("POST /session", &[]).await.header("www-authenticate"),
        Some("Basic realm=\"quipu\"")
    );
    assert_eq!(
        World::open().await.ask("POST /session", &[("authorization", &right)]).await.status(),
        409
    );
}

#[tokio::test]
async fn a_request_has_an_id_that_is_fit_for_logs() {
    let world = World::open().await;

    let own = world.ask("GET /health/live", &[("x-request-id", "order-7.a_b")]).await;
    assert_eq!(own.header("x-request-id"), Some("order-7.a_b"));
    for unfit in ["a b", "a\u{1b}[31m", &"a".repeat(65), "a=b", ""] {
        let answer = world.ask("GET /health/live", &[("x-request-id", unfit)]).await;
        let id = answer.header("x-request-id").unwrap_or_default();
        // The control character makes the whole request malformed, before it has an id.
        assert!(answer.status() == 400 || (id != unfit && id.len() == 32), "{answer:?}");
    }
}
