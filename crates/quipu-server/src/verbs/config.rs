//! `quipu config show`: what a server would be told, and by whom.

use super::{Answer, Context, serve};
use crate::cli::{ConfigArgs, ConfigVerb, Format};
use crate::output::{Align, Column, Table, Value, fact, plain};

const COLUMNS: &[Column] = &[
    Column { title: "setting", align: Align::Left },
    Column { title: "value", align: Align::Left },
    Column { title: "from", align: Align::Left },
];

pub(crate) fn run(args: &ConfigArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let ConfigVerb::Show(args) = &args.verb;
    let config = serve::load(&args.settings, args.config.as_deref(), context)?;
    let output = &mut context.output;
    let mut table = Table::new(COLUMNS);
    for (name, value, source) in config.list() {
        if output.format() == Format::Jsonl {
            output.object(&[
                fact("setting", Value::Text(name)),
                fact("value", Value::Text(value)),
                fact("from", Value::Text(source.as_str().to_owned())),
            ])?;
        } else {
            table.push(vec![
                plain(&name).into_owned(),
                plain(&value).into_owned(),
                source.as_str().to_owned(),
            ]);
        }
    }
    output.table(&mut table)?;
    Ok(Answer::Yes)
}
