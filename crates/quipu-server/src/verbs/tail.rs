//! `quipu tail`: prints events as they are appended, by whichever process, until interrupted.

use anyhow::Context as _;
use futures_lite::future::{self, block_on};
use quipu_core::{Delivery, EventRef, Position, Revision, Subscribe, SubscribeFrom};

use super::{Answer, Context, is_reserved};
use crate::cli::TailArgs;
use crate::interrupt::Interrupt;
use crate::output::EventPrinter;

pub(crate) fn run(args: &TailArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let interrupt =
        Interrupt::on_signal().context("could not watch for signals")?.or_closed_output();
    let store = context.target.for_reading()?;
    let query = args.queries.query();
    let subscribe = match &args.source.stream {
        Some(stream) => {
            Subscribe::Stream { stream: stream.clone(), from: from(args.from, Revision::new) }
        }
        None => Subscribe::All { query: query.clone(), from: from(args.from, Position::new) },
    };
    let is_wanted = |event: EventRef<'_>| match &args.source.stream {
        Some(_) => query.matches(event),
        None => args.system || !is_reserved(event),
    };
    let mut subscription = block_on(store.subscribe(subscribe))?;
    let mut printer = EventPrinter::new();
    let output = &mut context.output;
    loop {
        let interrupted = async {
            interrupt.wait().await;
            None
        };
        // The interrupt is looked at first: a log that grows faster than it is printed must not
        // keep it waiting.
        let next = future::or(interrupted, async { Some(subscription.next().await) });
        match block_on(next).transpose()? {
            None => return Ok(Answer::Yes),
            Some(Delivery::Events(mut batch)) => {
                batch.retain(is_wanted);
                printer.print(&batch, output)?;
                printer.flush(output)?;
            }
            Some(Delivery::Checkpoint(_) | Delivery::CaughtUp | Delivery::FellBehind) => {}
        }
    }
}

/// A subscription begins behind a place, the user names the first one that they want.
fn from<P>(first: Option<u64>, place: impl Fn(u64) -> P) -> SubscribeFrom<P> {
    match first {
        None => SubscribeFrom::End,
        Some(0) => SubscribeFrom::Start,
        Some(first) => SubscribeFrom::After(place(first - 1)),
    }
}
