//! `quipu rebuild-index`: makes the index anew from the log.

use super::{Answer, Context};
use crate::cli::RebuildIndexArgs;
use crate::output::{Bar, note};

pub(crate) fn run(_: &RebuildIndexArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    quipu_engine::rebuild_index(&context.data, &mut |progress| bar.show(progress))?;
    drop(bar);
    note("the index was rebuilt");
    Ok(Answer::Yes)
}
