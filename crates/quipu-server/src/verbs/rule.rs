//! `quipu rule`: what one may do, or may not, on part of the log.

use anyhow::Context as _;
use quipu_server::security::Rule;
use quipu_wire::proto::AddRule;
use quipu_wire::proto::change_credentials_request::Change;

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
            let wanted = AddRule { principal: name.clone(), rule: rule.to_string() };
            let made = auth.change(context, Change::AddRule(wanted))?;
            let id = made.rule.context("no number was answered")?;
            context.output.facts(&[
                fact("id", Value::Place(id)),
                fact("state", Value::Text("added".to_owned())),
            ])?;
        }
        RuleVerb::List { auth } => {
            let credentials = auth.list(context)?;
            let mut table = Table::new(COLUMNS);
            for own in &credentials.rules {
                let (effect, rule) = own.rule.split_once(' ').unwrap_or((&own.rule, ""));
                let facts = [
                    fact("id", Value::Place(own.id)),
                    fact("effect", Value::Text(effect.to_owned())),
                    fact("principal", Value::Text(own.principal.clone())),
                    fact("rule", Value::Text(rule.to_owned())),
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
            auth.change(context, Change::RemoveRule(*id))?;
            context.output.facts(&[
                fact("id", Value::Place(*id)),
                fact("state", Value::Text("removed".to_owned())),
            ])?;
        }
    }
    Ok(Answer::Yes)
}
