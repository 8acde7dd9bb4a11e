//! The description, held against the server by Schemathesis: every operation, with requests that
//! are valid and requests that are not, and calls that follow from one another.

use std::process::Command;

use super::client::World;
use crate::tools;

/// What is valid is more than a schema can say: queries, times and conditions are texts with a grammar,
/// and an event has its data once. That such a request is refused is right.
const TOO_STRICT: &str = "positive_data_acceptance";
/// Subscriptions never end, so that only what is refused of them can be looked at by a tool that
/// waits for the whole answer.
const SUBSCRIPTIONS: &str = "/subscribe$";

async fn ask(world: &World, options: &[&str]) {
    let Some(program) = tools::find("schemathesis", "bin/schemathesis") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(scratch.path())
        .args(["run", &format!("http://{}/openapi.json", world.address)])
        .args(["--no-color", "--seed", "1", "--max-examples", "40", "--workers", "2"])
        .args(["--request-timeout", "10", "--generation-database", "none", "--warnings", "off"])
        .args(["--exclude-checks", TOO_STRICT])
        .args(options);

    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();

    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(text.contains("passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_does_what_its_description_promises() {
    let world = World::new().await;

    ask(&world, &["--exclude-path-regex", SUBSCRIPTIONS]).await;
    ask(
        &world,
        &["--include-path-regex", SUBSCRIPTIONS, "--mode", "negative", "--phases", "fuzzing"],
    )
    .await;

    assert_eq!(world.get("/health/ready").await.status, 200);
}
