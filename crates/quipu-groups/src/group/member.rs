//! A group as those see it who join it and look after it.

use std::fmt;
use std::time::Duration;

use quipu_core::{ComponentState, ParkedItem, Position};
use tokio::sync::{mpsc, oneshot, watch};

use super::machine::{Dispatch, GroupCounts, Nack};
use super::roster::MemberId;

/// Why a group does not go on here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupEnd {
    /// Another owner has it. Connect there, or again here later.
    #[error("the group is run by {owner}")]
    Elsewhere {
        /// Who.
        owner: String,
    },
    /// Another owner took it over. Connect again.
    #[error("the group was taken over")]
    Lost,
    /// It was deleted.
    #[error("the group was deleted")]
    Deleted,
    /// Its settings changed, or it starts again from another place. Join again.
    #[error("the group begins anew")]
    Renewed,
    /// Nobody was in it any more, or the server stops. Join again.
    #[error("the group stopped")]
    Stopped,
    /// It has as many members as it may have.
    #[error("the group has {count_max} members already")]
    Full {
        /// The most it may have.
        count_max: usize,
    },
    /// It cannot go on.
    #[error("the group failed: {cause}")]
    Failed {
        /// Why.
        cause: String,
    },
}

/// Who joins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Joining {
    /// The most events that are with the member at a time.
    pub capacity: usize,
    /// The most members that the group may have; 0 is any number.
    pub member_count_max: usize,
    /// What people call the member.
    pub name: String,
    /// Who it is.
    pub principal: String,
    /// Where it comes from.
    pub peer: String,
}

impl Joining {
    /// A member without a name, with which at most `capacity` events are at a time.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            member_count_max: 0,
            name: String::new(),
            principal: String::new(),
            peer: String::new(),
        }
    }
}

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct MemberInfo {
    /// The member.
    pub id: MemberId,
    /// What people call it.
    pub name: String,
    /// Who it is.
    pub principal: String,
    /// Where it comes from.
    pub peer: String,
    /// The most events that are with it at a time.
    pub capacity: usize,
    /// How many are.
    pub in_flight: usize,
    /// How many were ever handed to it.
    pub total: u64,
    /// How many were handed to it in the last second.
    pub last_second: u64,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct GroupInfo {
    /// What it is doing.
    pub state: ComponentState,
    /// The epoch under which it runs.
    pub epoch: u64,
    /// Everything at or before this place is settled, and after a crash it is still so.
    pub checkpoint: Position,
    /// Everything at or before this place is settled.
    pub position: Position,
    /// How far the log was read.
    pub read_to: Position,
    /// How many places lie between it and the end, as of the last second.
    pub lag: u64,
    /// How many events are where.
    pub counts: GroupCounts,
    /// How many events were settled since the group began to run here.
    pub settled_total: u64,
    /// How many were in the last second.
    pub settled_last_second: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The members, oldest first.
    pub members: Vec<MemberInfo>,
}

/// What members and operators tell a group.
pub(super) enum Command<E> {
    Join(Joining, oneshot::Sender<Result<Joined<E>, GroupEnd>>),
    Ack(MemberId, Vec<u64>, Option<oneshot::Sender<usize>>),
    Nack(MemberId, Vec<u64>, Nack, String, Option<oneshot::Sender<usize>>),
    SetCapacity(MemberId, usize),
    Info(oneshot::Sender<GroupInfo>),
    Parked(oneshot::Sender<Vec<ParkedItem>>),
    Replay(Which, oneshot::Sender<Result<usize, String>>),
    Drop(Option<Position>, oneshot::Sender<usize>),
    End(GroupEnd),
}

/// Which parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "groups serve each of them")]
pub enum Which {
    /// All.
    All,
    /// The one at this place; in a group in order with the others of its key.
    At(Position),
    /// For groups that do not know what is parked: those before this place among the parked ones.
    Before(u64),
}

/// What a member gets when it has joined.
pub(super) struct Joined<E> {
    pub(super) id: MemberId,
    pub(super) dispatches: mpsc::Receiver<Vec<Dispatch<E>>>,
}

/// A handle to a group that runs in this process.
pub struct Group<E> {
    pub(super) commands: mpsc::Sender<Command<E>>,
    /// Who leaves. As many words as there are members, so that it needs no other bound.
    pub(super) leaves: mpsc::UnboundedSender<MemberId>,
    pub(super) ended: watch::Receiver<Option<GroupEnd>>,
}

impl<E> Clone for Group<E> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            leaves: self.leaves.clone(),
            ended: self.ended.clone(),
        }
    }
}

impl<E> fmt::Debug for Group<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("ended", &*self.ended.borrow()).finish_non_exhaustive()
    }
}

impl<E> Group<E> {
    /// Joins. Events come as soon as there are any.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] because of which nobody can join here.
    pub async fn join(&self, joining: Joining) -> Result<Membership<E>, GroupEnd> {
        let joined = self.ask(|answer| Command::Join(joining, answer)).await??;
        let Joined { id, dispatches } = joined;
        Ok(Membership { id, dispatches, group: self.clone() })
    }

    /// How it is.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended it.
    pub async fn info(&self) -> Result<GroupInfo, GroupEnd> {
        self.ask(Command::Info).await
    }

    /// What is parked, in the order of the log.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended it.
    pub async fn parked(&self) -> Result<Vec<ParkedItem>, GroupEnd> {
        self.ask(Command::Parked).await
    }

    /// Tries parked events again. How many.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended it; [`GroupEnd::Failed`] if they could not be read, and then it
    /// goes on.
    pub async fn replay(&self, which: Which) -> Result<usize, GroupEnd> {
        let replayed = self.ask(|answer| Command::Replay(which, answer)).await?;
        replayed.map_err(|cause| GroupEnd::Failed { cause })
    }

    /// Forgets parked events: the one at this place, or all. How many.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended it.
    pub async fn drop_parked(&self, which: Option<Position>) -> Result<usize, GroupEnd> {
        self.ask(|answer| Command::Drop(which, answer)).await
    }

    /// Ends it here for this reason, which its members are told. Waits until it gave back what it
    /// owned.
    pub async fn end(&self, reason: GroupEnd) {
        // Where it ended before, there is nobody to tell.
        self.commands.send(Command::End(reason)).await.ok();
        self.commands.closed().await;
    }

    /// Whether it does not run any more.
    pub fn is_over(&self) -> bool {
        self.commands.is_closed()
    }

    async fn ask<A>(
        &self,
        command: impl FnOnce(oneshot::Sender<A>) -> Command<E>,
    ) -> Result<A, GroupEnd> {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(command(answer)).await.is_ok()
            && let Ok(answer) = answered.await
        {
            return Ok(answer);
        }
        Err(self.reason().await)
    }

    /// Why it ended. Members are let go before it has given back what it owned: the reason is there
    /// once it has.
    async fn reason(&self) -> GroupEnd {
        let mut ended = self.ended.clone();
        let reason = ended.wait_for(Option::is_some).await.map(|reason| reason.clone());
        // Without a reason its task was stopped from outside.
        reason.ok().flatten().unwrap_or(GroupEnd::Stopped)
    }
}

/// A member's place in a group. Dropping it leaves: what is with the member goes to others.
pub struct Membership<E> {
    id: MemberId,
    dispatches: mpsc::Receiver<Vec<Dispatch<E>>>,
    group: Group<E>,
}

impl<E> fmt::Debug for Membership<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<E> Membership<E> {
    /// Which member it is.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Waits for the next events, at least one. Dropping the future before it is done loses nothing.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn next(&mut self) -> Result<Vec<Dispatch<E>>, GroupEnd> {
        match self.dispatches.recv().await {
            Some(dispatches) => Ok(dispatches),
            None => Err(self.group.reason().await),
        }
    }

    /// The next events, if there are any and it has not ended.
    pub async fn next_within(&mut self, wait: Duration) -> Result<Vec<Dispatch<E>>, GroupEnd> {
        tokio::time::timeout(wait, self.next()).await.unwrap_or(Ok(Vec::new()))
    }

    /// A way to answer, apart from what comes.
    pub fn answers(&self) -> Answers<E> {
        Answers { id: self.id, group: self.group.clone() }
    }
}

impl<E> Drop for Membership<E> {
    fn drop(&mut self) {
        // Where the group is over, nobody has to be told.
        self.group.leaves.send(self.id).ok();
    }
}

/// A member's way to answer.
pub struct Answers<E> {
    id: MemberId,
    group: Group<E>,
}

impl<E> Clone for Answers<E> {
    fn clone(&self) -> Self {
        Self { id: self.id, group: self.group.clone() }
    }
}

impl<E> fmt::Debug for Answers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<E> Answers<E> {
    /// These were handled. Numbers that are not with the member are passed over.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn ack(&self, numbers: Vec<u64>) -> Result<(), GroupEnd> {
        self.tell(Command::Ack(self.id, numbers, None)).await
    }

    /// These were handled. How many of them were with the member.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn ack_counted(&self, numbers: Vec<u64>) -> Result<usize, GroupEnd> {
        self.group.ask(|answer| Command::Ack(self.id, numbers, Some(answer))).await
    }

    /// These were not handled. Numbers that are not with the member are passed over.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn nack(&self, numbers: Vec<u64>, nack: Nack, cause: &str) -> Result<(), GroupEnd> {
        self.tell(Command::Nack(self.id, numbers, nack, cause.to_owned(), None)).await
    }

    /// These were not handled. How many of them were with the member.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn nack_counted(
        &self,
        numbers: Vec<u64>,
        nack: Nack,
        cause: &str,
    ) -> Result<usize, GroupEnd> {
        let cause = cause.to_owned();
        self.group.ask(|answer| Command::Nack(self.id, numbers, nack, cause, Some(answer))).await
    }

    /// Sets how many events are with the member at a time. 0 pauses it.
    ///
    /// # Errors
    ///
    /// The [`GroupEnd`] that ended the group here.
    pub async fn set_capacity(&self, capacity: usize) -> Result<(), GroupEnd> {
        self.tell(Command::SetCapacity(self.id, capacity)).await
    }

    async fn tell(&self, command: Command<E>) -> Result<(), GroupEnd> {
        match self.group.commands.send(command).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.group.reason().await),
        }
    }
}
