//! `quipu verify`: checks every byte of the store and lists what is damaged.

use quipu_engine::{Damage, Verified};

use super::{Answer, Context};
use crate::cli::{Format, VerifyArgs};
use crate::output::{Bar, Output, OutputError, Value, fact, group_digits, note};

pub(crate) fn run(_: &VerifyArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let bar = Bar::new();
    let output = &mut context.output;
    let mut damage_count = 0_u64;
    let mut printed = Ok(());
    let mut damage = |damage: Damage| {
        damage_count += 1;
        if printed.is_ok() {
            printed = print(&damage, output);
        }
    };
    let verified = quipu_engine::verify(&context.target.data, &mut damage, &mut |progress| {
        bar.show(progress);
    })?;
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
        Format::Table => output.text(&crate::output::plain(&damage.to_string())),
        Format::Jsonl => output.object(&[
            fact("file", Value::Text(damage.file.display().to_string())),
            fact("offset", Value::Place(damage.offset)),
            fact("reason", Value::Text(damage.reason.clone())),
        ]),
    }
}
