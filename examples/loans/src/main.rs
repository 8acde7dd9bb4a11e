//! Loan applications: `cargo run --release -p loans -- FILE` imports a log of them, and shows how
//! far they come and how long they wait. Without a file it makes a log up. Takes `--store`, too.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod application;
mod generated;
mod import;
mod report;
#[cfg(test)]
mod tests;
mod waiting;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use application::Funnel;
use import::{Imported, import};
use quipu::{Quipu, Timestamp};
use report::{funnel_as_of, funnel_table, waiting_table, waiting_times};

/// The seed of the log that is made up.
const SEED: u64 = 1;

fn show(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.as_micros())
        .map_or_else(|_| format!("{} us", time.as_micros()), |time| format!("{time:.0}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let app = example_store::open(directory.path()).await?;
    let file = example_store::arguments().first().map(PathBuf::from);
    run(&app, directory.path(), file.as_deref()).await
}

async fn run(app: &Quipu, directory: &Path, file: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let imported = if let Some(file) = file {
        println!("Loan applications from {}", file.display());
        import(app, import::lines(file)?).await?
    } else {
        println!("Loan applications, made up from seed {SEED}");
        import(app, generated::lines(SEED).into_iter().map(Ok)).await?
    };
    let Imported { event_count, stream_count, first, last, position } = imported;
    println!(
        "{event_count} events of {stream_count} applications, from {} to {}, imported in {:.1?}",
        show(first),
        show(last),
        begun.elapsed()
    );

    let middle = Timestamp::from_micros(i64::midpoint(first.as_micros(), last.as_micros()));
    let begun = Instant::now();
    let now = app.load(Funnel::of()).await?;
    let then = funnel_as_of(app, middle).await?;
    println!("\nThe funnel of the whole log, and as of {}:", show(middle));
    print!("{}", funnel_table(&now, &then));
    println!("  (both folded from the log in {:.1?})", begun.elapsed());

    let begun = Instant::now();
    let times = waiting_times(app, &directory.join("stages.db"), position).await?;
    println!("\nHow long applications waited between stages:");
    print!("{}", waiting_table(&times));
    println!("  (read model built and asked in {:.1?})", begun.elapsed());
    Ok(())
}
