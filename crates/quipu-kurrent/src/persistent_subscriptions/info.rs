//! How a persistent subscription is, as clients are told.

use quipu_core::ComponentState;
use quipu_groups::group::{GroupInfo, MemberInfo};

use super::backing::place_text;
use super::settings::{Config, Origin, Start};
use super::subsystem::Status;
use crate::proto::event_store::client::persistent_subscriptions as wire;
use wire::subscription_info::ConnectionInfo;

pub(super) fn to_proto(status: &Status) -> wire::SubscriptionInfo {
    let (config, running) = (&*status.config, status.running.as_ref());
    let key = &config.key;
    let text = |place: u64| place_text(key, place);
    let counts = running.map(|info| info.counts).unwrap_or_default();
    let in_flight = number(counts.in_flight);
    wire::SubscriptionInfo {
        event_source: key.origin.name().to_owned(),
        group_name: key.group.clone(),
        status: state_text(running).to_owned(),
        connections: running.map(connections).unwrap_or_default(),
        average_per_second: running.map_or(0, |info| count(info.settled_last_second)),
        total_items: running.map_or(0, |info| info.settled_total.cast_signed()),
        count_since_last_measurement: running
            .map_or(0, |info| info.settled_last_second.cast_signed()),
        last_checkpointed_event_position: status.saved.map(text).unwrap_or_default(),
        last_known_event_position: status.last.map(text).unwrap_or_default(),
        resolve_link_tos: config.resolves_links,
        start_from: start_text(config),
        message_timeout_milliseconds: config.message_timeout_ms,
        extra_statistics: config.extra_statistics,
        max_retry_count: config.max_retry_count,
        live_buffer_size: config.live_buffer_size,
        buffer_size: config.history_buffer_size,
        read_batch_size: config.read_batch_size,
        check_point_after_milliseconds: config.checkpoint_after_ms,
        min_check_point_count: config.min_checkpoint_count,
        max_check_point_count: config.max_checkpoint_count,
        read_buffer_count: number(counts.ready),
        live_buffer_count: 0,
        retry_buffer_count: number(counts.waiting),
        total_in_flight_messages: in_flight,
        outstanding_messages_count: in_flight,
        named_consumer_strategy: config.sharing.name().to_owned(),
        max_subscriber_count: config.max_subscriber_count,
        parked_message_count: status.parked_count.cast_signed(),
    }
}

fn state_text(running: Option<&GroupInfo>) -> &'static str {
    match running {
        Some(info) if info.counts.replaying > 0 => "Live, ReplayingParkedMessages",
        Some(info) if info.state == ComponentState::CatchingUp => "Behind",
        // One without consumers goes on from where it is as soon as there are some.
        Some(_) | None => "Live",
    }
}

fn start_text(config: &Config) -> String {
    match (config.start, &config.key.origin) {
        (Start::Beginning, Origin::Stream(_)) => "0".to_owned(),
        (Start::Beginning, Origin::All) => "C:0/P:0".to_owned(),
        (Start::End, Origin::Stream(_)) => "-1".to_owned(),
        (Start::End, Origin::All) => "C:-1/P:-1".to_owned(),
        (Start::At(revision), Origin::Stream(_)) => revision.to_string(),
        (Start::At(position), Origin::All) => format!("C:{position}/P:{position}"),
    }
}

fn connections(info: &GroupInfo) -> Vec<ConnectionInfo> {
    let connection = |member: &MemberInfo| ConnectionInfo {
        from: member.peer.clone(),
        username: member.principal.clone(),
        average_items_per_second: count(member.last_second),
        total_items: member.total.cast_signed(),
        count_since_last_measurement: member.last_second.cast_signed(),
        observed_measurements: Vec::new(),
        available_slots: number(member.capacity.saturating_sub(member.in_flight)),
        in_flight_messages: number(member.in_flight),
        connection_name: member.name.clone(),
    };
    info.members.iter().map(connection).collect()
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
