//! The `quipu` binary: an event store's command line, and the server of `quipu_server`.
//!
//! `main` reads the arguments ([`cli`]), runs one verb ([`verbs`], one file each) and turns what
//! went wrong into text and an exit code ([`report`]). Verbs open the store through [`open`] and
//! print through [`output`]; [`line`](mod@line) alone knows the JSON line that import, export and
//! `--format jsonl` share.

mod cli;
mod input;
mod interrupt;
mod open;
mod output;
mod report;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use cli::{Cli, DEFAULT_DATA, Verb};
use open::Target;
use output::Output;
use quipu_server::{line, time};
use report::Hinted;
use verbs::{Answer, Context};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return output::print_usage(&usage),
    };
    let data = cli.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
    let target = Target { data, remote: cli.remote };
    let output = Output::new(cli.format);
    let mut context = Context { target, given_data: cli.data, output };
    let answer = run(&cli.verb, &mut context).and_then(|answer| {
        context.output.flush()?;
        Ok(answer)
    });
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(report::NO),
        Err(error) => report::print(&error),
    }
}

fn run(verb: &Verb, context: &mut Context) -> anyhow::Result<Answer> {
    let remote = &context.target.remote;
    let elsewhere = match (&remote.url, &remote.postgres) {
        (Some(url), _) if !verb.works_on_servers() => Some((url.clone(), "--url and QUIPU_URL")),
        (None, Some(database)) if !verb.works_on_databases() => {
            Some((database.to_string(), "--postgres and QUIPU_POSTGRES"))
        }
        (None, None) if !verb.names_its_stores() => return run_here(verb, context),
        _ => None,
    };
    if let Some((place, options)) = elsewhere.filter(|_| !verb.names_its_stores()) {
        let hint = match verb {
            Verb::Restore(_) => format!(
                "what a server holds is not replaced while it serves: leave {options} out, restore \
                 to a new directory (--data) on the server's machine, and serve that one instead"
            ),
            _ => format!("leave {options} out, and run it where the directory is"),
        };
        return Err(Hinted {
            message: format!("this verb works on a directory, not on {place}"),
            hint,
            source: None,
        }
        .into());
    }
    if matches!(verb, Verb::Serve(_)) {
        // It brings threads of its own.
        return run_here(verb, context);
    }
    // What a client does behind the verb's back, such as keeping its connection, runs here.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("could not start the client's thread")?;
    let _entered = runtime.enter();
    run_here(verb, context)
}

fn run_here(verb: &Verb, context: &mut Context) -> anyhow::Result<Answer> {
    match verb {
        Verb::Import(args) => verbs::import::run(args, context),
        Verb::Export(args) => verbs::export::run(args, context),
        Verb::Append(args) => verbs::append::run(args, context),
        Verb::Read(args) => verbs::read::run(args, context),
        Verb::Tail(args) => verbs::tail::run(args, context),
        Verb::Streams(args) => verbs::streams::run(args, context),
        Verb::Stats(args) => verbs::stats::run(args, context),
        Verb::Schemas(args) => verbs::schemas::run(args, context),
        Verb::Projections(args) => verbs::projections::run(args, context),
        Verb::Parked(args) => verbs::parked::run(args, context),
        Verb::Group(args) => verbs::group::run(args, context),
        Verb::Relay(args) => verbs::relay::run(args, context),
        Verb::Verify(args) => verbs::verify::run(args, context),
        Verb::RebuildIndex(args) => verbs::rebuild_index::run(args, context),
        Verb::Scavenge(args) => verbs::scavenge::run(args, context),
        Verb::Stream(args) => verbs::stream::run(args, context),
        Verb::Backup(args) => verbs::backup::run(args, context),
        Verb::Restore(args) => verbs::restore::run(args, context),
        Verb::Copy(args) => verbs::copy::run(args, context),
        Verb::Migrate(args) => verbs::migrate::run(args, context),
        Verb::Serve(args) => verbs::serve::run(args, context),
        Verb::Config(args) => verbs::config::run(args, context),
        Verb::Bench(args) => verbs::bench::run(args, context),
        Verb::Token(args) => verbs::token::run(args, context),
        Verb::User(args) => verbs::user::run(args, context),
        Verb::Rule(args) => verbs::rule::run(args, context),
        Verb::Cert(args) => verbs::cert::run(args, context),
        Verb::Completions(args) => verbs::completions::run(args, context),
    }
}
