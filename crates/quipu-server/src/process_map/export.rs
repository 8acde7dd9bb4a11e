//! The events behind a map, in the formats of process mining: OCEL 2.0 (JSON) and XES.
//!
//! Both have types, times, places, ids and tags; data stays where it is, since nothing here looks
//! into it. Reserved events are left out. An export is written as it is read: of all the events it
//! holds a batch, beside the names of cases (XES) or of objects (OCEL).

mod ocel;
mod xes;

use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use futures_lite::Stream;
use quipu_core::{AsOf, EventStore, Query, ReadAll, ReadError};

use super::case::CaseBy;

/// The most cases or objects of an export: their names are held.
const NAME_COUNT_MAX: usize = 1_000_000;

/// A format of event logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Object-centric event log 2.0, as JSON.
    Ocel,
    /// IEEE 1849-2016: one trace for each case.
    Xes,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Ocel => "application/json",
            Self::Xes => "application/xml",
        }
    }

    /// What programs expect at the end of the file's name.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Ocel => "jsonocel",
            Self::Xes => "xes",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ocel" => Ok(Self::Ocel),
            "xes" => Ok(Self::Xes),
            _ => Err("it is ocel or xes".to_owned()),
        }
    }
}

/// Why there is no export, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Narrow the query.
    #[error("the export has more than {NAME_COUNT_MAX} cases or objects")]
    TooMany,
}

/// What is exported.
#[derive(Clone)]
struct Source {
    store: Arc<dyn EventStore>,
    query: Query,
    by: CaseBy,
    /// One moment for all reads of it.
    as_of: AsOf,
}

impl Source {
    fn read(&self, query: Query) -> ReadAll {
        ReadAll::new(query).as_of(self.as_of)
    }
}

/// The pieces of an export, in their order.
pub(crate) type Pieces = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, ExportError>> + Send>>;

/// Exports the events of a query, as of a moment or as of now.
pub(crate) async fn export(
    format: Format,
    store: Arc<dyn EventStore>,
    query: Query,
    by: CaseBy,
    as_of: Option<AsOf>,
) -> Result<Pieces, ExportError> {
    let as_of = match as_of {
        Some(as_of) => as_of,
        None => AsOf::Position(store.frontier().await?),
    };
    let source = Source { store, query, by, as_of };
    match format {
        Format::Ocel => ocel::export(source).await,
        Format::Xes => xes::export(source).await,
    }
}
