//! Two clerks and one item: exactly one of them sells it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use quipu::core::{Query, QueryItem, Violation};
use quipu::{Command, Ctx, Done, Event, Events, ExecuteError, Position, Quipu, Retry};

use super::bulk::Bulk;
use super::scene::{Scene, broken, ensure, read};
use crate::order::{
    AddItem, ItemAdded, ItemId, Order, OrderCreated, OrderId, Refusal, Stock, StockReceived,
};
use crate::shop::Failure;

/// The clerks, and at the same time what their orders begin with.
const CLERKS: [&str; 2] = ["ana", "ben"];
/// How long a clerk waits for the other one: longer than any busy machine needs.
const MEETING_TIME_MAX: Duration = Duration::from_secs(10);

/// What became of a clerk's command.
type Sale = Result<Done, ExecuteError<Refusal>>;

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let app = scene.open().await?;
    let rounds = scene.count(200, 10);
    scene.say(
        "There is one of each item. In each round two clerks read that it is there, both decide",
    );
    scene.say("to sell it, and only then does either of them store that decision.");
    let mut bulk = Bulk::default();
    for round in 0..rounds {
        bulk.add(&StockReceived { item: item(round), count: 1 })?;
        for clerk in CLERKS {
            bulk.add(&OrderCreated { order: order(clerk, round), customer: clerk.to_owned() })?;
        }
    }
    bulk.append(&app).await?;
    let mut conflict_count = 0;
    for round in 0..rounds {
        conflict_count += if round % 2 == 0 {
            once_each(scene, &app, round).await?
        } else {
            decided_again(&app, round).await?
        };
        let sold = sold(&app, round).await?;
        ensure(sold == 1, || format!("round {round}: item {round} was sold {sold} times"))?;
        let free = app.load(Stock::of(item(round))).await?.free;
        ensure(free == 0, || format!("round {round}: {free} in stock after it was sold"))?;
    }
    ensure(conflict_count == rounds, || {
        format!("{conflict_count} conflicts in {rounds} rounds, one in each was expected")
    })?;
    Ok(format!("{rounds} items sold once in {rounds} races, {conflict_count} conflicts"))
}

/// A round in which nothing is tried again: the conflict itself is seen.
async fn once_each(scene: &Scene, app: &Quipu, round: usize) -> Result<usize, Failure> {
    let before = app.store().frontier().await?;
    let sales = sell_together(app, round, Retry::none()).await?;
    let mut conflicts = Vec::new();
    for (clerk, (sale, _)) in CLERKS.into_iter().zip(&sales) {
        if let Err(error @ ExecuteError::Conflict { violations, .. }) = sale {
            conflicts.push(Conflict { loser: clerk, violations, text: error.to_string() });
        }
    }
    let is_sold_twice = sales.iter().all(|(sale, _)| sale.is_ok());
    ensure(!is_sold_twice, || format!("round {round}: both clerks sold the last item"))?;
    let [conflict] = conflicts.as_slice() else {
        return Err(broken(format!("round {round}: not one conflict but {}", conflicts.len())));
    };
    let loser = conflict.loser;
    let again = app.execute(sale(loser, round)).actor(loser).await;
    let refusal = again.as_ref().err().and_then(ExecuteError::rejection);
    ensure(refusal == Some(&Refusal::SoldOut(item(round))), || {
        format!("round {round}: {loser} asked again and got {again:?}")
    })?;
    if round == 0 {
        explain(scene, app, before, conflict).await?;
    }
    Ok(1)
}

/// What the loser of a race is told.
struct Conflict<'a> {
    loser: &'static str,
    violations: &'a [Violation],
    text: String,
}

/// Shows what a conflict is made of.
async fn explain(
    scene: &Scene,
    app: &Quipu,
    before: Position,
    conflict: &Conflict<'_>,
) -> Result<(), Failure> {
    let Conflict { loser, violations, text } = conflict;
    let Some(Violation::Query { position, .. }) = violations.first() else {
        return Err(broken(format!("the conflict names no event: {text}")));
    };
    let all = read(app, Query::all()).await?;
    let winner = all.iter().find(|event| event.position == *position);
    let winner = winner.ok_or_else(|| broken(format!("nothing is at position {position}")))?;
    let read = format!("nothing new about this order and this item since position {before}");
    scene.say(format!("The first conflict, as {loser}'s program gets it: \"{text}\""));
    scene.say(format!("  expected       {read}"));
    scene.say(format!(
        "  came between   position {position}: {}, in stream {}",
        winner.event_type, winner.stream
    ));
    scene.say("  decided again  refused: there is none left");
    scene.say("In every other round the framework decides again by itself.");
    Ok(())
}

/// A round as programs run it: who loses is decided again, and refused.
async fn decided_again(app: &Quipu, round: usize) -> Result<usize, Failure> {
    let sales = sell_together(app, round, Retry::default()).await?;
    let refused: Vec<u32> = sales
        .iter()
        .filter(|(sale, _)| {
            let refusal = sale.as_ref().err().and_then(ExecuteError::rejection);
            refusal == Some(&Refusal::SoldOut(item(round)))
        })
        .map(|(_, decisions)| *decisions)
        .collect();
    let has_winner = sales.iter().any(|(sale, _)| sale.is_ok());
    let [decisions] = refused[..] else {
        return Err(broken(format!("round {round}: {} clerks were refused", refused.len())));
    };
    ensure(has_winner, || format!("round {round}: nobody sold the item"))?;
    ensure(decisions == 2, || format!("round {round}: the loser decided {decisions} times"))?;
    Ok(1)
}

/// Both clerks at once, each in a thread. Answers what each got, and how often it decided.
async fn sell_together(
    app: &Quipu,
    round: usize,
    retry: Retry,
) -> Result<Vec<(Sale, u32)>, Failure> {
    let meeting = Arc::new(Meeting::default());
    let tasks = CLERKS.map(|clerk| {
        let decision_count = Arc::new(AtomicU32::new(0));
        let command = MeetAndSell {
            sale: sale(clerk, round),
            meeting: Arc::clone(&meeting),
            decision_count: Arc::clone(&decision_count),
        };
        let execute = app.execute(command).actor(clerk).retry(retry);
        tokio::spawn(async move {
            let sale = execute.await;
            (sale, decision_count.load(Ordering::SeqCst))
        })
    });
    let mut sales = Vec::new();
    for task in tasks {
        sales.push(task.await?);
    }
    Ok(sales)
}

/// How often an item was sold, by the log.
async fn sold(app: &Quipu, round: usize) -> Result<usize, Failure> {
    let mut query = QueryItem::default();
    query.types.push(quipu::core::EventType::new(ItemAdded::TYPE)?);
    query.tags.insert(quipu::Tag::new(format!("item:{}", item(round).0))?);
    Ok(read(app, query.into()).await?.len())
}

fn item(round: usize) -> ItemId {
    ItemId(format!("last-{round}"))
}

fn order(clerk: &str, round: usize) -> OrderId {
    OrderId(format!("{clerk}-{round}"))
}

fn sale(clerk: &str, round: usize) -> AddItem {
    AddItem { order: order(clerk, round), item: item(round), cents: 4_200, currency: "EUR" }
}

/// A sale that is decided at the same time as another one.
struct MeetAndSell {
    sale: AddItem,
    meeting: Arc<Meeting>,
    decision_count: Arc<AtomicU32>,
}

impl Command for MeetAndSell {
    type Model = (Order, Stock);
    type Error = Refusal;

    fn model(&self) -> (Order, Stock) {
        self.sale.model()
    }

    fn decide(&self, model: &(Order, Stock), ctx: &Ctx) -> Result<Events, Refusal> {
        let decided = self.sale.decide(model, ctx);
        // A decision waits for nothing; this one does so that the race is as close as it can be.
        if self.decision_count.fetch_add(1, Ordering::SeqCst) == 0 {
            self.meeting.wait();
        }
        decided
    }
}

/// Where two wait for each other, but not for ever: one of them may never come.
#[derive(Default)]
struct Meeting {
    present_count: Mutex<u32>,
    changed: Condvar,
}

impl Meeting {
    fn wait(&self) {
        let mut present = self.present_count.lock().unwrap_or_else(PoisonError::into_inner);
        *present += 1;
        self.changed.notify_all();
        let is_alone = |present: &mut u32| *present < 2;
        // Whether both came shows in the number of conflicts.
        drop(self.changed.wait_timeout_while(present, MEETING_TIME_MAX, is_alone));
    }
}
