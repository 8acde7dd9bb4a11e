//! `quipu rule`: what one may do, or may not, on part of the log.

use anyhow::Context as _;
use quipu_server::security::Rule;

use super::{Answer, Context};
use crate::cli::{Format, RuleArgs, RuleVerb};
use crate::output::{Align, Column, Table, Value, fact};

const COLUMNS: &[Column] = &[
    Column { title: "id", align: Align::Right },
    Column { title: "effect", align: Align::Left },
    Column { title: "principal", align: Align::Left },
    Column { title: "rule", align: Align::Left },
];

pub(crate) fn run(args: &RuleArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        RuleVerb::Add { effect, name, rule, auth } => {
            let rule = Rule::parse(*effect, rule).context("that is no rule")?;
            let id = auth.edit(context, |own| own.add_rule(name, rule))?;
            context.output.facts(&[
                fact("id", Value::Place(id)),
                fact("state", Value::Text("added".to_owned())),
            ])?;
        }
        RuleVerb::List { auth } => {
            let credentials = auth.load(context)?;
            let mut table = Table::new(COLUMNS);
            for own in &credentials.rules {
                let facts = [
                    fact("id", Value::Place(own.id)),
                    fact("effect", Value::Text(own.rule.effect.to_string())),
                    fact("principal", Value::Text(own.principal.clone())),
                    fact("rule", Value::Text(own.rule.to_text())),
                ];
                if context.output.format() == Format::Jsonl {
                    context.output.object(&facts)?;
                } else {
                    table.push(facts.iter().map(|fact| fact.value.to_text()).collect());
                }
            }
            context.output.table(&mut table)?;
        }
        RuleVerb::Remove { id, auth } => {
            auth.edit(context, |own| own.remove_rule(*id))?;
            context.output.facts(&[
                fact("id", Value::Place(*id)),
                fact("state", Value::Text("removed".to_owned())),
            ])?;
        }
    }
    Ok(Answer::Yes)
}
