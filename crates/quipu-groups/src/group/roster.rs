//! The members: who has room, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::slice::{SLICE_COUNT, slice_of};

/// A member of a group, for as long as it is connected. A number that rises with each one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The member of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The member as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How one member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct MemberStatus {
    /// The member.
    pub id: MemberId,
    /// The most events that are with it at a time.
    pub capacity: usize,
    /// How many are.
    pub in_flight: usize,
    /// How many were ever handed to it.
    pub total: u64,
}

#[derive(Debug)]
struct Member {
    capacity: usize,
    in_flight: usize,
    total: u64,
    /// It takes nothing at present: what was sent waits on the way.
    is_stalled: bool,
}

impl Member {
    fn has_room(&self) -> bool {
        !self.is_stalled && self.in_flight < self.capacity
    }
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<MemberId, Member>,
    with_room: BTreeSet<MemberId>,
    /// All members in the order in which they joined: slices are divided among them.
    order: Vec<MemberId>,
    last_id: u64,
    /// Who was served last in turn.
    turn: MemberId,
}

impl Roster {
    pub(super) fn join(&mut self, capacity: usize) -> MemberId {
        self.last_id += 1;
        let id = MemberId(self.last_id);
        let member = Member { capacity, in_flight: 0, total: 0, is_stalled: false };
        self.members.insert(id, member);
        self.order.push(id);
        self.settle_room(id);
        id
    }

    /// Whether it was there.
    pub(super) fn leave(&mut self, id: MemberId) -> bool {
        self.with_room.remove(&id);
        self.order.retain(|own| *own != id);
        self.members.remove(&id).is_some()
    }

    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn give(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.in_flight += 1;
            member.total += 1;
        }
        self.turn = id;
        self.settle_room(id);
    }

    /// Takes an event back from a member, if that is still there.
    pub(super) fn take(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
        self.settle_room(id);
    }

    pub(super) fn set_stalled(&mut self, id: MemberId, is_stalled: bool) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_stalled = is_stalled;
        }
        self.settle_room(id);
    }

    pub(super) fn set_capacity(&mut self, id: MemberId, capacity: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.capacity = capacity;
        }
        self.settle_room(id);
    }

    fn settle_room(&mut self, id: MemberId) {
        if self.members.get(&id).is_some_and(Member::has_room) {
            self.with_room.insert(id);
        } else {
            self.with_room.remove(&id);
        }
    }

    pub(super) fn has_room(&self, id: MemberId) -> bool {
        self.with_room.contains(&id)
    }

    /// The members that have room, oldest first.
    pub(super) fn with_room(&self) -> impl Iterator<Item = MemberId> {
        self.with_room.iter().copied()
    }

    /// The oldest member that has room.
    pub(super) fn oldest(&self) -> Option<MemberId> {
        self.with_room.first().copied()
    }

    /// The next member in turn that has room.
    pub(super) fn next_in_turn(&self) -> Option<MemberId> {
        let behind = (Bound::Excluded(self.turn), Bound::Unbounded);
        self.with_room.range(behind).next().copied().or_else(|| self.oldest())
    }

    /// The member that a key's events go to while the members stay the same.
    pub(super) fn of_key(&self, key: &str) -> Option<MemberId> {
        let index = usize::from(slice_of(key)) * self.order.len() / usize::from(SLICE_COUNT);
        self.order.get(index).copied()
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = MemberStatus> {
        self.members.iter().map(|(id, it)| MemberStatus {
            id: *id,
            capacity: it.capacity,
            in_flight: it.in_flight,
            total: it.total,
        })
    }
}
