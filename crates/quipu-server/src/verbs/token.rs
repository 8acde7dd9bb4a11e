//! `quipu token`: the tokens that programs show to the server.

use std::time::Duration;

use anyhow::Context as _;
use quipu_core::Timestamp;
use quipu_server::security::Rule;
use quipu_wire::proto::change_credentials_request::Change;
use quipu_wire::proto::{CreateToken, CreatedToken, PrincipalToken};

use super::{Answer, Context};
use crate::cli::{Format, TokenArgs, TokenVerb};
use crate::output::{Align, Column, Fact, Table, Value, fact, note};
use crate::time;

const COLUMNS: &[Column] = &[
    Column { title: "id", align: Align::Left },
    Column { title: "principal", align: Align::Left },
    Column { title: "state", align: Align::Left },
    Column { title: "created at", align: Align::Left },
    Column { title: "expires at", align: Align::Left },
];

pub(crate) fn run(args: &TokenArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        TokenVerb::Create { name, role, expires, allow, auth } => {
            let end = expires.map(end_of);
            let wanted = CreateToken {
                principal: name.clone(),
                role: role.map(|role| role.to_string()),
                allow: allow.iter().map(Rule::to_text).collect(),
                expires_at: end.map(Timestamp::as_micros),
            };
            let made = auth.change(context, Change::CreateToken(wanted))?;
            let CreatedToken { id, text } = made.token.context("no token was answered")?;
            note(&format!(
                "note: this is the only time that the token is shown; {} keeps its hash",
                auth.place(context)
            ));
            if context.output.format() == Format::Jsonl {
                context.output.object(&[
                    fact("id", Value::Text(id)),
                    fact("principal", Value::Text(name.clone())),
                    fact("token", Value::Text(text)),
                    fact("expires_at", place(end.map(time::to_seconds_text))),
                ])?;
            } else {
                // Alone on its line, so that `TOKEN=$(quipu token create ...)` has nothing else.
                context.output.text(&text)?;
            }
        }
        TokenVerb::List { auth } => {
            let credentials = auth.list(context)?;
            let mut table = Table::new(COLUMNS);
            for principal in &credentials.principals {
                for token in &principal.tokens {
                    let facts = facts(&principal.name, principal.disabled, token);
                    if context.output.format() == Format::Jsonl {
                        context.output.object(&facts)?;
                    } else {
                        table.push(facts.iter().map(|fact| fact.value.to_text()).collect());
                    }
                }
            }
            context.output.table(&mut table)?;
        }
        TokenVerb::Revoke { id, auth } => {
            auth.change(context, Change::RevokeToken(id.clone()))?;
            context.output.facts(&[
                fact("id", Value::Text(id.clone())),
                fact("state", Value::Text("revoked".to_owned())),
            ])?;
        }
    }
    Ok(Answer::Yes)
}

fn end_of(duration: Duration) -> Timestamp {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(Timestamp::now().as_micros().saturating_add(micros))
}

fn place(text: Option<String>) -> Value {
    text.map_or(Value::Nothing, Value::Text)
}

fn facts(principal: &str, disabled: bool, token: &PrincipalToken) -> [Fact; 5] {
    let now = Timestamp::now().as_micros();
    let state = if token.revoked {
        "revoked"
    } else if token.expires_at.is_some_and(|end| end <= now) {
        "expired"
    } else if disabled {
        "disabled"
    } else {
        "valid"
    };
    let shown = |micros| time::to_seconds_text(Timestamp::from_micros(micros));
    [
        fact("id", Value::Text(token.id.clone())),
        fact("principal", Value::Text(principal.to_owned())),
        fact("state", Value::Text(state.to_owned())),
        fact("created_at", Value::Text(shown(token.created_at))),
        fact("expires_at", place(token.expires_at.map(shown))),
    ]
}
