//! The catalogue of failures: for each of them a call that ends with it, and what the client then
//! has in hand: code, text, trailers.

use quipu_kurrent::proto::event_store::client as shared;
use quipu_kurrent::proto::event_store::client::{
    operations, persistent_subscriptions as groups, projections, streams, users,
};
use quipu_kurrent::proto::kurrentdb::protocol::v2::streams as v2;
use tonic::{Code, Status};

use super::wire::{
    GROUPS, STREAMS, World, expecting, id, identifier, name, of_all, of_stream, proposed,
};

const USERS: &str = "/event_store.client.users.Users/";
const OPERATIONS: &str = "/event_store.client.operations.Operations/";
const PROJECTIONS: &str = "/event_store.client.projections.Projections/";
const V2: &str = "/kurrentdb.protocol.v2.streams.StreamsService/";

/// What a call ended with, against a row of the catalogue: a code, a text, and all trailers.
#[track_caller]
fn is<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    text: &str,
    trailers: &[(&str, &str)],
) {
    let status = answer.expect_err("the call was to fail");
    assert_eq!((status.code(), status.message()), (code, text));
    let transport = ["content-type", "date", "grpc-status", "grpc-message", "x-request-id"];
    let told = status.metadata().iter().filter_map(|entry| match entry {
        tonic::metadata::KeyAndValueRef::Ascii(name, value) => {
            Some((name.as_str(), value.to_str().unwrap()))
        }
        tonic::metadata::KeyAndValueRef::Binary(..) => None,
    });
    let mut told: Vec<_> = told.filter(|(name, _)| !transport.contains(name)).collect();
    let mut expected = trailers.to_vec();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected, "trailers of {status:?}");
}

async fn delete(world: &World, stream: &str, revision: Option<u64>) -> Result<(), Status> {
    let request = streams::DeleteReq { options: Some(expecting(stream, revision)) };
    world.ask::<_, streams::DeleteResp>(&format!("{STREAMS}Delete"), request).await.map(drop)
}

fn plain() -> streams::ProposedMessage {
    proposed(&[("type", "Made"), ("content-type", "application/json")], b"{}".to_vec())
}

#[tokio::test]
async fn deletes_say_what_they_expected_and_found() {
    let world = World::open().await;
    world.append("order-1", 5).await;
    let wrong = |stream: &str, expected: &str, actual: &str| {
        format!(
            "Delete failed due to WrongExpectedVersion. Stream: {stream}, Expected version: \
             {expected}, Actual version: {actual}"
        )
    };
    let row = |stream, expected, actual| {
        [
            ("exception", "wrong-expected-version"),
            ("stream-name", stream),
            ("expected-version", expected),
            ("actual-version", actual),
        ]
    };

    let answer = delete(&world, "order-1", Some(7)).await;
    let text = wrong("order-1", "7", "4");
    is(answer, Code::FailedPrecondition, &text, &row("order-1", "7", "4"));

    let answer = delete(&world, "absent", None).await;
    let text = wrong("absent", "-2", "-1");
    is(answer, Code::FailedPrecondition, &text, &row("absent", "-2", "-1"));

    let request = streams::TombstoneReq { options: Some(expecting("order-1", Some(7))) };
    let answer: Result<streams::TombstoneResp, _> =
        world.ask(&format!("{STREAMS}Tombstone"), request).await;
    let text = wrong("order-1", "7", "4");
    is(answer, Code::FailedPrecondition, &text, &row("order-1", "7", "4"));
}

#[tokio::test]
async fn everything_on_a_tombstoned_stream_says_that_it_is_deleted() {
    let world = World::open().await;
    world.append("order-1", 2).await;
    world.tombstone("order-1").await;
    let text = "Event stream 'order-1' is deleted.";
    let trailers = [("exception", "stream-deleted"), ("stream-name", "order-1")];
    let subscription = streams::read_req::options::CountOption::Subscription(
        streams::read_req::options::SubscriptionOptions {},
    );
    let subscribe =
        streams::read_req::Options { count_option: Some(subscription), ..of_stream("order-1") };

    is(world.read(of_stream("order-1")).await, Code::FailedPrecondition, text, &trailers);
    is(world.read(subscribe).await, Code::FailedPrecondition, text, &trailers);
    is(world.propose("order-1", plain()).await, Code::FailedPrecondition, text, &trailers);
    is(delete(&world, "order-1", None).await, Code::FailedPrecondition, text, &trailers);
}

/// Trailers are ASCII: other bytes of a name are percent-encoded there, and in the text as it is.
#[tokio::test]
async fn names_of_any_script_travel_in_trailers() {
    let world = World::open().await;
    world.append("bücher-日", 1).await;
    world.tombstone("bücher-日").await;

    let trailers = [("exception", "stream-deleted"), ("stream-name", "b%C3%BCcher-%E6%97%A5")];
    let text = "Event stream 'bücher-日' is deleted.";
    is(world.read(of_stream("bücher-日")).await, Code::FailedPrecondition, text, &trailers);
}

#[tokio::test]
async fn events_that_cannot_be_appended_say_why() {
    let world = World::open().await;

    let missing = proposed(&[("type", "Made")], Vec::new());
    is(
        world.propose("s", missing).await,
        Code::InvalidArgument,
        "Required Metadata Property missing: type, content-type",
        &[
            ("exception", "missing-required-metadata-property"),
            ("required-metadata-properties", "type,content-type"),
        ],
    );

    let size = 16 << 20;
    let mut large = plain();
    large.data = vec![b'x'; size + 1].into();
    let id = uuid::Uuid::new_v4().to_string();
    large.id = Some(shared::Uuid { value: Some(shared::uuid::Value::String(id.clone())) });
    let answer = world.propose("s", large).await;
    let told = answer.as_ref().unwrap_err().metadata().get("proposed-append-event-size");
    let proposed_size = told.unwrap().to_str().unwrap().to_owned();
    is(
        answer,
        Code::InvalidArgument,
        &format!("Event {id} has {proposed_size} bytes, at most {size} are allowed."),
        &[
            ("exception", "maximum-append-event-size-exceeded"),
            ("event-id", &id),
            ("proposed-append-event-size", &proposed_size),
            ("maximum-append-event-size", &size.to_string()),
        ],
    );

    let mut anonymous = plain();
    anonymous.id = None;
    let text = "the request has no UUID where one has to be";
    is(world.propose("s", anonymous).await, Code::InvalidArgument, text, &[]);
    let text = "'$$' is the metadata of no stream";
    is(world.propose("$$", plain()).await, Code::InvalidArgument, text, &[]);
}

#[tokio::test]
async fn reads_that_cannot_be_say_why() {
    use streams::read_req::options::{CountOption, FilterOption, StreamOption, all_options};
    let world = World::open().await;
    let combination = "The combination of (stream_option, count_option, read_direction, \
                       filter_option) is invalid: ";

    let index = "$idx-user-orders";
    let trailers = [("exception", "index-not-found"), ("index-name", index)];
    let text = format!("Index '{index}' not found.");
    is(world.read(of_all("", &[index])).await, Code::NotFound, &text, &trailers);

    let subscription =
        CountOption::Subscription(streams::read_req::options::SubscriptionOptions {});
    let backwards = streams::read_req::Options {
        read_direction: 1,
        count_option: Some(subscription),
        ..of_stream("s")
    };
    let text = format!("{combination}a subscription reads forwards.");
    is(world.read(backwards).await, Code::InvalidArgument, &text, &[]);

    let filtered = streams::read_req::Options {
        filter_option: of_all("x", &[]).filter_option,
        ..of_stream("s")
    };
    let text = format!("{combination}only $all has a filter.");
    is(world.read(filtered).await, Code::InvalidArgument, &text, &[]);

    let place = shared::AllStreamPosition { commit_position: 1, prepare_position: 2 };
    let all = streams::read_req::options::AllOptions {
        all_option: Some(all_options::AllOption::Position(place)),
    };
    let nowhere = streams::read_req::Options {
        stream_option: Some(StreamOption::All(all)),
        filter_option: Some(FilterOption::NoFilter(())),
        ..of_stream("s")
    };
    let text = "Trying to read from an invalid position.";
    is(world.read(nowhere).await, Code::InvalidArgument, text, &[]);

    let no_form = streams::read_req::Options { uuid_option: None, ..of_stream("s") };
    let text = "the request has no uuid_option";
    is(world.read(no_form).await, Code::InvalidArgument, text, &[]);
    let text = "the filter has neither a regular expression nor a prefix";
    is(world.read(of_all("", &[])).await, Code::InvalidArgument, text, &[]);
}

#[tokio::test]
async fn persistent_subscriptions_name_themselves_in_every_failure() {
    let world = World::open().await;
    let own = |exception| [("exception", exception), ("stream-name", "s"), ("group-name", "g")];
    let failed = |reason| {
        let mut trailers = own("persistent-subscription-failed").to_vec();
        trailers.push(("reason", reason));
        trailers
    };

    let text = "Subscription group g on stream s does not exist.";
    let missing = own("persistent-subscription-does-not-exist");
    is(world.info("s").await, Code::NotFound, text, &missing);
    is(world.join("s", 10).await.map(drop), Code::NotFound, text, &missing);
    is(remove(&world).await, Code::NotFound, text, &missing);
    is(world.replay("s", None).await, Code::NotFound, text, &missing);

    let reason = "Consumer strategy Random does not exist.";
    let text = format!("Subscription group g on stream s failed: '{reason}'");
    let created = world.create("s", |own| own.consumer_strategy = "Random".to_owned()).await;
    is(created, Code::Internal, &text, &failed(reason));
    let reason = "BufferSize must be larger than ReadBatchSize: the history buffer is too small.";
    let text = format!("Subscription group g on stream s failed: '{reason}'");
    let created = world.create("s", |own| own.read_batch_size = own.history_buffer_size).await;
    is(created, Code::Internal, &text, &failed(reason));
    let reason = "The max retry count is -1, and must not be negative.";
    let text = format!("Subscription group g on stream s failed: '{reason}'");
    let created = world.create("s", |own| own.max_retry_count = -1).await;
    is(created, Code::Internal, &text, &failed(reason));

    world.create("s", |own| own.max_subscriber_count = 1).await.unwrap();
    let text = "Subscription group g on stream s exists.";
    let exists = own("persistent-subscription-exists");
    is(world.create("s", |_| {}).await, Code::AlreadyExists, text, &exists);
    let reason = "The place to stop at must not be negative.";
    let text = format!("Subscription group g on stream s failed: '{reason}'");
    is(world.replay("s", Some(-1)).await, Code::Internal, &text, &failed(reason));
    let text = "the buffer_size must be above 0";
    is(world.join("s", 0).await.map(drop), Code::InvalidArgument, text, &[]);

    let mut first = world.join("s", 10).await.unwrap();
    let text = "Maximum subscriptions reached for subscription group g on stream s.";
    let full = own("maximum-subscribers-reached");
    is(world.join("s", 10).await.map(drop), Code::FailedPrecondition, text, &full);
    remove(&world).await.unwrap();
    let text = "Subscription group g on stream s was dropped.";
    let dropped = own("persistent-subscription-dropped");
    is(first.event().await, Code::Cancelled, text, &dropped);
}

async fn remove(world: &World) -> Result<groups::DeleteResp, Status> {
    let options = groups::delete_req::Options {
        stream_option: Some(groups::delete_req::options::StreamOption::StreamIdentifier(
            identifier("s"),
        )),
        group_name: "g".to_owned(),
    };
    let request = groups::DeleteReq { options: Some(options) };
    world.ask(&format!("{GROUPS}Delete"), request).await
}

#[tokio::test]
async fn users_scavenges_and_projections_that_are_not_there_are_named() {
    let world = World::open().await;

    let options = users::delete_req::Options { login_name: "ada".to_owned() };
    let request = users::DeleteReq { options: Some(options) };
    let answer: Result<users::DeleteResp, _> = world.ask(&format!("{USERS}Delete"), request).await;
    let trailers = [("exception", "user-not-found"), ("login-name", "ada")];
    is(answer, Code::NotFound, "User 'ada' is not found.", &trailers);

    let create = || {
        let options = users::create_req::Options {
            login_name: "ada".to_owned(),
            password: "correct horse".to_owned(),
            ..users::create_req::Options::default()
        };
        users::CreateReq { options: Some(options) }
    };
    let path = format!("{USERS}Create");
    let _: users::CreateResp = world.ask(&path, create()).await.unwrap();
    let answer: Result<users::CreateResp, _> = world.ask(&path, create()).await;
    let trailers = [("exception", "user-conflict"), ("login-name", "ada")];
    is(answer, Code::FailedPrecondition, "Conflict.", &trailers);

    let options = operations::stop_scavenge_req::Options { scavenge_id: "no such".to_owned() };
    let request = operations::StopScavengeReq { options: Some(options) };
    let answer: Result<operations::ScavengeResp, _> =
        world.ask(&format!("{OPERATIONS}StopScavenge"), request).await;
    let trailers = [("exception", "scavenge-not-found"), ("scavenge-id", "no such")];
    is(answer, Code::NotFound, "Scavenge id was invalid.", &trailers);

    let options = projections::enable_req::Options { name: "mine".to_owned() };
    let request = projections::EnableReq { options: Some(options) };
    let answer: Result<projections::EnableResp, _> =
        world.ask(&format!("{PROJECTIONS}Enable"), request).await;
    is(answer, Code::NotFound, "Projection 'mine' not found", &[]);
    let answer: Result<projections::CreateResp, _> =
        world.ask(&format!("{PROJECTIONS}Create"), projections::CreateReq::default()).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

/// Of many appends in one call each has its own answer, and the call goes on.
#[tokio::test]
async fn appends_of_a_batch_fail_by_themselves() {
    use prost::{Message, Name};
    use streams::batch_append_req::options::{DeadlineOption, ExpectedStreamPosition as Expected};
    let world = World::open().await;
    world.append("full", 3).await;
    world.append("gone", 1).await;
    world.tombstone("gone").await;
    let one = |stream: &str, expected: Expected, message, seconds| streams::BatchAppendReq {
        correlation_id: Some(id()),
        options: Some(streams::batch_append_req::Options {
            stream_identifier: Some(identifier(stream)),
            expected_stream_position: Some(expected),
            deadline_option: Some(DeadlineOption::Deadline(prost_types::Duration {
                seconds,
                nanos: 0,
            })),
        }),
        proposed_messages: vec![message],
        is_final: true,
    };
    let rows = [
        (one("full", Expected::NoStream(()), plain(), 9), 6, "WrongExpectedVersion", true),
        (one("gone", Expected::Any(()), plain(), 9), 5, "StreamDeleted", true),
        (one("full", Expected::Any(()), plain(), 0), 4, "Timeout", true),
        (one("", Expected::Any(()), plain(), 9), 3, "BadRequest", true),
        (one("full", Expected::Any(()), proposed(&[], vec![]), 9), 3, "BadRequest", true),
    ];
    for (request, code, text, has_details) in rows {
        let correlation = request.correlation_id.clone();
        let answers: Vec<streams::BatchAppendResp> =
            world.say(&format!("{STREAMS}BatchAppend"), vec![request]).await.unwrap();
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(answer.correlation_id, correlation);
        let Some(streams::batch_append_resp::Result::Error(error)) = &answer.result else {
            panic!("{answer:?}")
        };
        assert_eq!((error.code, error.message.as_str()), (code, text));
        let details = error.details.as_ref();
        let url = details.map(|own| own.type_url.clone()).unwrap_or_default();
        assert_eq!(has_details, url == format!("type.googleapis.com/event_store.client.{text}"));
        if text == "WrongExpectedVersion" {
            let value = details.unwrap().value.as_slice();
            let wrong = shared::WrongExpectedVersion::decode(value).unwrap();
            assert_eq!(url, shared::WrongExpectedVersion::type_url());
            let current =
                shared::wrong_expected_version::CurrentStreamRevisionOption::CurrentStreamRevision(
                    2,
                );
            assert_eq!(wrong.current_stream_revision_option, Some(current));
        }
    }
}

/// A record as most are.
fn record(stream: Option<&str>) -> v2::AppendRecord {
    v2::AppendRecord {
        schema: Some(v2::SchemaInfo {
            format: v2::SchemaFormat::Json.into(),
            name: "Made".to_owned(),
            id: None,
        }),
        data: bytes::Bytes::from_static(b"{}"),
        stream: stream.map(str::to_owned),
        ..v2::AppendRecord::default()
    }
}

/// The details of version 2 are messages: the reason comes first, what is most specific last.
fn details_of(status: &Status) -> (String, Vec<String>) {
    use prost::Message;
    use quipu_kurrent::proto::google::rpc;
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let info = rpc::ErrorInfo::decode(details[0].value.as_slice()).unwrap();
    (info.reason, details.into_iter().skip(1).map(|own| own.type_url).collect())
}

async fn world_of_version_2() -> World {
    let world = World::open().await;
    world.append("full", 3).await;
    world.append("gone", 1).await;
    world.tombstone("gone").await;
    world
}

#[tokio::test]
async fn append_sessions_fail_with_details() {
    let world = world_of_version_2().await;
    let part = |stream: &str, expected| v2::AppendRequest {
        stream: stream.to_owned(),
        records: vec![record(None)],
        expected_revision: expected,
    };
    let rows = [
        (vec![], Code::FailedPrecondition, "APPEND_SESSION_NO_REQUESTS", ""),
        (
            vec![part("full", Some(7))],
            Code::FailedPrecondition,
            "STREAM_REVISION_CONFLICT",
            "StreamRevisionConflictErrorDetails",
        ),
        (
            vec![part("gone", None)],
            Code::FailedPrecondition,
            "STREAM_TOMBSTONED",
            "StreamTombstonedErrorDetails",
        ),
        (
            vec![part("a", None), part("A", None)],
            Code::Aborted,
            "STREAM_ALREADY_IN_APPEND_SESSION",
            "StreamAlreadyInAppendSessionErrorDetails",
        ),
        (vec![part("", None)], Code::InvalidArgument, "BAD_REQUEST", "BadRequest"),
        (vec![part("a", Some(-3))], Code::InvalidArgument, "BAD_REQUEST", "BadRequest"),
    ];
    for (requests, code, expected, specific) in rows {
        let answer: Result<Vec<v2::AppendSessionResponse>, _> =
            world.say(&format!("{V2}AppendSession"), requests).await;
        let status = answer.unwrap_err();
        let (reason, details) = details_of(&status);
        assert_eq!((status.code(), reason.as_str()), (code, expected), "{status:?}");
        assert_eq!(details.len(), usize::from(!specific.is_empty()), "{details:?}");
        assert!(details.iter().all(|own| own.ends_with(specific)), "{details:?}");
    }
}

#[tokio::test]
async fn checks_of_records_that_do_not_hold_keep_all_of_them_out() {
    let world = world_of_version_2().await;
    let check = |stream: &str, expected_state| v2::ConsistencyCheck {
        r#type: Some(v2::consistency_check::Type::StreamState(
            v2::consistency_check::StreamStateCheck { stream: stream.to_owned(), expected_state },
        )),
    };
    let request = v2::AppendRecordsRequest {
        records: vec![record(Some("full")), record(Some("new"))],
        checks: vec![check("full", 9), check("gone", -4)],
    };

    let answer: Result<v2::AppendRecordsResponse, _> =
        world.ask(&format!("{V2}AppendRecords"), request).await;

    let status = answer.unwrap_err();
    let (reason, details) = details_of(&status);
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert_eq!(reason, "APPEND_CONSISTENCY_VIOLATION");
    let [details] = details.as_slice() else { panic!("{details:?}") };
    assert!(details.ends_with("AppendConsistencyViolationErrorDetails"), "{details:?}");
    let read = quipu_core::ReadStream::new(name("new")).limit(0);
    let state = quipu_core::EventStore::read_stream(&world.store, read).await.unwrap().state;
    assert_eq!(state.last(), None, "all or nothing");
}
