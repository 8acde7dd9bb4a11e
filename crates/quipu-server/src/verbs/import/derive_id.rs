//! Ids for lines that have none: the same content at the same occurrence gets the same id, so
//! that importing a file twice adds nothing.

use std::collections::HashMap;

use quipu_core::EventId;
use uuid::Uuid;

use crate::line::Line;

/// The name space of derived ids. Fixed for good: with another one, files that were imported
/// before would be imported anew.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3c52_8a94_4e0b_9d27_51c0_b8e6_f3a4);

/// Derives ids, and remembers what it saw: of lines with the same content each is its own event.
#[derive(Debug, Default)]
pub(super) struct IdDeriver {
    occurrences: HashMap<Uuid, u64>,
}

impl IdDeriver {
    /// The id of the next line with this content: a UUID, version 5, of the stream, the type, the
    /// data, the metadata, the time, and how many such lines came before it.
    pub(super) fn derive(&mut self, line: &Line) -> EventId {
        let content = Uuid::new_v5(&NAMESPACE, &content_of(line));
        let occurrence = self.occurrences.entry(content).or_default();
        let id = Uuid::new_v5(&content, &occurrence.to_le_bytes());
        *occurrence += 1;
        EventId::from_uuid(id)
    }
}

/// The content's parts, each behind its size, so that no two contents have the same bytes.
fn content_of(line: &Line) -> Vec<u8> {
    let time = line.time.map(|time| time.as_micros().to_le_bytes());
    let parts: [&[u8]; 5] = [
        line.stream.as_str().as_bytes(),
        line.event_type.as_str().as_bytes(),
        &line.data,
        &line.metadata,
        time.as_ref().map_or(&[], |time| time),
    ];
    let mut content = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        content.extend((part.len() as u64).to_le_bytes());
        content.extend(part);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::from_json;

    fn derive_all(lines: &[&str]) -> Vec<EventId> {
        let mut deriver = IdDeriver::default();
        lines.iter().map(|line| deriver.derive(&from_json(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_same_lines_get_the_same_ids_and_each_its_own() {
        let line = r#"{"stream":"a","type":"T","data":{}}"#;

        let first = derive_all(&[line, line]);
        let second = derive_all(&[line, line]);

        assert_eq!(first, second);
        assert_ne!(first.first(), first.last());
    }

    #[test]
    fn every_part_of_the_content_counts() {
        let ids = derive_all(&[
            r#"{"stream":"a","type":"T","data":1}"#,
            r#"{"stream":"b","type":"T","data":1}"#,
            r#"{"stream":"a","type":"U","data":1}"#,
            r#"{"stream":"a","type":"T","data":2}"#,
            r#"{"stream":"a","type":"T","data":1,"metadata":1}"#,
            r#"{"stream":"a","type":"T","metadata":1}"#,
            r#"{"stream":"a","type":"T","data":1,"time":"2011-01-01T00:00:00Z"}"#,
            r#"{"stream":"aT","type":"T","data":1}"#,
        ]);

        let distinct: std::collections::HashSet<_> = ids.iter().collect();

        assert_eq!(distinct.len(), ids.len());
    }

    /// A change of the derivation would import old files anew; this pins it.
    #[test]
    fn derived_ids_never_change() {
        let ids = derive_all(&[
            r#"{"stream":"order-1","type":"OrderPlaced","time":"2011-01-01T00:00:00Z","data":{}}"#,
        ]);

        assert_eq!(ids.first().unwrap().to_string(), "ddce5ec8-3cb9-5090-aa26-2a1181f3352a");
    }
}
