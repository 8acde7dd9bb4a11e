//! The task that owns the connection, and puts what comes meanwhile into one transaction.

use std::sync::Arc;

use krafka::Record;
use quipu_core::{
    Checkpoint as StoreCheckpoint, CheckpointError, EventStore, Position, SwapCheckpoint,
};
use quipu_groups::{Move, SlicePlace};
use tokio::sync::{mpsc, oneshot};

use super::Settings;
use super::checkpoint::{Applied, Checkpoint};
use super::error::{KafkaError, Trouble};
use super::session::Session;

/// How large a transaction is made.
const GROUP_COUNT_MAX: usize = 20_000;
const GROUP_SIZE_MAX: usize = 16 << 20;

/// For how many transactions deliveries stay alone after a refusal: until the runner has found the
/// message, which it does by publishing one by one.
const ALONE_COUNT: usize = 1_000;

/// Whose cloud events are published.
pub(super) struct Origin {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) relay: String,
}

type Answer<T> = oneshot::Sender<Result<T, Trouble>>;

/// What the committer is asked for. Where nobody waits for the answer any more, it is not done.
pub(super) enum Ask {
    Publish { delivery: Delivery, answer: Answer<()> },
    Load(Answer<Vec<SlicePlace>>),
    Claim { epoch: u64, loaded: Vec<SlicePlace>, rows: Vec<SlicePlace>, answer: Answer<()> },
    Reset { epoch: u64, position: Position, answer: Answer<()> },
}

/// Messages, and the moves of the checkpoint that go with them.
pub(super) struct Delivery {
    epoch: u64,
    moves: Vec<Move>,
    records: Vec<Record>,
    size: usize,
}

impl Delivery {
    pub(super) fn new(epoch: u64, moves: Vec<Move>) -> Self {
        Self { epoch, moves, records: Vec::new(), size: 0 }
    }

    pub(super) fn push(&mut self, record: Record, size: usize) {
        self.records.push(record);
        self.size += size;
    }
}

pub(super) struct Committer {
    settings: Settings,
    origin: Origin,
    session: Option<Session>,
    /// For so many transactions more, no two deliveries share one: a message was refused, and whose
    /// it is is known only where it is alone.
    alone: usize,
}

impl Committer {
    pub(super) fn new(settings: Settings, origin: Origin) -> Self {
        Self { settings, origin, session: None, alone: 0 }
    }

    /// Does what it is asked for until nobody can ask any more.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut next = None;
        loop {
            let ask = match next.take() {
                Some(ask) => ask,
                None => match asked.recv().await {
                    Some(ask) => ask,
                    None => break,
                },
            };
            match ask {
                Ask::Publish { delivery, answer } => {
                    let mut group = Group::default();
                    group.push(delivery, answer);
                    while self.alone == 0 && group.has_room() {
                        match asked.try_recv() {
                            Ok(Ask::Publish { delivery, answer }) => group.push(delivery, answer),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.publish(group).await;
                }
                Ask::Load(answer) => tell(answer, self.load().await),
                Ask::Claim { epoch, loaded, rows, answer } => {
                    tell(answer, self.claim(epoch, &loaded, rows).await);
                }
                Ask::Reset { epoch, position, answer } => {
                    tell(answer, self.reset(epoch, position).await);
                }
            }
        }
    }

    /// The session; a new one where there is none, or the last one failed.
    async fn session(&mut self) -> Result<&mut Session, Trouble> {
        let session = if let Some(session) = self.session.take() {
            session
        } else {
            let opened = Session::open(&self.settings, &self.origin).await;
            opened.map_err(|error| match error {
                error @ KafkaError::Malformed { .. } => Trouble::Unusable(error.into()),
                error => Trouble::unavailable(error),
            })?
        };
        Ok(self.session.insert(session))
    }

    /// A transaction that may leave nothing behind but a session that is still good, or none.
    async fn commit(
        &mut self,
        records: Vec<Record>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), Trouble> {
        let session = self.session().await?;
        let committed = session.commit(records, checkpoint).await;
        if committed.as_ref().is_err_and(|it| !matches!(it, Trouble::Refused(_))) {
            self.session = None;
        }
        committed
    }

    async fn publish(&mut self, mut group: Group) {
        let checkpoint = match self.checkpoint().await {
            Ok(checkpoint) => checkpoint,
            Err(trouble) => return group.tell_all(&Err(trouble)),
        };
        let checkpoint = group.apply(checkpoint);
        if group.answers.is_empty() {
            return;
        }
        self.alone = self.alone.saturating_sub(1);
        let committed = self.commit(group.take_records(), checkpoint).await;
        match committed {
            Err(Trouble::Refused(_)) if group.answers.len() > 1 => {
                self.alone = ALONE_COUNT;
                group.tell_all(&Err(Trouble::unavailable(KafkaError::Beside)));
            }
            outcome => group.tell_all(&outcome),
        }
    }

    /// The checkpoint as it is, or as it begins.
    async fn checkpoint(&mut self) -> Result<Checkpoint, Trouble> {
        let identity = self.origin.store.identity();
        let found = self.session().await?.checkpoint.clone();
        Ok(match found {
            Some(found) => found.in_life(&identity),
            None => Checkpoint::new(&identity),
        })
    }

    /// Takes over: whoever published before is fenced, and what is committed by then is loaded.
    async fn load(&mut self) -> Result<Vec<SlicePlace>, Trouble> {
        self.session = None;
        let session = self.session().await?;
        let found = session.checkpoint.clone();
        let topic = session.checkpoint_topic().to_owned();
        if found.is_none() {
            let mark = self.mark().await.map_err(|error| explain(&topic, error))?;
            if let Some(position) = mark {
                let position = position.get();
                return Err(Trouble::Unusable(KafkaError::Lost { topic, position }.into()));
            }
        }
        Ok(found.map(|found| found.rows).unwrap_or_default())
    }

    async fn claim(
        &mut self,
        epoch: u64,
        loaded: &[SlicePlace],
        rows: Vec<SlicePlace>,
    ) -> Result<(), Trouble> {
        let session = self.session().await?;
        let topic = session.checkpoint_topic().to_owned();
        if let Some(found) = session.checkpoint.clone() {
            if epoch < found.epoch {
                return Err(Trouble::Fenced);
            }
            if found.rows != loaded {
                return Err(Trouble::Moved);
            }
            self.set_mark(epoch, &found).await.map_err(|error| explain(&topic, error))?;
        } else if !loaded.is_empty() {
            return Err(Trouble::Moved);
        }
        let claimed = Checkpoint { epoch, rows, ..self.checkpoint().await? };
        self.set(claimed.clone()).await?;
        // The mark comes after the checkpoint: where it is set, there is one.
        self.set_mark(epoch, &claimed).await.map_err(|error| explain(&topic, error))
    }

    async fn reset(&mut self, epoch: u64, position: Position) -> Result<(), Trouble> {
        let mut checkpoint = self.checkpoint().await?;
        if epoch < checkpoint.epoch {
            return Err(Trouble::Fenced);
        }
        for row in &mut checkpoint.rows {
            row.position = position;
        }
        self.set(checkpoint).await
    }

    async fn set(&mut self, checkpoint: Checkpoint) -> Result<(), Trouble> {
        self.commit(Vec::new(), Some(checkpoint)).await
    }

    /// What the store's own checkpoint is called that follows the one in Kafka. It is only a mark: it
    /// tells that the relay has published, and whether this log can go on from there.
    fn mark_name(&self) -> String {
        format!("relay/{}/kafka", self.origin.relay)
    }

    async fn mark(&self) -> Result<Option<Position>, CheckpointError> {
        let mark = self.origin.store.checkpoints().get(&self.mark_name()).await?;
        Ok(mark.map(|mark| mark.position))
    }

    /// Sets the mark to where the relay is by its checkpoint in Kafka. The store refuses one that it
    /// cannot go on from.
    async fn set_mark(&self, epoch: u64, found: &Checkpoint) -> Result<(), CheckpointError> {
        let new = StoreCheckpoint {
            position: found.highest(),
            log: found.log,
            incarnation: found.incarnation,
        };
        let (name, old) = (self.mark_name(), self.mark().await?);
        self.origin.store.checkpoints().swap(SwapCheckpoint { name, epoch, old, new }).await
    }
}

fn explain(topic: &str, error: CheckpointError) -> Trouble {
    match error {
        CheckpointError::StaleEpoch { .. } => Trouble::Fenced,
        CheckpointError::Moved { .. } => Trouble::Moved,
        error @ CheckpointError::Storage(_) => Trouble::unavailable(KafkaError::Store(error)),
        source => {
            let topic = topic.to_owned();
            Trouble::Unusable(KafkaError::OtherLog { topic, source }.into())
        }
    }
}

fn tell<T>(answer: Answer<T>, outcome: Result<T, Trouble>) {
    // The runner may have stepped down meanwhile.
    answer.send(outcome).ok();
}

/// Deliveries that share a transaction.
#[derive(Default)]
struct Group {
    deliveries: Vec<Delivery>,
    answers: Vec<Answer<()>>,
    count: usize,
    size: usize,
}

impl Group {
    fn push(&mut self, delivery: Delivery, answer: Answer<()>) {
        if !answer.is_closed() {
            self.count += delivery.records.len();
            self.size += delivery.size;
            self.deliveries.push(delivery);
            self.answers.push(answer);
        }
    }

    fn has_room(&self) -> bool {
        self.count < GROUP_COUNT_MAX && self.size < GROUP_SIZE_MAX
    }

    /// Makes the moves of all deliveries. The ones that are fenced, or done already, are answered
    /// and leave the group. `None` where nothing moves.
    fn apply(&mut self, mut checkpoint: Checkpoint) -> Option<Checkpoint> {
        let mut moves = false;
        let all = std::mem::take(&mut self.deliveries).into_iter();
        for (delivery, answer) in all.zip(std::mem::take(&mut self.answers)) {
            match checkpoint.apply(delivery.epoch, &delivery.moves) {
                Applied::Made => {
                    moves |= !delivery.moves.is_empty();
                    self.deliveries.push(delivery);
                    self.answers.push(answer);
                }
                Applied::Before => tell(answer, Ok(())),
                Applied::Fenced => tell(answer, Err(Trouble::Fenced)),
            }
        }
        moves.then_some(checkpoint)
    }

    fn take_records(&mut self) -> Vec<Record> {
        self.deliveries.drain(..).flat_map(|delivery| delivery.records).collect()
    }

    fn tell_all(self, outcome: &Result<(), Trouble>) {
        for answer in self.answers {
            tell(answer, outcome.clone());
        }
    }
}
