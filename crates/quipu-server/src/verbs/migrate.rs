//! `quipu migrate`: the schema of a store in a database, made or brought up to date.

use futures_lite::future::block_on;

use super::{Answer, Context};
use crate::cli::MigrateArgs;
use crate::output::{Value, fact};
use crate::report::Hinted;

pub(crate) fn run(args: &MigrateArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let Some(database) = &context.target.remote.postgres else {
        return Err(Hinted {
            message: "migrate works on a database".to_owned(),
            hint: "name it with --postgres or QUIPU_POSTGRES; a directory opens as it is"
                .to_owned(),
            source: None,
        }
        .into());
    };
    let options = database.options()?;
    let migrated =
        if args.dry_run { block_on(options.look()) } else { block_on(options.migrate()) }?;
    let applied = if migrated.applied.is_empty() {
        Value::Nothing
    } else {
        Value::Text(migrated.applied.join(", "))
    };
    context.output.facts(&[
        fact("database", Value::Text(migrated.target)),
        fact("schema", Value::Text(migrated.schema)),
        fact("from", Value::Place(migrated.from.unsigned_abs().into())),
        fact("to", Value::Place(migrated.to.unsigned_abs().into())),
        fact(if args.dry_run { "would_apply" } else { "applied" }, applied),
    ])?;
    Ok(Answer::Yes)
}
