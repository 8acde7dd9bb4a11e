//! The tour: what an event store promises, shown on the shop and checked.
//!
//! Each check works on a store of its own, says what it does while it does it, and answers what it
//! found. What does not hold is an error, and the tour goes on with the next check.

mod as_of;
mod bulk;
mod child;
mod crash;
#[cfg(feature = "kafka")]
mod kafka;
mod key;
mod outbox;
mod race;
mod rebuild;
mod report;
mod scene;
mod snapshot;
mod tamper;
mod till;
mod timer;
mod upcast;
#[cfg(not(feature = "kafka"))]
mod with_kafka;

use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::arguments::{Child, Options};
use crate::shop::Failure;
use report::{Line, Verdict};
use scene::Scene;

/// The longest that a check may take: one that hangs has failed.
const CHECK_TIME_MAX: Duration = Duration::from_mins(1);

type Running<'a> = Pin<Box<dyn Future<Output = Result<String, Failure>> + 'a>>;

/// Something that is shown and checked.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What is about to happen, as a headline.
    title: &'static str,
    /// What it shows if it passes.
    shows: &'static str,
    run: for<'a> fn(&'a Scene) -> Running<'a>,
}

/// The name of the check that needs a Kafka.
pub(crate) const KAFKA: &str = "kafka";

/// All of them, in the order in which they run.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "race",
        title: "Two clerks sell the last item at the same moment",
        shows: "one of two gets the last item",
        run: |scene| Box::pin(race::run(scene)),
    },
    Check {
        name: "key",
        title: "A payment is sent three times",
        shows: "sent again, done once",
        run: |scene| Box::pin(key::run(scene)),
    },
    Check {
        name: "timer",
        title: "An order is not paid",
        shows: "an unpaid order is cancelled, once",
        run: |scene| Box::pin(timer::run(scene)),
    },
    Check {
        name: "crash",
        title: "The program is killed while it writes",
        shows: "what was acknowledged is there",
        run: |scene| Box::pin(crash::run(scene)),
    },
    Check {
        name: "rebuild",
        title: "The list of orders is lost",
        shows: "a read model is built again",
        run: |scene| Box::pin(rebuild::run(scene)),
    },
    Check {
        name: "snapshot",
        title: "A till with many sales is opened",
        shows: "a snapshot saves the replay",
        run: |scene| Box::pin(snapshot::run(scene)),
    },
    Check {
        name: "upcast",
        title: "An order of the program's first version is read",
        shows: "old events are read by new code",
        run: |scene| Box::pin(upcast::run(scene)),
    },
    Check {
        name: "as-of",
        title: "What was in the till yesterday?",
        shows: "yesterday's total, asked today",
        run: |scene| Box::pin(as_of::run(scene)),
    },
    Check {
        name: "outbox",
        title: "The program is killed while it publishes",
        shows: "all is published, in order",
        run: |scene| Box::pin(outbox::run(scene)),
    },
    #[cfg(feature = "kafka")]
    Check {
        name: KAFKA,
        title: "The program is killed while it publishes to a Kafka",
        shows: "each event is in Kafka exactly once",
        run: |scene| Box::pin(kafka::run(scene)),
    },
    Check {
        name: "tamper",
        title: "Somebody changes a price on the disk",
        shows: "a changed byte is found",
        run: |scene| Box::pin(tamper::run(scene)),
    },
];

/// Runs the tour. Answers its exit code.
///
/// # Errors
///
/// If it could not even begin.
pub(crate) async fn run(options: &Options) -> Result<u8, Failure> {
    #[cfg(not(feature = "kafka"))]
    if options.kafka.is_some() {
        return with_kafka::run();
    }
    let begun = Instant::now();
    let directory = tempfile::Builder::new().prefix("quipu-tour-").tempdir()?;
    let end = if options.is_kept { "kept" } else { "removed if all is well; --keep keeps it" };
    println!(
        "An event store keeps what happened: events such as \"order placed\", one after the other,\n\
         never changed. How things are now is computed from them. This tour runs a small shop on\n\
         such a store and checks what the store promises.\n\n\
         It works in {} ({end}).",
        directory.path().display()
    );
    let mut lines = Vec::new();
    let is_wanted = |check: &&Check| {
        let is_possible = check.name != KAFKA || options.kafka.is_some();
        is_possible
            && (options.only.is_empty() || options.only.iter().any(|name| name == check.name))
    };
    for check in CHECKS.iter().filter(is_wanted) {
        lines.push(run_check(check, Scene::new(directory.path(), check.name, options)?).await);
    }
    println!("\n{}", report::table(&lines));
    println!("{} in {:.1} s", report::summary(&lines), begun.elapsed().as_secs_f64());
    let code = report::exit_code(&lines);
    // What a check that failed left behind is worth a look.
    if options.is_kept || code != 0 {
        println!("The stores are in {}", directory.keep().display());
    } else if let Err(error) = directory.close() {
        println!("The directory could not be removed: {error}");
    }
    Ok(code)
}

async fn run_check(check: &Check, scene: Scene) -> Line {
    println!("\n{}: {}", check.name, check.title);
    let outcome = tokio::time::timeout(CHECK_TIME_MAX, (check.run)(&scene)).await;
    let late = || format!("it was not done after {} s", CHECK_TIME_MAX.as_secs());
    let (verdict, figure) = match outcome {
        Ok(Ok(figure)) => (Verdict::Passed, figure),
        Ok(Err(failure)) => report::judge(&*failure),
        Err(_elapsed) => (Verdict::Failed, late()),
    };
    println!("  {}: {figure}", verdict.as_str());
    Line { name: check.name, shows: check.shows, verdict, figure }
}

/// Is a process that the tour kills.
pub(crate) async fn run_child(child: &Child) -> Result<(), Failure> {
    let work = async {
        match child {
            Child::Order(directory) => crash::order_until_killed(directory).await,
            Child::Relay(directory) => outbox::relay_until_killed(directory).await,
            #[cfg(feature = "kafka")]
            Child::RelayToKafka { directory, servers, topic } => {
                kafka::relay_until_killed(directory, servers, topic).await
            }
        }
    };
    tokio::select! {
        ended = work => ended,
        () = child::orphaned() => Ok(()),
    }
}
