//! XES: one trace for each case, in the order in which cases began.

use std::collections::HashSet;
use std::fmt::Write as _;

use axum::body::Bytes;
use quipu_core::{EventRef, ReadError};

use super::{ExportError, NAME_COUNT_MAX, Pieces, Source};
use crate::derived::is_reserved;
use crate::time;

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849-2016" xes.features="" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
<classifier name="Type" keys="concept:name"/>
"#;
/// How many bytes are gathered before they are sent.
const PIECE_SIZE: usize = 64 << 10;

struct Export {
    source: Source,
    cases: std::vec::IntoIter<Box<str>>,
    is_begun: bool,
}

pub(super) async fn export(source: Source) -> Result<Pieces, ExportError> {
    let cases = cases_of(&source).await?.into_iter();
    let export = Export { source, cases, is_begun: false };
    Ok(Box::pin(futures_lite::stream::try_unfold(Some(export), |export| async {
        let Some(mut export) = export else { return Ok(None) };
        let (piece, is_last) = export.next().await?;
        Ok(Some((piece, Some(export).filter(|_| !is_last))))
    })))
}

async fn cases_of(source: &Source) -> Result<Vec<Box<str>>, ExportError> {
    let mut known: HashSet<Box<str>> = HashSet::new();
    let mut cases: Vec<Box<str>> = Vec::new();
    let read = source.read(source.query.clone());
    let mut batches = source.store.read_all(read).await?.batches;
    while let Some(batch) = batches.next().await? {
        for event in batch.iter().filter(|event| !is_reserved(*event)) {
            source.by.each(event, |case| {
                if !known.contains(case) {
                    known.insert(case.into());
                    cases.push(case.into());
                }
            });
        }
        if cases.len() > NAME_COUNT_MAX {
            return Err(ExportError::TooMany);
        }
        tokio::task::yield_now().await;
    }
    Ok(cases)
}

impl Export {
    /// The next piece, and whether it is the last.
    async fn next(&mut self) -> Result<(Bytes, bool), ReadError> {
        let mut text = String::new();
        if !self.is_begun {
            text += HEAD;
            self.is_begun = true;
        }
        while text.len() < PIECE_SIZE {
            let Some(case) = self.cases.next() else {
                text += "</log>\n";
                return Ok((text.into(), true));
            };
            self.trace(&case, &mut text).await?;
        }
        Ok((text.into(), false))
    }

    async fn trace(&self, case: &str, text: &mut String) -> Result<(), ReadError> {
        // What is no name is no case that was found.
        let Ok(query) = self.source.by.restrict(&self.source.query, case) else { return Ok(()) };
        let mut batches = self.source.store.read_all(self.source.read(query)).await?.batches;
        *text += "<trace>\n";
        attribute(text, "string", "concept:name", case);
        while let Some(batch) = batches.next().await? {
            for event in batch.iter().filter(|event| !is_reserved(*event)) {
                write_event(text, event);
            }
        }
        *text += "</trace>\n";
        Ok(())
    }
}

fn write_event(text: &mut String, event: EventRef<'_>) {
    *text += "<event>\n";
    attribute(text, "string", "concept:name", event.event_type());
    attribute(text, "date", "time:timestamp", &time::to_text(event.recorded_at()));
    attribute(text, "string", "stream", event.stream());
    attribute(text, "int", "position", &event.position().to_string());
    attribute(text, "int", "revision", &event.revision().to_string());
    attribute(text, "id", "event_id", &event.id().to_string());
    let mut keys: Vec<&str> = Vec::new();
    for tag in event.tags() {
        let Some((key, value)) = tag.split_once(':') else { continue };
        // An attribute stands once; of several tags of one key the first counts.
        if !key.starts_with('$') && !keys.contains(&key) {
            keys.push(key);
            attribute(text, "string", &format!("tag:{key}"), value);
        }
    }
    *text += "</event>\n";
}

fn attribute(text: &mut String, kind: &str, key: &str, value: &str) {
    write!(text, "<{kind} key=\"").expect("writing to a text does not fail");
    escape(text, key);
    *text += "\" value=\"";
    escape(text, value);
    *text += "\"/>\n";
}

/// Names are UTF-8 without control characters; XML lets in no surrogates, which UTF-8 has none of,
/// and no U+FFFE and U+FFFF.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => *text += "&amp;",
            '<' => *text += "&lt;",
            '>' => *text += "&gt;",
            '"' => *text += "&quot;",
            '\u{FFFE}' | '\u{FFFF}' => text.push(char::REPLACEMENT_CHARACTER),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_markup_is_text() {
        let mut text = String::new();

        attribute(&mut text, "string", "concept:name", "<b> & \"c\" \u{FFFF}");

        let expected =
            "<string key=\"concept:name\" value=\"&lt;b&gt; &amp; &quot;c&quot; \u{FFFD}\"/>\n";
        assert_eq!(text, expected);
    }
}
