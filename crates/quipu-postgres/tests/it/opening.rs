//! What is told where a store cannot be opened.

use std::time::{Duration, Instant};

use quipu_core::EventStore;
use quipu_postgres::{OpenError, PostgresOptions};
use quipu_testing::postgres::Server;

use crate::support::{fresh, in_schema, open, server};

/// An error with its causes, as people see it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_store_is_made_once_and_found_again() {
    let Some(server) = server() else { return };
    let options = fresh(server).name("shop");

    // Several nodes that start at once.
    let (one, two) = tokio::join!(options.clone().open(), options.clone().open());
    let again = options.clone().create(false).open().await.unwrap();

    let identity = one.unwrap().identity();
    assert_eq!(identity.name, "shop");
    assert_eq!(two.unwrap().identity(), identity);
    assert_eq!(again.identity(), identity);
    let migrated = options.migrate().await.unwrap();
    assert!(migrated.applied.is_empty(), "{migrated:?}");
}

#[tokio::test]
async fn a_store_is_not_made_unasked() {
    let Some(server) = server() else { return };
    let options = fresh(server).create(false);

    let missing = options.clone().open().await.unwrap_err();
    let would = options.look().await.unwrap();
    let did = options.migrate().await.unwrap();

    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    assert_eq!(would, did);
    assert_eq!((did.from, did.applied.len()), (0, usize::try_from(did.to).unwrap()));
    open(options).await;
}

#[tokio::test]
async fn another_programs_schema_is_named() {
    let Some(server) = server() else { return };
    server.sql("postgres", "create schema theirs; create table theirs.invoices (n int)");

    let refused = in_schema(server, "theirs").open().await.unwrap_err();

    let text = told(&refused);
    assert!(text.contains("\"theirs\" belongs to another program: it has invoices"), "{text}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(server) = server() else { return };
    let options = fresh(server);
    open(options.clone()).await;
    let schema = options.to_string();
    let schema = schema.split_once("schema=").unwrap().1;
    server.sql("postgres", &format!("insert into {schema}.migrations values (99, 'later')"));

    let refused = options.open().await.unwrap_err();

    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
}

#[tokio::test]
async fn missing_rights_are_told_with_the_statement() {
    let Some(server) = server() else { return };
    let options = fresh(server);
    open(options.clone()).await;
    let schema = options.to_string();
    let schema = schema.split_once("schema=").unwrap().1;
    server.sql("postgres", "create role guest login");

    let url = server.socket_url("postgres").replace("quipu@", "guest@");
    let guest: PostgresOptions = url.parse().unwrap();
    let refused = guest.schema(schema).unwrap().open().await.unwrap_err();

    let text = told(&refused);
    assert!(text.contains("statement \"list_migrations\""), "{text}");
    assert!(text.contains("permission denied for schema"), "{text}");
}

/// The rights that `docs/operations.md` lists are enough.
#[tokio::test]
async fn a_role_that_may_only_use_the_schema_can_run_a_node() {
    let Some(server) = server() else { return };
    let options = fresh(server);
    open(options.clone()).await;
    let schema = options.to_string();
    let schema = schema.split_once("schema=").unwrap().1;
    server.sql(
        "postgres",
        &format!(
            "create role node login;
             grant usage on schema {schema} to node;
             grant select, insert, update, delete on all tables in schema {schema} to node;
             grant usage, select on all sequences in schema {schema} to node;"
        ),
    );

    let url = server.socket_url("postgres").replace("quipu@", "node@");
    let node: PostgresOptions = url.parse().unwrap();
    let store = open(node.schema(schema).unwrap()).await;

    let event = quipu_core::NewEvent::json("A", "{}").unwrap().with_tag("t").unwrap();
    let stream = quipu_core::StreamName::new("a-1").unwrap();
    store.append(quipu_core::Append::new().event(stream.clone(), event)).await.unwrap();
    store.delete(stream, quipu_core::ExpectedRevision::Any).await.unwrap();
}

#[tokio::test]
async fn a_wrong_address_password_or_database_is_told_without_the_password() {
    let Some(server) = Server::start() else { return };
    let no_database: PostgresOptions = server.url("nowhere").parse().unwrap();
    let refused = no_database.open().await.unwrap_err();
    assert!(told(&refused).contains("\"nowhere\" does not exist"), "{}", told(&refused));
    assert!(!refused.is_transient());

    server.sql("postgres", "create role ada login password 'right'");
    let hba = "local all quipu trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let path = server.sql("postgres", "show hba_file");
    std::fs::write(path, hba).unwrap();
    server.sql("postgres", "select pg_reload_conf()");
    let url = server.url("postgres").replace("quipu@", "ada:hunter2@");
    let wrong: PostgresOptions = url.parse().unwrap();
    let refused = wrong.open().await.unwrap_err();
    let text = told(&refused);
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!refused.is_transient());

    server.stop();
    let gone: PostgresOptions = server.url("postgres").parse().unwrap();
    let begun = Instant::now();
    let refused = gone.patience(Duration::from_secs(1)).open().await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    assert!(told(&refused).contains(&server.port().to_string()), "{}", told(&refused));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_address_is_parsed_and_printed_without_its_password() {
    let options: PostgresOptions =
        "postgresql://ada:p%40ss@db:6432/shop?sslmode=require&schema=orders&connections=3"
            .parse()
            .unwrap();
    assert_eq!(options.to_string(), "postgres://ada@db:6432/shop?schema=orders");
    assert!(!format!("{options:?}").contains("p%40ss"));

    for (text, told) in [
        ("mysql://db/shop", "begins with postgres://"),
        ("postgres://ada:secret@db:port/shop", "not postgres://USER"),
        ("postgres://db/shop?schema=Orders", "cannot be the schema"),
        ("postgres://db/shop?connections=0", "above 0"),
    ] {
        let error = text.parse::<PostgresOptions>().unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("secret"), "{error}");
    }
}
