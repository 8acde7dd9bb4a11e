//! `quipu scavenge`: frees the space of events that no read of their stream shows any more.

use futures_lite::future::block_on;
use quipu_engine::ScavengeOptions;
use quipu_server::grpc::to_proto;

use super::{Answer, Context};
use crate::cli::ScavengeArgs;
use crate::open;
use crate::output::{Bar, Value, fact};

pub(crate) fn run(args: &ScavengeArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let done = if let Some(client) = context.target.server()? {
        let mut watch = |own| bar.show_remote(&own);
        block_on(client.scavenge(Some(args.threshold), &mut watch))?
    } else {
        let engine = open::for_writing(&context.target.data)?;
        let options = ScavengeOptions::new().threshold_percent(args.threshold);
        let done = engine.scavenge_with(options, &mut |progress| bar.show(progress))?;
        engine.close()?;
        to_proto::scavenged(&done)
    };
    drop(bar);
    context.output.facts(&[
        fact("scavenged", Value::Count(done.event_count)),
        fact("freed", Value::Size(done.freed_size)),
        fact("segments_rewritten", Value::Count(done.segment_count)),
        fact("left", Value::Count(done.left_count)),
    ])?;
    Ok(Answer::Yes)
}
