//! Many callers at once, each with one append under way.

use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::{Error, Grouped, Result, Store};
use crate::workload::Event;

/// The most appends in one group.
const GROUP_COUNT_MAX: usize = 4_096;

/// Appends each caller's events one by one, all callers at the same time. Answers how long all
/// took, and how long each append.
pub(crate) fn run(store: &dyn Store, shares: &[Vec<Event>]) -> Result<(Duration, Vec<Duration>)> {
    match store.grouped() {
        Some(grouped) => run_grouped(grouped, shares),
        None => run_callers(shares, |_| {
            |event: &Event| store.append(std::slice::from_ref(event)).map(|_| ())
        }),
    }
}

type Request<'a> = (&'a Event, Sender<bool>);

/// One thread appends for all: it takes whatever waits and commits it together.
fn run_grouped(grouped: &dyn Grouped, shares: &[Vec<Event>]) -> Result<(Duration, Vec<Duration>)> {
    let (requests, queue) = mpsc::channel::<Request<'_>>();
    thread::scope(|scope| {
        let writer = scope.spawn(move || write(grouped, &queue));
        let timed = run_callers(shares, |_| {
            let requests = requests.clone();
            let (answer, answered) = mpsc::channel();
            move |event: &'_ Event| {
                // The scope outlives the threads, and the events outlive the scope.
                requests.send((event, answer.clone())).map_err(|_| Error::from("no writer"))?;
                match answered.recv() {
                    Ok(true) => Ok(()),
                    _ => Err(Error::from("the group failed")),
                }
            }
        });
        drop(requests);
        writer.join().map_err(|_| Error::from("the writer panicked"))??;
        timed
    })
}

fn write(grouped: &dyn Grouped, queue: &Receiver<Request<'_>>) -> Result<()> {
    while let Ok(first) = queue.recv() {
        let rest = queue.try_iter().take(GROUP_COUNT_MAX - 1);
        let group: Vec<Request<'_>> = std::iter::once(first).chain(rest).collect();
        let events: Vec<&Event> = group.iter().map(|(event, _)| *event).collect();
        let outcome = grouped.append_group(&events);
        for (_, answer) in group {
            // A caller that is gone needs no answer.
            let _ = answer.send(outcome.is_ok());
        }
        outcome?;
    }
    Ok(())
}

fn run_callers<'a, A>(
    shares: &'a [Vec<Event>],
    appender: impl Fn(usize) -> A,
) -> Result<(Duration, Vec<Duration>)>
where
    A: Fn(&'a Event) -> Result<()> + Send,
{
    let start = Barrier::new(shares.len() + 1);
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for (index, share) in shares.iter().enumerate() {
            let append = appender(index);
            let start = &start;
            callers.push(scope.spawn(move || -> Result<Vec<Duration>> {
                start.wait();
                let mut durations = Vec::with_capacity(share.len());
                for event in share {
                    let began = Instant::now();
                    append(event)?;
                    durations.push(began.elapsed());
                }
                Ok(durations)
            }));
        }
        start.wait();
        let began = Instant::now();
        let mut durations = Vec::new();
        for caller in callers {
            durations.extend(caller.join().map_err(|_| Error::from("a caller panicked"))??);
        }
        Ok((began.elapsed(), durations))
    })
}
