//! `quipu scavenge`: frees the space of events that no read of their stream shows any more.

use futures_lite::future::block_on;
use quipu_engine::ScavengeOptions;

use super::{Answer, Context};
use crate::cli::ScavengeArgs;
use crate::open::{self, Store};
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &ScavengeArgs, context: &mut Context) -> anyhow::Result<Answer> {
    if context.target.remote.postgres.is_some() {
        return scavenge_database(context);
    }
    let engine = open::for_writing(&context.target.data)?;
    let options = ScavengeOptions::new().threshold_percent(args.threshold);
    let bar = Bar::new();
    let scavenged = engine.scavenge_with(options, &mut |progress| bar.show(progress))?;
    drop(bar);
    engine.close()?;
    context.output.facts(&[
        fact("scavenged", Value::Count(scavenged.event_count)),
        fact("freed", Value::Size(scavenged.freed_size)),
        fact("segments_rewritten", Value::Count(scavenged.segment_count)),
        fact("left", Value::Count(scavenged.left_count)),
    ])?;
    Ok(Answer::Yes)
}

/// In a database rows are emptied, and their space is free once it has vacuumed the table.
fn scavenge_database(context: &mut Context) -> anyhow::Result<Answer> {
    let store = context.target.for_writing()?;
    if let Store::Base(base) = &store {
        let count = block_on(base.scavenge())?;
        context.output.facts(&[fact("scavenged", Value::Count(count))])?;
    }
    store.close()?;
    Ok(Answer::Yes)
}
