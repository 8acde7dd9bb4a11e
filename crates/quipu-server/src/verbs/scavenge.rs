//! `quipu scavenge`: frees the space of events that no read of their stream shows any more.

use super::{Answer, Context};
use crate::cli::ScavengeArgs;
use crate::open;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(_: &ScavengeArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let engine = open::for_writing(&context.data)?;
    let before = engine.stats()?;
    let bar = Bar::new();
    engine.scavenge(&mut |progress| bar.show(progress))?;
    drop(bar);
    let after = engine.stats()?;
    context.output.facts(&[
        fact("log_size_before", Value::Size(before.log_size)),
        fact("log_size", Value::Size(after.log_size)),
        fact("freed", Value::Size(before.log_size.saturating_sub(after.log_size))),
    ])?;
    engine.close()?;
    Ok(Answer::Yes)
}
