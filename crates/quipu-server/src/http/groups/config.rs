//! What a group is, from bodies and to bodies.

use std::time::Duration;

use quipu_core::Position;
use quipu_groups::group::{
    GroupConfig, KeyBy, give_up_name, give_up_of, strategy_name, strategy_of,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::problem::Problem;
use crate::http::request::query_of;
use crate::text;

/// What a group is.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupOut {
    /// Its name.
    name: String,
    /// Which events: those that match any of these.
    queries: Vec<String>,
    /// Where it begins: behind this position.
    after: u64,
    /// What makes an event's key: its first tag that begins with this and a colon. Null: the stream.
    key_tag: Option<String>,
    /// by-key, round-robin, dispatch-to-single or pinned.
    strategy: &'static str,
    /// How long a member may take for an event; null: as long as it takes.
    timeout_ms: Option<u64>,
    /// How often an event is tried again.
    retries: u32,
    /// The longest wait before the second attempt; it doubles with each further one.
    backoff_first_ms: u64,
    /// The longest wait before any attempt.
    backoff_max_ms: u64,
    /// What happens to an event that was tried that often: park, skip or retry.
    give_up: &'static str,
    /// The most events that are with members at a time.
    in_flight_max: u64,
    /// The most parked events.
    parked_max: u64,
    /// The most members; 0 is any number.
    member_count_max: u64,
}

impl From<&GroupConfig> for GroupOut {
    fn from(config: &GroupConfig) -> Self {
        Self {
            name: config.name.clone(),
            queries: config.query.items.iter().map(text::of_query_item).collect(),
            after: config.after.get(),
            key_tag: match &config.key {
                KeyBy::Stream => None,
                KeyBy::Tag(prefix) => Some(prefix.clone()),
            },
            strategy: strategy_name(config.strategy),
            timeout_ms: config.timeout.map(millis),
            retries: config.on_error.retries,
            backoff_first_ms: millis(config.on_error.backoff.first),
            backoff_max_ms: millis(config.on_error.backoff.max),
            give_up: give_up_name(config.on_error.give_up),
            in_flight_max: config.in_flight_max as u64,
            parked_max: config.parked_max as u64,
            member_count_max: config.member_count_max as u64,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A group that is to be. What is left out is as usual.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGroup)]
pub(super) struct GroupIn {
    /// Which events: those that match any of these, 1 to 100.
    #[schema(example = json!(["category:order"]))]
    queries: Vec<String>,
    /// Begin behind this position.
    after: Option<u64>,
    /// Where to begin, in place of `after`: start (the default) or end.
    from: Option<String>,
    /// What makes an event's key: its first tag that begins with this and a colon. The stream, where
    /// it is left out.
    key_tag: Option<String>,
    /// by-key (the default), round-robin, dispatch-to-single or pinned.
    strategy: Option<String>,
    /// How long a member may take for an event, at least 10; 0: as long as it takes. 30,000, where
    /// it is left out.
    timeout_ms: Option<u64>,
    /// How often an event is tried again; 10, where it is left out.
    retries: Option<u32>,
    /// The longest wait before the second attempt; it doubles with each further one.
    backoff_first_ms: Option<u64>,
    /// The longest wait before any attempt.
    backoff_max_ms: Option<u64>,
    /// What happens to an event that was tried that often: park (the default), skip or retry.
    give_up: Option<String>,
    /// The most events that are with members at a time.
    in_flight_max: Option<u64>,
    /// The most parked events.
    parked_max: Option<u64>,
    /// The most members; 0 (the default) is any number.
    member_count_max: Option<u64>,
}

impl GroupIn {
    /// The group, and whether it begins at the end of the log.
    pub(super) fn parse(self, name: &str) -> Result<(GroupConfig, bool), Problem> {
        let is_from_end = match (self.after, self.from.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(Problem::malformed("a group has from or after, not both"));
            }
            (_, None | Some("start")) => false,
            (_, Some("end")) => true,
            (_, Some(other)) => {
                return Err(Problem::malformed(format!("from is start or end, not {other:?}")));
            }
        };
        let mut usual = GroupConfig::new(name, query_of(&self.queries)?);
        usual.after = Position::new(self.after.unwrap_or_default());
        usual.key = self.key_tag.map_or(KeyBy::Stream, KeyBy::Tag);
        let settings = SettingsIn {
            strategy: self.strategy,
            timeout_ms: self.timeout_ms,
            retries: self.retries,
            backoff_first_ms: self.backoff_first_ms,
            backoff_max_ms: self.backoff_max_ms,
            give_up: self.give_up,
            in_flight_max: self.in_flight_max,
            parked_max: self.parked_max,
            member_count_max: self.member_count_max,
        };
        Ok((settings.apply(&usual)?, is_from_end))
    }
}

/// What of a group can be changed. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GroupSettings)]
pub(super) struct SettingsIn {
    /// by-key, round-robin, dispatch-to-single or pinned.
    strategy: Option<String>,
    /// How long a member may take for an event, at least 10; 0: as long as it takes.
    timeout_ms: Option<u64>,
    /// How often an event is tried again.
    retries: Option<u32>,
    /// The longest wait before the second attempt; it doubles with each further one.
    backoff_first_ms: Option<u64>,
    /// The longest wait before any attempt.
    backoff_max_ms: Option<u64>,
    /// What happens to an event that was tried that often: park, skip or retry.
    give_up: Option<String>,
    /// The most events that are with members at a time.
    in_flight_max: Option<u64>,
    /// The most parked events.
    parked_max: Option<u64>,
    /// The most members; 0 is any number.
    member_count_max: Option<u64>,
}

impl SettingsIn {
    /// The group with these settings in place of its own.
    pub(super) fn apply(self, to: &GroupConfig) -> Result<GroupConfig, Problem> {
        let mut config = to.clone();
        if let Some(name) = self.strategy {
            let hint = "a strategy is by-key, round-robin, dispatch-to-single or pinned";
            config.strategy = named(strategy_of, "strategy", &name, hint)?;
        }
        if let Some(name) = self.give_up {
            let hint = "a group gives up by park or skip, or never: retry";
            config.on_error.give_up = named(give_up_of, "give_up", &name, hint)?;
        }
        if let Some(timeout) = self.timeout_ms {
            config.timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
        }
        let on_error = &mut config.on_error;
        on_error.retries = self.retries.unwrap_or(on_error.retries);
        let backoff = &mut on_error.backoff;
        backoff.first = self.backoff_first_ms.map_or(backoff.first, Duration::from_millis);
        backoff.max = self.backoff_max_ms.map_or(backoff.max, Duration::from_millis);
        config.in_flight_max = self.in_flight_max.map_or(config.in_flight_max, size);
        config.parked_max = self.parked_max.map_or(config.parked_max, size);
        config.member_count_max = self.member_count_max.map_or(config.member_count_max, size);
        config.check().map_err(Problem::malformed)?;
        Ok(config)
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn named<T>(
    of: impl FnOnce(&str) -> Option<T>,
    what: &'static str,
    name: &str,
    hint: &str,
) -> Result<T, Problem> {
    let unknown = || Problem::malformed(format!("there is no {what} {name:?}")).hint(hint);
    of(name).ok_or_else(unknown)
}
