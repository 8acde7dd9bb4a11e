//! Consumer groups, as messages.

use quipu_core::{ComponentState, EventBatch, ParkedItem};
use quipu_groups::GiveUp;
use quipu_groups::group::{
    Dispatch, GroupConfig, GroupEvent, GroupInfo, GroupStatus, KeyBy, Nack, Strategy,
};

use super::{encode_events, parts_size, query};
use crate::proto;

/// What a group is.
pub fn group_config(config: &GroupConfig) -> proto::GroupConfig {
    use proto::group_config::{GiveUp as GiveUpMessage, Strategy as StrategyMessage};
    let strategy = match config.strategy {
        Strategy::ByKey => StrategyMessage::ByKey,
        Strategy::RoundRobin => StrategyMessage::RoundRobin,
        Strategy::DispatchToSingle => StrategyMessage::DispatchToSingle,
        Strategy::Pinned => StrategyMessage::Pinned,
    };
    let give_up = match config.on_error.give_up {
        GiveUp::Stop => GiveUpMessage::Retry,
        GiveUp::Park => GiveUpMessage::Park,
        GiveUp::Skip => GiveUpMessage::Skip,
    };
    proto::GroupConfig {
        name: config.name.clone(),
        query: Some(query(&config.query)),
        after: config.after.get(),
        key_tag: match &config.key {
            KeyBy::Stream => None,
            KeyBy::Tag(prefix) => Some(prefix.clone()),
        },
        strategy: strategy.into(),
        timeout_ms: config.timeout.map(millis),
        retries: config.on_error.retries,
        backoff_first_ms: millis(config.on_error.backoff.first),
        backoff_max_ms: millis(config.on_error.backoff.max),
        give_up: give_up.into(),
        in_flight_max: config.in_flight_max as u64,
        parked_max: config.parked_max as u64,
        member_count_max: config.member_count_max as u64,
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How a group is.
pub fn group_status(status: &GroupStatus) -> proto::GetGroupResponse {
    proto::GetGroupResponse {
        config: Some(group_config(&status.config)),
        checkpoint: status.checkpoint.get(),
        lag: status.lag,
        parked_count: status.parked_count,
        running: status.running.as_ref().map(group_run),
    }
}

fn group_run(info: &GroupInfo) -> proto::GroupRun {
    let member = |it: &quipu_groups::group::MemberInfo| proto::GroupMember {
        id: it.id.get(),
        name: it.name.clone(),
        principal: it.principal.clone(),
        capacity: it.capacity as u64,
        in_flight: it.in_flight as u64,
        total: it.total,
        last_second: it.last_second,
    };
    proto::GroupRun {
        state: component_state(info.state).into(),
        epoch: info.epoch,
        position: info.position.get(),
        in_flight: info.counts.in_flight as u64,
        ready: info.counts.ready as u64,
        waiting: info.counts.waiting as u64,
        blocked: info.counts.blocked as u64,
        settled: info.settled_total,
        settled_last_second: info.settled_last_second,
        last_error: info.last_error.clone(),
        members: info.members.iter().map(member).collect(),
    }
}

/// What a component is doing.
pub(super) fn component_state(state: ComponentState) -> proto::component_status::State {
    use proto::component_status::State;
    match state {
        ComponentState::CatchingUp => State::CatchingUp,
        ComponentState::Live => State::Live,
        ComponentState::Paused => State::Paused,
        ComponentState::Stopped => State::Stopped,
        ComponentState::Retrying => State::Retrying,
    }
}

/// Events for a member, in messages of at most `size_max` bytes, but with one event at least.
pub fn dispatches(
    dispatches: &[Dispatch<GroupEvent>],
    size_max: usize,
) -> Vec<proto::DispatchedEvents> {
    let batch: EventBatch = dispatches.iter().map(|it| &*it.item.event).collect();
    let mut pages = Vec::new();
    let (mut begin, mut size) = (0, 0);
    for (index, event) in batch.iter().enumerate() {
        let own = parts_size(event) + super::COLUMNS_SIZE + KEY_SIZE;
        if size + own > size_max && index > begin {
            pages.push(page(&batch, dispatches, begin..index));
            (begin, size) = (index, 0);
        }
        size += own;
    }
    if begin < dispatches.len() {
        pages.push(page(&batch, dispatches, begin..dispatches.len()));
    }
    pages
}

/// About what a dispatch takes beside its event.
const KEY_SIZE: usize = 64;

fn page(
    batch: &EventBatch,
    dispatches: &[Dispatch<GroupEvent>],
    range: std::ops::Range<usize>,
) -> proto::DispatchedEvents {
    let events: Vec<_> = range.clone().filter_map(|index| batch.get(index)).collect();
    let own = dispatches.get(range).unwrap_or_default();
    proto::DispatchedEvents {
        events: Some(encode_events(&events)),
        numbers: own.iter().map(|it| it.number).collect(),
        retry_counts: own.iter().map(|it| it.retry_count).collect(),
        keys: own.iter().map(|it| it.item.key.to_string()).collect(),
    }
}

/// What becomes of an event that was not handled.
pub(crate) fn nack(nack: Nack) -> proto::nack_events::Action {
    use proto::nack_events::Action;
    match nack {
        Nack::Retry => Action::Retry,
        Nack::Park => Action::Park,
        Nack::Skip => Action::Skip,
    }
}

/// An event that was set aside.
pub fn parked_item(item: ParkedItem) -> proto::ParkedItem {
    proto::ParkedItem { position: item.position.get(), key: item.key, cause: item.cause }
}
