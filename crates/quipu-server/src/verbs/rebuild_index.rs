//! `quipu rebuild-index`: makes the index anew from the log.

use super::{Answer, Context};
use crate::cli::RebuildIndexArgs;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(_: &RebuildIndexArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let rebuilt =
        quipu_engine::rebuild_index(&context.target.data, &mut |progress| bar.show(progress))?;
    drop(bar);
    context.output.facts(&[
        fact("indexed", Value::Count(rebuilt.event_count)),
        fact("runs", Value::Count(rebuilt.run_count)),
    ])?;
    Ok(Answer::Yes)
}
