//! `quipu backup`: copies the store to a new directory, also while another process writes to it.

use futures_lite::future::block_on;

use super::{Answer, Context};
use crate::cli::BackupArgs;
use crate::open;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &BackupArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let (directory, frontier, segment_count, size) =
        if let Some(client) = context.target.server()? {
            let mut watch = |own| bar.show_remote(&own);
            let name = args.dest.display().to_string();
            let made = block_on(client.backup(name, &mut watch))?;
            (made.directory, made.frontier, made.segment_count, made.size)
        } else {
            let engine = open::for_reading(&context.target.data)?;
            let made = engine.backup(&args.dest, &mut |progress| bar.show(progress))?;
            let directory = args.dest.display().to_string();
            (directory, made.frontier.get(), made.segment_count, made.size)
        };
    drop(bar);
    context.output.facts(&[
        fact("backup", Value::Text(directory)),
        fact("last_position", Value::Place(frontier)),
        fact("segments", Value::Count(segment_count)),
        fact("size", Value::Size(size)),
    ])?;
    Ok(Answer::Yes)
}
