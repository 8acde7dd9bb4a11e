//! `quipu verify`: checks every byte of the store and lists what is damaged.

use futures_lite::future::block_on;
use quipu_server::grpc::to_proto;
use quipu_wire::proto::{Damage, Verified};

use super::{Answer, Context};
use crate::cli::{Format, VerifyArgs};
use crate::output::{Bar, Output, OutputError, Value, fact, group_digits, note};

pub(crate) fn run(_: &VerifyArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let server = context.target.server()?;
    let output = &mut context.output;
    let mut damage_count = 0_u64;
    let mut printed = Ok(());
    let mut damage = |damage: Damage| {
        damage_count += 1;
        if printed.is_ok() {
            printed = print(&damage, output);
        }
    };
    let verified = if let Some(client) = server {
        let mut watch = |own| bar.show_remote(&own);
        block_on(client.verify(&mut damage, &mut watch))?
    } else {
        let mut damage = |own| damage(to_proto::damage(&own));
        let mut watch = |progress| bar.show(progress);
        let verified = quipu_engine::verify(&context.target.data, &mut damage, &mut watch)?;
        to_proto::verified(&verified)
    };
    printed?;
    drop(bar);
    // The list is out before the sum, also where both go to one terminal.
    output.flush()?;
    let Verified { event_count, segment_count, run_count, torn_count, torn_size, .. } = verified;
    note(&format!(
        "checked {} events in {segment_count} segments and {run_count} runs of the index",
        group_digits(event_count)
    ));
    if torn_count > 0 {
        note(&format!(
            "{torn_size} bytes of batches that crashes cut off, never acknowledged, are kept aside"
        ));
    }
    if damage_count > 0 {
        let places = if damage_count == 1 { "place" } else { "places" };
        note(&format!("found damage in {} {places}", group_digits(damage_count)));
        note("hint: `quipu rebuild-index` mends an index; for the rest, restore a backup");
        return Ok(Answer::No);
    }
    note("found no damage");
    Ok(Answer::Yes)
}

fn print(damage: &Damage, output: &mut Output) -> Result<(), OutputError> {
    match output.format() {
        Format::Table => {
            let Damage { file, offset, reason } = damage;
            let line = format!("{file} is damaged at byte {offset}: {reason}");
            output.text(&crate::output::plain(&line))
        }
        Format::Jsonl => output.object(&[
            fact("file", Value::Text(damage.file.clone())),
            fact("offset", Value::Place(damage.offset)),
            fact("reason", Value::Text(damage.reason.clone())),
        ]),
    }
}
