//! `quipu user`: people with passwords, and who else is known.

use std::io::{self, BufRead, Read};

use anyhow::Context as _;
use console::Term;
use quipu_server::security::{PASSWORD_SIZE_MAX, Secret};
use quipu_wire::proto::change_credentials_request::Change;
use quipu_wire::proto::{AddCertificate, AddUser, Principal, SetPassword};

use super::{Answer, Context};
use crate::cli::{Format, UserArgs, UserVerb};
use crate::output::{Align, Column, Fact, Table, Value, fact, note};
use crate::report::Refusal;

const COLUMNS: &[Column] = &[
    Column { title: "name", align: Align::Left },
    Column { title: "roles", align: Align::Left },
    Column { title: "password", align: Align::Left },
    Column { title: "tokens", align: Align::Right },
    Column { title: "certificates", align: Align::Left },
];

pub(crate) fn run(args: &UserArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        UserVerb::Add { name, role, auth } => {
            let password = read_password()?;
            let (own, role) = (name.clone(), role.to_string());
            let password = password.reveal().to_owned();
            auth.change(context, Change::AddUser(AddUser { name: own, role, password }))?;
            print(name, "added", context)
        }
        UserVerb::List { auth } => {
            let credentials = auth.list(context)?;
            let mut table = Table::new(COLUMNS);
            for principal in &credentials.principals {
                let facts = facts(principal);
                if context.output.format() == Format::Jsonl {
                    context.output.object(&facts)?;
                } else {
                    table.push(facts.iter().map(|fact| fact.value.to_text()).collect());
                }
            }
            context.output.table(&mut table)?;
            Ok(Answer::Yes)
        }
        UserVerb::Remove { name, auth } => {
            auth.change(context, Change::RemovePrincipal(name.clone()))?;
            print(name, "removed", context)
        }
        UserVerb::Passwd { name, auth } => {
            let password = read_password()?;
            let (own, password) = (name.clone(), password.reveal().to_owned());
            auth.change(context, Change::SetPassword(SetPassword { name: own, password }))?;
            print(name, "password changed", context)
        }
        UserVerb::Certificate { name, subject, auth } => {
            let (principal, subject) = (name.clone(), subject.clone());
            let wanted = AddCertificate { principal, subject };
            auth.change(context, Change::AddCertificate(wanted))?;
            print(name, "certificate added", context)
        }
    }
}

fn print(name: &str, state: &str, context: &mut Context) -> anyhow::Result<Answer> {
    context.output.facts(&[
        fact("name", Value::Text(name.to_owned())),
        fact("state", Value::Text(state.to_owned())),
    ])?;
    Ok(Answer::Yes)
}

fn facts(principal: &Principal) -> [Fact; 5] {
    let list = |texts: String| if texts.is_empty() { Value::Nothing } else { Value::Text(texts) };
    let token_count = principal.tokens.iter().filter(|token| !token.revoked).count();
    [
        fact("name", Value::Text(principal.name.clone())),
        fact("roles", list(principal.roles.join(","))),
        fact("password", Value::Flag(principal.has_password)),
        fact("tokens", Value::Count(token_count as u64)),
        fact("certificates", list(principal.certificates.join(","))),
    ]
}

/// Asks for a password twice where a person can be asked, and reads a line otherwise.
fn read_password() -> anyhow::Result<Secret> {
    let terminal = Term::stderr();
    if terminal.is_term() && io::IsTerminal::is_terminal(&io::stdin()) {
        let ask = |prompt: &str| {
            note(prompt);
            terminal.read_secure_line().context("could not read the password").map(Secret::new)
        };
        let password = ask("Password:")?;
        if password != ask("The same again:")? {
            return Err(Refusal("the two passwords differ".to_owned()).into());
        }
        return Ok(password);
    }
    // One byte more than is allowed, so that what is too long is seen to be.
    let mut line = String::new();
    let mut input = io::stdin().lock().take(PASSWORD_SIZE_MAX as u64 + 2);
    input.read_line(&mut line).context("could not read the password")?;
    Ok(Secret::new(line.trim_end_matches(['\n', '\r'])))
}
