//! `quipu read`: prints the events of a stream, or of the whole log.

use futures_lite::future::block_on;
use quipu_core::{
    Batches, Direction, EventBatch, EventRef, Position, ReadAll, ReadStream, Revision,
};

use super::{Answer, Context, is_reserved};
use crate::cli::ReadArgs;
use crate::output::EventPrinter;

pub(crate) fn run(args: &ReadArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_reading()?;
    let query = args.queries.query();
    let direction = if args.backward { Direction::Backward } else { Direction::Forward };
    let as_of = args.moment.as_of;
    let batches = if let Some(stream) = &args.source.stream {
        let limit = args.limit.filter(|_| query.is_all());
        let from = args.from.map(Revision::new);
        let read = ReadStream { stream: stream.clone(), from, direction, limit, as_of };
        block_on(store.read_stream(read))?.batches
    } else {
        let limit = args.limit.filter(|_| args.system);
        let from = args.from.map(Position::new);
        let read = ReadAll { query: query.clone(), from, direction, limit, as_of };
        block_on(store.read_all(read))?.batches
    };
    // A stream that is asked for by name is shown as it is, reserved or not.
    let is_wanted = |event: EventRef<'_>| match &args.source.stream {
        Some(_) => query.matches(event),
        None => args.system || !is_reserved(event),
    };
    let mut printer = EventPrinter::new();
    let output = &mut context.output;
    print(batches, is_wanted, args.limit, |batch| Ok(printer.print(batch, output)?))?;
    printer.flush(output)?;
    Ok(Answer::Yes)
}

/// Hands the wanted events to `sink`, a batch at a time, until there are `limit` of them.
pub(crate) fn print(
    mut batches: Box<dyn Batches>,
    is_wanted: impl Fn(EventRef<'_>) -> bool,
    limit: Option<u64>,
    mut sink: impl FnMut(&EventBatch) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let limit = limit.unwrap_or(u64::MAX);
    let mut count = 0;
    while count < limit
        && let Some(mut batch) = block_on(batches.next())?
    {
        batch.retain(&is_wanted);
        batch.truncate(usize::try_from(limit - count).unwrap_or(usize::MAX));
        count += batch.count() as u64;
        sink(&batch)?;
    }
    Ok(count)
}
