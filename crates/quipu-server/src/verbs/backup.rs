//! `quipu backup`: copies the store to a new directory, also while another process writes to it.

use super::{Answer, Context};
use crate::cli::BackupArgs;
use crate::open;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &BackupArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let engine = open::for_reading(&context.target.data)?;
    let bar = Bar::new();
    let backed_up = engine.backup(&args.dest, &mut |progress| bar.show(progress))?;
    drop(bar);
    context.output.facts(&[
        fact("backup", Value::Text(args.dest.display().to_string())),
        fact("last_position", Value::Place(backed_up.frontier.get())),
        fact("segments", Value::Count(backed_up.segment_count)),
        fact("size", Value::Size(backed_up.size)),
    ])?;
    Ok(Answer::Yes)
}
