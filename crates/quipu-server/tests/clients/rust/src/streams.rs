//! Appends, reads, deletes, metadata, subscriptions.

use kurrentdb::{
    AppendToStreamOptions, BatchAppendOptions, Client, DeleteStreamOptions, Error, EventData,
    Position, ReadAllOptions, ReadStreamOptions, RetryOptions, StreamMetadataBuilder,
    StreamPosition, StreamState, SubscribeToAllOptions, SubscribeToStreamOptions,
    SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions, WriteResult,
};

use crate::{Outcome, connect, events, name, refused, restart};

async fn append(
    client: &Client,
    stream: &str,
    state: StreamState,
    made: Vec<EventData>,
) -> Result<WriteResult, Error> {
    let options = AppendToStreamOptions::default().stream_state(state);
    client.append_to_stream(stream, &options, made).await
}

async fn read(
    client: &Client,
    stream: &str,
    options: ReadStreamOptions,
) -> Result<Vec<u64>, Error> {
    let mut read = client.read_stream(stream, &options).await?;
    let mut revisions = Vec::new();
    while let Some(event) = read.next().await? {
        revisions.push(event.get_original_event().revision);
    }
    Ok(revisions)
}

fn from_start() -> ReadStreamOptions {
    ReadStreamOptions::default().position(StreamPosition::Start)
}

async fn appends(client: &Client) -> Outcome {
    let stream = name("append");
    let first = events(3);
    let made = append(client, &stream, StreamState::NoStream, first.clone()).await?;
    let again = append(client, &stream, StreamState::NoStream, first).await?;
    assert_eq!((made.next_expected_version, made.position), (2, again.position));
    for state in [StreamState::NoStream, StreamState::StreamRevision(7)] {
        let error = refused(append(client, &stream, state, events(1)).await);
        assert!(matches!(error, Error::WrongExpectedVersion { .. }), "{error}");
    }
    append(client, &stream, StreamState::StreamRevision(2), events(2)).await?;
    append(client, &stream, StreamState::StreamExists, events(1)).await?;
    append(client, &stream, StreamState::Any, events(1)).await?;
    let absent = name("absent");
    let error = refused(append(client, &absent, StreamState::StreamExists, events(1)).await);
    assert!(matches!(error, Error::WrongExpectedVersion { .. }), "{error}");
    assert_eq!(read(client, &stream, from_start()).await?, [0, 1, 2, 3, 4, 5, 6]);
    Ok(())
}

async fn batches(client: &Client) -> Outcome {
    let batch = client.batch_append(&BatchAppendOptions::default()).await?;
    let stream = name("batch");
    for _ in 0..3 {
        batch.append_to_stream(&stream, StreamState::Any, events(100)).await?;
    }
    assert_eq!(read(client, &stream, from_start()).await?.len(), 300);
    let wrong = batch.append_to_stream(&stream, StreamState::NoStream, events(1)).await;
    assert!(wrong.is_err());
    Ok(())
}

async fn reads(client: &Client) -> Outcome {
    let stream = name("read");
    let made = append(client, &stream, StreamState::NoStream, events(100)).await?;
    let last = ReadStreamOptions::default().backwards().position(StreamPosition::End).max_count(2);
    assert_eq!(read(client, &stream, last).await?, [99, 98]);
    let some = ReadStreamOptions::default().position(StreamPosition::Position(10)).max_count(3);
    assert_eq!(read(client, &stream, some).await?, [10, 11, 12]);
    let absent = refused(read(client, &name("absent"), from_start()).await);
    assert!(matches!(absent, Error::ResourceNotFound), "{absent}");

    let from = StreamPosition::Position(made.position);
    let mut all = client.read_all(&ReadAllOptions::default().position(from).max_count(1)).await?;
    let event =
        all.next().await?.expect("a read from an append's place begins with its last event");
    assert_eq!(event.get_original_event().revision, 99);
    assert_eq!(event.get_original_event().position, made.position);

    let filter = SubscriptionFilter::on_stream_name().add_prefix(&stream);
    let mut found = client.read_all(&ReadAllOptions::default().filter(filter)).await?;
    let mut count = 0;
    while found.next().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 100);
    Ok(())
}

async fn links(client: &Client) -> Outcome {
    let category = name("linked").replace('-', "_");
    append(client, &format!("{category}-1"), StreamState::NoStream, events(2)).await?;
    let options = from_start().resolve_link_tos();
    let mut read = client.read_stream(format!("$ce-{category}"), &options).await?;
    let event = read.next().await?.expect("the category has events");
    assert_eq!(event.event.expect("it is there").stream_id(), format!("{category}-1"));
    assert_eq!(event.link.expect("it comes by a link").event_type, "$>");
    Ok(())
}

async fn deletes(client: &Client) -> Outcome {
    let stream = name("delete");
    append(client, &stream, StreamState::NoStream, events(3)).await?;
    let options = |state| DeleteStreamOptions::default().stream_state(state);
    let wrong = client.delete_stream(&*stream, &options(StreamState::StreamRevision(7))).await;
    refused(wrong);
    client.delete_stream(&*stream, &options(StreamState::StreamRevision(2))).await?;
    let deleted = refused(read(client, &stream, from_start()).await);
    assert!(matches!(deleted, Error::ResourceNotFound), "{deleted}");
    append(client, &stream, StreamState::NoStream, events(1)).await?;
    assert_eq!(read(client, &stream, from_start()).await?, [3]);
    client.tombstone_stream(&*stream, &TombstoneStreamOptions::default()).await?;
    for error in [
        refused(read(client, &stream, from_start()).await),
        refused(append(client, &stream, StreamState::Any, events(1)).await),
    ] {
        assert!(matches!(error, Error::ResourceDeleted), "{error}");
    }
    Ok(())
}

async fn metadata(client: &Client) -> Outcome {
    let stream = name("metadata");
    append(client, &stream, StreamState::NoStream, events(10)).await?;
    let given = StreamMetadataBuilder::new().max_count(2).build();
    client.set_stream_metadata(&*stream, &Default::default(), &given).await?;
    let kept = client.get_stream_metadata(&*stream, &Default::default()).await?;
    assert!(kept.is_success());
    assert_eq!(read(client, &stream, from_start()).await?, [8, 9]);
    Ok(())
}

/// Goes on by itself where it was after the server is started again.
async fn subscribes(client: &Client, url: &str) -> Outcome {
    let stream = name("subscribe");
    append(client, &stream, StreamState::NoStream, events(3)).await?;
    let retry = RetryOptions::default().retry_forever();
    let options =
        SubscribeToStreamOptions::default().start_from(StreamPosition::Start).retry_options(retry);
    let mut subscription = client.subscribe_to_stream(&*stream, &options).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(subscription.next().await?.get_original_event().revision);
    }
    restart()?;
    append(&connect(url)?, &stream, StreamState::StreamRevision(2), events(2)).await?;
    while seen.len() < 5 {
        seen.push(subscription.next().await?.get_original_event().revision);
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);

    let client = connect(url)?;
    let filter = SubscriptionFilter::on_stream_name().regex(format!("^{stream}$")).max(10);
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start).filter(filter);
    let mut all = client.subscribe_to_all(&options).await;
    let (mut count, mut checkpoint) = (0, Position { commit: 0, prepare: 0 });
    loop {
        match all.next_subscription_event().await? {
            SubscriptionEvent::EventAppeared(event) => {
                assert_eq!(event.get_original_stream_id(), stream);
                count += 1;
            }
            SubscriptionEvent::Checkpoint(place) => {
                assert!(place > checkpoint, "checkpoints rise");
                checkpoint = place;
            }
            SubscriptionEvent::CaughtUp(_) => break,
            _ => {}
        }
    }
    assert_eq!(count, 5);
    assert!(checkpoint.commit > 0, "a checkpoint comes before the end");
    Ok(())
}

pub async fn play(client: &Client, url: &str) -> Outcome {
    appends(client).await?;
    batches(client).await?;
    reads(client).await?;
    links(client).await?;
    deletes(client).await?;
    metadata(client).await?;
    subscribes(client, url).await
}

/// With TLS and a password in the URL.
pub async fn play_secure(client: &Client) -> Outcome {
    let stream = name("secure");
    append(client, &stream, StreamState::NoStream, events(2)).await?;
    assert_eq!(read(client, &stream, from_start()).await?, [0, 1]);
    Ok(())
}
