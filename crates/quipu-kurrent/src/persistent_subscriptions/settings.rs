//! What a persistent subscription is: its source, its start, its settings.

use std::time::Duration;

use quipu_core::{EventRef, StreamName};
use quipu_groups::group::{GroupSettings, Strategy};
use quipu_groups::{Backoff, OnError};
use serde::{Deserialize, Serialize};

use crate::convert::{LINK_TYPE, stream_name};
use crate::failure::Failure;
use crate::proto::event_store::client::persistent_subscriptions as wire;
use crate::proto::event_store::client::{
    FilterOptions, StreamIdentifier, filter_options, stream_options,
};
use crate::streams::Filter;

/// The most bytes that the events held by one subscription have.
const BUFFER_SIZE_MAX: usize = 64 << 20;

/// What a subscription's events come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Origin {
    Stream(String),
    All,
}

impl Origin {
    /// As messages and names of streams have it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Stream(stream) => stream,
            Self::All => "$all",
        }
    }
}

/// Which subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) origin: Origin,
    pub(super) group: String,
}

impl Key {
    pub(super) fn of_stream(
        identifier: Option<&StreamIdentifier>,
        group: String,
    ) -> Result<Self, Failure> {
        let stream = stream_name(identifier)?.to_string();
        Self::new(if stream == "$all" { Origin::All } else { Origin::Stream(stream) }, group)
    }

    pub(super) fn of_all(group: String) -> Result<Self, Failure> {
        Self::new(Origin::All, group)
    }

    fn new(origin: Origin, group: String) -> Result<Self, Failure> {
        if group.is_empty() || group.len() > 1_000 || group.chars().any(char::is_control) {
            let reason = "a group's name has 1 to 1,000 bytes and no control characters";
            return Err(Failure::invalid(reason));
        }
        Ok(Self { origin, group })
    }

    /// The id that consumers are told, and the middle of its streams' names.
    pub(super) fn id(&self) -> String {
        format!("{}::{}", self.origin.name(), self.group)
    }

    pub(super) fn missing(&self) -> Failure {
        let (stream, group) = self.names();
        Failure::SubscriptionMissing { stream, group }
    }

    pub(super) fn exists(&self) -> Failure {
        let (stream, group) = self.names();
        Failure::SubscriptionExists { stream, group }
    }

    pub(super) fn dropped(&self) -> Failure {
        let (stream, group) = self.names();
        Failure::SubscriptionDropped { stream, group }
    }

    pub(super) fn full(&self) -> Failure {
        let (stream, group) = self.names();
        Failure::TooManySubscribers { stream, group }
    }

    pub(super) fn failed(&self, reason: impl Into<String>) -> Failure {
        let (stream, group) = self.names();
        Failure::SubscriptionFailed { stream, group, reason: reason.into() }
    }

    fn names(&self) -> (String, String) {
        (self.origin.name().to_owned(), self.group.clone())
    }
}

/// Where a subscription begins, as its creator said. The first place is delivered too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Start {
    Beginning,
    /// A revision, or a position.
    At(u64),
    End,
}

/// How consumers share events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sharing {
    DispatchToSingle,
    RoundRobin,
    Pinned,
    PinnedByCorrelation,
}

impl Sharing {
    const ALL: [Self; 4] =
        [Self::DispatchToSingle, Self::RoundRobin, Self::Pinned, Self::PinnedByCorrelation];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DispatchToSingle => "DispatchToSingle",
            Self::RoundRobin => "RoundRobin",
            Self::Pinned => "Pinned",
            Self::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    fn strategy(self) -> Strategy {
        match self {
            Self::DispatchToSingle => Strategy::DispatchToSingle,
            Self::RoundRobin => Strategy::RoundRobin,
            Self::Pinned | Self::PinnedByCorrelation => Strategy::Pinned,
        }
    }
}

/// A filter as it came, kept to be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptFilter {
    on_streams: bool,
    regex: String,
    prefixes: Vec<String>,
    window: Option<u32>,
    multiplier: u32,
}

impl KeptFilter {
    fn of(options: &FilterOptions) -> Self {
        use filter_options::{Filter, Window};
        let (on_streams, expression) = match &options.filter {
            Some(Filter::StreamIdentifier(expression)) => (true, Some(expression)),
            Some(Filter::EventType(expression)) => (false, Some(expression)),
            None => (false, None),
        };
        Self {
            on_streams,
            regex: expression.map(|it| it.regex.clone()).unwrap_or_default(),
            prefixes: expression.map(|it| it.prefix.clone()).unwrap_or_default(),
            window: match options.window {
                Some(Window::Max(max)) => Some(max),
                Some(Window::Count(())) | None => None,
            },
            // Clients leave it out: a persistent subscription tells no checkpoints.
            multiplier: options.checkpoint_interval_multiplier.max(1),
        }
    }

    fn options(&self) -> FilterOptions {
        use filter_options::{Expression, Filter, Window};
        let expression = Expression { regex: self.regex.clone(), prefix: self.prefixes.clone() };
        let filter = if self.on_streams {
            Filter::StreamIdentifier(expression)
        } else {
            Filter::EventType(expression)
        };
        FilterOptions {
            filter: Some(filter),
            window: Some(self.window.map_or(Window::Count(()), Window::Max)),
            checkpoint_interval_multiplier: self.multiplier,
        }
    }

    /// The filter, made again.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        Ok(Filter::from_proto(&self.options())?)
    }
}

/// What a subscription is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    pub(super) key: Key,
    pub(super) start: Start,
    /// The first place is behind this one, counted from 1: see [`Places`](super::backing).
    pub(super) after: u64,
    pub(super) filter: Option<KeptFilter>,
    pub(super) resolves_links: bool,
    pub(super) extra_statistics: bool,
    pub(super) message_timeout_ms: i32,
    pub(super) max_retry_count: i32,
    pub(super) checkpoint_after_ms: i32,
    pub(super) min_checkpoint_count: i32,
    pub(super) max_checkpoint_count: i32,
    pub(super) max_subscriber_count: i32,
    pub(super) live_buffer_size: i32,
    pub(super) read_batch_size: i32,
    pub(super) history_buffer_size: i32,
    pub(super) sharing: Sharing,
}

impl Config {
    /// What the machine goes by.
    pub(super) fn settings(&self) -> GroupSettings {
        let size = |number: i32| usize::try_from(number).unwrap_or_default();
        let buffer = size(self.live_buffer_size).saturating_add(size(self.history_buffer_size));
        let none = Backoff { first: Duration::ZERO, max: Duration::ZERO };
        let retries = u32::try_from(self.max_retry_count).unwrap_or_default();
        GroupSettings {
            strategy: self.sharing.strategy(),
            in_flight_max: usize::MAX,
            buffer_max: buffer.max(1_000),
            buffer_size_max: BUFFER_SIZE_MAX,
            timeout: (self.message_timeout_ms > 0).then(|| millis(self.message_timeout_ms)),
            on_error: OnError::retry(retries).backoff(none).then_park(),
            parked_max: None,
            save_interval: millis(self.checkpoint_after_ms),
            save_count_min: count(self.min_checkpoint_count),
            save_count_max: count(self.max_checkpoint_count).max(1),
        }
    }

    /// What consumers are pinned by.
    pub(super) fn pin(&self, event: EventRef<'_>, target: Option<EventRef<'_>>) -> String {
        let shown = target.unwrap_or(event);
        match self.sharing {
            Sharing::RoundRobin | Sharing::DispatchToSingle => String::new(),
            Sharing::Pinned if event.event_type() == LINK_TYPE => {
                let data = std::str::from_utf8(event.data_bytes()).unwrap_or_default();
                let target = data.split_once('@').map(|(_, stream)| stream);
                target.unwrap_or_else(|| event.stream()).to_owned()
            }
            Sharing::Pinned => event.stream().to_owned(),
            Sharing::PinnedByCorrelation => {
                correlation(shown.metadata_bytes()).unwrap_or_else(|| shown.stream().to_owned())
            }
        }
    }

    /// The stream that it is over, if it is over one.
    pub(super) fn stream(&self) -> Option<StreamName> {
        match &self.key.origin {
            Origin::Stream(stream) => StreamName::new(stream).ok(),
            Origin::All => None,
        }
    }
}

fn millis(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or_default())
}

fn count(number: i32) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn correlation(metadata: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Correlated {
        #[serde(rename = "$correlationId")]
        id: String,
    }
    serde_json::from_slice::<Correlated>(metadata).ok().map(|it| it.id)
}

/// A request to create or to update, checked.
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) start: Start,
    pub(super) filter: Option<KeptFilter>,
    pub(super) settings: Settings,
}

/// The settings of both requests: an update has fewer ways to say them.
pub(super) struct Settings {
    pub(super) resolve_links: bool,
    pub(super) extra_statistics: bool,
    pub(super) message_timeout_ms: i32,
    pub(super) max_retry_count: i32,
    pub(super) checkpoint_after_ms: i32,
    pub(super) min_checkpoint_count: i32,
    pub(super) max_checkpoint_count: i32,
    pub(super) max_subscriber_count: i32,
    pub(super) live_buffer_size: i32,
    pub(super) read_batch_size: i32,
    pub(super) history_buffer_size: i32,
    /// Its name, which may be none.
    pub(super) strategy: String,
}

/// A .NET tick is 100 ns.
fn ticks_to_ms(ticks: i64) -> i32 {
    i32::try_from(ticks / 10_000).unwrap_or(i32::MAX)
}

fn strategy_name(number: i32) -> String {
    use wire::create_req::ConsumerStrategy;
    let sharing = match ConsumerStrategy::try_from(number) {
        Ok(ConsumerStrategy::DispatchToSingle) | Err(_) => Sharing::DispatchToSingle,
        Ok(ConsumerStrategy::RoundRobin) => Sharing::RoundRobin,
        Ok(ConsumerStrategy::Pinned) => Sharing::Pinned,
    };
    sharing.name().to_owned()
}

macro_rules! settings_of {
    ($name:ident, $module:ident, $strategy:expr) => {
        fn $name(it: wire::$module::Settings) -> Settings {
            use wire::$module::settings::{CheckpointAfter, MessageTimeout};
            let strategy: fn(&wire::$module::Settings) -> String = $strategy;
            Settings {
                strategy: strategy(&it),
                resolve_links: it.resolve_links,
                extra_statistics: it.extra_statistics,
                message_timeout_ms: match it.message_timeout {
                    Some(MessageTimeout::MessageTimeoutMs(ms)) => ms,
                    Some(MessageTimeout::MessageTimeoutTicks(ticks)) => ticks_to_ms(ticks),
                    None => 0,
                },
                checkpoint_after_ms: match it.checkpoint_after {
                    Some(CheckpointAfter::CheckpointAfterMs(ms)) => ms,
                    Some(CheckpointAfter::CheckpointAfterTicks(ticks)) => ticks_to_ms(ticks),
                    None => 0,
                },
                max_retry_count: it.max_retry_count,
                min_checkpoint_count: it.min_checkpoint_count,
                max_checkpoint_count: it.max_checkpoint_count,
                max_subscriber_count: it.max_subscriber_count,
                live_buffer_size: it.live_buffer_size,
                read_batch_size: it.read_batch_size,
                history_buffer_size: it.history_buffer_size,
            }
        }
    };
}

settings_of!(create_settings, create_req, |it| {
    if it.consumer_strategy.is_empty() {
        strategy_name(it.named_consumer_strategy)
    } else {
        it.consumer_strategy.clone()
    }
});
settings_of!(update_settings, update_req, |it| strategy_name(it.named_consumer_strategy));

fn no_options() -> Failure {
    Failure::invalid("the request has no options")
}

impl Asked {
    pub(super) fn to_create(request: wire::CreateReq) -> Result<Self, Failure> {
        use wire::create_req::all_options::FilterOption;
        use wire::create_req::options::StreamOption;
        let options = request.options.ok_or_else(no_options)?;
        let settings = options.settings.ok_or_else(|| Failure::invalid("there are no settings"))?;
        let (key, start, filter) = match options.stream_option {
            Some(StreamOption::Stream(own)) => {
                let identifier = own.stream_identifier.as_ref();
                let start = revision_start(own.revision_option);
                (Key::of_stream(identifier, options.group_name)?, start, None)
            }
            Some(StreamOption::All(all)) => {
                let key = Key::of_all(options.group_name)?;
                let start = create_start(&key, all.all_option)?;
                let filter = match all.filter_option {
                    Some(FilterOption::Filter(filter)) => Some(KeptFilter::of(&filter)),
                    Some(FilterOption::NoFilter(())) | None => None,
                };
                (key, start, filter)
            }
            // Older clients say it in fields that are deprecated.
            None => {
                let identifier = options.stream_identifier.as_ref();
                let key = Key::of_stream(identifier, options.group_name)?;
                (key, Start::At(settings.revision), None)
            }
        };
        if let Some(filter) = &filter {
            filter.filter()?;
        }
        Ok(Self { key, start, filter, settings: create_settings(settings) })
    }

    pub(super) fn to_update(request: wire::UpdateReq) -> Result<Self, Failure> {
        use wire::update_req::options::StreamOption;
        let options = request.options.ok_or_else(no_options)?;
        let settings = options.settings.ok_or_else(|| Failure::invalid("there are no settings"))?;
        let (key, start) = match options.stream_option {
            Some(StreamOption::Stream(own)) => {
                let identifier = own.stream_identifier.as_ref();
                let start = revision_start(own.revision_option);
                (Key::of_stream(identifier, options.group_name)?, start)
            }
            Some(StreamOption::All(all)) => {
                let key = Key::of_all(options.group_name)?;
                let start = update_start(&key, all.all_option)?;
                (key, start)
            }
            None => {
                let identifier = options.stream_identifier.as_ref();
                let key = Key::of_stream(identifier, options.group_name)?;
                (key, Start::At(settings.revision))
            }
        };
        Ok(Self { key, start, filter: None, settings: update_settings(settings) })
    }

    /// What the subscription is to be, beginning behind `after`.
    pub(super) fn config(self, after: u64) -> Result<Config, Failure> {
        let Self { key, start, filter, settings: it } = self;
        let failed = |reason: String| key.failed(reason);
        let sharing = Sharing::of_name(&it.strategy)
            .ok_or_else(|| failed(format!("Consumer strategy {} does not exist.", it.strategy)))?;
        if it.read_batch_size >= it.history_buffer_size {
            return Err(failed(
                "BufferSize must be larger than ReadBatchSize: the history buffer is too small."
                    .to_owned(),
            ));
        }
        let numbers = [
            ("message timeout", it.message_timeout_ms),
            ("max retry count", it.max_retry_count),
            ("checkpoint after", it.checkpoint_after_ms),
            ("min checkpoint count", it.min_checkpoint_count),
            ("max checkpoint count", it.max_checkpoint_count),
            ("max subscriber count", it.max_subscriber_count),
            ("live buffer size", it.live_buffer_size),
            ("read batch size", it.read_batch_size),
        ];
        if let Some((what, number)) = numbers.into_iter().find(|(_, number)| *number < 0) {
            return Err(failed(format!("The {what} is {number}, and must not be negative.")));
        }
        Ok(Config {
            start,
            after,
            filter,
            resolves_links: it.resolve_links,
            extra_statistics: it.extra_statistics,
            message_timeout_ms: it.message_timeout_ms,
            max_retry_count: it.max_retry_count,
            checkpoint_after_ms: it.checkpoint_after_ms,
            min_checkpoint_count: it.min_checkpoint_count,
            max_checkpoint_count: it.max_checkpoint_count,
            max_subscriber_count: it.max_subscriber_count,
            live_buffer_size: it.live_buffer_size,
            read_batch_size: it.read_batch_size,
            history_buffer_size: it.history_buffer_size,
            sharing,
            key,
        })
    }
}

fn revision_start(option: Option<stream_options::RevisionOption>) -> Start {
    use stream_options::RevisionOption;
    match option {
        Some(RevisionOption::Revision(revision)) => Start::At(revision),
        Some(RevisionOption::End(())) => Start::End,
        Some(RevisionOption::Start(())) | None => Start::Beginning,
    }
}

macro_rules! all_start {
    ($name:ident, $module:ident) => {
        fn $name(
            key: &Key,
            option: Option<wire::$module::all_options::AllOption>,
        ) -> Result<Start, Failure> {
            use wire::$module::all_options::AllOption;
            match option {
                Some(AllOption::Position(place)) => {
                    if place.prepare_position > place.commit_position {
                        let reason = "The prepare position is beyond the commit position.";
                        return Err(key.failed(reason));
                    }
                    Ok(Start::At(place.commit_position))
                }
                Some(AllOption::End(())) => Ok(Start::End),
                Some(AllOption::Start(())) | None => Ok(Start::Beginning),
            }
        }
    };
}

all_start!(create_start, create_req);
all_start!(update_start, update_req);
