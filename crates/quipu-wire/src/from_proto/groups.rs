//! What messages say about consumer groups.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ParkedItem, Position, RecordedEvent};
use quipu_groups::group::{
    GroupConfig, GroupCounts, GroupInfo, GroupStatus, Joining, KeyBy, MemberId, MemberInfo, Nack,
    Strategy,
};
use quipu_groups::{Backoff, GiveUp, OnError};

use super::{Malformed, component_state, count, events, query};
use crate::proto;

/// The most events that are with one member at a time.
pub const CAPACITY_MAX: u64 = 10_000;

/// What a group is.
///
/// # Errors
///
/// [`Malformed`] if it is missing, or its query or a name in it is not valid.
pub fn group_config(message: Option<proto::GroupConfig>) -> Result<GroupConfig, Malformed> {
    use proto::group_config::{GiveUp as GiveUpMessage, Strategy as StrategyMessage};
    let it = message.ok_or_else(|| Malformed::missing("config"))?;
    let strategy = match StrategyMessage::try_from(it.strategy) {
        Ok(StrategyMessage::ByKey | StrategyMessage::Unspecified) => Strategy::ByKey,
        Ok(StrategyMessage::RoundRobin) => Strategy::RoundRobin,
        Ok(StrategyMessage::DispatchToSingle) => Strategy::DispatchToSingle,
        Ok(StrategyMessage::Pinned) => Strategy::Pinned,
        Err(_) => return Err(Malformed::new("strategy", "no such strategy")),
    };
    let give_up = match GiveUpMessage::try_from(it.give_up) {
        Ok(GiveUpMessage::Park | GiveUpMessage::Unspecified) => GiveUp::Park,
        Ok(GiveUpMessage::Skip) => GiveUp::Skip,
        Ok(GiveUpMessage::Retry) => GiveUp::Stop,
        Err(_) => return Err(Malformed::new("give_up", "no such way to give up")),
    };
    let backoff = Backoff {
        first: Duration::from_millis(it.backoff_first_ms),
        max: Duration::from_millis(it.backoff_max_ms),
    };
    Ok(GroupConfig {
        name: it.name,
        query: query(it.query)?,
        after: Position::new(it.after),
        key: it.key_tag.map_or(KeyBy::Stream, KeyBy::Tag),
        strategy,
        timeout: it.timeout_ms.map(Duration::from_millis),
        on_error: OnError { retries: it.retries, backoff, give_up },
        in_flight_max: count(it.in_flight_max),
        parked_max: count(it.parked_max),
        member_count_max: count(it.member_count_max),
    })
}

/// How a group is.
///
/// # Errors
///
/// [`Malformed`] if its configuration or state is not valid.
pub fn group_status(message: proto::GetGroupResponse) -> Result<GroupStatus, Malformed> {
    let checkpoint = Position::new(message.checkpoint);
    let run = |run| group_run(run, checkpoint, message.lag, message.parked_count);
    Ok(GroupStatus {
        config: Arc::new(group_config(message.config)?),
        checkpoint,
        lag: message.lag,
        parked_count: message.parked_count,
        running: message.running.map(run).transpose()?,
    })
}

fn group_run(
    it: proto::GroupRun,
    checkpoint: Position,
    lag: u64,
    parked: u64,
) -> Result<GroupInfo, Malformed> {
    let member = |it: proto::GroupMember| MemberInfo {
        id: MemberId::new(it.id),
        name: it.name,
        principal: it.principal,
        peer: String::new(),
        capacity: count(it.capacity),
        in_flight: count(it.in_flight),
        total: it.total,
        last_second: it.last_second,
    };
    let counts = GroupCounts {
        in_flight: count(it.in_flight),
        ready: count(it.ready),
        waiting: count(it.waiting),
        blocked: count(it.blocked),
        parked: count(parked),
        held: count(it.in_flight.saturating_add(it.ready).saturating_add(it.waiting))
            .saturating_add(count(it.blocked)),
        replaying: 0,
    };
    Ok(GroupInfo {
        state: component_state(it.state)?,
        epoch: it.epoch,
        checkpoint,
        position: Position::new(it.position),
        read_to: Position::new(it.position),
        lag,
        counts,
        settled_total: it.settled,
        settled_last_second: it.settled_last_second,
        last_error: it.last_error,
        members: it.members.into_iter().map(member).collect(),
    })
}

/// Who joins which group.
///
/// # Errors
///
/// [`Malformed`] if the capacity is not 1 to [`CAPACITY_MAX`], or the name is too long.
pub fn join_group(message: proto::JoinGroup) -> Result<(String, Joining), Malformed> {
    if !(1..=CAPACITY_MAX).contains(&message.capacity) {
        return Err(Malformed::new("capacity", "it is 1 to 10,000"));
    }
    if message.name.len() > 255 {
        return Err(Malformed::new("name", "it has at most 255 bytes"));
    }
    let joining = Joining { name: message.name, ..Joining::new(count(message.capacity)) };
    Ok((message.group, joining))
}

/// What becomes of an event that was not handled.
///
/// # Errors
///
/// [`Malformed`] if there is no such action.
pub fn nack(action: i32) -> Result<Nack, Malformed> {
    use proto::nack_events::Action;
    match Action::try_from(action) {
        Ok(Action::Retry | Action::Unspecified) => Ok(Nack::Retry),
        Ok(Action::Park) => Ok(Nack::Park),
        Ok(Action::Skip) => Ok(Nack::Skip),
        Err(_) => Err(Malformed::new("action", "no such action")),
    }
}

/// An event for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "members take it apart")]
pub struct Dispatched {
    /// What the member answers with. Of two dispatches of one key the later one has the higher
    /// number, whoever gets it: present it with effects that can be fenced.
    pub number: u64,
    /// How often it was tried before.
    pub retry_count: u32,
    /// Its key.
    pub key: String,
    /// The event.
    pub event: RecordedEvent,
}

/// Events for a member.
///
/// # Errors
///
/// [`Malformed`] if the events are, or there is not one number, count and key for each.
pub fn dispatches(message: proto::DispatchedEvents) -> Result<Vec<Dispatched>, Malformed> {
    let batch = events(message.events.ok_or_else(|| Malformed::missing("events"))?)?;
    let counts = [message.numbers.len(), message.retry_counts.len(), message.keys.len()];
    if counts != [batch.count(); 3] {
        return Err(Malformed::new("numbers", "there is not one for each event"));
    }
    let rest = message.numbers.into_iter().zip(message.retry_counts).zip(message.keys);
    let dispatched = rest.zip(batch.iter()).map(|(((number, retry_count), key), event)| {
        Dispatched { number, retry_count, key, event: event.to_recorded() }
    });
    Ok(dispatched.collect())
}

/// An event that was set aside.
pub(crate) fn parked_item(item: proto::ParkedItem) -> ParkedItem {
    ParkedItem { position: Position::new(item.position), key: item.key, cause: item.cause }
}
