//! `quipu stats`: how large the log is, what it takes of the disk, which streams replay longest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use futures_lite::future::block_on;
use quipu_core::{
    Batches, EventStore, LogIdentity, ReadError, ReadStream, StreamName, StreamRead, StreamState,
};
use quipu_engine::{Engine, Stats};
use quipu_server::grpc::to_proto;
use quipu_wire::proto::StatsResponse;

use super::streams::Pages;
use super::{Answer, Context};
use crate::cli::{Format, StatsArgs};
use crate::open;
use crate::output::{Align, Bar, Column, Fact, Table, Value, fact, group_digits, plain};

/// How many streams with long replays are named.
const LONGEST_COUNT: usize = 10;

const COLUMNS: &[Column] = &[
    Column { title: "longest replays", align: Align::Left },
    Column { title: "events", align: Align::Right },
];

pub(crate) fn run(args: &StatsArgs, context: &mut Context) -> anyhow::Result<Answer> {
    if let Some(client) = context.target.server()? {
        let stats = block_on(client.stats())?;
        let (events, streams) = (stats.event_count, stats.stream_count);
        context.output.facts(&facts(client.identity(), &stats, events, streams))?;
        return Ok(Answer::Yes);
    }
    let engine = open::for_reading(&context.target.data)?;
    let stats = engine.stats()?;
    let survey = survey(&engine, &stats, args.system)?;
    let output = &mut context.output;
    let hidden = if args.system { 0 } else { survey.reserved_event_count };
    let events = stats.event_count.saturating_sub(hidden);
    output.facts(&facts(
        engine.identity(),
        &to_proto::stats(&stats),
        events,
        survey.stream_count,
    ))?;
    let mut table = Table::new(COLUMNS);
    for (stream, count) in &survey.longest {
        if output.format() == Format::Jsonl {
            output.object(&[
                fact("long_replay", Value::Text(stream.to_string())),
                fact("events", Value::Count(*count)),
            ])?;
        } else {
            table.push(vec![plain(stream.as_str()).into_owned(), group_digits(*count)]);
        }
    }
    if table.row_count() > 0 {
        output.text("")?;
    }
    output.table(&mut table)?;
    Ok(Answer::Yes)
}

/// The store in numbers; of events and streams those that count.
fn facts(identity: LogIdentity, stats: &StatsResponse, events: u64, streams: u64) -> Vec<Fact> {
    let parts =
        [stats.log_size, stats.index_size, stats.spare_size, stats.beside_size, stats.torn_size];
    let per_event = stats.log_size.checked_div(stats.event_count);
    vec![
        fact("log", Value::Text(identity.name)),
        fact("log_id", Value::Text(identity.log.to_string())),
        fact("incarnation", Value::Place(identity.incarnation.get())),
        fact("events", Value::Count(events)),
        fact("streams", Value::Count(streams)),
        fact("last_position", Value::Place(stats.last)),
        fact("segments", Value::Count(stats.segment_count)),
        fact("segments_rewritten", Value::Count(stats.rewritten_count)),
        fact("log_size", Value::Size(stats.log_size)),
        fact("log_size_per_event", per_event.map_or(Value::Nothing, Value::Size)),
        fact("index_size", Value::Size(stats.index_size)),
        fact("index_runs", Value::Count(stats.run_count)),
        fact("spare_size", Value::Size(stats.spare_size)),
        fact("beside_size", Value::Size(stats.beside_size)),
        fact("torn_size", Value::Size(stats.torn_size)),
        fact("disk_size", Value::Size(parts.iter().sum())),
    ]
}

/// What looking at each stream once tells.
#[derive(Debug, Default)]
struct Survey {
    stream_count: u64,
    /// Events in reserved streams, and tombstones in others.
    reserved_event_count: u64,
    longest: Vec<(StreamName, u64)>,
}

fn survey(engine: &Engine, stats: &Stats, system: bool) -> Result<Survey, ReadError> {
    let bar = Bar::new();
    let mut survey = Survey::default();
    let mut longest = BinaryHeap::new();
    let mut pages = Pages::new("", None);
    let mut done = 0;
    while let Some(page) = pages.next(engine)? {
        for stream in page {
            done += 1;
            let replay = Replay::of(engine, &stream)?;
            if stream.is_reserved() {
                survey.reserved_event_count += replay.recorded_count;
                if !system {
                    continue;
                }
            } else {
                survey.reserved_event_count += u64::from(replay.is_tombstoned);
            }
            survey.stream_count += 1;
            longest.push(Reverse((replay.shown_count, Reverse(stream))));
            if longest.len() > LONGEST_COUNT {
                longest.pop();
            }
        }
        bar.advance(done, stats.stream_count, "streams");
    }
    let sorted = longest.into_sorted_vec().into_iter();
    survey.longest = sorted
        .map(|Reverse((count, Reverse(stream)))| (stream, count))
        .filter(|(_, count)| *count > 0)
        .collect();
    Ok(survey)
}

/// How much of a stream there is to read.
struct Replay {
    /// Events that the stream ever got.
    recorded_count: u64,
    /// Events from the first that a read shows to the last.
    shown_count: u64,
    is_tombstoned: bool,
}

impl Replay {
    /// Reads the first event that the stream shows; the state says which is its last.
    fn of(engine: &Engine, stream: &StreamName) -> Result<Self, ReadError> {
        let read = ReadStream::new(stream.clone()).limit(1);
        let StreamRead { state, mut batches } = block_on(engine.read_stream(read))?;
        let recorded_count = state.last().map_or(0, |last| last.get() + 1);
        let first = first_revision(&mut *batches)?;
        Ok(Self {
            recorded_count,
            shown_count: first.map_or(0, |first| recorded_count.saturating_sub(first)),
            is_tombstoned: matches!(state, StreamState::Tombstoned { .. }),
        })
    }
}

fn first_revision(batches: &mut dyn Batches) -> Result<Option<u64>, ReadError> {
    let batch = block_on(batches.next())?;
    Ok(batch.and_then(|batch| batch.first().map(|event| event.revision().get())))
}
