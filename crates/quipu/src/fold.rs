//! Folding: from a model's initial state to its state at a place of the log, and further.
//!
//! An aggregate alone is read by its stream; every other model, and every tuple, by one read of the
//! log with the union of the members' queries. The steps:
//!
//! 1. each member begins at its state in memory or at its snapshot, where it has one;
//! 2. the rest is read, a batch at a time, decoded once, and given to the members it is for;
//! 3. to fold on later, only what is new since is read.
//!
//! # Invariants
//!
//! - A snapshot counts only if the log bears it out: an aggregate's last event must be shown by the
//!   stream at that revision, a model's place must not be beyond the frontier. Otherwise the fold
//!   begins anew, without it.
//! - What was folded is exactly what the frontier, or the stream's revision, guards.

use std::time::{Duration, Instant};

use quipu_core::{
    AsOf, EventRef, ExpectedRevision, LogRead, NameError, Position, Query, ReadAll, ReadStream,
    Revision, StreamName, StreamRead, StreamState,
};

use crate::app::Quipu;
use crate::cache::CachedState;
use crate::decode::{DecodeError, parts};
use crate::error::LoadError;
use crate::model::{Member, Model};
use crate::snapshot::{Keep, Kept, SnapshotPolicy};
use crate::upcast::Upcasters;

/// A model on its way through the log.
pub(crate) struct Fold<M> {
    initial: M,
    pub(crate) model: M,
    plans: Vec<Plan>,
    source: Source,
    as_of: Option<Position>,
    has_begun: bool,
    duration: Duration,
}

/// Where the events come from, and how far they were read.
enum Source {
    /// An aggregate's stream.
    Stream { stream: StreamName, state: StreamState, last: Option<(Revision, Position)> },
    /// The log.
    Log { frontier: Option<Position> },
}

/// What loading one member takes.
struct Plan {
    query: Query,
    policy: SnapshotPolicy,
    key: String,
    /// The last event that is in the state.
    last: Position,
    /// The place of the state in memory that it began with.
    cached_at: Position,
    /// Events folded since the snapshot.
    folded_count: u64,
}

/// Whether a read was borne out by the log.
#[derive(PartialEq, Eq)]
enum Outcome {
    Read,
    /// What the fold began with is not what the log shows: begin anew.
    Stale,
}

impl<M: Model> Fold<M> {
    pub(crate) fn new(app: &Quipu, model: M, as_of: Option<Position>) -> Result<Self, NameError> {
        let mut model = model;
        let mut plans = Vec::new();
        let mut stream = None;
        for member in model.members() {
            let query = app.upcasters().widen(member.query()?);
            let policy = member.policy();
            let key = if policy.is_never() {
                String::new()
            } else {
                policy.key(member.name(), &query, &**app.store())
            };
            let (last, cached_at) = (Position::START, Position::START);
            plans.push(Plan { query, policy, key, last, cached_at, folded_count: 0 });
            stream = member.stream()?;
        }
        let source = match stream {
            Some(stream) if plans.len() == 1 => {
                Source::Stream { stream, state: StreamState::Absent, last: None }
            }
            _ => Source::Log { frontier: None },
        };
        let initial = model.clone();
        let duration = Duration::ZERO;
        Ok(Self { initial, model, plans, source, as_of, has_begun: false, duration })
    }

    /// Everything that is read.
    pub(crate) fn query(&self) -> Query {
        let items = self.plans.iter().flat_map(|plan| plan.query.items.clone());
        Query { items: items.collect() }
    }

    /// Brings the state up to what the log holds now, or held at the moment asked for.
    pub(crate) async fn read(&mut self, app: &Quipu) -> Result<(), LoadError> {
        let begun = Instant::now();
        if !self.has_begun {
            self.restore(app).await;
            self.has_begun = true;
        }
        // Beginning anew, without a snapshot, the log bears anything out.
        while self.read_on(app).await? == Outcome::Stale {
            self.reset();
        }
        self.duration = begun.elapsed();
        Ok(())
    }

    fn reset(&mut self) {
        self.model = self.initial.clone();
        for plan in &mut self.plans {
            (plan.last, plan.cached_at) = (Position::START, Position::START);
            plan.folded_count = 0;
        }
        match &mut self.source {
            Source::Stream { last, .. } => *last = None,
            Source::Log { frontier } => *frontier = None,
        }
    }

    /// Begins each member at its latest state that is in memory, or else in a snapshot. A store that
    /// cannot give one is a miss.
    async fn restore(&mut self, app: &Quipu) {
        let at = self.as_of.unwrap_or(Position::MAX);
        for index in 0..self.plans.len() {
            let Plan { policy, key, .. } = &self.plans[index];
            if policy.is_never() {
                continue;
            }
            if let Some(cached) = app.states().get(key, at) {
                let restore = |member: &mut dyn Member| member.restore_cached(&*cached.state);
                if self.begin_at(index, cached.position, cached.revision, restore) {
                    self.plans[index].cached_at = cached.position;
                    self.plans[index].folded_count = cached.folded_count;
                    continue;
                }
            }
            let key = &self.plans[index].key;
            let Ok(Some(snapshot)) = app.store().snapshots().get(key, at).await else { continue };
            let Some(kept) = Kept::parse(&snapshot.data) else { continue };
            let restore = |member: &mut dyn Member| member.restore(kept.state);
            self.begin_at(index, snapshot.position, kept.revision, restore);
        }
    }

    /// Begins a member at a state that is of this place. Answers whether it could.
    fn begin_at(
        &mut self,
        index: usize,
        position: Position,
        revision: Option<Revision>,
        restore: impl FnOnce(&mut dyn Member) -> bool,
    ) -> bool {
        if revision.is_some() != self.is_of_stream() {
            return false;
        }
        let mut members = self.model.members();
        if !members.get_mut(index).is_some_and(|member| restore(*member)) {
            return false;
        }
        drop(members);
        self.plans[index].last = position;
        if let (Source::Stream { last, .. }, Some(revision)) = (&mut self.source, revision) {
            *last = Some((revision, position));
        }
        true
    }

    async fn read_on(&mut self, app: &Quipu) -> Result<Outcome, LoadError> {
        match &self.source {
            Source::Stream { stream, last, .. } => {
                let (stream, last) = (stream.clone(), *last);
                self.read_stream(app, stream, last).await
            }
            Source::Log { frontier } => {
                let frontier = *frontier;
                self.read_log(app, frontier).await
            }
        }
    }

    async fn read_stream(
        &mut self,
        app: &Quipu,
        name: StreamName,
        begin: Option<(Revision, Position)>,
    ) -> Result<Outcome, LoadError> {
        let mut read = ReadStream::new(name);
        // The last event of the state is read again: only if it is still shown, and is the same
        // one, was the stream not deleted, truncated or restored meanwhile.
        read.from = begin.map(|(revision, _)| revision);
        read.as_of = self.as_of.map(AsOf::Position);
        let StreamRead { state: found, mut batches } = app.store().read_stream(read).await?;
        let mut expected = begin;
        while let Some(batch) = batches.next().await? {
            let mut events = batch.iter();
            if let Some(expected) = expected.take() {
                let shown = events.next().map(|event| (event.revision(), event.position()));
                if shown != Some(expected) {
                    return Ok(Outcome::Stale);
                }
            }
            self.fold(app.upcasters(), events)?;
            if let (Source::Stream { last, .. }, Some(event)) = (&mut self.source, batch.last()) {
                *last = Some((event.revision(), event.position()));
            }
        }
        if expected.is_some() {
            return Ok(Outcome::Stale);
        }
        if let Source::Stream { state, .. } = &mut self.source {
            *state = found;
        }
        Ok(Outcome::Read)
    }

    async fn read_log(
        &mut self,
        app: &Quipu,
        known: Option<Position>,
    ) -> Result<Outcome, LoadError> {
        let begin = self.plans.iter().map(|plan| plan.last).min().unwrap_or_default();
        let mut read = ReadAll::new(self.query()).from(known.unwrap_or(begin).next());
        read.as_of = self.as_of.map(AsOf::Position);
        let LogRead { frontier: found, mut batches } = app.store().read_all(read).await?;
        if self.plans.iter().any(|plan| plan.last > found) {
            return Ok(Outcome::Stale);
        }
        while let Some(batch) = batches.next().await? {
            self.fold(app.upcasters(), batch.iter())?;
        }
        self.source = Source::Log { frontier: Some(found) };
        Ok(Outcome::Read)
    }

    fn fold<'a>(
        &mut self,
        upcasters: &Upcasters,
        events: impl Iterator<Item = EventRef<'a>>,
    ) -> Result<(), DecodeError> {
        let is_only = self.plans.len() == 1 && matches!(self.source, Source::Log { .. });
        let mut members = self.model.members();
        for event in events {
            fold_event(&mut members, &mut self.plans, upcasters, event, is_only)?;
        }
        Ok(())
    }

    /// Keeps the state for those who come next: in memory, and in snapshots where they are due. It is
    /// made of what was read only, so of what is durable.
    pub(crate) fn keep(&mut self, app: &Quipu) {
        if self.as_of.is_some() {
            return;
        }
        let revision = self.revision();
        let place = self.is_of_stream().then(|| self.position());
        let duration = self.duration;
        for (member, plan) in self.model.members().into_iter().zip(&mut self.plans) {
            let position = place.unwrap_or(plan.last);
            if plan.policy.is_never() || position <= plan.cached_at {
                continue;
            }
            if plan.policy.is_due(plan.folded_count, duration) {
                plan.folded_count = 0;
                let (key, retain) = (plan.key.clone(), plan.policy.retained_count());
                let job = member.snapshot_job();
                let keep = Keep { key, position, revision, retain, job };
                app.snapshots().submit(app.store(), keep);
            }
            let (folded_count, state) = (plan.folded_count, member.to_cached());
            app.states().put(&plan.key, CachedState { position, revision, folded_count, state });
        }
    }

    /// The place that the state is the state of.
    pub(crate) fn position(&self) -> Position {
        match &self.source {
            Source::Stream { last, .. } => last.map(|(_, position)| position).unwrap_or_default(),
            Source::Log { frontier } => frontier.unwrap_or_default(),
        }
    }

    /// The revision of an aggregate's last event.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match &self.source {
            Source::Stream { last, .. } => last.map(|(revision, _)| revision),
            Source::Log { .. } => None,
        }
    }

    /// What an append must demand so that the state still holds: of a stream, or after a place.
    pub(crate) fn guard(&self) -> Guard {
        match &self.source {
            Source::Stream { stream, state, .. } => {
                let expected = match state {
                    StreamState::Absent => ExpectedRevision::NoStream,
                    StreamState::Live { last } | StreamState::Tombstoned { last } => {
                        ExpectedRevision::Exactly(*last)
                    }
                    StreamState::Deleted { .. } => ExpectedRevision::Deleted,
                };
                Guard::Stream(stream.clone(), expected)
            }
            Source::Log { frontier } => Guard::Log(self.query(), *frontier),
        }
    }

    /// Whether the events come from one stream.
    pub(crate) fn is_of_stream(&self) -> bool {
        matches!(self.source, Source::Stream { .. })
    }
}

/// What keeps a decision true until it is appended.
pub(crate) enum Guard {
    Stream(StreamName, ExpectedRevision),
    Log(Query, Option<Position>),
}

fn fold_event(
    members: &mut [&mut dyn Member],
    plans: &mut [Plan],
    upcasters: &Upcasters,
    event: EventRef<'_>,
    is_only: bool,
) -> Result<(), DecodeError> {
    let is_for =
        |plan: &Plan| event.position() > plan.last && (is_only || plan.query.matches(event));
    // A stream has events of other types too, and those are not even looked at.
    if !plans.iter().any(is_for) {
        return Ok(());
    }
    let parts = parts(event, upcasters)?;
    for (member, plan) in members.iter_mut().zip(plans) {
        if !is_for(plan) {
            continue;
        }
        for part in parts.iter() {
            member
                .fold(event, part, &plan.query, false)
                .map_err(|problem| DecodeError::new(event, problem))?;
        }
        plan.last = event.position();
        plan.folded_count += 1;
    }
    Ok(())
}
