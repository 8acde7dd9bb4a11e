use serde_json::json;

use super::client::World;

fn encode_all(name: &str) -> String {
    name.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

#[tokio::test]
async fn a_stream_may_have_any_legal_name() {
    let world = World::new().await;
    let long = "x".repeat(512);
    let names = [
        "order-1",
        "a/b",
        "../../etc",
        "..",
        ".",
        " ",
        "a b",
        "%2F",
        "?",
        "#",
        "a?b=c&d",
        "zürich",
        "\u{1F9F6}",
        "\u{202E}rtl",
        "e\u{301}",
        "\"quoted\"",
        "back\\slash",
        "info",
        "subscribe",
        "metadata",
        "{stream}",
        "<script>",
        "'; drop",
        "+",
        "a+b",
        long.as_str(),
    ];
    for name in names {
        let path = format!("/streams/{}", encode_all(name));

        let appended = world.post(&path, &json!({"type": "T"})).await.is(201);
        let page = world.get(&path).await.is(200);
        let info = world.get(&format!("{path}/info")).await.is(200);

        assert_eq!(appended["streams"][0]["stream"], name);
        assert_eq!(page["events"][0]["stream"], name);
        assert_eq!(page["events"].as_array().unwrap().len(), 1, "{name:?} is a stream of its own");
        assert_eq!(info["stream"], name);
    }
    let list = world.get("/streams").await.is(200);
    assert_eq!(list["streams"].as_array().unwrap().len(), names.len());
}

#[tokio::test]
async fn what_is_no_name_is_refused() {
    let world = World::new().await;
    let long = "x".repeat(513);

    for name in ["%00", "%0A", "%7F", "%FF", "%C3", long.as_str()] {
        let reply = world.get(&format!("/streams/{name}")).await;

        reply.is_problem(400, "malformed-request");
    }
    world.get("/streams/").await.is_problem(404, "not-found");
    world.get("/streams/a/b").await.is_problem(404, "not-found");
}
