//! What a group of a store is: which events, in which order, with which limits.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{EventRef, EventType, Position, Query, QueryItem, StreamName, Tags};
use serde_json::{Map, Value, json};

use super::settings::{GroupSettings, Strategy};
use crate::policy::{Backoff, GiveUp, OnError};

/// The most bytes of a group's name.
pub const GROUP_NAME_SIZE_MAX: usize = 200;
/// The most items of a group's query.
pub const GROUP_QUERY_COUNT_MAX: usize = 100;

/// The key within which order is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers build it")]
pub enum KeyBy {
    /// The event's stream.
    #[default]
    Stream,
    /// The event's first tag that begins with this and a `:`; the stream of an event without one.
    Tag(String),
}

impl KeyBy {
    /// An event's key.
    pub fn key(&self, event: EventRef<'_>) -> Arc<str> {
        let is_own = |tag: &str, prefix: &str| {
            tag.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(':'))
        };
        match self {
            Self::Stream => event.stream().into(),
            Self::Tag(prefix) => {
                let own = event.tags().find(|tag| is_own(tag, prefix));
                own.unwrap_or_else(|| event.stream()).into()
            }
        }
    }
}

/// What a group of a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct GroupConfig {
    /// Its name: 1 to [`GROUP_NAME_SIZE_MAX`] bytes without control characters.
    pub name: String,
    /// Which events. Those of reserved streams only where an item names their stream or category.
    pub query: Query,
    /// Where it begins: behind this place.
    pub after: Position,
    /// The key within which order is kept, and by which members are pinned.
    pub key: KeyBy,
    /// Which member gets an event.
    pub strategy: Strategy,
    /// How long a member may take for an event; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// What happens to events that were tried in vain.
    pub on_error: OnError,
    /// The most events that are with members at a time, all of them together.
    pub in_flight_max: usize,
    /// The most parked events.
    pub parked_max: usize,
    /// The most members; 0 is any number.
    pub member_count_max: usize,
}

impl GroupConfig {
    /// A group of this name over these events, from the log's first one on, with the usual limits:
    /// in order per stream, 30 s for an event, 10 retries, then parked.
    pub fn new(name: &str, query: Query) -> Self {
        let usual = GroupSettings::default();
        Self {
            name: name.to_owned(),
            query,
            after: Position::START,
            key: KeyBy::Stream,
            strategy: usual.strategy,
            timeout: usual.timeout,
            on_error: usual.on_error,
            in_flight_max: usual.in_flight_max,
            parked_max: usual.parked_max.unwrap_or(usize::MAX),
            member_count_max: 0,
        }
    }

    /// What the machine goes by.
    pub fn settings(&self) -> GroupSettings {
        let usual = GroupSettings::default();
        GroupSettings {
            strategy: self.strategy,
            in_flight_max: self.in_flight_max,
            buffer_max: usual.buffer_max.max(self.in_flight_max.saturating_mul(2)),
            timeout: self.timeout,
            on_error: self.on_error,
            parked_max: Some(self.parked_max),
            ..usual
        }
    }

    /// Whether an event that matches the query is one of the group's.
    pub(super) fn is_own(&self, event: EventRef<'_>) -> bool {
        let is_reserved = |name: &str| name.starts_with('$');
        let names = |item: &QueryItem| {
            let stream = item.stream.as_ref().is_some_and(|stream| is_reserved(stream.as_str()));
            (stream || item.category.as_deref().is_some_and(is_reserved)) && item.matches(event)
        };
        !is_reserved(event.stream()) || self.query.items.iter().any(names)
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    ///
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let size = self.name.len();
        if size == 0 || size > GROUP_NAME_SIZE_MAX || self.name.chars().any(char::is_control) {
            return Err(format!(
                "a group's name has 1 to {GROUP_NAME_SIZE_MAX} bytes and no control characters"
            ));
        }
        let count = self.query.items.len();
        if count == 0 || count > GROUP_QUERY_COUNT_MAX {
            return Err(format!("a group has 1 to {GROUP_QUERY_COUNT_MAX} queries, not {count}"));
        }
        if let KeyBy::Tag(prefix) = &self.key
            && (prefix.is_empty() || prefix.len() > 200 || prefix.contains(':'))
        {
            return Err(format!(
                "\"{prefix}\" is no prefix of tags: it has 1 to 200 bytes and no colon"
            ));
        }
        if !(1..=1_000_000).contains(&self.in_flight_max) {
            return Err(format!(
                "1 to 1,000,000 events may be in flight, not {}",
                self.in_flight_max
            ));
        }
        if self.parked_max > 1_000_000 {
            return Err(format!("at most 1,000,000 events are parked, not {}", self.parked_max));
        }
        if self.timeout.is_some_and(|timeout| timeout < Duration::from_millis(10)) {
            return Err("a member has at least 10 ms for an event".to_owned());
        }
        Ok(())
    }

    /// As JSON, the way it is kept.
    pub(super) fn to_json(&self) -> Value {
        let (key, tag) = match &self.key {
            KeyBy::Stream => ("stream", Value::Null),
            KeyBy::Tag(prefix) => ("tag", prefix.as_str().into()),
        };
        json!({
            "name": self.name,
            "query": self.query.items.iter().map(item_to_json).collect::<Vec<_>>(),
            "after": self.after.get(),
            "key": key,
            "tag": tag,
            "strategy": strategy_name(self.strategy),
            "timeoutMs": self.timeout.map(millis),
            "retries": self.on_error.retries,
            "backoffFirstMs": millis(self.on_error.backoff.first),
            "backoffMaxMs": millis(self.on_error.backoff.max),
            "giveUp": give_up_name(self.on_error.give_up),
            "inFlightMax": self.in_flight_max,
            "parkedMax": self.parked_max,
            "memberCountMax": self.member_count_max,
        })
    }

    /// From JSON, the way it is kept. What is missing is as usual.
    pub(super) fn from_json(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let size = |key: &str| number(key).and_then(|number| usize::try_from(number).ok());
        let items = value.get("query")?.as_array()?;
        let items = items.iter().map(item_from_json).collect::<Option<_>>()?;
        let usual = Self::new(text("name")?, Query { items });
        let backoff = usual.on_error.backoff;
        Some(Self {
            after: Position::new(number("after").unwrap_or_default()),
            key: match (text("key"), text("tag")) {
                (Some("tag"), Some(prefix)) => KeyBy::Tag(prefix.to_owned()),
                _ => KeyBy::Stream,
            },
            strategy: text("strategy").and_then(strategy_of).unwrap_or_default(),
            timeout: number("timeoutMs").map(Duration::from_millis),
            on_error: OnError {
                retries: number("retries").and_then(|it| u32::try_from(it).ok()).unwrap_or(10),
                backoff: Backoff {
                    first: number("backoffFirstMs").map_or(backoff.first, Duration::from_millis),
                    max: number("backoffMaxMs").map_or(backoff.max, Duration::from_millis),
                },
                give_up: text("giveUp").and_then(give_up_of).unwrap_or(GiveUp::Park),
            },
            in_flight_max: size("inFlightMax").unwrap_or(usual.in_flight_max),
            parked_max: size("parkedMax").unwrap_or(usual.parked_max),
            member_count_max: size("memberCountMax").unwrap_or_default(),
            ..usual
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A strategy's name: `by-key`, `round-robin`, `dispatch-to-single`, `pinned`.
pub fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::ByKey => "by-key",
        Strategy::RoundRobin => "round-robin",
        Strategy::DispatchToSingle => "dispatch-to-single",
        Strategy::Pinned => "pinned",
    }
}

/// The strategy of that name.
pub fn strategy_of(name: &str) -> Option<Strategy> {
    let all = [Strategy::ByKey, Strategy::RoundRobin, Strategy::DispatchToSingle, Strategy::Pinned];
    all.into_iter().find(|own| strategy_name(*own) == name)
}

/// What a group does with an event that was tried often enough: `park`, `skip`, `retry` for ever.
pub fn give_up_name(give_up: GiveUp) -> &'static str {
    match give_up {
        GiveUp::Stop => "retry",
        GiveUp::Park => "park",
        GiveUp::Skip => "skip",
    }
}

/// What has that name, see [`give_up_name`].
pub fn give_up_of(name: &str) -> Option<GiveUp> {
    let all = [GiveUp::Stop, GiveUp::Park, GiveUp::Skip];
    all.into_iter().find(|own| give_up_name(*own) == name)
}

fn item_to_json(item: &QueryItem) -> Value {
    let mut fields = Map::new();
    if !item.types.is_empty() {
        let types: Vec<&str> = item.types.iter().map(EventType::as_str).collect();
        fields.insert("types".to_owned(), types.into());
    }
    if !item.tags.is_empty() {
        fields.insert("tags".to_owned(), item.tags.iter().collect::<Vec<_>>().into());
    }
    if let Some(stream) = &item.stream {
        fields.insert("stream".to_owned(), stream.as_str().into());
    }
    if let Some(category) = &item.category {
        fields.insert("category".to_owned(), category.as_str().into());
    }
    fields.into()
}

fn item_from_json(value: &Value) -> Option<QueryItem> {
    let texts = |key: &str| -> Option<Vec<&str>> {
        let Some(list) = value.get(key) else { return Some(Vec::new()) };
        list.as_array()?.iter().map(Value::as_str).collect()
    };
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let types = texts("types")?;
    Some(QueryItem {
        types: types.into_iter().map(EventType::new).collect::<Result<_, _>>().ok()?,
        tags: Tags::parse(texts("tags")?).ok()?,
        stream: text("stream").map(StreamName::new).transpose().ok()?,
        category: text("category").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_kept_whole() {
        let query = Query {
            items: vec![
                "type:A,B tag:x:1 category:order".parse().unwrap(),
                "stream:order-1".parse().unwrap(),
                QueryItem::default(),
            ],
        };
        let config = GroupConfig {
            after: Position::new(7),
            key: KeyBy::Tag("order".to_owned()),
            strategy: Strategy::Pinned,
            timeout: None,
            on_error: OnError::retry(3).then_skip(),
            in_flight_max: 5,
            parked_max: 6,
            member_count_max: 2,
            ..GroupConfig::new("billing", query)
        };

        let kept = GroupConfig::from_json(config.to_json().to_string().as_bytes());

        assert_eq!(kept, Some(config));
    }

    #[test]
    fn what_is_wrong_with_a_config_is_said() {
        let well = GroupConfig::new("billing", Query::all());
        assert_eq!(well.check(), Ok(()));

        let wrong = [
            GroupConfig { name: String::new(), ..well.clone() },
            GroupConfig { name: "a\nb".to_owned(), ..well.clone() },
            GroupConfig { query: Query::nothing(), ..well.clone() },
            GroupConfig { key: KeyBy::Tag("a:b".to_owned()), ..well.clone() },
            GroupConfig { in_flight_max: 0, ..well.clone() },
            GroupConfig { timeout: Some(Duration::ZERO), ..well },
        ];
        for config in wrong {
            assert!(config.check().is_err(), "{config:?}");
        }
    }
}
