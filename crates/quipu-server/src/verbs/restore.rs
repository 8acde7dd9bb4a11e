//! `quipu restore`: makes a store of a backup, checking every byte.

use quipu_core::EventStore;

use super::{Answer, Context};
use crate::cli::RestoreArgs;
use crate::open;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &RestoreArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    quipu_engine::restore(&args.source, &context.data, &mut |progress| bar.show(progress))?;
    drop(bar);
    let engine = open::for_reading(&context.data)?;
    let stats = engine.stats()?;
    context.output.facts(&[
        fact("restored", Value::Text(context.data.display().to_string())),
        fact("events", Value::Count(stats.event_count)),
        fact("last_position", Value::Place(stats.last.get())),
        fact("incarnation", Value::Place(engine.identity().incarnation.get())),
    ])?;
    Ok(Answer::Yes)
}
