//! What a history consists of.

use std::collections::HashMap;
use std::fmt;

/// What clients asked and were answered, and the log at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    /// The log at the end, from position 1 on.
    pub(super) log: Vec<Entry>,
}

/// An event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) id: u128,
    pub(super) tag: Option<String>,
}

/// Something that one client asked. Times are ticks of one clock that all clients share: of two calls
/// of which one ended before the other began, the ticks say so.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) client: usize,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Append(Attempt, Outcome),
    Frontier(u64),
    /// The last events of the log, newest first, below this frontier.
    ReadAll {
        frontier: u64,
        events: Vec<(u64, u128)>,
    },
    /// A whole stream: revision, position, id.
    ReadStream {
        stream: String,
        events: Vec<(u64, u64, u128)>,
    },
    /// What a subscription to the log delivered, begun after this position.
    Deliveries {
        after: u64,
        events: Vec<(u64, u128)>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) stream: String,
    pub(super) demand: Demand,
    pub(super) tag: Option<String>,
    pub(super) ids: Vec<u128>,
}

/// What an append demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Nothing,
    NoStream,
    Exactly(u64),
    /// No event with this tag after this position.
    NoTag(String, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done {
        first: u64,
        revision: u64,
        replayed: bool,
    },
    Conflict,
    /// An error that promises that nothing was appended.
    Refused,
    /// An error that promises nothing.
    Unknown,
}

impl History {
    /// When each event was first asked for.
    pub(super) fn begins(&self) -> HashMap<u128, u64> {
        let mut begins = HashMap::new();
        for call in &self.calls {
            if let Kind::Append(attempt, _) = &call.kind {
                for id in &attempt.ids {
                    let begin = begins.entry(*id).or_insert(call.began);
                    *begin = call.began.min(*begin);
                }
            }
        }
        begins
    }

    /// The same with each position as its rank in the log that is left, so that there are no gaps. A
    /// position that no event is at, such as a frontier, has the rank of the last event before it.
    pub(super) fn ranked(&self) -> Self {
        let positions: Vec<u64> = self.log.iter().map(|entry| entry.position).collect();
        let rank = |position: u64| positions.partition_point(|own| *own <= position) as u64;
        let rank_all = |events: &[(u64, u128)]| -> Vec<(u64, u128)> {
            events.iter().map(|(position, id)| (rank(*position), *id)).collect()
        };
        let kind = |kind: &Kind| match kind {
            Kind::Append(attempt, outcome) => {
                let mut attempt = attempt.clone();
                if let Demand::NoTag(_, after) = &mut attempt.demand {
                    *after = rank(*after);
                }
                let mut outcome = outcome.clone();
                if let Outcome::Done { first, .. } = &mut outcome {
                    *first = rank(*first);
                }
                Kind::Append(attempt, outcome)
            }
            Kind::Frontier(frontier) => Kind::Frontier(rank(*frontier)),
            Kind::ReadAll { frontier, events } => {
                Kind::ReadAll { frontier: rank(*frontier), events: rank_all(events) }
            }
            Kind::ReadStream { stream, events } => Kind::ReadStream {
                stream: stream.clone(),
                events: events
                    .iter()
                    .map(|(at, position, id)| (*at, rank(*position), *id))
                    .collect(),
            },
            Kind::Deliveries { after, events } => {
                Kind::Deliveries { after: rank(*after), events: rank_all(events) }
            }
        };
        let calls = self.calls.iter().map(|call| Call { kind: kind(&call.kind), ..*call });
        let entry = |entry: &Entry| Entry { position: rank(entry.position), ..entry.clone() };
        Self { calls: calls.collect(), log: self.log.iter().map(entry).collect() }
    }

    pub(super) fn summary(&self) -> Summary {
        let mut sum = Summary { events: self.log.len(), ..Summary::default() };
        for call in &self.calls {
            match &call.kind {
                Kind::Append(_, Outcome::Done { replayed: true, .. }) => sum.replays += 1,
                Kind::Append(_, Outcome::Done { .. }) => sum.appends += 1,
                Kind::Append(_, Outcome::Conflict) => sum.conflicts += 1,
                Kind::Append(_, Outcome::Refused) => sum.refusals += 1,
                Kind::Append(_, Outcome::Unknown) => sum.unknown += 1,
                Kind::Deliveries { events, .. } => sum.deliveries += events.len(),
                Kind::Frontier(_) | Kind::ReadAll { .. } | Kind::ReadStream { .. } => {
                    sum.reads += 1;
                }
            }
        }
        sum
    }
}

/// How much a history has of what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    events: usize,
    appends: usize,
    replays: usize,
    conflicts: usize,
    refusals: usize,
    unknown: usize,
    reads: usize,
    deliveries: usize,
}

impl Summary {
    /// Whether there is enough of everything that has to be there for the check to mean something.
    pub(super) fn is_telling(&self) -> bool {
        self.appends >= 100 && self.conflicts >= 10 && self.reads >= 100 && self.deliveries >= 100
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, appends, replays, conflicts, refusals, unknown, reads, deliveries } =
            self;
        write!(
            f,
            "{events} events; {appends} appends done, {replays} replayed, {conflicts} conflicts, \
             {refusals} refused, {unknown} unknown; {reads} reads; {deliveries} deliveries"
        )
    }
}
