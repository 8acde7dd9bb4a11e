//! `quipu relay`: events published as a file says, and what is said where it cannot be.

use std::fs;

use quipu_testing::kafka::{Cluster, ClusterOptions};
use serde_json::Value;

use crate::support::Store;

const ORDERS: &str = concat!(
    r#"{"stream":"order-1","type":"shop.paid","data":{"cents":120,"card":"4111","at":1.50}}"#,
    "\n",
    r#"{"stream":"note-1","type":"shop.noted","data":{"text":"hello"}}"#,
    "\n",
    r#"{"stream":"order-2","type":"shop.paid","data":{"cents":7,"card":"4222","at":2}}"#,
    "\n",
);

const RELAY: &str = r#"
name = "public-orders"
source = "https://example.com/orders"
partitions = 2
on_error = "park"

[[event]]
type = "shop.paid"
as = "com.example.order.paid.v1"
drop = ["card"]
rename = { cents = "amount_cents" }

[file]
path = "public.jsonl"
"#;

fn published(store: &Store) -> Vec<Value> {
    let text = fs::read_to_string(store.path("public.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_relay_publishes_what_its_file_says_and_goes_on_where_it_was() {
    let store = Store::with(ORDERS);
    let file = store.file("relay.toml", RELAY);

    let facts = store.json(&["relay", "run", "--config", &file, "--once"]);
    let later =
        r#"{"stream":"order-1","type":"shop.paid","data":{"cents":5,"card":"4333","at":3}}"#;
    store.import(later, &[]).ok();
    store.run(&["relay", "run", "--config", &file, "--once"]).ok();

    assert_eq!(facts[0]["position"], 3);
    let all = published(&store);
    let seen: Vec<_> = all.iter().map(|it| (&it["type"], &it["subject"], &it["data"])).collect();
    let kind = Value::from("com.example.order.paid.v1");
    let first = serde_json::json!({"amount_cents": 120, "at": 1.5});
    let second = serde_json::json!({"amount_cents": 7, "at": 2});
    let (one, two) = (Value::from("order-1"), Value::from("order-2"));
    assert!(seen.contains(&(&kind, &one, &first)) && seen.contains(&(&kind, &two, &second)));
    assert_eq!(seen.len(), 3, "{seen:?}");
    let text = fs::read_to_string(store.path("public.jsonl")).unwrap();
    assert!(text.contains("1.50"), "numbers stay as they are: {text}");
    assert!(!text.contains("4111") && !text.contains("hello"), "{text}");

    let listed = store.json(&["relay", "list"]);
    assert_eq!(listed[0]["name"], "public-orders");
    assert_eq!(listed[0]["lag"], 0);
}

#[test]
fn an_event_that_cannot_be_mapped_is_parked_with_its_cause() {
    let store = Store::with(ORDERS);
    let bad = r#"{"stream":"order-1","type":"shop.paid","data":[1]}"#;
    store.import(bad, &[]).ok();
    let file = store.file("relay.toml", format!("retries = 0\n{RELAY}"));

    store.run(&["relay", "run", "--config", &file, "--once"]).no("");

    let parked = store.json(&["parked", "list", "public-orders"]);
    assert_eq!(parked[0]["kind"], "relay");
    assert_eq!(parked[0]["position"], 4);
    assert!(parked[0]["cause"].as_str().unwrap().contains("not a JSON object"), "{parked:?}");
    store.run(&["relay", "replay", "public-orders", "--after", "0"]).ok();
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_the_line() {
    let store = Store::with(ORDERS);
    let kafka = "name = \"x\"\n[kafka]\nservers = \"localhost:1\"\ntopic = \"a {b\"\n";
    for (text, expected) in [
        ("name = \"x\"\npartitons = 3\n[stdout]\n", "line 2"),
        ("name = \"x\"\nquery = \"kind:x\"\n[stdout]\n", "line 2"),
        ("name = \"x\"\n\nkey = \"tags\"\n[stdout]\n", "line 3"),
        ("name = \"\"\n[stdout]\n", "line 1"),
        ("name = \"x\"\n", "names 0 of the sinks"),
        ("name = \"x\"\n[stdout]\n[file]\npath = \"x\"\n", "names 2 of the sinks"),
        ("name = \"x\"\n[webhook]\nurl = \"ftp://x\"\n", "line 3"),
        (kafka, "line 4"),
        ("name = \"x\"\n[nats]\nservers = \"a\"\nstream = \"S\"\nsubject = \"a.>\"\n", "line 5"),
        (
            "name = \"x\"\n[nats]\nservers = \"nats://u:p@a\"\nstream = \"S\"\nsubject = \"a\"\n",
            "given apart",
        ),
        (
            "name = \"x\"\n[[event]]\ntype = \"a\"\nfields = []\ndrop = [\"b\"]\n[stdout]\n",
            "line 3",
        ),
        ("name = \"x\"\nfrom = \"later\"\n[stdout]\n", "line 2"),
    ] {
        let file = store.file("relay.toml", text);
        let ran = store.run(&["relay", "check", "--config", &file]);
        assert_eq!(ran.code(), Some(2), "{text}");
        assert!(ran.err().contains(expected), "{text}: {}", ran.err());
    }
}

#[test]
fn a_relay_publishes_to_a_topic_of_kafka_once() {
    let Some(cluster) = Cluster::start(1, &ClusterOptions::default()) else { return };
    let store = Store::with(ORDERS);
    let (before, _) = RELAY.split_once("[file]").unwrap();
    let kafka = format!(
        "{before}[kafka]\nservers = \"{}\"\ntopic = \"{{category}}.paid\"\n\
         create_topics = true\npartitions = 3\n",
        cluster.servers()
    );
    let file = store.file("relay.toml", kafka);

    let facts = store.json(&["relay", "check", "--config", &file]);
    for _ in 0..2 {
        store.run(&["relay", "run", "--config", &file, "--once"]).ok();
    }

    assert_eq!(facts[0]["sink"], "kafka");
    let mut keys: Vec<_> = cluster.judge("order.paid").into_iter().map(|(key, _)| key).collect();
    keys.sort();
    assert_eq!(keys, ["order-1", "order-2"]);
    let listed = store.json(&["relay", "list"]);
    assert_eq!((&listed[0]["position"], &listed[0]["lag"]), (&Value::from(3), &Value::from(0)));
}

#[test]
fn a_relay_publishes_to_a_stream_of_nats() {
    let Some(server) = quipu_testing::nats::Nats::start("") else { return };
    let store = Store::with(ORDERS);
    let (before, _) = RELAY.split_once("[file]").unwrap();
    let nats = format!(
        "{before}[nats]\nservers = \"{}\"\nstream = \"ORDERS\"\nsubject = \"orders.{{key}}\"\n\
         create_stream = true\n",
        server.url()
    );
    let file = store.file("relay.toml", nats);

    let facts = store.json(&["relay", "check", "--config", &file]);
    assert_eq!(facts[0]["sink"], "nats");
    store.run(&["relay", "run", "--config", &file, "--once"]).ok();

    let info: Value = serde_json::from_str(&server.stream_info("ORDERS")).unwrap();
    assert_eq!(info["state"]["messages"], 2, "{info}");
    assert_eq!(info["config"]["subjects"][0], "orders.>", "{info}");
}

#[test]
fn a_server_runs_the_relays_of_a_directory() {
    let store = Store::with(ORDERS);
    fs::create_dir(store.path("relays")).unwrap();
    store.file("relays/public.toml", RELAY);
    let directory = store.path("relays").display().to_string();

    let mut server = store.start(&["serve", "--listen", "127.0.0.1:0", "--relays", &directory]);
    let path = store.path("relays").join("public.jsonl");
    server.until(|| fs::read_to_string(&path).is_ok_and(|it| it.lines().count() == 2));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.end(), Some(0));

    let listed = store.json(&["relay", "list"]);
    assert!(listed[0]["owner"].as_str().unwrap().contains("quipu serve"), "{listed:?}");
}
