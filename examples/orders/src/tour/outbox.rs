//! The outbox: a process that is killed while it publishes, and another one that goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu::core::{BoxFuture, EventStore};
use quipu::sinks::{Batch, FileSink, PlaceKeeper, Sink, SinkError};
use quipu::{Quipu, Running};
use serde_json::Value;

use super::bulk::Bulk;
use super::child::Process;
use super::scene::{Scene, broken, ensure, open, read};
use crate::arguments::Child;
use crate::public::{PublicEvent, public};
use crate::shop::{Failure, outbox_file};

/// How often the relay's place is saved: what was published since comes again after a crash.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// How long another relay waits for one that was killed.
const LEASE_TIME: Duration = Duration::from_millis(600);
/// The most kills, where none of them lets anything come again.
const KILLS_MAX: usize = 6;
/// How long each batch takes on its way, at least: as if it went over a network. Where the disk is
/// memory, all would be published before a kill.
const WAY_TIME: Duration = Duration::from_millis(1);
/// How long a relay may take to begin.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A sink that is far away.
pub(super) struct Far<S>(pub(super) S);

impl<S: Sink> Sink for Far<S> {
    fn attach(&self, store: &Arc<dyn EventStore>, relay: &str) {
        self.0.attach(store, relay);
    }

    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            tokio::time::sleep(WAY_TIME).await;
            self.0.publish(batch).await
        })
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        self.0.places()
    }
}

fn relay(app: &Quipu, directory: &Path) -> Result<Running, Failure> {
    Ok(relay_to(app, FileSink::open(outbox_file(directory))?))
}

/// Publishes what others may know, little at a time.
pub(super) fn relay_to(app: &Quipu, sink: impl Sink + 'static) -> Running {
    let relay = app.relay("public-orders", public).to(Arc::new(Far(sink)));
    let relay = relay
        .with_runner(|runner| runner.batch(4).save_interval(SAVE_INTERVAL).lease_ttl(LEASE_TIME));
    relay.spawn()
}

/// The process that is killed: publishes for ever.
pub(crate) async fn relay_until_killed(directory: &Path) -> Result<(), Failure> {
    let app = open(directory).await?;
    Ok(relay(&app, directory)?.ended().await?)
}

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    scene.say(
        "What other systems may know of the orders is published into a file. The process that",
    );
    scene.say("does so is killed in the middle of it, and another one goes on.");
    let total = take_orders(scene).await?;

    let file = outbox_file(scene.directory());
    let mut kills = 0;
    while kills < KILLS_MAX && (kills < 2 || Published::read(&file)?.again_count == 0) {
        kills += 1;
        let line_count = publish_and_die(scene.directory(), &file, total / 8).await?;
        scene.say(format!("kill {kills}: {line_count} lines are in the file"));
    }
    let app = scene.open().await?;
    let mut running = relay(&app, scene.directory())?;
    running.wait_for(app.store().frontier().await?).await?;
    running.stop().await?;

    let published = Published::read(&file)?;
    published.compare_with(&app).await?;
    let again = published.again_count;
    ensure(again > 0, || format!("nothing came again after {kills} kills, so nothing is shown"))?;
    scene.say(format!(
        "In the end all {total} are there, those of each order in their order. {again} came"
    ));
    scene.say("again: with the same id and position, by which a reader knows them.");
    Ok(format!("{total} published after {kills} kills, {again} came again"))
}

/// Fills the check's store. Answers how many events there are to publish.
pub(super) async fn take_orders(scene: &Scene) -> Result<usize, Failure> {
    let app = scene.open().await?;
    let mut bulk = Bulk::default();
    for number in 0..scene.count(1_000, 200) {
        bulk.add_order(number)?;
    }
    bulk.append(&app).await?;
    Ok(read(&app, app.query_of::<PublicEvent>()).await?.len())
}

/// Lets a process publish some more and kills it. Answers how many lines there are then.
async fn publish_and_die(directory: &Path, file: &Path, count: usize) -> Result<usize, Failure> {
    let before = line_count(file)?;
    let mut process = Process::start(&Child::Relay(directory.to_owned()))?;
    let begun = Instant::now();
    while line_count(file)? < before + count {
        ensure(!process.has_ended()?, || "the process that publishes ended by itself".to_owned())?;
        ensure(begun.elapsed() < START_TIME_MAX, || {
            let waited = START_TIME_MAX.as_secs();
            format!("after {before} lines a process published nothing more in {waited} s")
        })?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ensure(process.kill()?, || "the process that publishes ended by itself".to_owned())?;
    Ok(line_count(file)?)
}

fn line_count(file: &Path) -> std::io::Result<usize> {
    match std::fs::read_to_string(file) {
        // Half a line at the end is none.
        Ok(text) => Ok(text.matches('\n').count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// What was published.
#[derive(Default)]
pub(super) struct Published {
    /// The ids and positions of each order, in the order in which they came first.
    orders: BTreeMap<String, Vec<(String, String)>>,
    /// Each cloud event by its id.
    first: BTreeMap<String, Value>,
    /// How many came again.
    pub(super) again_count: usize,
}

impl Published {
    /// What is in the outbox's file.
    fn read(file: &Path) -> Result<Self, Failure> {
        let mut published = Self::default();
        let text = std::fs::read_to_string(file)?;
        // A kill may leave half a line at the end; the next relay cuts it off.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            published.note(serde_json::from_str(line)?)?;
        }
        Ok(published)
    }

    /// Takes one more, in the order in which they came.
    pub(super) fn note(&mut self, cloud_event: Value) -> Result<(), Failure> {
        let part = |name: &str| cloud_event[name].as_str().unwrap_or_default().to_owned();
        let (id, order, position) = (part("id"), part("subject"), part("position"));
        if let Some(known) = self.first.get(&id) {
            ensure(*known == cloud_event, || format!("{id} came again as another: {cloud_event}"))?;
            self.again_count += 1;
            return Ok(());
        }
        self.orders.entry(order).or_default().push((id.clone(), position));
        self.first.insert(id, cloud_event);
        Ok(())
    }

    /// How many came, the ones that came again too.
    #[cfg(feature = "kafka")]
    pub(super) fn count(&self) -> usize {
        self.first.len() + self.again_count
    }

    /// Holds what was published against the log.
    pub(super) async fn compare_with(&self, app: &Quipu) -> Result<(), Failure> {
        let mut log = BTreeMap::<String, Vec<(String, String)>>::new();
        for event in read(app, app.query_of::<PublicEvent>()).await? {
            let place = (event.id.to_string(), event.position.to_string());
            log.entry(event.stream.to_string()).or_default().push(place);
        }
        for (stream, expected) in &log {
            let found = self.orders.get(stream);
            let found = found.ok_or_else(|| broken(format!("nothing of {stream} is published")))?;
            ensure(found == expected, || {
                let positions = |all: &[(String, String)]| {
                    all.iter().map(|(_, position)| position.clone()).collect::<Vec<_>>().join(", ")
                };
                format!(
                    "of {stream} the log has positions {}; with ids of their own came {}",
                    positions(expected),
                    positions(found)
                )
            })?;
        }
        let (found, expected) = (self.orders.len(), log.len());
        ensure(found == expected, || format!("{found} orders are published, not {expected}"))
    }
}
