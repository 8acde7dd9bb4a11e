//! `quipu restore`: makes a store of a backup, checking every byte.

use super::{Answer, Context};
use crate::cli::RestoreArgs;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &RestoreArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let restored = quipu_engine::restore(&args.source, &context.target.data, &mut |progress| {
        bar.show(progress);
    })?;
    drop(bar);
    context.output.facts(&[
        fact("restored", Value::Text(context.target.data.display().to_string())),
        fact("log_id", Value::Text(restored.identity.log.to_string())),
        fact("incarnation", Value::Place(restored.identity.incarnation.get())),
        fact("last_position", Value::Place(restored.frontier.get())),
        fact("segments", Value::Count(restored.segment_count)),
        fact("size", Value::Size(restored.size)),
    ])?;
    Ok(Answer::Yes)
}
