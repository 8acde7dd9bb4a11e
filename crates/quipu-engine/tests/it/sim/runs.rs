//! Runs with one seed after the other, until CI's count or the minutes of a torture are reached.

use std::time::{Duration, Instant, SystemTime};

use quipu_engine::io::sim::Chance;

/// Runs `trial` with new seeds until they come to `count`; each answers how much it adds. With
/// `QUIPU_TORTURE_MINUTES` it goes on for so long instead; with `QUIPU_SEED` that seed runs alone.
/// Answers what it came to.
#[expect(clippy::print_stdout, reason = "the counts are what the test is read for")]
pub(crate) fn run(name: &str, unit: &str, count: u64, mut trial: impl FnMut(u64) -> u64) -> u64 {
    let mut guarded = |seed| {
        let _told = TellSeed { name, seed };
        trial(seed)
    };
    if let Some(seed) = number("QUIPU_SEED") {
        return guarded(seed);
    }
    let torture = number("QUIPU_TORTURE_MINUTES").map(|minutes| Duration::from_secs(minutes * 60));
    let begin = Instant::now();
    let mut seeds = Chance::new(if torture.is_some() { today() } else { first_seed(name) });
    let (mut done, mut trials) = (0, 0_u64);
    while torture.map_or(done < count, |torture| begin.elapsed() < torture) {
        done += guarded(seeds.number());
        trials += 1;
    }
    println!("{name}: {done} {unit} in {trials} runs, {:.1} s", begin.elapsed().as_secs_f64());
    done
}

/// The seeds that `run` begins with, for tests that look for the first one that fails.
pub(crate) fn seeds(name: &str) -> impl Iterator<Item = u64> {
    let mut seeds = Chance::new(first_seed(name));
    std::iter::repeat_with(move || seeds.number())
}

/// The same for the same test, so that CI fails for a reason that is in the change.
fn first_seed(name: &str) -> u64 {
    name.bytes().fold(0, |seed, byte| seed.wrapping_mul(257).wrapping_add(u64::from(byte)))
}

fn today() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Says on the way out of a panic how to have it again.
struct TellSeed<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for TellSeed<'_> {
    #[expect(clippy::print_stderr, reason = "a failure without its seed is lost")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: QUIPU_SEED={} runs this again", self.name, self.seed);
        }
    }
}
