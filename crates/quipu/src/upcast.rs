//! Upcasters: old data becomes new data before it is decoded.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use quipu_core::{EventType, Query};
use serde_json::Value;

use crate::codec::{Codec, Json};
use crate::decode::{DecodeProblem, Part, PartData, Parts, is_json};
use crate::event::Event;

/// What an upcaster may fail with.
type Cause = Box<dyn std::error::Error + Send + Sync>;
type MapStep = Arc<dyn Fn(Value) -> Result<Value, Cause> + Send + Sync>;
type SplitStep = Arc<dyn Fn(Value) -> Result<Vec<(&'static str, Value)>, Cause> + Send + Sync>;
type ReadValue = fn(&[u8]) -> Result<Value, crate::CodecError>;

/// How events that were appended long ago are read today.
///
/// A chain of steps leads from each old type and version to the ones that the code knows. Steps see
/// the data as JSON. The log itself never changes.
///
/// ```
/// use quipu::Upcasters;
///
/// let upcasters = Upcasters::new()
///     .rename("bank.deposit", "bank.funds-deposited")
///     .map("bank.funds-deposited", 1, |mut data| {
///         data["currency"] = "EUR".into();
///         Ok(data)
///     })
///     .drop("bank.debug-noise");
///
/// assert!(upcasters.check().is_ok());
/// ```
#[derive(Clone, Default)]
pub struct Upcasters {
    types: BTreeMap<String, Steps>,
    codecs: BTreeMap<&'static str, ReadValue>,
    /// The first step that was declared a second time.
    twice: Option<(String, u32)>,
}

/// The steps of one type.
#[derive(Clone, Default)]
struct Steps {
    whole: Option<Whole>,
    versions: BTreeMap<u32, Step>,
}

/// A step for every version of a type.
#[derive(Clone)]
enum Whole {
    Rename(String),
    Drop,
}

/// A step for one version of a type.
#[derive(Clone)]
enum Step {
    Map { target: (String, u32), map: MapStep },
    Split { targets: Vec<(&'static str, u32)>, split: SplitStep },
}

impl Upcasters {
    /// None: every event is read as it was appended.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads events of one type as another, whatever their version.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.put_whole(from, Whole::Rename(to.to_owned()));
        self
    }

    /// Turns the data of `version` of a type into that of the next version.
    #[must_use]
    pub fn map(
        mut self,
        event_type: &str,
        version: u32,
        map: impl Fn(Value) -> Result<Value, Cause> + Send + Sync + 'static,
    ) -> Self {
        let target = (event_type.to_owned(), version.saturating_add(1));
        self.put_step(event_type, version, Step::Map { target, map: Arc::new(map) });
        self
    }

    /// Turns one struct into another: `Old` as it was, into `New`, by `New: From<Old>`. The types
    /// and versions are those of the structs.
    #[must_use]
    pub fn map_typed<Old: Event, New: Event + From<Old>>(mut self) -> Self {
        let map = |value: Value| -> Result<Value, Cause> {
            let old: Old = serde_json::from_value(value)?;
            Ok(serde_json::to_value(New::from(old))?)
        };
        let target = (New::TYPE.to_owned(), New::VERSION);
        self.put_step(Old::TYPE, Old::VERSION, Step::Map { target, map: Arc::new(map) });
        self.codec::<Old::Codec>()
    }

    /// Reads one event as several. `targets` lists the types and versions that may come out, so
    /// that a query for one of them finds the event; `split` answers the parts in their order.
    ///
    /// The parts share the position; each has the tags of its own data. The stored event stays in its
    /// stream, with its tags: a model sees a part only if its query finds the stored event, so an
    /// aggregate never sees parts of events in other streams.
    ///
    /// ```
    /// use quipu::Upcasters;
    ///
    /// let upcasters = Upcasters::new().split(
    ///     "bank.funds-moved",
    ///     1,
    ///     [("bank.funds-withdrawn", 1), ("bank.funds-deposited", 1)],
    ///     |moved| {
    ///         let part = |account: &str| {
    ///             serde_json::json!({ "account": moved[account], "cents": moved["cents"] })
    ///         };
    ///         Ok(vec![("bank.funds-withdrawn", part("from")), ("bank.funds-deposited", part("to"))])
    ///     },
    /// );
    /// assert!(upcasters.check().is_ok());
    /// ```
    #[must_use]
    pub fn split(
        mut self,
        event_type: &str,
        version: u32,
        targets: impl Into<Vec<(&'static str, u32)>>,
        split: impl Fn(Value) -> Result<Vec<(&'static str, Value)>, Cause> + Send + Sync + 'static,
    ) -> Self {
        let step = Step::Split { targets: targets.into(), split: Arc::new(split) };
        self.put_step(event_type, version, step);
        self
    }

    /// Reads events of a type as if they had never been, whatever their version.
    #[must_use]
    pub fn drop(mut self, event_type: &str) -> Self {
        self.put_whole(event_type, Whole::Drop);
        self
    }

    /// Lets steps see data of this codec's content type. JSON needs no word.
    #[must_use]
    pub fn codec<C: Codec>(mut self) -> Self {
        self.codecs.insert(C::CONTENT_TYPE, C::decode::<Value>);
        self
    }

    /// Checks that every chain leads somewhere.
    ///
    /// # Errors
    ///
    /// An [`UpcasterError`] that names the type and says what to mend.
    pub fn check(&self) -> Result<(), UpcasterError> {
        if let Some((event_type, version)) = self.twice.clone() {
            return Err(UpcasterError::Twice { event_type, version });
        }
        for (event_type, steps) in &self.types {
            check_steps(event_type, steps)?;
            let mut path = BTreeSet::new();
            self.check_cycles(event_type, None, &mut path)?;
            for version in steps.versions.keys() {
                self.check_cycles(event_type, Some(*version), &mut path)?;
            }
        }
        Ok(())
    }

    /// Follows every chain from one place and refuses to come by the same place twice.
    fn check_cycles(
        &self,
        event_type: &str,
        version: Option<u32>,
        path: &mut BTreeSet<(String, Option<u32>)>,
    ) -> Result<(), UpcasterError> {
        let Some(steps) = self.types.get(event_type) else { return Ok(()) };
        let here = (event_type.to_owned(), version);
        if !path.insert(here.clone()) {
            return Err(UpcasterError::Cycle { event_type: event_type.to_owned() });
        }
        if let Some(Whole::Rename(to)) = &steps.whole {
            self.check_cycles(to, version, path)?;
        } else if let Some(version) = version {
            match steps.versions.get(&version) {
                Some(Step::Map { target, .. }) => {
                    self.check_cycles(&target.0, Some(target.1), path)?;
                }
                Some(Step::Split { targets, .. }) => {
                    for (target, version) in targets {
                        self.check_cycles(target, Some(*version), path)?;
                    }
                }
                None => {}
            }
        }
        path.remove(&here);
        Ok(())
    }

    fn put_whole(&mut self, event_type: &str, whole: Whole) {
        let steps = self.types.entry(event_type.to_owned()).or_default();
        if steps.whole.replace(whole).is_some() {
            self.twice.get_or_insert((event_type.to_owned(), 0));
        }
    }

    fn put_step(&mut self, event_type: &str, version: u32, step: Step) {
        let steps = self.types.entry(event_type.to_owned()).or_default();
        if steps.versions.insert(version, step).is_some() {
            self.twice.get_or_insert((event_type.to_owned(), version));
        }
    }

    /// Takes a part through its chain.
    pub(crate) fn apply<'a>(&self, part: Part<'a>) -> Result<Parts<'a>, DecodeProblem> {
        if !self.types.contains_key(part.event_type()) {
            return Ok(Parts::One(part));
        }
        let mut done = Vec::new();
        let was_split = self.follow(part, &mut done)?;
        if was_split {
            let numbered = (0..).zip(done).map(|(index, part)| part.numbered(index));
            return Ok(Parts::Many(numbered.collect()));
        }
        Ok(match done.pop() {
            Some(part) => Parts::One(part),
            None => Parts::Many(Vec::new()),
        })
    }

    /// Follows a chain to its end; the ends go to `done`. Whether the event was split on the way.
    fn follow<'a>(
        &self,
        mut part: Part<'a>,
        done: &mut Vec<Part<'a>>,
    ) -> Result<bool, DecodeProblem> {
        while let Some(steps) = self.types.get(part.event_type()) {
            let (event_type, version) = (part.event_type().to_owned(), part.version());
            match (&steps.whole, steps.versions.get(&version)) {
                (Some(Whole::Drop), _) => return Ok(false),
                (Some(Whole::Rename(to)), _) => {
                    part = Part::new(Cow::Owned(to.clone()), version, part.into_data());
                }
                (None, None) => break,
                (None, Some(Step::Map { target: (target, next), map })) => {
                    let data = match self.value(part)? {
                        None => PartData::Erased,
                        Some(value) => PartData::Value(
                            map(value).map_err(|cause| failed(&event_type, version, cause))?,
                        ),
                    };
                    part = Part::new(Cow::Owned(target.clone()), *next, data);
                }
                (None, Some(Step::Split { targets, split })) => {
                    let Some(value) = self.value(part)? else {
                        return self.follow_erased(targets, done);
                    };
                    let parts =
                        split(value).map_err(|cause| failed(&event_type, version, cause))?;
                    for (own, value) in parts {
                        let Some((_, next)) = targets.iter().find(|(target, _)| *target == own)
                        else {
                            let cause = format!("it answered \"{own}\", which is not a target");
                            return Err(failed(&event_type, version, cause.into()));
                        };
                        let data = PartData::Value(value);
                        self.follow(Part::new(Cow::Borrowed(own), *next, data), done)?;
                    }
                    return Ok(true);
                }
            }
        }
        done.push(part);
        Ok(false)
    }

    /// Nobody can say which parts erased data had: it is an erased event of each target.
    fn follow_erased(
        &self,
        targets: &[(&'static str, u32)],
        done: &mut Vec<Part<'_>>,
    ) -> Result<bool, DecodeProblem> {
        for (target, version) in targets {
            self.follow(Part::new(Cow::Borrowed(*target), *version, PartData::Erased), done)?;
        }
        Ok(true)
    }

    /// The data as JSON; none where it was erased.
    fn value(&self, part: Part<'_>) -> Result<Option<Value>, DecodeProblem> {
        match part.into_data() {
            PartData::Erased => Ok(None),
            PartData::Value(value) => Ok(Some(value)),
            PartData::Stored { bytes, content_type } => {
                let read = match self.codecs.get(content_type) {
                    Some(read) => *read,
                    None if is_json(content_type) => Json::decode::<Value>,
                    None => {
                        let content_type = content_type.to_owned();
                        return Err(DecodeProblem::UnknownContentType { content_type });
                    }
                };
                read(bytes).map(Some).map_err(DecodeProblem::Data)
            }
        }
    }

    /// The same query, that also finds the stored events which become what it asks for.
    #[must_use]
    pub fn widen(&self, mut query: Query) -> Query {
        if self.types.is_empty() {
            return query;
        }
        for item in &mut query.items {
            // The list grows as it is walked, so that sources of sources are found too.
            let mut index = 0;
            while let Some(target) = item.types.get(index).cloned() {
                for source in self.sources(target.as_str()) {
                    if !item.types.contains(&source) {
                        item.types.push(source);
                    }
                }
                index += 1;
            }
        }
        query
    }

    /// The types that become `target` in one step.
    fn sources<'a>(&'a self, target: &'a str) -> impl Iterator<Item = EventType> + 'a {
        let leads_there = move |steps: &Steps| {
            let renamed = matches!(&steps.whole, Some(Whole::Rename(to)) if to == target);
            renamed
                || steps.versions.values().any(|step| match step {
                    Step::Map { target: (own, _), .. } => own == target,
                    Step::Split { targets, .. } => targets.iter().any(|(own, _)| *own == target),
                })
        };
        self.types
            .iter()
            .filter(move |(_, steps)| leads_there(steps))
            .filter_map(|(event_type, _)| EventType::new(event_type).ok())
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upcasters").field("types", &self.types.keys()).finish_non_exhaustive()
    }
}

fn failed(event_type: &str, version: u32, cause: Cause) -> DecodeProblem {
    DecodeProblem::Upcast { event_type: event_type.to_owned(), version, cause }
}

fn check_steps(event_type: &str, steps: &Steps) -> Result<(), UpcasterError> {
    let event_type = || event_type.to_owned();
    if steps.versions.contains_key(&0) {
        return Err(UpcasterError::VersionZero { event_type: event_type() });
    }
    if steps.whole.is_some() && !steps.versions.is_empty() {
        return Err(UpcasterError::Unreachable { event_type: event_type() });
    }
    let mut versions = steps.versions.iter().peekable();
    while let (Some((_, step)), Some((next, _))) = (versions.next(), versions.peek()) {
        let Step::Map { target, .. } = step else { continue };
        // A step that ends before the next one begins leaves data that no step takes further.
        if target.0 == event_type() && target.1 < **next && !steps.versions.contains_key(&target.1)
        {
            let missing = target.1;
            return Err(UpcasterError::Gap { event_type: event_type(), missing });
        }
    }
    Ok(())
}

/// Why upcasters are refused before any event is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpcasterError {
    /// A chain comes back to where it was. Take one of its steps out.
    #[error("the upcasters of \"{event_type}\" lead back to it: take one step out")]
    Cycle {
        /// A type on the chain.
        event_type: String,
    },
    /// A step is missing in the middle of a chain. Add it.
    #[error("the upcasters of \"{event_type}\" have no step from version {missing}: add one")]
    Gap {
        /// The type.
        event_type: String,
        /// The version that no step leads away from.
        missing: u32,
    },
    /// One version of a type has two steps (version 0: the type as a whole). Take one out.
    #[error("the upcasters of \"{event_type}\" have two steps for version {version}: take one out")]
    Twice {
        /// The type.
        event_type: String,
        /// The version; 0 stands for all of them.
        version: u32,
    },
    /// A type that is renamed or dropped as a whole has steps for versions, which never run. Declare
    /// them for the new name.
    #[error(
        "\"{event_type}\" is renamed or dropped, so its other steps never run: declare them for \
         the new name"
    )]
    Unreachable {
        /// The type.
        event_type: String,
    },
    /// Schema versions begin at 1.
    #[error("a step of \"{event_type}\" is for version 0, and versions begin at 1")]
    VersionZero {
        /// The type.
        event_type: String,
    },
}

#[cfg(test)]
mod tests;
