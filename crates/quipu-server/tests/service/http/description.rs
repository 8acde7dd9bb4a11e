use std::collections::BTreeSet;
use std::path::PathBuf;

use quipu_server::security::PERMISSIONS;
use serde_json::{Value, json};

use super::client::World;

/// `QUIPU_BLESS=1` writes what the server says in place of what is checked in.
#[tokio::test]
async fn the_description_is_the_one_that_is_checked_in() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let world = World::new().await;

    let described = world.get("/openapi.json").await;

    described.is(200);
    if std::env::var_os("QUIPU_BLESS").is_some() {
        std::fs::write(&path, &described.body).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        described.text() == checked_in,
        "docs/openapi.json is not what the code says: run this test with QUIPU_BLESS=1"
    );
}

#[tokio::test]
async fn the_description_has_every_operation_and_no_other() {
    let world = World::new().await;
    let api = world.get("/openapi.json").await.is(200);

    let mut described = BTreeSet::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }

    let is_ours = |operation: &&str| {
        let prefixes = [
            "/streams",
            "/append",
            "/events",
            "/subscri",
            "/frontier",
            "/position",
            "/problems",
            "/categories",
            "/types",
            "/tag",
            "/components",
            "/groups",
            "/process-map",
            "/whoami",
        ];
        let path = operation.split_once(' ').map(|(_, path)| path);
        path.is_some_and(|path| prefixes.iter().any(|prefix| path.starts_with(prefix)))
    };
    let permitted: BTreeSet<String> =
        PERMISSIONS.iter().map(|own| own.operation).filter(is_ours).map(str::to_owned).collect();
    assert_eq!(described, permitted);
    assert_eq!(api["openapi"].as_str().unwrap().split('.').take(2).collect::<Vec<_>>(), ["3", "1"]);
}

/// Every reference leads somewhere.
#[tokio::test]
async fn the_description_is_complete() {
    let world = World::new().await;
    let api = world.get("/openapi.json").await.is(200);
    let mut references = Vec::new();
    find_references(&api, &mut references);

    assert!(references.len() > 10);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(api.pointer(pointer).is_some(), "{reference} is missing");
    }
}

fn find_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference.clone());
            }
            members.values().for_each(|member| find_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
        _ => {}
    }
}

fn fields_of(api: &Value, schema: &str) -> BTreeSet<String> {
    let fields = api["components"]["schemas"][schema]["properties"].as_object();
    fields.unwrap_or_else(|| panic!("{schema} is described")).keys().cloned().collect()
}

#[tokio::test]
async fn bodies_have_the_fields_that_are_described() {
    let world = World::new().await;
    let event = json!({"type": "T", "data": 1, "metadata": {"m": 1}, "tags": ["t"]});
    let appended = world.post("/streams/s", &event).await.is(201);
    world
        .post("/streams/s", &json!({"type": "T", "data_base64": "/w==", "metadata_base64": "/w=="}))
        .await
        .is(201);
    let api = world.get("/openapi.json").await.is(200);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();

    let stream = world.get("/streams/s").await.is(200);
    let log = world.get("/events").await.is(200);

    let mut event_fields = keys(&stream["events"][0]);
    event_fields.extend(keys(&stream["events"][1]));
    event_fields.insert("erased".to_owned());
    assert_eq!(event_fields, fields_of(&api, "Event"));
    assert_eq!(keys(&stream), fields_of(&api, "StreamPage"));
    assert_eq!(keys(&log), fields_of(&api, "LogPage"));
    assert_eq!(keys(&appended), fields_of(&api, "Appended"));
    assert_eq!(keys(&appended["streams"][0]), fields_of(&api, "AppendedStream"));
    assert_eq!(keys(&world.get("/streams/s/info").await.is(200)), fields_of(&api, "StreamInfo"));
    assert_eq!(keys(&world.get("/streams").await.is(200)), fields_of(&api, "StreamList"));
    assert_eq!(keys(&world.get("/frontier").await.is(200)), fields_of(&api, "Frontier"));
    assert_eq!(keys(&world.get("/categories").await.is(200)), fields_of(&api, "Categories"));
    assert_eq!(keys(&world.get("/tags").await.is(200)), fields_of(&api, "NameList"));
    let open = world.get("/subscriptions").await.is(200);
    assert_eq!(keys(&open), fields_of(&api, "SubscriptionList"));
    assert_eq!(keys(&world.get("/whoami").await.is(200)), fields_of(&api, "Caller"));
    assert_eq!(keys(&world.get("/process-map").await.is(200)), fields_of(&api, "ProcessMap"));
    // What is refused lists what is read.
    let refused = world.post("/streams/s", &json!({"colour": 1})).await.is(400);
    let mut read: BTreeSet<String> = quoted(refused["detail"].as_str().unwrap());
    assert!(read.remove("colour") && read.remove("erased"));
    assert_eq!(read, fields_of(&api, "NewEvent"));
    let refused = world.post("/append", &json!({"colour": 1})).await.is(400);
    let mut read: BTreeSet<String> = quoted(refused["detail"].as_str().unwrap());
    assert!(read.remove("colour"));
    assert_eq!(read, fields_of(&api, "Append"));
}

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let world = World::new().await;

    let page = world.get("/docs").await;

    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(page.text().contains("fetch(\"/openapi.json\")"));
    assert!(!page.text().contains("://") && !page.text().contains("src="), "no other place");
}
