//! `quipu rebuild-index`: makes the index anew from the log.

use futures_lite::future::block_on;
use quipu_server::grpc::to_proto;

use super::{Answer, Context};
use crate::cli::RebuildIndexArgs;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(_: &RebuildIndexArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let rebuilt = if let Some(client) = context.target.server()? {
        block_on(client.rebuild_index(&mut |own| bar.show_remote(&own)))?
    } else {
        let mut watch = |progress| bar.show(progress);
        to_proto::rebuilt(quipu_engine::rebuild_index(&context.target.data, &mut watch)?)
    };
    drop(bar);
    context.output.facts(&[
        fact("indexed", Value::Count(rebuilt.event_count)),
        fact("runs", Value::Count(rebuilt.run_count)),
    ])?;
    Ok(Answer::Yes)
}
