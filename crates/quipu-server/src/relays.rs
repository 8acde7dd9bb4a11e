//! Relays as configuration: which events are published, what of them, and where to.
//!
//! A file describes one relay; `quipu relay run` runs it, and `quipu serve --relays DIRECTORY` all that
//! are in a directory. More than selecting, renaming and dropping is a program's: see
//! [`quipu_relay::Relay::map`].

mod counted;
mod file;
mod nats;
mod rule;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_core::{EventStore, Position, Query, SubscribeFrom};
use quipu_groups::{OnError, RunnerStatus, Running};
use quipu_relay::Relay;
use tokio::sync::watch::Receiver;
use toml::Spanned;

use crate::metrics::PublishCounts;
use crate::service::Service;
use counted::Counted;
use file::{File, From, GiveUp};
use rule::Rule;

/// A relay as a file describes it, checked as far as that goes without the cluster.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    path: PathBuf,
    text: String,
    file: File,
    query: Query,
}

/// Why a relay cannot be run as its file describes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayConfigError {
    /// A file, or one that it names, cannot be read. Check its path and its mode.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key that is none.
    #[error("{} cannot be used", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is not one that its key takes.
    #[error("{}, line {line}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in the file, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not say where to publish, or says so more than once.
    #[error("{} names {count} of the sinks {SINKS}; a relay has one", path.display())]
    Sinks {
        /// The file.
        path: PathBuf,
        /// How many it names.
        count: usize,
    },
    /// Two files describe relays of one name.
    #[error("{} and {} describe a relay \"{name}\" each", first.display(), second.display())]
    Twice {
        /// The name.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
}

const SINKS: &str = "[kafka], [nats], [webhook], [file] and [stdout]";

impl RelayConfig {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// See [`RelayConfigError`].
    pub fn load(path: &Path) -> Result<Self, RelayConfigError> {
        let text = read(path)?;
        let file: File = toml::from_str(&text).map_err(|source| RelayConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let query = Query::nothing();
        let mut own = Self { path: path.to_owned(), text, file, query };
        own.query = own.read_query()?;
        own.check()?;
        Ok(own)
    }

    /// Reads every file of a directory whose name ends in `.toml`, in the order of their names.
    ///
    /// # Errors
    ///
    /// See [`RelayConfigError`].
    pub fn load_all(directory: &Path) -> Result<Vec<Self>, RelayConfigError> {
        let unreadable = |source| RelayConfigError::Read { path: directory.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut first = BTreeMap::<String, PathBuf>::new();
        let mut all = Vec::new();
        for path in paths {
            let own = Self::load(&path)?;
            if let Some(first) = first.insert(own.name().to_owned(), path.clone()) {
                let name = own.name().to_owned();
                return Err(RelayConfigError::Twice { name, first, second: path });
            }
            all.push(own);
        }
        Ok(all)
    }

    /// The relay's name: its identity.
    pub fn name(&self) -> &str {
        self.file.name.as_ref()
    }

    /// Where it publishes to, in a word.
    pub fn sink(&self) -> &'static str {
        self.file.sink_name()
    }

    /// Which events it publishes, in words.
    pub fn events(&self) -> String {
        match &self.file.query {
            Some(query) => query.as_ref().clone(),
            None if self.file.events.is_empty() => "all".to_owned(),
            None => {
                let types = self.file.events.iter().map(|rule| rule.event_type.as_ref().as_str());
                format!("type:{}", types.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Runs the relay beside a service, whose log and metrics tell how it is.
    ///
    /// # Errors
    ///
    /// See [`relay`](Self::relay).
    pub fn spawn(&self, service: &Service) -> Result<Running, RelayConfigError> {
        let metrics = service.metrics();
        let relay = self.relay(service.application(), metrics.relay_counts(self.name()))?;
        let owner = format!("quipu serve, process {}", std::process::id());
        let running = relay.with_runner(move |runner| runner.owner(&owner)).spawn();
        metrics.add_relay(self.name(), running.watch());
        let (name, status) = (self.name().to_owned(), running.watch());
        tokio::spawn(async move { watch(&name, status).await });
        Ok(running)
    }

    /// The relay over a store, which counts there what it publishes.
    ///
    /// # Errors
    ///
    /// See [`RelayConfigError`]: what a sink needs cannot be read or opened.
    pub fn relay(
        &self,
        store: Arc<dyn EventStore>,
        counts: PublishCounts,
    ) -> Result<Relay, RelayConfigError> {
        let file = &self.file;
        let sink = Arc::new(Counted { sink: self.open_sink()?, counts });
        let mut relay = Relay::new(store, self.name(), sink).query(self.query.clone());
        if let Some(source) = &file.source {
            relay = relay.source(source);
        }
        if let Some(count) = file.partitions {
            relay = relay.partitions(count);
        }
        for category in &file.tombstones {
            relay = relay.tombstones(category);
        }
        if let Some(key) = &file.key {
            relay = relay.key(self.key_of(key)?);
        }
        let from = file.from.as_ref().map(|from| self.start_of(from)).transpose()?;
        let from = from.unwrap_or(SubscribeFrom::Start);
        let on_error = OnError::retry(file.retries.unwrap_or(5));
        let on_error = match file.on_error.unwrap_or_default() {
            GiveUp::Stop => on_error.then_stop(),
            GiveUp::Park => on_error.then_park(),
            GiveUp::Skip => on_error.then_skip(),
        };
        let rules = Rule::all(&file.events);
        let relay = relay.from(from).on_error(on_error);
        Ok(if rules.is_empty() {
            relay
        } else {
            relay.map(move |event| match rules.get(event.event_type.as_str()) {
                Some(rule) => rule.publish(event).map(Some),
                None => Ok(None),
            })
        })
    }

    /// What can be known to be wrong without running it.
    fn check(&self) -> Result<(), RelayConfigError> {
        if self.name().is_empty() || self.name().len() > 200 {
            return Err(self.wrong(&self.file.name, "a relay's name has 1 to 200 bytes"));
        }
        if let Some(key) = &self.file.key {
            self.key_of(key).map(drop)?;
        }
        if let Some(from) = &self.file.from {
            self.start_of(from)?;
        }
        let count = self.file.sink_count();
        if count != 1 {
            return Err(RelayConfigError::Sinks { path: self.path.clone(), count });
        }
        for rule in &self.file.events {
            if rule.fields.is_some() && !rule.drop.is_empty() {
                let reason = "\"fields\" names what stays and \"drop\" what goes: give one of them";
                return Err(self.wrong(&rule.event_type, reason));
            }
        }
        self.check_sink()
    }

    /// The query; where there is none, the types that have a rule, or everything.
    fn read_query(&self) -> Result<Query, RelayConfigError> {
        if let Some(query) = &self.file.query {
            return query.as_ref().parse().map_err(|error| self.wrong(query, error));
        }
        if self.file.events.is_empty() {
            return Ok(Query::all());
        }
        let mut item = quipu_core::QueryItem::default();
        for rule in &self.file.events {
            let name = rule.event_type.as_ref().as_str();
            let parsed = quipu_core::EventType::new(name);
            item.types.push(parsed.map_err(|error| self.wrong(&rule.event_type, error))?);
        }
        Ok(Query { items: vec![item] })
    }

    fn start_of(&self, from: &Spanned<From>) -> Result<SubscribeFrom<Position>, RelayConfigError> {
        match from.as_ref() {
            From::Word(word) if word == "start" => Ok(SubscribeFrom::Start),
            From::Word(word) if word == "end" => Ok(SubscribeFrom::End),
            From::Position(position) => Ok(SubscribeFrom::After(Position::new(*position))),
            From::Word(_) => Err(self.wrong(from, "it is \"start\", \"end\" or a position")),
        }
    }

    fn key_of(
        &self,
        key: &Spanned<String>,
    ) -> Result<
        impl Fn(quipu_core::EventRef<'_>) -> Option<Arc<str>> + Send + Sync + 'static,
        RelayConfigError,
    > {
        let prefix = match key.as_ref().split_once(':') {
            None if key.as_ref() == "stream" => None,
            Some(("tag", prefix)) if !prefix.is_empty() => Some(format!("{prefix}:")),
            _ => return Err(self.wrong(key, "it is \"stream\", or \"tag:\" and a tag's name")),
        };
        Ok(move |event: quipu_core::EventRef<'_>| {
            let stream = event.stream();
            if stream.starts_with('$') {
                return None;
            }
            let mut tags = event.tags();
            let tag = prefix.as_ref().and_then(|prefix| tags.find(|tag| tag.starts_with(prefix)));
            // An event without the tag keeps its place among those of its stream.
            Some(tag.unwrap_or(stream).into())
        })
    }

    /// An error at the line of a value.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "texts and errors alike, without a sign before each"
    )]
    fn wrong<T>(&self, at: &Spanned<T>, reason: impl ToString) -> RelayConfigError {
        let before = self.text.get(..at.span().start).unwrap_or(&self.text);
        let line = 1 + before.matches('\n').count();
        RelayConfigError::Value { path: self.path.clone(), line, reason: reason.to_string() }
    }
}

fn read(path: &Path) -> Result<String, RelayConfigError> {
    fs::read_to_string(path)
        .map_err(|source| RelayConfigError::Read { path: path.to_owned(), source })
}

/// Tells the program's log what becomes of a relay, until it ends.
async fn watch(name: &str, mut status: Receiver<RunnerStatus>) {
    let mut told = None;
    loop {
        let now = {
            let status = status.borrow_and_update();
            (status.state, status.last_error.clone())
        };
        if told.as_ref() != Some(&now) {
            let (state, error) = &now;
            if let Some(error) = error {
                tracing::warn!(relay = name, state = state.as_str(), error);
            } else {
                tracing::info!(relay = name, state = state.as_str());
            }
            told = Some(now);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
