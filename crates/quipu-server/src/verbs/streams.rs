//! `quipu streams`: lists the streams.

use futures_lite::future::block_on;
use quipu_core::{
    EventStore, ListStreams, ReadError, ReadStream, StreamName, StreamRead, StreamState,
};

use super::{Answer, Context};
use crate::cli::{Format, StreamsArgs};
use crate::output::{Align, Column, Table, Value, fact, plain};

/// How many names are asked for at once.
const PAGE_COUNT: usize = 1_000;

const COLUMNS: &[Column] = &[
    Column { title: "stream", align: Align::Left },
    Column { title: "revision", align: Align::Right },
    Column { title: "state", align: Align::Left },
];

pub(crate) fn run(args: &StreamsArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let mut table = Table::new(COLUMNS);
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut pages = Pages::new(&args.prefix, args.category.as_deref());
    while left > 0
        && let Some(page) = pages.next(&*store)?
    {
        for stream in page.into_iter().filter(|stream| args.system || !stream.is_reserved()) {
            if left == 0 {
                break;
            }
            left -= 1;
            let state = state_of(&*store, &stream)?;
            let revision = state.last().map_or(Value::Nothing, |last| Value::Place(last.get()));
            if context.output.format() == Format::Jsonl {
                context.output.object(&[
                    fact("stream", Value::Text(stream.to_string())),
                    fact("revision", revision),
                    fact("state", Value::Text(word(state).to_owned())),
                ])?;
            } else {
                let name = plain(stream.as_str()).into_owned();
                table.push(vec![name, revision.to_text(), word(state).to_owned()]);
            }
        }
        context.output.table(&mut table)?;
    }
    Ok(Answer::Yes)
}

/// The names of streams, page by page.
pub(crate) struct Pages {
    list: Option<ListStreams>,
}

impl Pages {
    pub(crate) fn new(prefix: &str, category: Option<&str>) -> Self {
        Self {
            list: Some(ListStreams {
                prefix: prefix.to_owned(),
                category: category.map(str::to_owned),
                after: None,
                limit: PAGE_COUNT,
            }),
        }
    }

    /// The next names, or `None` at the end.
    pub(crate) fn next(
        &mut self,
        store: &dyn EventStore,
    ) -> Result<Option<Vec<StreamName>>, ReadError> {
        let Some(list) = self.list.take() else { return Ok(None) };
        let page = block_on(store.list_streams(list.clone()))?;
        self.list = page.last().map(|last| ListStreams { after: Some(last.clone()), ..list });
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

/// What a stream is like, at the cost of reading one event.
pub(crate) fn state_of(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<StreamState, ReadError> {
    let StreamRead { state, .. } =
        block_on(store.read_stream(ReadStream::new(stream.clone()).limit(1)))?;
    Ok(state)
}

/// What a stream is like, in a word.
pub(crate) fn word(state: StreamState) -> &'static str {
    match state {
        StreamState::Absent => "absent",
        StreamState::Live { .. } => "live",
        StreamState::Deleted { .. } => "deleted",
        StreamState::Tombstoned { .. } => "tombstoned",
    }
}
