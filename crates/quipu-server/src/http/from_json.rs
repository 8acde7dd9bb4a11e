//! From bodies to appends.
//!
//! The fields of an event are those of the command line's JSON line. Every error has the line and
//! the column of the body, and the event that it is in.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use quipu_core::limits::APPEND_COUNT_MAX;
use quipu_core::{
    Append, AppendCondition, EventId, ExpectedRevision, NewEvent, Position, Revision, StreamName,
};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::problem::{Kind, Problem};
use super::request::{QUERY_COUNT_MAX, expectation, query_of};
use crate::line::{self, Line, LineError, place_of};

/// The most bytes of queries in one append. A query takes more memory than its text.
const QUERY_SIZE_MAX: usize = 1 << 20;

/// A part of a body: where it begins, and which event it is.
pub(super) struct Part<'a> {
    pub(super) text: &'a [u8],
    offset: usize,
    index: usize,
}

/// A body that is one JSON value, or a list of them: one part for each.
pub(super) fn parts_of_json(body: &[u8]) -> Result<Vec<Part<'_>>, Problem> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    if body.get(start) == Some(&b'{') {
        return Ok(vec![Part { text: body, offset: 0, index: 0 }]);
    }
    if body.get(start) != Some(&b'[') {
        let (line, column) = place_of(body, start);
        let reason =
            "an event is a JSON object, from { to }; several are a list of them".to_owned();
        return Err(malformed(&LineError { line, column, reason }));
    }
    let list: List<&RawValue, APPEND_COUNT_MAX> = parse(body)?;
    let parts = list.0.into_iter().enumerate();
    parts.map(|(index, raw)| part_of(body, raw, index)).collect()
}

/// A body of JSON lines: one part for each. Empty lines are passed over.
pub(super) fn parts_of_lines(body: &[u8]) -> Result<Vec<Part<'_>>, Problem> {
    let mut parts = Vec::new();
    let mut offset = 0;
    for text in body.split(|byte| *byte == b'\n') {
        if !text.iter().all(u8::is_ascii_whitespace) {
            if parts.len() == APPEND_COUNT_MAX {
                let detail = format!("an append has at most {APPEND_COUNT_MAX} events");
                return Err(
                    Problem::new(Kind::TooLarge, detail).with("count_max", APPEND_COUNT_MAX)
                );
            }
            parts.push(Part { text, offset, index: parts.len() });
        }
        offset += text.len() + 1;
    }
    Ok(parts)
}

fn part_of<'a>(body: &'a [u8], raw: &'a RawValue, index: usize) -> Result<Part<'a>, Problem> {
    let text = raw.get().as_bytes();
    // Both are addresses in the body, since a raw value is borrowed from it.
    let offset = text.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
    assert!(offset < body.len(), "a raw value lies in the text that it was read from");
    let part = Part { text, offset, index };
    if text.first() == Some(&b'{') {
        return Ok(part);
    }
    let reason = "an event is a JSON object, from { to }".to_owned();
    Err(part.refuse(body, LineError { line: 1, column: 1, reason }))
}

impl Part<'_> {
    /// The error of this part at its place in the body.
    pub(super) fn refuse(&self, body: &[u8], error: LineError) -> Problem {
        let (line, column) = place_of(body, self.offset);
        let column = if error.line <= 1 { column + error.column.max(1) - 1 } else { error.column };
        let line = line + error.line.max(1) - 1;
        malformed(&LineError { line, column, reason: error.reason }).with("index", self.index)
    }
}

/// Reads an event and the stream that it names, if it names one. Its place and its time are the
/// store's to say: they are passed over.
pub(super) fn event_of(
    body: &[u8],
    part: &Part<'_>,
) -> Result<(Option<StreamName>, NewEvent), Problem> {
    let line = line::event_from_json(part.text).map_err(|error| part.refuse(body, error))?;
    let Line { stream, id, event_type, time: _, tags, content_type, data, metadata } = line;
    let id = id.unwrap_or_else(EventId::generate);
    let event = NewEvent { id, event_type, tags, content_type, data, metadata, recorded_at: None };
    Ok((stream, event))
}

/// Reads an event for `stream`: it names no other.
pub(super) fn event_for(
    body: &[u8],
    part: &Part<'_>,
    stream: &StreamName,
) -> Result<NewEvent, Problem> {
    match event_of(body, part)? {
        (Some(named), _) if named != *stream => {
            let reason = format!("the event names the stream \"{named}\", the path \"{stream}\"");
            Err(part.refuse(body, LineError { line: 1, column: 1, reason }))
        }
        (_, event) => Ok(event),
    }
}

/// Reads a whole append: events with their streams, and all that must hold for them.
pub(super) fn append_of(body: &[u8]) -> Result<Append, Problem> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    if body.get(start) != Some(&b'{') {
        let (line, column) = place_of(body, start);
        let reason = "an append is a JSON object, from { to }".to_owned();
        return Err(malformed(&LineError { line, column, reason }));
    }
    let fields: AppendIn<'_> = parse(body)?;
    let mut events = Vec::with_capacity(fields.events.0.len());
    for (index, raw) in fields.events.0.into_iter().enumerate() {
        let part = part_of(body, raw, index)?;
        let (stream, event) = event_of(body, &part)?;
        let Some(stream) = stream else {
            let reason = "missing field `stream`".to_owned();
            return Err(part.refuse(body, LineError { line: 1, column: 1, reason }));
        };
        events.push((stream, event));
    }
    let conditions = fields.fail_if.0;
    let queries = conditions.iter().flat_map(|condition| &condition.query.0);
    if queries.map(|text| text.len()).sum::<usize>() > QUERY_SIZE_MAX {
        let detail = format!("the queries of an append have at most {QUERY_SIZE_MAX} bytes");
        return Err(Problem::new(Kind::TooLarge, detail).with("size_max", QUERY_SIZE_MAX));
    }
    let conditions = conditions.iter().enumerate().map(|(index, condition)| {
        let query =
            query_of(&condition.query.0).map_err(|refused| refused.with("condition", index))?;
        Ok(AppendCondition { query, after: condition.after.map(Position::new) })
    });
    let conditions = conditions.collect::<Result<Vec<_>, Problem>>()?;
    Ok(Append { events, expectations: fields.expect.0, conditions })
}

fn malformed(error: &LineError) -> Problem {
    let LineError { line, column, reason } = error;
    Problem::new(Kind::MalformedJson, format!("{reason}, at line {line}, column {column}"))
        .with("line", *line)
        .with("column", *column)
}

/// Reads one JSON value.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| malformed(&error.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppendIn<'a> {
    #[serde(borrow, default)]
    events: List<&'a RawValue, APPEND_COUNT_MAX>,
    #[serde(default)]
    expect: Expectations,
    #[serde(borrow, default)]
    fail_if: List<ConditionIn<'a>, QUERY_COUNT_MAX>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionIn<'a> {
    #[serde(borrow)]
    query: Texts<'a>,
    after: Option<u64>,
}

/// A list that ends with an error where it has more than so many items: memory is bounded by what
/// is asked for, not by what is sent.
struct List<T, const COUNT_MAX: usize>(Vec<T>);

impl<T, const COUNT_MAX: usize> Default for List<T, COUNT_MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const COUNT_MAX: usize> Deserialize<'de> for List<T, COUNT_MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Items::<T, COUNT_MAX>(PhantomData))
    }
}

struct Items<T, const COUNT_MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const COUNT_MAX: usize> Visitor<'de> for Items<T, COUNT_MAX> {
    type Value = List<T, COUNT_MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == COUNT_MAX {
                let reason = format_args!("the list has more than {COUNT_MAX} items");
                return Err(serde::de::Error::custom(reason));
            }
            list.push(item);
        }
        Ok(List(list))
    }
}

/// One text, or a list of them.
struct Texts<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrMore(PhantomData))
    }
}

struct OneOrMore<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for OneOrMore<'a> {
    type Value = Texts<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a query, or a list of queries")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'a>, E> {
        Ok(Texts(vec![Cow::Borrowed(text)]))
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts<'a>, E> {
        Ok(Texts(vec![Cow::Owned(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Texts<'a>, A::Error> {
        let list = Items::<Cow<'a, str>, QUERY_COUNT_MAX>(PhantomData).visit_seq(items)?;
        Ok(Texts(list.0))
    }
}

/// What streams must be like, by their names.
#[derive(Default)]
struct Expectations(Vec<(StreamName, ExpectedRevision)>);

impl<'de> Deserialize<'de> for Expectations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ByStream;

        impl<'de> Visitor<'de> for ByStream {
            type Value = Expectations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose names are streams")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expectations, A::Error> {
                use serde::de::Error;

                let mut list = Vec::new();
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    let stream = StreamName::new(name).map_err(A::Error::custom)?;
                    if list.len() == APPEND_COUNT_MAX {
                        let reason = format_args!("more than {APPEND_COUNT_MAX} expectations");
                        return Err(A::Error::custom(reason));
                    }
                    list.push((stream, map.next_value::<Expected>()?.0));
                }
                Ok(Expectations(list))
            }
        }

        from.deserialize_map(ByStream)
    }
}

struct Expected(ExpectedRevision);

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct WordOrNumber;

        impl Visitor<'_> for WordOrNumber {
            type Value = Expected;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any, none, exists, deleted, tombstoned, or a revision")
            }

            fn visit_u64<E>(self, revision: u64) -> Result<Expected, E> {
                Ok(Expected(ExpectedRevision::Exactly(Revision::new(revision))))
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Expected, E> {
                expectation(word).map(Expected).map_err(E::custom)
            }
        }

        from.deserialize_any(WordOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn refused(body: &str) -> Value {
        serde_json::to_value(append_of(body.as_bytes()).unwrap_err()).unwrap()
    }

    #[test]
    fn a_whole_append_is_read() {
        let body = r#"{
            "events": [{"stream": "a", "type": "A", "data": {"x": 1}}, {"stream": "b", "type": "B"}],
            "expect": {"a": 3, "b": "none", "c": "tombstoned"},
            "fail_if": [{"query": "type:A"}, {"query": ["tag:x", "stream:b"], "after": 7}]
        }"#;

        let append = append_of(body.as_bytes()).unwrap();

        assert_eq!(append.events.len(), 2);
        assert_eq!(append.events[0].1.data, r#"{"x": 1}"#);
        let expected: Vec<_> = append.expectations.iter().map(|(_, expected)| *expected).collect();
        let three = ExpectedRevision::Exactly(Revision::new(3));
        assert_eq!(expected, [three, ExpectedRevision::NoStream, ExpectedRevision::Tombstoned]);
        assert_eq!(append.conditions[0].after, None);
        assert_eq!(append.conditions[1].after, Some(Position::new(7)));
        assert_eq!(append.conditions[1].query.items.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        let cases = [
            ("{\n \"events\": [\n  {\"stream\": \"a\"}]}", 3, 17, "missing field `type`"),
            ("{\"events\":\n[{\"type\":\"A\"}]}", 2, 2, "missing field `stream`"),
            ("{\"events\":[\n{\"stream\":\"a\",\n\"colour\":1}]}", 3, 8, "unknown field `colour`"),
            ("{\"colour\":1}", 1, 9, "unknown field `colour`"),
            ("\n [1]", 2, 2, "an append is a JSON object"),
            ("{\"events\":[1]}", 1, 12, "an event is a JSON object"),
            ("{\"expect\":{\"a\":-1}}", 1, 17, "or a revision"),
            ("{", 1, 1, "EOF"),
        ];
        for (body, line, column, reason) in cases {
            let problem = refused(body);

            assert_eq!(problem["type"], "/problems/malformed-json");
            assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
            assert_eq!(problem["line"], line, "{body}: {problem}");
            assert_eq!(problem["column"], column, "{body}: {problem}");
        }
    }

    #[test]
    fn a_wrong_query_is_shown_with_its_condition() {
        let problem = refused(r#"{"fail_if":[{"query":"type:A"},{"query":"colour:red"}]}"#);

        assert_eq!(problem["type"], "/problems/malformed-query");
        assert_eq!(problem["condition"], 1);
        assert_eq!(problem["term"], "colour:red");
    }

    #[test]
    fn lists_have_an_end() {
        let conditions = vec![r#"{"query":""}"#; QUERY_COUNT_MAX + 1].join(",");
        let problem = refused(&format!("{{\"fail_if\":[{conditions}]}}"));
        assert!(problem["detail"].as_str().unwrap().contains("more than 256 items"), "{problem}");

        let events = vec!["1"; APPEND_COUNT_MAX + 1].join(",");
        let problem = refused(&format!("{{\"events\":[{events}]}}"));
        assert!(problem["detail"].as_str().unwrap().contains("more than 65536"), "{problem}");
    }
}
