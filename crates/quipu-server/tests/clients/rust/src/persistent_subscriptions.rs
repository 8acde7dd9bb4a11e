//! Persistent subscriptions: shared, acknowledged, retried, parked and replayed.

use std::time::Duration;

use kurrentdb::{
    Client, Error, NakAction, PersistentSubscription, PersistentSubscriptionEvent,
    PersistentSubscriptionOptions, PersistentSubscriptionToAllOptions, ResolvedEvent,
    StreamPosition, SubscriptionFilter,
};

use crate::{Outcome, connect, events, name, refused, restart};

fn from_start() -> PersistentSubscriptionOptions {
    PersistentSubscriptionOptions::default().start_from(StreamPosition::Start)
}

async fn take(subscription: &mut PersistentSubscription) -> Outcome<(ResolvedEvent, usize)> {
    loop {
        let next = subscription.next_subscription_event();
        let next = tokio::time::timeout(Duration::from_secs(60), next).await??;
        if let PersistentSubscriptionEvent::EventAppeared { retry_count, event } = next {
            return Ok((event, retry_count));
        }
    }
}

async fn parked(client: &Client, stream: &str, count: usize) -> Outcome {
    for _ in 0..300 {
        let info =
            client.get_persistent_subscription_info(stream, "g", &Default::default()).await?;
        if info.stats.parked_message_count == count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{count} parked events were expected").into())
}

async fn manages(client: &Client) -> Outcome {
    let stream = name("manage");
    client.create_persistent_subscription(&*stream, "g", &from_start()).await?;
    let again = refused(client.create_persistent_subscription(&*stream, "g", &from_start()).await);
    assert!(matches!(again, Error::ResourceAlreadyExists), "{again}");
    let info = client.get_persistent_subscription_info(&*stream, "g", &Default::default()).await?;
    assert_eq!((&*info.event_source, &*info.group_name), (&*stream, "g"));
    let options = from_start().max_retry_count(3);
    client.update_persistent_subscription(&*stream, "g", &options).await?;
    let options = Default::default();
    let listed = client.list_persistent_subscriptions_for_stream(&*stream, &options).await?;
    let settings = listed[0].settings.as_ref().expect("they are told");
    assert_eq!((listed.len(), settings.max_retry_count), (1, 3));
    let all = client.list_all_persistent_subscriptions(&Default::default()).await?;
    assert!(all.iter().any(|own| own.event_source == stream));
    client.delete_persistent_subscription(&*stream, "g", &Default::default()).await?;
    let gone = client.delete_persistent_subscription(&*stream, "g", &Default::default()).await;
    assert!(matches!(refused(gone), Error::ResourceNotFound));
    Ok(())
}

/// Its place is the server's to keep, across a restart too.
async fn keeps_its_place(client: &Client, url: &str) -> Outcome {
    let stream = name("place");
    client.append_to_stream(&*stream, &Default::default(), events(6)).await?;
    let options =
        from_start().checkpoint_lower_bound(1).checkpoint_after(Duration::from_millis(100));
    client.create_persistent_subscription(&*stream, "g", &options).await?;
    let mut subscription =
        client.subscribe_to_persistent_subscription(&*stream, "g", &Default::default()).await?;
    for revision in 0..4 {
        let (event, retry_count) = take(&mut subscription).await?;
        assert_eq!((event.get_original_event().revision, retry_count), (revision, 0));
        subscription.ack(&event).await?;
    }
    // Once the four are saved, what was not acknowledged is all that comes again.
    for _ in 0..300 {
        let info =
            client.get_persistent_subscription_info(&*stream, "g", &Default::default()).await?;
        if info.stats.last_checkpointed_event_revision == Some(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    restart()?;
    let client = connect(url)?;
    let mut subscription =
        client.subscribe_to_persistent_subscription(&*stream, "g", &Default::default()).await?;
    for revision in 4..6 {
        let (event, _) = take(&mut subscription).await?;
        assert_eq!(event.get_original_event().revision, revision);
        subscription.ack(&event).await?;
    }
    Ok(())
}

async fn retries_parks_and_replays(client: &Client) -> Outcome {
    let stream = name("park");
    client.append_to_stream(&*stream, &Default::default(), events(4)).await?;
    client.create_persistent_subscription(&*stream, "g", &from_start().max_retry_count(2)).await?;
    let mut subscription =
        client.subscribe_to_persistent_subscription(&*stream, "g", &Default::default()).await?;
    let mut log = Vec::new();
    while log.len() < 6 {
        let (event, retry_count) = take(&mut subscription).await?;
        let revision = event.get_original_event().revision;
        log.push((revision, retry_count));
        match revision {
            0 => subscription.nack(&event, NakAction::Retry, "again").await?,
            1 => subscription.nack(&event, NakAction::Park, "bücher").await?,
            2 => subscription.nack(&event, NakAction::Skip, "not for us").await?,
            _ => subscription.ack(&event).await?,
        }
    }
    log.sort_unstable();
    assert_eq!(log, [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0)]);
    parked(client, &stream, 2).await?;
    client.replay_parked_messages(&*stream, "g", &Default::default()).await?;
    for revision in 0..2 {
        let (event, _) = take(&mut subscription).await?;
        assert_eq!(event.get_original_event().revision, revision);
        subscription.ack(&event).await?;
    }
    parked(client, &stream, 0).await
}

async fn limits_and_drops(client: &Client) -> Outcome {
    let stream = name("limit");
    let options = from_start().max_subscriber_count(1);
    client.create_persistent_subscription(&*stream, "g", &options).await?;
    let join = || async {
        let options = Default::default();
        client.subscribe_to_persistent_subscription(&*stream, "g", &options).await
    };
    let mut first = join().await?;
    let second = async { join().await?.next_subscription_event().await.map(drop) };
    refused(second.await);
    client.delete_persistent_subscription(&*stream, "g", &Default::default()).await?;
    loop {
        match first.next_subscription_event().await {
            Ok(PersistentSubscriptionEvent::Confirmed(_)) => {}
            Ok(other) => return Err(format!("{other:?} was not expected").into()),
            Err(_) => return Ok(()),
        }
    }
}

async fn filters_all(client: &Client) -> Outcome {
    let (group, category) = (name("group"), name("filtered"));
    let filter = SubscriptionFilter::on_stream_name().add_prefix(&category);
    let options = PersistentSubscriptionToAllOptions::default()
        .start_from(StreamPosition::Start)
        .filter(filter);
    client.create_persistent_subscription_to_all(&*group, &options).await?;
    for stream in [format!("{category}-1"), name("other"), format!("{category}-2")] {
        client.append_to_stream(stream, &Default::default(), events(2)).await?;
    }
    let mut subscription =
        client.subscribe_to_persistent_subscription_to_all(&*group, &Default::default()).await?;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let (event, _) = take(&mut subscription).await?;
        let own = event.get_original_event();
        seen.push((own.stream_id().to_owned(), own.revision));
        subscription.ack(&event).await?;
    }
    let own = |number, revision| (format!("{category}-{number}"), revision);
    assert_eq!(seen, [own(1, 0), own(1, 1), own(2, 0), own(2, 1)]);
    client.restart_persistent_subscription_subsystem(&Default::default()).await?;
    client.delete_persistent_subscription_to_all(&*group, &Default::default()).await?;
    Ok(())
}

pub async fn play(client: &Client, url: &str) -> Outcome {
    manages(client).await?;
    retries_parks_and_replays(client).await?;
    limits_and_drops(client).await?;
    filters_all(client).await?;
    keeps_its_place(client, url).await
}
