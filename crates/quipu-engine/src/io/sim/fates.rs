//! What becomes of each thing that was not synced when the power failed.

use super::chance::Chance;
use super::sectors::SECTOR_SIZE;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests name each of them")]
pub enum CrashPolicy {
    /// All of it reached the disk.
    KeepAll,
    /// None of it reached the disk.
    LoseAll,
    /// Chance decides for each sector, each size and each name apart: kept, lost or torn.
    Random(u64),
    /// For short runs, to go through all there is: the lowest bit decides for the first of the
    /// [`undecided`](super::SimDisk::undecided) things, and so on. A set bit keeps.
    Exactly(u64),
}

/// What became of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// So many of its bytes were kept.
    Torn(usize),
}

/// How far the changes of names depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameOrder {
    /// What was changed first becomes durable first, as in a journal.
    Journal,
    /// The same within each directory only.
    Directory,
    /// The same for each name only.
    Name,
}

/// Decides, one thing after another.
#[derive(Debug)]
pub(super) enum Fates {
    Same(Fate),
    Random { chance: Chance, mood: Mood },
    Exactly { bits: u64 },
}

/// What chance prefers for a while. A fair coin for each of a hundred sectors would practically
/// never keep or lose all of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Keep,
    Lose,
    Mix,
}

impl Fates {
    pub(super) fn new(policy: CrashPolicy) -> Self {
        match policy {
            CrashPolicy::KeepAll => Self::Same(Fate::Kept),
            CrashPolicy::LoseAll => Self::Same(Fate::Lost),
            CrashPolicy::Random(seed) => {
                Self::Random { chance: Chance::new(seed), mood: Mood::Mix }
            }
            CrashPolicy::Exactly(bits) => Self::Exactly { bits },
        }
    }

    /// Begins with the next file or the names.
    pub(super) fn change_mood(&mut self) {
        if let Self::Random { chance, mood } = self {
            *mood = match chance.below(4) {
                0 => Mood::Keep,
                1 => Mood::Lose,
                _ => Mood::Mix,
            };
        }
    }

    pub(super) fn name_order(&mut self) -> NameOrder {
        match self {
            Self::Random { chance, .. } => match chance.below(3) {
                0 => NameOrder::Journal,
                1 => NameOrder::Directory,
                _ => NameOrder::Name,
            },
            _ => NameOrder::Name,
        }
    }

    /// Whether a thing that cannot tear was kept.
    pub(super) fn is_kept(&mut self) -> bool {
        match self {
            Self::Same(fate) => *fate == Fate::Kept,
            Self::Random { chance, mood } => match mood {
                Mood::Keep => true,
                Mood::Lose => false,
                Mood::Mix => chance.coin(),
            },
            Self::Exactly { bits } => {
                let kept = *bits & 1 == 1;
                *bits >>= 1;
                kept
            }
        }
    }

    pub(super) fn of_sector(&mut self) -> Fate {
        if let Self::Random { chance, mood: Mood::Mix } = self
            && chance.below(8) == 0
        {
            return Fate::Torn(1 + chance.below(SECTOR_SIZE - 1));
        }
        if self.is_kept() { Fate::Kept } else { Fate::Lost }
    }

    /// The size of a file whose size was changed and not synced.
    pub(super) fn of_size(&mut self, old: usize, new: usize) -> usize {
        if let Self::Random { chance, mood: Mood::Mix } = self
            && new > old
            && chance.below(4) == 0
        {
            // Several writes made it longer; the size after one of the earlier ones was kept.
            return old + chance.below(new - old);
        }
        if self.is_kept() { new } else { old }
    }
}
