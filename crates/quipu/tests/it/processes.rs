//! Processes at work: effects once, whatever ends in between.

mod kill;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu::core::{
    Append, ComponentKind, EventStore, MemoryStore, NewEvent, Query, ReadAll, collect,
};
use quipu::testing::ManualClock;
use quipu::{
    Backoff, Effects, Input, OnError, Process, Quipu, Route, RunProcess, RunningProcess, Timestamp,
};
use quipu_testing::served::Served;

use crate::breaking::{BreakingStore, How};
use crate::shop::{Deadline, Order, Pay, Payment, PaymentInput, Place, Remind};

struct Shop {
    store: Arc<dyn EventStore>,
    clock: ManualClock,
    app: Quipu,
}

impl Shop {
    fn new() -> Self {
        Self::with_gaps(1)
    }

    /// In memory, with so many positions from one event to the next.
    fn with_gaps(step: u64) -> Self {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000));
        let store = MemoryStore::with_clock(clock.as_clock());
        store.leave_gaps(step);
        let app = Quipu::over(Arc::new(store)).with_clock(clock.as_clock());
        Self { store: Arc::clone(app.store()), clock, app }
    }

    /// On a store that a server holds, if there is one. The store goes by the machine's clock, and
    /// leases with it: what has to lapse takes its time.
    async fn served() -> Option<(Served, Self)> {
        let served = Served::start()?;
        // Ahead of the machine's by more than a test takes: what the store dates is never later than
        // the test thinks it is.
        let clock = ManualClock::at(Timestamp::now().plus(Duration::from_secs(30)));
        let app = Quipu::open_url(served.url()).await.unwrap().with_clock(clock.as_clock());
        let store = Arc::clone(app.store());
        Some((served, Self { store, clock, app }))
    }

    /// Lets a lease lapse that nobody renews.
    async fn lapse(&self, lease: Duration) {
        self.clock.advance(lease + Duration::from_secs(1));
        tokio::time::sleep(lease).await;
    }

    /// The application over a store that ends after so many appends.
    fn breaking(&self, how: How, appends: usize) -> (BreakingStore, Quipu) {
        let store = BreakingStore::new(Arc::clone(&self.store), how, appends);
        let app = Quipu::over(Arc::new(store.clone())).with_clock(self.clock.as_clock());
        (store, app)
    }

    async fn place(&self, order: &str) {
        self.app.execute(Place(order.into())).correlation(format!("c-{order}")).await.unwrap();
    }

    async fn facts(&self, order: &str) -> Vec<&'static str> {
        self.app.load(Order::of(order.to_owned())).await.unwrap().facts.clone()
    }

    async fn types(&self, stream: &str) -> Vec<String> {
        let query = format!("stream:\"{stream}\"");
        let query: Query = query.parse().unwrap();
        let read = self.store.read_all(ReadAll::new(query)).await.unwrap();
        let events = collect(read.batches).await.unwrap();
        events.into_iter().map(|event| event.event_type.to_string()).collect()
    }

    /// Lets time pass, until the process has taken what came of it.
    async fn advance(&self, running: &mut RunningProcess, duration: Duration) {
        running.settle().await.unwrap();
        self.clock.advance(duration);
        running.settle().await.unwrap();
    }
}

/// Lets others have their turn: the tests' time is paused, and goes on when nobody has anything to do.
async fn pass_on() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A process that does not lose its lease on a busy machine, and leaves a short one when it crashes.
fn run<P: Process>(app: &Quipu, lease: Duration) -> RunProcess<P> {
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(2) };
    let on_error = OnError::retry(2).backoff(backoff).then_park();
    app.process::<P>()
        .tick(Duration::from_millis(1))
        .on_error(on_error)
        .with_runner(|runner| runner.lease_ttl(lease))
}

const LONG: Duration = Duration::from_mins(1);
/// The lease of a process that crashes.
const SHORT: Duration = Duration::from_millis(20);

/// Tests on the store in memory, whose time passes when the test says so, and on one that a server
/// holds.
macro_rules! on_both {
    ($(async fn $name:ident($shop:ident: Shop) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn test($shop: Shop) $body

            #[tokio::test(start_paused = true)]
            async fn in_memory() {
                test(Shop::new()).await;
            }

            #[tokio::test]
            async fn on_a_server() {
                if let Some((_served, shop)) = Shop::served().await {
                    test(shop).await;
                }
            }
        })+
    };
}

on_both! {
    async fn an_order_that_is_not_paid_is_cancelled_when_its_time_has_come(shop: Shop) {
        let mut running = run::<Payment>(&shop.app, LONG).spawn();

        shop.place("a").await;
        shop.place("b").await;
        shop.advance(&mut running, Duration::from_mins(9)).await;
        shop.app.execute(Pay("b".into())).await.unwrap();
        shop.advance(&mut running, Duration::from_mins(3)).await;
        shop.advance(&mut running, Duration::from_mins(3)).await;

        let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
        assert_eq!(shop.facts("a").await, expected);
        assert_eq!(shop.facts("b").await, ["placed", "reserved", "paid"]);
        let components = shop.store.registry().components().await.unwrap();
        assert_eq!(components[0].key.kind, ComponentKind::Process);
        assert_eq!(components[0].key.name, "payment");
        running.stop().await.unwrap();
    }
}

on_both! {
    async fn the_stream_of_an_instance_tells_what_it_took_and_what_it_did(shop: Shop) {
        let mut running = run::<Payment>(&shop.app, LONG).spawn();

        shop.place("a").await;
        shop.advance(&mut running, Duration::from_mins(1)).await;
        shop.app.execute(Pay("a".into())).await.unwrap();
        running.settle().await.unwrap();

        let types = shop.types("$quipu.process-payment-a").await;
        let expected = [
            "$quipu.process-input",
            "$quipu.timer-scheduled",
            "$quipu.timer-scheduled",
            "$quipu.process-done",
            "$quipu.process-input",
            "$quipu.timer-cancelled",
            "$quipu.timer-cancelled",
            "$quipu.process-completed",
        ];
        assert_eq!(types, expected);
        let changes = shop.app.history(Order::of("a".to_owned())).collect().await.unwrap();
        let reserved = &changes[1];
        assert_eq!(reserved.actor(), Some("process/payment"));
        assert_eq!(reserved.correlation(), Some("c-a"), "the correlation of the cause goes on");
        assert_eq!(reserved.causation(), Some(&*changes[0].id.to_string()));
    }
}

on_both! {
    async fn a_refusal_comes_back_and_what_was_not_done_is_not_undone(shop: Shop) {
        let mut running = run::<Payment>(&shop.app, LONG).spawn();

        shop.place("sold-out").await;
        running.settle().await.unwrap();

        assert_eq!(shop.facts("sold-out").await, ["placed", "cancelled"]);
        let types = shop.types("$quipu.process-payment-sold-out").await;
        assert!(types.contains(&"$quipu.process-rejected".to_owned()), "{types:?}");
        assert_eq!(types.last().map(String::as_str), Some("$quipu.process-completed"));
    }
}

/// Each life of the process ends with an append, the first with the first, the second with the
/// second, and so on: written without an answer, or lost.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_append_leaves_each_effect_once() {
    for how in [How::LoseRequest, How::LoseAnswer] {
        for appends in 0..24 {
            crash_at(&Shop::new(), how, appends).await;
        }
    }
}

#[tokio::test]
async fn a_crash_at_an_append_to_a_server_leaves_each_effect_once() {
    for how in [How::LoseRequest, How::LoseAnswer] {
        for appends in [0, 3, 7, 12, 18] {
            let Some((_served, shop)) = Shop::served().await else { return };
            crash_at(&shop, how, appends).await;
        }
    }
}

async fn crash_at(shop: &Shop, how: How, appends: usize) {
    shop.place("a").await;
    shop.place("sold-out").await;
    shop.place("paid").await;
    shop.app.execute(Pay("paid".into())).await.unwrap();

    let (store, app) = shop.breaking(how, appends);
    let mut crashing = run::<Payment>(&app, SHORT).spawn();
    // Time is late already, so that timers are due as soon as they are set.
    shop.clock.advance(Duration::from_mins(20));
    tokio::select! {
        () = store.broken() => {}
        () = finished(shop) => {}
        _ = crashing.wait_until(|_| false) => {}
    }
    drop(crashing);
    shop.lapse(SHORT).await;
    let mut running = run::<Payment>(&shop.app, LONG).spawn();
    shop.advance(&mut running, Duration::ZERO).await;

    let context = format!("{how:?} after {appends} appends");
    let facts = shop.facts("a").await;
    let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
    assert_eq!(facts, expected, "{context}");
    let mut facts = shop.facts("sold-out").await;
    // The reminder may come before the refusal.
    if facts.get(1) == Some(&"reminded") {
        facts.remove(1);
    }
    assert_eq!(facts, ["placed", "cancelled"], "{context}");
    assert_eq!(shop.facts("paid").await, ["placed", "paid", "reserved"], "{context}");
    assert_eq!(running.status().parked_count, 0, "{context}");
}

/// Waits until no instance has anything left to do.
async fn finished(shop: &Shop) {
    loop {
        let mut is_finished = true;
        for order in ["a", "sold-out", "paid"] {
            let types = shop.types(&format!("$quipu.process-payment-{order}")).await;
            is_finished &= types.iter().any(|own| own == "$quipu.process-completed");
        }
        if is_finished {
            return;
        }
        pass_on().await;
    }
}

on_both! {
    async fn timers_outlive_the_process_that_set_them(shop: Shop) {
        let mut first = run::<Payment>(&shop.app, LONG).spawn();
        shop.place("a").await;
        shop.advance(&mut first, Duration::from_mins(1)).await;
        first.stop().await.unwrap();
        shop.clock.advance(Duration::from_mins(30));

        let mut second = run::<Payment>(&shop.app, LONG).spawn();
        shop.advance(&mut second, Duration::ZERO).await;

        let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
        assert_eq!(shop.facts("a").await, expected);
        let types = shop.types("$quipu.process-payment-a").await;
        assert_eq!(types.iter().filter(|own| *own == "$quipu.timer-fired").count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn two_runners_do_everything_once() {
    let shop = Shop::new();
    let partitions = NonZeroU16::new(4).unwrap();
    let start = || run::<Payment>(&shop.app, Duration::from_millis(50)).partitions(partitions);
    let mut first = start().spawn();
    let second = start().spawn();

    for number in 0..10 {
        shop.place(&format!("a{number}")).await;
    }
    first.wait_until(|status| status.epoch > 0).await.unwrap();
    // The one that works crashes, the other one takes over.
    drop(first);
    shop.clock.advance(Duration::from_secs(1));
    for number in 10..20 {
        shop.place(&format!("a{number}")).await;
    }
    let mut second = second;
    second.wait_until(|status| status.epoch > 0).await.unwrap();
    shop.advance(&mut second, Duration::from_mins(15)).await;

    for number in 0..20 {
        let facts = shop.facts(&format!("a{number}")).await;
        let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
        assert_eq!(facts, expected, "order a{number}");
    }
}

/// The same process after a change that does something else about an order.
#[derive(Default)]
struct Changed(Payment);

impl Process for Changed {
    type Event = PaymentInput;
    type Timer = Deadline;
    const NAME: &'static str = Payment::NAME;

    fn route(event: &PaymentInput) -> Route {
        Payment::route(event)
    }

    fn evolve(&mut self, input: &Input<'_, PaymentInput, Deadline>) {
        self.0.evolve(input);
    }

    fn react(&self, input: &Input<'_, PaymentInput, Deadline>, effects: &mut Effects<Deadline>) {
        self.0.react(input, effects);
        if let Input::Event(recorded) = input
            && let PaymentInput::Placed(placed) = &recorded.event
        {
            effects.execute("welcome", Remind(placed.order.clone()));
        }
    }
}

on_both! {
    async fn an_instance_whose_unfinished_effects_have_changed_stops_and_says_so(shop: Shop) {
        shop.place("a").await;
        // The input is recorded by the first append, its command never executed.
        let (store, app) = shop.breaking(How::LoseRequest, 1);
        let crashing = run::<Payment>(&app, SHORT).spawn();
        store.broken().await;
        drop(crashing);
        shop.lapse(SHORT).await;

        let mut running = run::<Changed>(&shop.app, LONG).spawn();
        shop.place("b").await;
        let status = running.wait_until(|status| status.parked_count == 1).await.unwrap();
        running.settle().await.unwrap();

        assert_eq!(shop.facts("a").await, ["placed"], "nothing is guessed");
        assert_eq!(shop.facts("b").await, ["placed", "reserved", "reminded"], "others go on");
        let error = status.last_error.unwrap();
        for part in ["instance \"a\" of process \"payment\"", "execute reserve", "execute welcome"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        // With the code put back it finishes what it began.
        running.stop().await.unwrap();
        let mut running = run::<Payment>(&shop.app, LONG).spawn();
        shop.app.execute(Pay("a".into())).await.unwrap();
        running.settle().await.unwrap();
        assert_eq!(running.status().parked_count, 2, "what is parked waits for its retry");
    }
}

on_both! {
    async fn a_replay_of_the_log_does_nothing_again(shop: Shop) {
        shop.place("a").await;
        shop.place("b").await;
        let mut first = run::<Payment>(&shop.app, LONG).spawn();
        shop.advance(&mut first, Duration::from_mins(12)).await;
        first.stop().await.unwrap();
        let before = shop.store.frontier().await.unwrap();

        // Another incarnation of the runner that knows nothing of the first one's checkpoints.
        let runner = run::<Payment>(&shop.app, LONG).with_runner(|runner| runner.version(2));
        let mut second = runner.spawn();
        second.settle().await.unwrap();

        assert_eq!(shop.store.frontier().await.unwrap(), before);
    }
}

/// How often a type is in an instance's stream.
async fn count(shop: &Shop, order: &str, event_type: &str) -> usize {
    let types = shop.types(&format!("$quipu.process-payment-{order}")).await;
    types.iter().filter(|own| *own == event_type).count()
}

/// A runner sleeps with a refusal in its hands; meanwhile another one has taken over and, since the
/// order was paid, executed the command, but not recorded that.
#[tokio::test(start_paused = true)]
async fn what_was_executed_is_not_refused_by_a_runner_that_wakes_up_late() {
    let shop = Shop::new();
    shop.place("sold-out").await;
    let (asleep, app) = shop.breaking(How::Pause, 1);
    let first = run::<Payment>(&app, LONG).spawn();
    asleep.broken().await;
    shop.app.execute(Pay("sold-out".into())).await.unwrap();
    shop.clock.advance(LONG + Duration::from_secs(1));
    let (dying, app) = shop.breaking(How::LoseRequest, 1);
    let second = run::<Payment>(&app, LONG).spawn();
    dying.broken().await;
    drop(second);

    asleep.let_on();
    for _ in 0..50 {
        pass_on().await;
    }
    drop(first);
    shop.clock.advance(LONG + Duration::from_secs(1));
    let mut third = run::<Payment>(&shop.app, LONG).spawn();
    third.settle().await.unwrap();

    assert_eq!(shop.facts("sold-out").await, ["placed", "paid", "reserved"]);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-rejected").await, 0);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-completed").await, 1);
}

/// The other way round: the second one is about to append what the command decided when the first
/// one wakes up and records the refusal.
#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_executed_by_a_runner_that_wakes_up_late() {
    let shop = Shop::new();
    shop.place("sold-out").await;
    let (first_sleep, app) = shop.breaking(How::Pause, 1);
    let first = run::<Payment>(&app, LONG).spawn();
    first_sleep.broken().await;
    shop.app.execute(Pay("sold-out".into())).await.unwrap();
    shop.clock.advance(LONG + Duration::from_secs(1));
    let (second_sleep, app) = shop.breaking(How::Pause, 0);
    let mut second = run::<Payment>(&app, LONG).spawn();
    second_sleep.broken().await;

    first_sleep.let_on();
    while count(&shop, "sold-out", "$quipu.process-rejected").await == 0 {
        pass_on().await;
    }
    drop(first);
    second_sleep.let_on();
    second.settle().await.unwrap();

    assert_eq!(shop.facts("sold-out").await, ["placed", "paid"]);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-rejected").await, 1);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-completed").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_a_crash_is_not_executed_after_it() {
    let shop = Shop::new();
    shop.place("sold-out").await;
    let (dying, app) = shop.breaking(How::LoseRequest, 2);
    let first = run::<Payment>(&app, LONG).spawn();
    dying.broken().await;
    drop(first);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-rejected").await, 1);

    // By now it would be accepted.
    shop.app.execute(Pay("sold-out".into())).await.unwrap();
    shop.clock.advance(LONG + Duration::from_secs(1));
    let mut second = run::<Payment>(&shop.app, LONG).spawn();
    second.settle().await.unwrap();

    assert_eq!(shop.facts("sold-out").await, ["placed", "paid"]);
    assert_eq!(count(&shop, "sold-out", "$quipu.process-completed").await, 1);
}

/// A process sleeps before each of its appends in turn, while another one does all of the work.
#[tokio::test(start_paused = true)]
async fn a_runner_that_wakes_up_late_does_nothing_again() {
    for appends in 0..12 {
        let shop = Shop::new();
        shop.place("a").await;
        shop.place("sold-out").await;
        let (asleep, app) = shop.breaking(How::Pause, appends);
        let first = run::<Payment>(&app, LONG).spawn();
        shop.clock.advance(Duration::from_mins(20));
        tokio::select! {
            () = asleep.broken() => {}
            () = async { for _ in 0..200 { pass_on().await } } => {}
        }
        shop.clock.advance(LONG + Duration::from_secs(1));
        let mut second = run::<Payment>(&shop.app, LONG).spawn();
        second.wait_until(|status| status.epoch > 0).await.unwrap();
        second.settle().await.unwrap();

        asleep.let_on();
        for _ in 0..50 {
            pass_on().await;
        }
        drop(first);
        second.settle().await.unwrap();

        let context = format!("after {appends} appends");
        let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
        assert_eq!(shop.facts("a").await, expected, "{context}");
        let facts = shop.facts("sold-out").await;
        assert_eq!(facts.iter().filter(|fact| **fact == "cancelled").count(), 1, "{context}");
        assert!(!facts.contains(&"reserved") && !facts.contains(&"released"), "{context}");
        assert_eq!(count(&shop, "a", "$quipu.process-completed").await, 1, "{context}");
        assert_eq!(count(&shop, "a", "$quipu.timer-fired").await, 2, "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_goes_on_in_a_copy_of_its_log_whose_positions_are_others() {
    let shop = Shop::new();
    shop.place("a").await;
    let mut first = run::<Payment>(&shop.app, LONG).spawn();
    shop.advance(&mut first, Duration::from_mins(1)).await;
    first.stop().await.unwrap();

    let copy = Shop::with_gaps(7);
    copy.clock.advance(Duration::from_mins(2));
    let read = shop.store.read_all(ReadAll::new(Query::all())).await.unwrap();
    for event in collect(read.batches).await.unwrap() {
        let quipu::core::EventData::Present(data) = event.data else { continue };
        let mut new = NewEvent::new(event.event_type, event.content_type, data);
        (new.id, new.tags, new.metadata) = (event.id, event.tags, event.metadata);
        new.recorded_at = Some(event.recorded_at);
        copy.store.append(Append::new().event(event.stream, new)).await.unwrap();
    }
    copy.clock.advance(Duration::from_mins(20));
    let mut second = run::<Payment>(&copy.app, LONG).spawn();
    second.settle().await.unwrap();

    let expected = ["placed", "reserved", "reminded", "cancelled", "released"];
    assert_eq!(copy.facts("a").await, expected);
}
