//! The outbox to a Kafka: a process that is killed while it publishes, another one that goes on, and a
//! consumer that sees each event once.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use krafka::admin::{CreateTopicsOptions, DeleteTopicsOptions, NewTopic};
use krafka::consumer::{AutoOffsetReset, Consumer, IsolationLevel};
use krafka::{ConsumerRecord, Kafka};
use quipu::sinks::KafkaSink;
use serde_json::json;

use super::child::Process;
use super::outbox::{Published, relay_to, take_orders};
use super::scene::{Scene, ensure, open};
use crate::arguments::Child;
use crate::shop::Failure;

const KILLS: usize = 3;
const PARTITIONS: i32 = 3;
/// How long a relay may take to begin: its lease and its transaction may have to run out first.
const START_TIME_MAX: Duration = Duration::from_secs(40);

/// A topic for this run, the one of its relay's checkpoint, and a consumer of what is committed.
struct Topic {
    kafka: Kafka,
    servers: String,
    name: String,
    consumer: Consumer,
    published: Published,
}

fn sink(servers: &str, topic: &str) -> Result<KafkaSink, Failure> {
    Ok(KafkaSink::new(servers, topic)?.checkpoint_topic(&checkpoints_of(topic)))
}

fn checkpoints_of(topic: &str) -> String {
    format!("{topic}.checkpoint")
}

/// The process that is killed: publishes for ever.
pub(crate) async fn relay_until_killed(
    directory: &Path,
    servers: &str,
    topic: &str,
) -> Result<(), Failure> {
    let app = open(directory).await?;
    Ok(relay_to(&app, sink(servers, topic)?).ended().await?)
}

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let servers = scene.kafka()?;
    scene
        .say("What other systems may know of the orders is published to a topic of the Kafka. The");
    scene.say("relay's place is committed in the transaction of its messages. The process that");
    scene.say("publishes is killed in the middle of it, and another one goes on.");
    let total = take_orders(scene).await?;
    let name = format!("quipu-tour-{}", scene.open().await?.store().identity().log);
    let mut topic = Topic::create(servers, name).await?;
    let shown = publish(scene, &mut topic, total).await;
    // The Kafka is somebody else's: nothing stays, whatever came of it.
    let removed = topic.remove().await;
    let figure = shown?;
    removed?;
    Ok(figure)
}

async fn publish(scene: &Scene, topic: &mut Topic, total: usize) -> Result<String, Failure> {
    for kill in 1..=KILLS {
        let count = topic.publish_and_die(scene.directory(), total / 8).await?;
        scene.say(format!("kill {kill}: a consumer has seen {count} messages"));
    }
    let app = scene.open().await?;
    let mut running = relay_to(&app, sink(&topic.servers, &topic.name)?);
    running.wait_for(app.store().frontier().await?).await?;
    running.stop().await?;
    topic.read_to_the_end().await?;

    topic.published.compare_with(&app).await?;
    let (count, again) = (topic.published.count(), topic.published.again_count);
    ensure(again == 0, || format!("{again} of {count} messages came twice"))?;
    ensure(count == total, || format!("{count} messages came, not {total}"))?;
    scene.say(format!(
        "In the end all {total} are there, once, those of each order in their order."
    ));
    Ok(format!("{total} published after {KILLS} kills, none came again"))
}

impl Topic {
    async fn create(servers: &str, name: String) -> Result<Self, Failure> {
        // Whoever has no Kafka there has not shown that anything is broken.
        let away = |error| io::Error::other(format!("no Kafka answers at {servers}: {error}"));
        let kafka = Kafka::builder(servers).connect().await.map_err(away)?;
        let topic = NewTopic::new(&name, PARTITIONS, -1)?;
        let created = kafka.admin().create_topics([topic], CreateTopicsOptions::default()).await;
        for (_, outcome) in created.map_err(away)? {
            outcome?;
        }
        let consumer = kafka
            .consumer_without_group()
            .isolation_level(IsolationLevel::ReadCommitted)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .await?;
        consumer.subscribe([name.as_str()]).await?;
        let (servers, published) = (servers.to_owned(), Published::default());
        Ok(Self { kafka, servers, name, consumer, published })
    }

    async fn remove(&self) -> Result<(), Failure> {
        let topics = [self.name.clone(), checkpoints_of(&self.name)];
        self.kafka.admin().delete_topics(topics, DeleteTopicsOptions::default()).await?;
        Ok(())
    }

    /// Lets a process publish some more and kills it. Answers how many messages there are then.
    async fn publish_and_die(&mut self, directory: &Path, count: usize) -> Result<usize, Failure> {
        let before = self.published.count();
        let mut process = Process::start(&Child::RelayToKafka {
            directory: directory.to_owned(),
            servers: self.servers.clone(),
            topic: self.name.clone(),
        })?;
        let begun = Instant::now();
        while self.published.count() < before + count {
            ensure(!process.has_ended()?, || {
                "the process that publishes ended by itself".to_owned()
            })?;
            ensure(begun.elapsed() < START_TIME_MAX, || {
                let waited = START_TIME_MAX.as_secs();
                format!("after {before} messages a process published nothing more in {waited} s")
            })?;
            self.poll().await?;
        }
        let was_alive = process.kill()?;
        ensure(was_alive, || "the process that publishes ended by itself".to_owned())?;
        Ok(self.published.count())
    }

    async fn poll(&mut self) -> Result<(), Failure> {
        for message in self.consumer.poll(Duration::from_millis(10)).await? {
            let part = |name: &str| header(&message, name);
            let cloud_event = json!({
                "id": part("ce_id"),
                "subject": part("ce_subject"),
                "position": part("ce_position"),
            });
            self.published.note(cloud_event)?;
        }
        Ok(())
    }

    /// Polls until every partition is read to where it ends by now.
    async fn read_to_the_end(&mut self) -> Result<(), Failure> {
        let partitions = self.consumer.assignment().await.remove(&self.name).unwrap_or_default();
        for partition in partitions {
            let (_, end) = self.consumer.fetch_watermarks(&self.name, partition).await?;
            while self.consumer.position(&self.name, partition).await.unwrap_or(0) < end {
                self.poll().await?;
            }
        }
        Ok(())
    }
}

/// A header's value, as text.
fn header(message: &ConsumerRecord, name: &str) -> Option<String> {
    let (_, value) = message.headers.iter().find(|(own, _)| own == name)?;
    String::from_utf8(value.as_ref()?.to_vec()).ok()
}
