//! Replicas: each has a log of its own, works on it alone, and gives others what they have not.
//!
//! A replica appends its operations to its own stream and nobody else does. The others hold copies
//! of that stream, each as far as it got it, and pass on what they have. So the last revision of a
//! copy says which events are missing.

use std::error::Error;

use quipu::core::{
    Append, ExpectedRevision, ListStreams, NewEvent, ReadStream, RecordedEvent, collect,
};
use quipu::{Loaded, Quipu, Revision, StreamName};

use crate::note::{Board, BoardId, Operation, ReplicaId, What};

/// The category of the replicas' streams.
const CATEGORY: &str = "replica";
/// The most streams that are looked at: more replicas than anybody has.
const REPLICA_COUNT_MAX: usize = 65_536;

pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) app: Quipu,
}

/// The one board of this example.
fn board() -> BoardId {
    BoardId("plans".to_owned())
}

impl Replica {
    pub(crate) fn new(id: &str, app: Quipu) -> Self {
        Self { id: ReplicaId(id.to_owned()), app }
    }

    /// Does something to the board, as this replica sees it. Nobody else is asked.
    pub(crate) async fn execute(&self, note: &str, what: What) -> Result<(), Box<dyn Error>> {
        let (replica, board, note) = (self.id.clone(), board(), note.to_owned());
        self.app.execute(Operation { replica, board, note, what }).await?;
        Ok(())
    }

    pub(crate) async fn add(&self, note: &str, text: &str) -> Result<(), Box<dyn Error>> {
        self.execute(note, What::Add { text: text.to_owned() }).await
    }

    pub(crate) async fn edit(&self, note: &str, text: &str) -> Result<(), Box<dyn Error>> {
        self.execute(note, What::Edit { text: text.to_owned() }).await
    }

    pub(crate) async fn remove(&self, note: &str) -> Result<(), Box<dyn Error>> {
        self.execute(note, What::Remove).await
    }

    /// The board, replayed from what is in this replica's log.
    pub(crate) async fn board(&self) -> Result<Loaded<Board>, Box<dyn Error>> {
        Ok(self.app.load(Board::of(board())).await?)
    }

    /// What this replica has and the other one has not: an append for each stream.
    pub(crate) async fn news_for(&self, other: &Self) -> Result<Vec<Append>, Box<dyn Error>> {
        let category = Some(CATEGORY.to_owned());
        let list = ListStreams { category, limit: REPLICA_COUNT_MAX, ..ListStreams::default() };
        let mut news = Vec::new();
        for stream in self.app.store().list_streams(list).await? {
            let last = other.last_revision(&stream).await?;
            let mut read = ReadStream::new(stream.clone());
            read.from = last.map(Revision::next);
            let events = collect(self.app.store().read_stream(read).await?.batches).await?;
            if events.is_empty() {
                continue;
            }
            let copies: Vec<NewEvent> = events.into_iter().map(copy).collect::<Result<_, _>>()?;
            let expected = last.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
            news.push(Append::to_stream(stream, expected, copies));
        }
        Ok(news)
    }

    /// Takes what another replica has, and says how many events were not here before. News that
    /// come again are found by their ids and change nothing.
    pub(crate) async fn take(&self, news: Vec<Append>) -> Result<usize, Box<dyn Error>> {
        let mut count = 0;
        for append in news {
            let event_count = append.events.len();
            if !self.app.store().append(append).await?.replayed {
                count += event_count;
            }
        }
        Ok(count)
    }

    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, Box<dyn Error>> {
        let read = ReadStream::new(stream.clone()).limit(1);
        Ok(self.app.store().read_stream(read).await?.state.last())
    }
}

/// The same event, for another log. It keeps its id, but not its time: another machine's clock may
/// be ahead, and a log refuses what is to come.
fn copy(event: RecordedEvent) -> Result<NewEvent, Box<dyn Error>> {
    let data = event.data.present().ok_or("an operation was erased")?.clone();
    Ok(NewEvent {
        id: event.id,
        event_type: event.event_type,
        tags: event.tags,
        content_type: event.content_type,
        data,
        metadata: event.metadata,
        recorded_at: None,
    })
}

/// Gives each of two replicas what only the other one had, and says how many events were passed on.
pub(crate) async fn sync(one: &Replica, other: &Replica) -> Result<usize, Box<dyn Error>> {
    let there = other.take(one.news_for(other).await?).await?;
    let back = one.take(other.news_for(one).await?).await?;
    Ok(there + back)
}
