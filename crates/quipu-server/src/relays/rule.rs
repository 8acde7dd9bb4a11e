//! What is published of the events of one type.

use std::collections::{BTreeMap, HashMap, HashSet};

use quipu_core::{EventData, RecordedEvent};
use quipu_relay::{CloudEvent, MapError};
use serde::Deserialize;
use serde_json::value::RawValue;
use toml::Spanned;

/// A rule as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    #[serde(rename = "type")]
    pub(super) event_type: Spanned<String>,
    /// The type that others see.
    #[serde(rename = "as")]
    published_type: Option<String>,
    /// The fields that stay.
    pub(super) fields: Option<Vec<String>>,
    /// The fields that go.
    #[serde(default)]
    pub(super) drop: Vec<String>,
    /// What fields are called that others see.
    #[serde(default)]
    rename: HashMap<String, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    published_type: Option<String>,
    fields: Option<HashSet<String>>,
    drop: HashSet<String>,
    rename: HashMap<String, String>,
}

impl Rule {
    /// The rules, by the type of the events that they are for.
    pub(super) fn all(texts: &[RuleText]) -> HashMap<String, Self> {
        let rule = |text: &RuleText| Self {
            published_type: text.published_type.clone(),
            fields: text.fields.as_ref().map(|fields| fields.iter().cloned().collect()),
            drop: text.drop.iter().cloned().collect(),
            rename: text.rename.clone(),
        };
        texts.iter().map(|text| (text.event_type.as_ref().clone(), rule(text))).collect()
    }

    pub(super) fn publish(&self, event: &RecordedEvent) -> Result<CloudEvent, MapError> {
        let mut cloud_event = CloudEvent::of(event);
        if let Some(published_type) = &self.published_type {
            cloud_event = cloud_event.with_type(published_type);
        }
        let is_whole = self.fields.is_none() && self.drop.is_empty() && self.rename.is_empty();
        match &event.data {
            EventData::Present(data) if !is_whole => Ok(cloud_event.with_json(self.select(data)?)),
            EventData::Present(_) | EventData::Erased => Ok(cloud_event),
        }
    }

    /// The fields that others see. Their values stay as they are, to the last digit.
    fn select(&self, data: &[u8]) -> Result<Vec<u8>, MapError> {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data)
            .map_err(|error| format!("the data is not a JSON object: {error}"))?;
        let is_seen = |name: &String| match &self.fields {
            Some(fields) => fields.contains(name),
            None => !self.drop.contains(name),
        };
        let mut seen = BTreeMap::new();
        for (name, value) in fields.into_iter().filter(|(name, _)| is_seen(name)) {
            let name = self.rename.get(&name).cloned().unwrap_or(name);
            if seen.contains_key(&name) {
                return Err(format!("two fields would be called \"{name}\"").into());
            }
            seen.insert(name, value);
        }
        Ok(serde_json::to_vec(&seen)?)
    }
}
