//! The description of the HTTP interface, `OpenAPI` 3.1, made from the handlers.
//!
//! The types here describe what is read and written by hand, byte for byte; a test compares them
//! with it.
#![expect(dead_code, reason = "the types describe bodies and are never made")]

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use utoipa::openapi::{ContentBuilder, OpenApi as Description, Ref, ResponseBuilder};

use super::problem::PROBLEM_JSON;
use super::to_json::JSON;

/// What stands above all paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quipu",
        description = "An event store: append events to streams, read them, follow them. \
            Bodies are JSON. Every failure is a problem as RFC 9457 describes it; its `type` leads \
            to an explanation.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "append", description = "Add events, if all that is demanded holds."),
        (name = "read", description = "Read streams and the log, as they are or were."),
        (name = "subscribe", description = "Follow streams and the log as server-sent events."),
        (name = "streams", description = "List, describe and end streams."),
        (name = "process map", description = "Which type of event follows which."),
        (name = "components", description = "What runs on the log: projections, processes, \
            relays, groups."),
        (name = "groups", description = "Consumer groups: members share events, and acknowledge \
            each."),
        (name = "server", description = "The server itself."),
    ),
)]
pub(super) struct Api;

/// An event that is to be appended.
#[derive(ToSchema)]
pub(super) struct NewEvent {
    /// The stream it is for. In a list for one stream it may be left out.
    stream: Option<String>,
    /// A UUID that makes a retry the same event; one is made where there is none.
    id: Option<String>,
    /// What kind of fact it is.
    #[schema(example = "OrderPlaced")]
    r#type: String,
    /// What queries find it by.
    #[schema(example = json!(["order:1"]))]
    tags: Option<Vec<String>>,
    /// How to read the data: application/json for `data`, application/octet-stream for
    /// `data_base64`, unless it says otherwise.
    content_type: Option<String>,
    /// The data, any JSON value, kept byte for byte.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<()>,
    /// The data, if it is not JSON, in base64.
    data_base64: Option<String>,
    /// What travels beside the data.
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<()>,
    /// What travels beside the data, if it is not JSON, in base64.
    metadata_base64: Option<String>,
    /// Passed over: the store gives events their places.
    position: Option<u64>,
    /// Passed over: the store gives events their places.
    revision: Option<u64>,
    /// Passed over: the store records its own time.
    time: Option<String>,
}

/// An event in the log.
#[derive(ToSchema)]
pub(super) struct Event {
    /// Its place in the log, from 1.
    position: u64,
    /// Its place in its stream, from 0.
    revision: u64,
    /// The stream it is in.
    stream: String,
    /// What makes a retry the same event: a UUID.
    id: String,
    /// What kind of fact it is.
    r#type: String,
    /// When the store recorded it, RFC 3339.
    time: String,
    /// What queries find it by.
    tags: Vec<String>,
    /// How to read the data.
    content_type: String,
    /// The data, if it is JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<()>,
    /// The data in base64, if it is not JSON.
    #[schema(nullable = false)]
    data_base64: Option<String>,
    /// Whether the data was erased after it was appended.
    #[schema(nullable = false)]
    erased: Option<bool>,
    /// What travels beside the data, if it is JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<()>,
    /// What travels beside the data in base64, if it is not JSON.
    #[schema(nullable = false)]
    metadata_base64: Option<String>,
}

/// Some events of a stream.
#[derive(ToSchema)]
pub(super) struct StreamPage {
    /// The stream.
    stream: String,
    /// What it is like: absent, live, deleted.
    state: String,
    /// The revision of the last event it ever got.
    last: Option<u64>,
    /// The events.
    events: Vec<Event>,
    /// The path of the next page, if there is one.
    next: Option<String>,
}

/// Some events of the log.
#[derive(ToSchema)]
pub(super) struct LogPage {
    /// Nothing can later appear at or below this position.
    frontier: u64,
    /// The events.
    events: Vec<Event>,
    /// The path of the next page, if there is one.
    next: Option<String>,
}

/// Events for a member of a group.
#[derive(ToSchema)]
pub(super) struct DispatchedEvents {
    /// The events. Their positions need not rise.
    events: Vec<DispatchedEvent>,
}

/// An event for a member of a group.
#[derive(ToSchema)]
struct DispatchedEvent {
    /// What the member answers with. Of two dispatches of one key the later one has the higher
    /// number, whoever gets it: present it with effects that can be fenced.
    number: u64,
    /// How often it was tried before.
    retry_count: u32,
    /// Its key.
    key: String,
    /// The event.
    event: Event,
}

/// Events for one or many streams, and all that must hold for them.
#[derive(ToSchema)]
pub(super) struct Append {
    /// The events, each with its stream, in the order the log gets them. None: only check.
    #[schema(nullable = false)]
    events: Option<Vec<NewEvent>>,
    /// What streams must be like: any, none, exists, deleted, tombstoned, or the revision of the
    /// last event.
    #[schema(nullable = false)]
    expect: Option<BTreeMap<String, Expected>>,
    /// What must not have happened in the log.
    #[schema(nullable = false)]
    fail_if: Option<Vec<Condition>>,
}

/// What a stream must be like: a word, or the revision of its last event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Expected {
    Word(String),
    Revision(u64),
}

/// No event after `after` matches any of the queries.
#[derive(ToSchema)]
struct Condition {
    /// A query, or a list of them.
    #[schema(value_type = serde_json::Value, example = "type:UsernameClaimed tag:username:ada")]
    query: (),
    /// Events at or before this position do not count: the `frontier` of the read that the decision
    /// rests on. The whole log counts where it is left out.
    after: Option<u64>,
}

/// An event as `CloudEvents` 1.0 has it in JSON. Further attributes are extensions.
#[derive(ToSchema)]
pub(super) struct CloudEvent {
    /// 1.0.
    specversion: String,
    /// The id: a UUID, or anything that is unique for its source.
    id: String,
    /// Who made it; `/streams/{stream}` in what is read.
    source: String,
    /// What kind of fact it is.
    r#type: String,
    /// What it is about; the stream in what is read.
    subject: Option<String>,
    /// When it happened; when it was recorded in what is read.
    time: Option<String>,
    /// How to read the data; application/json where it is left out.
    datacontenttype: Option<String>,
    /// The data.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<()>,
    /// The data in base64.
    data_base64: Option<String>,
    /// The position, as a text. Passed over in appends.
    quipuposition: Option<String>,
    /// The revision, as a text. Passed over in appends.
    quipurevision: Option<String>,
    /// The tags: a JSON list of texts, as one text.
    #[schema(example = "[\"order:1\"]")]
    quiputags: Option<String>,
}

/// The description as text, the same every time. What may go wrong with every operation is added:
/// the caller, the load, the disk.
pub(super) fn to_text(mut api: Description) -> String {
    for item in api.paths.paths.values_mut() {
        let methods =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in methods.into_iter().flatten() {
            let problem = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(problem)).build();
            let response = ResponseBuilder::new()
                .description("Any other problem; /problems/{name} explains each.")
                .content(PROBLEM_JSON, content);
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), response.build().into());
        }
    }
    let mut text = api.to_pretty_json().expect("a description is JSON");
    text.push('\n');
    text
}

/// The description as an answer.
pub(super) fn respond(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, JSON)], text)
}

/// A page that shows the description. It asks this server for it, and nobody else for anything.
pub(super) async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
                  script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)];
    (headers, include_str!("docs.html"))
}
