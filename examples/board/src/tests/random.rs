//! Random operations, partitions and meetings, compared with what is known of who saw what.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;

use super::replica;
use crate::note::What;
use crate::replica::{Replica, sync};

const NOTES: [&str; 3] = ["bread", "milk", "paint"];

/// An operation, and what the replica that made it had seen: by their numbers.
struct Made {
    note: &'static str,
    what: What,
    seen: BTreeSet<usize>,
}

impl Made {
    fn text(&self) -> Option<&str> {
        match &self.what {
            What::Add { text } | What::Edit { text } => Some(text),
            What::Remove => None,
        }
    }
}

/// Replicas, and what a test knows of them without looking into their logs.
struct World {
    replicas: Vec<Replica>,
    made: Vec<Made>,
    seen: Vec<BTreeSet<usize>>,
}

impl World {
    fn new(count: usize) -> Self {
        let replicas = (0..count).map(|index| replica(&format!("r{index}"))).collect();
        Self { replicas, made: Vec::new(), seen: vec![BTreeSet::new(); count] }
    }

    async fn operate(&mut self, index: usize, random: &mut Rng) {
        let note = NOTES[random.usize(..NOTES.len())];
        let is_present = present(&self.made, &self.seen[index], note);
        let text = format!("text {}", self.made.len());
        let what = match (is_present, random.bool()) {
            (false, _) => What::Add { text },
            (true, false) => What::Edit { text },
            (true, true) => What::Remove,
        };
        self.replicas[index].execute(note, what.clone()).await.unwrap();
        let seen = self.seen[index].clone();
        self.seen[index].insert(self.made.len());
        self.made.push(Made { note, what, seen });
    }

    async fn meet(&mut self, one: usize, other: usize) {
        sync(&self.replicas[one], &self.replicas[other]).await.unwrap();
        let both: BTreeSet<usize> = self.seen[one].union(&self.seen[other]).copied().collect();
        self.seen[one].clone_from(&both);
        self.seen[other] = both;
    }
}

/// Whether a note is there for who has seen these operations: it was added, and not every adding
/// was seen by a removal.
fn present(made: &[Made], seen: &BTreeSet<usize>, note: &str) -> bool {
    let of_note = || seen.iter().filter(|number| made[**number].note == note);
    let is_removed = |adding: &usize| {
        let removals = of_note().filter(|number| matches!(made[**number].what, What::Remove));
        removals.into_iter().any(|number| made[*number].seen.contains(adding))
    };
    let mut addings = of_note().filter(|number| matches!(made[**number].what, What::Add { .. }));
    addings.any(|adding| !is_removed(adding))
}

/// The texts that a note may have: those that no later text has seen.
fn candidates<'a>(made: &'a [Made], note: &str) -> Vec<&'a str> {
    let writings: Vec<(usize, &Made)> =
        made.iter().enumerate().filter(|(_, own)| own.note == note).collect();
    let is_seen = |number| {
        writings.iter().any(|(_, later)| later.text().is_some() && later.seen.contains(&number))
    };
    let last = writings.iter().filter(|(number, _)| !is_seen(*number));
    last.filter_map(|(_, own)| own.text()).collect()
}

/// Everybody meets everybody, in random order.
async fn meet_all(world: &mut World, random: &mut Rng) {
    let count = world.replicas.len();
    let mut pairs: Vec<(usize, usize)> =
        (0..count).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
    random.shuffle(&mut pairs);
    for (one, other) in pairs {
        world.meet(one, other).await;
    }
}

#[tokio::test]
async fn whatever_is_done_and_whoever_meets_all_boards_are_the_same_at_the_end() {
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("board"));
    println!("replay with QUIPU_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    for _ in 0..40 {
        let count = random.usize(2..=5);
        let mut world = World::new(count);
        // In a partition, who is below the border meets only others below it.
        let mut border = count;
        for _ in 0..random.usize(1..=60) {
            if random.u8(..10) == 0 {
                border = random.usize(1..=count);
            }
            let (one, other) = (random.usize(..count), random.usize(..count));
            if random.u8(..10) < 7 {
                world.operate(one, &mut random).await;
            } else if one != other && (one < border) == (other < border) {
                world.meet(one, other).await;
            }
        }
        meet_all(&mut world, &mut random).await;

        check(&world).await;
    }
}

async fn check(world: &World) {
    let all: BTreeSet<usize> = (0..world.made.len()).collect();
    let first = world.replicas[0].board().await.unwrap();
    for replica in &world.replicas {
        assert_eq!(*replica.board().await.unwrap(), *first, "{:?}", replica.id);
    }
    let notes: BTreeMap<&str, &str> = first.notes();
    for note in NOTES {
        assert_eq!(notes.contains_key(note), present(&world.made, &all, note), "{note}");
        if let Some(text) = notes.get(note) {
            assert!(candidates(&world.made, note).contains(text), "{note}: {text}");
        }
    }
}
