//! Clients that mean harm, or know no better: the server answers them, and goes on.

use std::time::Instant;

use tonic::Code;

use super::wire::{World, id, of_all, of_stream, proposed};

async fn goes_on(world: &World) {
    world.append("afterwards", 1).await;
    assert!(!world.read(of_stream("afterwards")).await.unwrap().is_empty());
}

/// Look-around is matched by backtracking, under a limit of steps for each name.
#[tokio::test]
async fn an_expression_that_backtracks_without_end_is_stopped() {
    let world = World::open().await;
    world.append(&"a".repeat(200), 1).await;

    for regex in [r"^(?=(a+)+$)(a|aa)+b$", r"(?!x)(a*)*(a*)*(a*)*$b", r"^(?=.*)(.*)*(.*)*\1$z"] {
        let refused = world.read(of_all(regex, &[])).await;
        // Either it is not understood, or it takes too many steps, or it does not match: but soon.
        if let Err(status) = refused {
            assert_eq!(status.code(), Code::InvalidArgument, "{regex}: {status:?}");
        }
    }
    goes_on(&world).await;
}

/// What backtracks in other engines is matched in linear time here.
#[tokio::test]
async fn nested_repetition_alone_is_matched_in_linear_time() {
    let world = World::open().await;
    world.append(&"a".repeat(500), 1).await;

    let found = world.read(of_all(r"^(a+)+b$", &[])).await.unwrap();

    assert!(found.is_empty(), "{found:?}");
    goes_on(&world).await;
}

#[tokio::test]
async fn filters_of_a_megabyte_and_filters_that_grow_are_refused() {
    let world = World::open().await;
    world.append("s", 1).await;
    let long = "x".repeat(1 << 20);
    let many: Vec<&str> = std::iter::repeat_n("prefix-", 200_000).collect();

    for refused in [
        world.read(of_all(&long, &[])).await,
        world.read(of_all("", &[&long])).await,
        world.read(of_all("", &many)).await,
        world.read(of_all(r"(?:(?:x{1000}){1000}){1000}", &[])).await,
        world.read(of_all("(((((", &[])).await,
    ] {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().len() < 1_000, "{}", status.message().len());
    }
    goes_on(&world).await;
}

/// An id that was never given, twice the same id, an id of another consumer's: they mean nothing.
#[tokio::test]
async fn answers_for_events_that_a_consumer_was_not_given_mean_nothing() {
    let world = World::open().await;
    world.append("s", 2).await;
    world.create("s", |_| {}).await.unwrap();
    let mut first = world.join("s", 1).await.unwrap();
    let mut second = world.join("s", 1).await.unwrap();
    let (one, _) = first.event().await.unwrap();
    let (two, _) = second.event().await.unwrap();

    for consumer in [&first, &second] {
        consumer.ack((0..1_000).map(|_| id()).collect()).await;
        consumer.nack(vec![id(); 1_000], "not mine").await;
    }
    first.nack(two.id.into_iter().collect(), "not mine").await;
    second.ack(one.id.into_iter().collect()).await;

    let info = world.info("s").await.unwrap();
    assert_eq!((info.total_in_flight_messages, info.parked_message_count), (2, 0));
    goes_on(&world).await;
}

/// It holds what its buffer has; after the timeouts and the tries the events are parked, and others
/// get what is behind.
#[tokio::test]
async fn a_consumer_that_never_answers_holds_up_nobody_for_ever() {
    use quipu_kurrent::proto::event_store::client::persistent_subscriptions::create_req::settings;
    let world = World::open().await;
    world.append("s", 30).await;
    let created = world.create("s", |own| {
        own.max_retry_count = 1;
        own.message_timeout = Some(settings::MessageTimeout::MessageTimeoutMs(100));
    });
    created.await.unwrap();

    let mut silent = world.join("s", 10).await.unwrap();
    let mut tries = Vec::new();
    while tries.iter().max() != Some(&(29, 1)) {
        let (event, retry_count) = silent.event().await.unwrap();
        tries.push((event.stream_revision, retry_count));
    }

    let begin = Instant::now();
    loop {
        let info = world.info("s").await.unwrap();
        if info.parked_message_count == 30 {
            break;
        }
        assert!(begin.elapsed().as_secs() < 60, "{info:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    tries.sort_unstable();
    let expected: Vec<(u64, i32)> = (0..30).flat_map(|own| [(own, 0), (own, 1)]).collect();
    assert_eq!(tries, expected);
    goes_on(&world).await;
}

/// Metadata that is no JSON, or other JSON than it should be, is none.
#[tokio::test]
async fn malformed_metadata_is_taken_for_none() {
    let world = World::open().await;
    world.append("s", 3).await;

    let deep = "[".repeat(100_000);
    for text in ["", "{", "[]", r#"{"$maxCount": "two"}"#, r#"{"$maxCount": -1}"#, "\u{0}", &*deep]
    {
        let names = [("type", "$metadata"), ("content-type", "application/json")];
        world.propose("$$s", proposed(&names, text.into())).await.unwrap();
        assert_eq!(world.read(of_stream("s")).await.unwrap().len(), 3, "{text:.40}");
    }
    goes_on(&world).await;
}

/// Subscriptions cost what they are, whether or not anybody ever consumes them.
#[tokio::test]
async fn ten_thousand_subscriptions_are_kept_listed_and_found() {
    use quipu_kurrent::proto::event_store::client::persistent_subscriptions as groups;
    const COUNT: usize = 10_000;
    let world = World::open().await;
    for number in 0..COUNT {
        world.create(&format!("s-{number}"), |_| {}).await.unwrap();
    }

    let all = groups::list_req::options::ListOption::ListAllSubscriptions(());
    let options = groups::list_req::Options { list_option: Some(all) };
    let request = groups::ListReq { options: Some(options) };
    let path = format!("{}List", super::wire::GROUPS);
    let listed: groups::ListResp = world.ask(&path, request).await.unwrap();

    assert_eq!(listed.subscriptions.len(), COUNT);
    world.append("s-7", 1).await;
    let mut consumer = world.join("s-7", 10).await.unwrap();
    assert_eq!(consumer.event().await.unwrap().0.stream_revision, 0);
    goes_on(&world).await;
}
