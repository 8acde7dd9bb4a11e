//! `quipu completions`: prints a completion script for a shell.

use clap::CommandFactory;

use super::{Answer, Context};
use crate::cli::{Cli, CompletionsArgs};

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "quipu", &mut script);
    context.output.raw(&script)?;
    Ok(Answer::Yes)
}
