//! KurrentDB's own clients, unchanged, on a server of this build.
//!
//! One program a client, in the folder of its language, plays the same scenario: appends with every
//! expectation, reads every way, deletes, metadata, appends to many streams, and a subscription that
//! goes on where it was after the server was stopped and started again. `.ci/install/kurrent-clients`
//! fetches the clients into a folder of their own; without them a test says that it is skipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod server;
#[path = "../service/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

use server::{PASSWORD, Server};

fn scenario(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(file)
}

fn python(file: &str) -> Option<Command> {
    let mut command = Command::new(tools::find("kurrent-clients", "python/bin/python")?);
    command.arg(scenario("python").join(file));
    Some(command)
}

fn node() -> Option<Command> {
    let folder = tools::find("kurrent-clients", "node/node_modules/@kurrent/kurrentdb-client")?;
    let folder = folder.ancestors().nth(3).unwrap();
    let mut command = Command::new("node");
    command.current_dir(folder).arg(scenario("node/scenario.mjs"));
    Some(command)
}

fn go() -> Option<Command> {
    Some(Command::new(tools::find("kurrent-clients", "go/scenario")?))
}

fn java() -> Option<Command> {
    let jars = tools::find("kurrent-clients", "java/jars")?;
    let mut command = Command::new("java");
    command.arg("-cp").arg(format!("{}/*", jars.display())).arg(scenario("java/Scenario.java"));
    Some(command)
}

fn rust() -> Option<Command> {
    Some(Command::new(tools::find("kurrent-clients", "rust/debug/scenario")?))
}

/// Plays the scenario on a server that anybody on this machine may use.
fn play_plain(client: Option<Command>, part: &str) {
    let Some(mut command) = client else { return };
    let mut server = Server::open();
    let url = format!("kurrentdb://{}?tls=false", server.address());
    server.play(command.args([&url, part]));
}

/// Plays a part through TLS, with a name and a password.
fn play_secure(client: Option<Command>, part: &str) {
    let Some(mut command) = client else { return };
    let mut server = Server::secure();
    let url = format!(
        "kurrentdb://ada:{PASSWORD}@localhost:{}?tls=true&tlsCaFile={}",
        server.address().port(),
        server.authority().display()
    );
    server.play(command.args([&url, part]));
}

#[test]
fn the_client_of_python_goes_on_unchanged() {
    play_plain(python("scenario.py"), "plain");
}

#[test]
fn the_client_of_python_shows_a_password_through_tls() {
    play_secure(python("scenario.py"), "secure");
}

#[test]
fn the_library_eventsourcing_of_python_keeps_its_events() {
    play_plain(python("scenario.py"), "eventsourcing");
}

#[test]
fn the_client_of_python_shares_parks_and_replays_events_in_persistent_subscriptions() {
    play_plain(python("persistent_subscriptions.py"), "plain");
}

#[test]
fn the_client_of_node_goes_on_unchanged() {
    play_plain(node(), "plain");
}

#[test]
fn the_client_of_node_shares_parks_and_replays_events_in_persistent_subscriptions() {
    play_plain(node(), "persistent");
}

#[test]
fn the_client_of_node_shows_a_password_through_tls() {
    play_secure(node(), "secure");
}

#[test]
fn emmett_of_node_keeps_its_events() {
    play_plain(node(), "emmett");
}

#[test]
fn the_client_of_go_goes_on_unchanged() {
    play_plain(go(), "plain");
}

#[test]
fn the_client_of_go_shares_parks_and_replays_events_in_persistent_subscriptions() {
    play_plain(go(), "persistent");
}

#[test]
fn the_client_of_go_shows_a_password_through_tls() {
    play_secure(go(), "secure");
}

#[test]
fn the_client_of_java_goes_on_unchanged() {
    play_plain(java(), "plain");
}

#[test]
fn the_client_of_java_shares_parks_and_replays_events_in_persistent_subscriptions() {
    play_plain(java(), "persistent");
}

#[test]
fn the_client_of_java_shows_a_password_through_tls() {
    play_secure(java(), "secure");
}

#[test]
fn the_client_of_rust_goes_on_unchanged() {
    play_plain(rust(), "plain");
}

#[test]
fn the_client_of_rust_shares_parks_and_replays_events_in_persistent_subscriptions() {
    play_plain(rust(), "persistent");
}

#[test]
fn the_client_of_rust_shows_a_password_through_tls() {
    play_secure(rust(), "secure");
}

/// The server stops in the end: the client asks it to.
#[test]
fn the_client_of_rust_keeps_users_and_works_on_an_open_server() {
    play_plain(rust(), "operations");
}

#[test]
fn the_client_of_rust_keeps_users_and_works_on_a_secure_server() {
    play_secure(rust(), "operations");
}
