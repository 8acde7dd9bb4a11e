//! The verbs on a server instead of a directory: `--url`.

use rustix::process::Signal;

use crate::support::{Ran, Running, Store, field, lines, run};

/// A server of a store, and its URL.
fn serve(store: &Store) -> (Running, String) {
    let running = store.start(&["serve", "--listen", "127.0.0.1:0", "--print-address"]);
    let url = running.line();
    (running, url)
}

/// Runs a verb on a server, from a place without a store.
fn on(url: &str, args: &[&str], input: &str) -> Ran {
    let elsewhere = Store::missing();
    let ran = run(elsewhere.command().args(["--url", url]).args(args), input.as_bytes());
    assert!(!elsewhere.data().exists(), "the verb touched a directory");
    ran
}

#[test]
fn what_is_appended_to_a_server_is_read_from_it() {
    let store = Store::missing();
    let (running, url) = serve(&store);

    let appended = ["append", "order-1", "--type", "Placed", "--json", "{}", "--expect", "none"];
    on(&url, &appended, "").ok();
    on(&url, &appended, "").no("expected no stream, found revision 0");
    let imported = on(&url, &["import", "-"], &lines(1_200)).ok();
    assert_eq!(imported.fact("imported"), "1,200");
    let again = on(&url, &["import", "-"], &lines(1_200)).ok();
    assert_eq!((again.fact("imported"), again.fact("already there")), ("0".into(), "1,200".into()));

    let read = on(&url, &["read", "--all", "--format", "jsonl"], "").ok().json();
    assert_eq!(read.len(), 1_201);
    let streams = on(&url, &["streams", "order-11", "--format", "jsonl"], "").ok().json();
    assert_eq!(field(&streams, "stream").first(), Some(&"order-11"));
    on(&url, &["stream", "delete", "order-7"], "").ok();
    assert!(on(&url, &["stream", "info", "order-7"], "").ok().out().contains("deleted"));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert_eq!(store.json(&["read", "order-7"]).len(), 0);
    assert_eq!(store.json(&["read", "--all"]).len(), 1_201, "what is deleted stays in the log");
}

#[test]
fn an_export_from_a_server_is_what_the_directory_exports() {
    let store = Store::with(&lines(3_000));
    let (running, url) = serve(&store);

    let there = on(&url, &["export"], "").ok();

    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert!(there.out_bytes() == store.run(&["export"]).ok().out_bytes());
}

#[test]
fn a_full_export_is_imported_to_a_server_with_what_is_reserved() {
    let store = Store::with(&lines(3));
    store.run(&["stream", "metadata", "order-1", "--set", r#"{"$maxCount":7}"#]).ok();
    let full = store.run(&["export", "--full"]).ok().out();
    let other = Store::missing();
    let (_running, url) = serve(&other);

    on(&url, &["import", "-"], &full).fails("is reserved");
    on(&url, &["import", "-", "--system"], &full).ok();

    let info = on(&url, &["stream", "info", "order-1"], "").ok();
    assert_eq!(info.fact("max count"), "7");
}

#[test]
fn a_tail_of_a_server_follows_it() {
    let store = Store::with(&lines(2));
    let (_running, url) = serve(&store);
    let tail = Store::missing();
    let tail = tail.start(&["--url", &url, "tail", "--all", "--from", "0", "--format", "jsonl"]);

    assert_eq!(field(&tail.json(2), "stream"), ["order-0", "order-1"]);
    on(&url, &["append", "a", "--type", "T", "--json", "1"], "").ok();

    assert_eq!(field(&tail.json(1), "stream"), ["a"]);
    tail.signal(Signal::INT);
    assert_eq!(tail.end(), Some(0));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    on("http://127.0.0.1:9", &["read", "--all"], "")
        .fails("could not connect to http://127.0.0.1:9");
    on("what is this", &["read", "--all"], "").fails("could not connect to what is this");
}

#[test]
fn a_verb_that_needs_the_directory_says_so() {
    for verb in [&["restore", "x"][..], &["serve"], &["bench"]] {
        on("http://127.0.0.1:9", verb, "").fails("this verb works on a directory");
    }
    on("http://127.0.0.1:9", &["restore", "x"], "").fails("serve that one instead");
}

#[test]
fn a_server_with_tokens_wants_one() {
    let store = Store::with(&lines(1));
    let made = store.run(&["token", "create", "ada", "--role", "reader"]).ok();
    let token = made.out().lines().find(|line| line.contains("qp_")).unwrap().trim().to_owned();
    let file = store.file("token", &token);
    let (_running, url) = serve(&store);

    on(&url, &["read", "--all"], "").fails("credentials");
    let read = on(&url, &["read", "--all", "--token-file", &file, "--format", "jsonl"], "").ok();
    assert_eq!(field(&read.json(), "stream"), ["order-0"]);
    let append = ["append", "a", "--type", "T", "--json", "1", "--token-file", &file];
    let refused = on(&url, &append, "");
    assert!(!refused.err().contains(&token), "{refused}");
    refused.fails("may not");
}

#[test]
fn the_store_behind_a_server_is_looked_at_verified_copied_and_scavenged() {
    let store = Store::with(&lines(500));
    let backups = store.path("backups");
    std::fs::create_dir(&backups).unwrap();
    let backups = backups.display().to_string();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--print-address", "--backup-dir", &backups];
    let running = store.start(&serve);
    let url = running.line();

    let stats = on(&url, &["stats"], "").ok();
    assert_eq!(stats.fact("events"), "500");
    assert_eq!(on(&url, &["scavenge"], "").ok().fact("scavenged"), "0");
    assert!(on(&url, &["verify"], "").ok().err().contains("found no damage"));
    let rebuilt = on(&url, &["rebuild-index"], "").ok();
    assert_eq!((rebuilt.fact("indexed"), rebuilt.fact("runs")), ("0".into(), "0".into()));
    let made = on(&url, &["backup", "monday"], "").ok();
    assert_eq!(made.fact("last position"), "500");
    on(&url, &["backup", "monday"], "").fails("there is a backup \"monday\" already");
    on(&url, &["backup", "../out"], "").fails("cannot be the name of a backup");
    drop(running);

    let copy = Store::missing();
    copy.run(&["restore", &format!("{backups}/monday")]).ok();
    assert_eq!(copy.events().len(), 500);
}

#[test]
fn an_administrator_keeps_the_credentials_of_a_server() {
    let store = Store::missing();
    let token_of = |ran: &Ran| {
        let out = ran.out();
        out.lines().find(|line| line.starts_with("qp_")).unwrap().to_owned()
    };
    let made = store.run(&["token", "create", "ada", "--role", "admin"]).ok();
    let admin = store.file("admin", token_of(&made));
    let (running, url) = serve(&store);
    let as_admin =
        |args: &[&str], input: &str| on(&url, &[args, &["--token-file", &admin]].concat(), input);

    let made = as_admin(&["token", "create", "orders", "--role", "writer"], "").ok();
    assert!(made.err().contains(&url), "it says who keeps the hash: {made}");
    let orders = store.file("orders", token_of(&made));
    let append = ["append", "order-1", "--type", "T", "--json", "1", "--token-file", &orders];
    on(&url, &append, "").ok();
    let tokens = as_admin(&["token", "list", "--format", "jsonl"], "").ok().json();
    assert_eq!(field(&tokens, "principal"), ["ada", "orders"]);
    as_admin(&["rule", "add", "deny", "orders", "append prefix:order-9"], "").ok();
    let rules = as_admin(&["rule", "list", "--format", "jsonl"], "").ok().json();
    assert_eq!(
        (field(&rules, "effect"), field(&rules, "rule")),
        (vec!["deny"], vec!["append prefix:order-9"])
    );
    let denied = [&["append", "order-9"], &append[2..]].concat();
    on(&url, &denied, "").fails("may not append");
    as_admin(&["rule", "remove", "1"], "").ok();
    on(&url, &denied, "").ok();

    as_admin(&["token", "revoke", field(&tokens, "id")[1]], "").ok();
    on(&url, &append, "").fails("credentials");
    as_admin(&["token", "revoke", "nothing"], "").no("there is no token \"nothing\"");

    as_admin(&["user", "add", "eva", "--role", "reader"], "short\n").no("8 bytes");
    as_admin(&["user", "add", "eva", "--role", "reader"], "correct horse battery\n").ok();
    as_admin(&["user", "certificate", "eva", "cn:eva"], "").ok();
    as_admin(&["user", "passwd", "eva"], "another long password\n").ok();
    let users = as_admin(&["user", "list"], "").ok().out();
    assert!(users.contains("eva") && users.contains("cn:eva"), "{users}");
    as_admin(&["user", "remove", "orders"], "").ok();

    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    let here = store.json(&["user", "list"]);
    assert_eq!(field(&here, "name"), ["ada", "eva"], "the server's file has it all");
    let audit = store.json(&["read", "$audit", "--system"]);
    let created = audit.iter().find(|event| event["type"] == "TokenCreated").unwrap();
    assert_eq!(
        (&created["data"]["principal"], &created["data"]["by"]),
        (&"orders".into(), &"ada".into())
    );
}

#[test]
fn the_credentials_of_a_server_are_for_administrators() {
    let store = Store::missing();
    let made = store.run(&["token", "create", "bo", "--role", "operator"]).ok();
    let file = store.file("bo", made.out().trim());
    let (_running, url) = serve(&store);

    for verb in [&["token", "list"][..], &["user", "list"], &["rule", "list"]] {
        on(&url, verb, "").fails("credentials");
        on(&url, &[verb, &["--token-file", &file]].concat(), "").fails("bo may not administer");
    }
    let grab = ["token", "create", "bo2", "--role", "admin", "--token-file", &file];
    on(&url, &grab, "").fails("bo may not administer");
    assert_eq!(store.json(&["token", "list"]).len(), 1);
}

#[test]
fn the_first_credentials_are_made_where_the_server_is() {
    let store = Store::missing();
    let (_running, url) = serve(&store);

    on(&url, &["token", "create", "eve", "--role", "admin"], "").fails("may not administer");

    assert!(store.json(&["token", "list"]).is_empty(), "whoever comes first is nobody yet");
}
