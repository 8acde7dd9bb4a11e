//! The process map: which type of event follows which, how often, and after how long.
//!
//! What is followed is a **case**: a stream, or all events that share a tag of some key. Of each case
//! the map remembers where it is, and of all cases together the counts; no names and no events.
//!
//! ```text
//! case         what belongs together, and the query for one case
//! graph        the counts, an event at a time
//! paths        which sequences of types cases went through
//! waits        how long it took, as quantiles
//! occurrences  the cases behind an edge, found again through the index
//! export       the events behind a map as OCEL and XES
//! ```
//!
//! A map is made of what the log has and of nothing else: it is dropped and made again at will. It
//! grows to a bound. Events beyond it are left out and counted, and the map says that it is not
//! complete. Reserved events are no part of it. Nothing here looks into an event's data.

mod case;
mod export;
mod graph;
mod occurrences;
mod paths;
mod waits;

pub(crate) use case::CaseBy;
pub(crate) use export::{ExportError, Format, export};
pub(crate) use graph::ProcessMap;
pub(crate) use occurrences::{Occurrence, Wanted, find as find_occurrences};
