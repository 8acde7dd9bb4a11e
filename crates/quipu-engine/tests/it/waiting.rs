//! Who is woken by an append, and who sleeps on.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::future::block_on;
use quipu_core::{
    Append, Delivery, EventStore, NewEvent, StreamName, Subscribe, SubscribeError, SubscribeFrom,
    Subscription,
};
use quipu_engine::OpenOptions;

const STREAM_COUNT: usize = 300;

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn name(number: usize) -> StreamName {
    StreamName::new(format!("thing-{number}")).unwrap()
}

fn event() -> NewEvent {
    NewEvent::json("T", "{}").unwrap()
}

/// Pulls until the end is reached.
fn catch_up(subscription: &mut dyn Subscription) {
    while !matches!(block_on(subscription.next()).unwrap(), Delivery::CaughtUp) {}
}

#[test]
fn an_append_wakes_those_who_follow_its_stream_and_few_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = OpenOptions::new().create(true).open(directory.path()).unwrap();
    let follow = |number| {
        let from = SubscribeFrom::Start;
        let subscribe = Subscribe::Stream { stream: name(number), from };
        let mut subscription = block_on(store.subscribe(subscribe)).unwrap();
        catch_up(&mut *subscription);
        subscription
    };
    let mut subscriptions: Vec<_> = (0..STREAM_COUNT).map(follow).collect();
    let mut waiting: Vec<_> =
        subscriptions.iter_mut().map(|own| (own.next(), Arc::new(Woken::default()))).collect();
    let poll = |(future, woken): &mut (_, Arc<Woken>)| -> Poll<Result<Delivery, SubscribeError>> {
        let future: &mut quipu_core::BoxFuture<'_, _> = future;
        let waker = Waker::from(Arc::clone(woken));
        pin!(future).poll(&mut Context::from_waker(&waker))
    };
    for own in &mut waiting {
        assert!(poll(own).is_pending());
    }

    block_on(store.append(Append::new().event(name(7), event()))).unwrap();

    let woken: Vec<usize> =
        waiting.iter().map(|(_, woken)| woken.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken[7], 1);
    // Streams are waited for in groups; two of 300 share one now and then.
    let others = woken.iter().sum::<usize>() - 1;
    assert!(others <= 10, "{others} others were woken");
    let Poll::Ready(Ok(Delivery::Events(batch))) = poll(&mut waiting[7]) else {
        panic!("no event")
    };
    assert_eq!(batch.first().unwrap().stream(), "thing-7");
}

/// What others append while a subscriber waits for its own stream is nothing to catch up with.
#[test]
fn a_subscriber_that_waited_has_not_fallen_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = OpenOptions::new().create(true).open(directory.path()).unwrap();
    let subscribe = Subscribe::Stream { stream: name(0), from: SubscribeFrom::Start };
    let mut subscription = block_on(store.subscribe(subscribe)).unwrap();
    catch_up(&mut *subscription);
    let mut next = subscription.next();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(next.as_mut().poll(&mut context).is_pending());
    for _ in 0..70 {
        let events = (0..1_000).map(|_| event());
        let expected = quipu_core::ExpectedRevision::Any;
        block_on(store.append(Append::to_stream(name(1), expected, events))).unwrap();
    }

    block_on(store.append(Append::new().event(name(0), event()))).unwrap();

    let Poll::Ready(Ok(Delivery::Events(batch))) = next.as_mut().poll(&mut context) else {
        panic!("the event was expected")
    };
    assert_eq!(batch.count(), 1);
}
