//! Queries: which events of the log a reader or an append condition means.

use std::str::FromStr;

use crate::batch::EventRef;
use crate::event::{RecordedEvent, Tags};
use crate::name::{EventType, NameError, StreamName, Tag, category};

/// Some events of the log: those that match any of the items.
///
/// A query with no items matches nothing. An item that demands nothing matches everything.
///
/// ```
/// use quipu_core::Query;
///
/// let query: Query = "type:CourseDefined,CourseRenamed tag:course:c1".parse()?;
/// assert_eq!(query.items.len(), 1);
/// assert!(!query.is_all());
/// # Ok::<(), quipu_core::ParseQueryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Query {
    /// Alternatives: an event matches if it matches one of them.
    pub items: Vec<QueryItem>,
}

/// One alternative of a query. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct QueryItem {
    /// The event has one of these types; any type where the list is empty.
    pub types: Vec<EventType>,
    /// The event has all of these tags.
    pub tags: Tags,
    /// The event is in this stream.
    pub stream: Option<StreamName>,
    /// The event's stream has this category.
    pub category: Option<String>,
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        Self { items: vec![QueryItem::default()] }
    }

    /// No event.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The events of one stream.
    pub fn stream(stream: StreamName) -> Self {
        Self { items: vec![QueryItem { stream: Some(stream), ..QueryItem::default() }] }
    }

    /// The events that have all of these tags.
    pub fn tags(tags: Tags) -> Self {
        Self { items: vec![QueryItem { tags, ..QueryItem::default() }] }
    }

    /// The same query with one more alternative.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// Whether the query matches every event, whatever it is.
    pub fn is_all(&self) -> bool {
        self.items.iter().any(QueryItem::is_all)
    }

    /// Whether `event` matches.
    pub fn matches(&self, event: EventRef<'_>) -> bool {
        self.items.iter().any(|item| item.matches(event))
    }

    /// Whether `event` matches.
    pub fn matches_recorded(&self, event: &RecordedEvent) -> bool {
        self.items.iter().any(|item| item.matches_recorded(event))
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }
}

impl QueryItem {
    /// Whether the item demands nothing.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `event` has all that the item demands.
    pub fn matches(&self, event: EventRef<'_>) -> bool {
        self.matches_names(event.stream(), event.event_type(), |tag| event.has_tag(tag))
    }

    /// Whether `event` has all that the item demands.
    pub fn matches_recorded(&self, event: &RecordedEvent) -> bool {
        let (stream, event_type) = (event.stream.as_str(), event.event_type.as_str());
        self.matches_names(stream, event_type, |tag| event.tags.contains(tag))
    }

    /// Whether an event with these names has all that the item demands. For stores.
    pub fn matches_names(
        &self,
        stream: &str,
        event_type: &str,
        has_tag: impl Fn(&str) -> bool,
    ) -> bool {
        (self.types.is_empty() || self.types.iter().any(|own| own == event_type))
            && self.tags.iter().all(has_tag)
            && self.stream.as_ref().is_none_or(|own| own == stream)
            && self.category.as_ref().is_none_or(|own| own == category(stream))
    }
}

/// Why a text is not a query item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseQueryError {
    /// A term has no `type:`, `tag:`, `stream:` or `category:` before its value.
    #[error("\"{term}\" is not a query term: it begins with type:, tag:, stream: or category:")]
    UnknownTerm {
        /// The term.
        term: String,
    },
    /// A term that may stand once stands twice.
    #[error("a query item has at most one {key}: term")]
    Twice {
        /// The term's key.
        key: &'static str,
    },
    /// A quotation mark has no partner.
    #[error("the quotation mark at byte {offset} is not closed")]
    OpenQuote {
        /// Where it stands, in bytes.
        offset: usize,
    },
    /// A value is not a name.
    #[error("the term \"{term}\" has no valid value")]
    Value {
        /// The term.
        term: String,
        /// What is wrong with its value.
        source: NameError,
    },
}

/// Blank-separated terms: `type:A,B` (any of them), `tag:order:1`, `stream:order-1`,
/// `category:order`. A value may be quoted (`tag:"two words"`, `\"` and `\\` inside). No terms at
/// all match everything.
impl FromStr for QueryItem {
    type Err = ParseQueryError;

    fn from_str(text: &str) -> Result<Self, ParseQueryError> {
        let mut item = Self::default();
        let mut tags = Vec::new();
        for term in split_terms(text)? {
            let bad = |source| ParseQueryError::Value { term: term.to_string(), source };
            match term.key.as_str() {
                "type" => {
                    for value in &term.values {
                        item.types.push(EventType::new(value).map_err(bad)?);
                    }
                }
                "tag" => tags.push(Tag::new(term.whole()).map_err(bad)?),
                "stream" if item.stream.is_some() => {
                    return Err(ParseQueryError::Twice { key: "stream" });
                }
                "stream" => item.stream = Some(StreamName::new(term.whole()).map_err(bad)?),
                "category" if item.category.is_some() => {
                    return Err(ParseQueryError::Twice { key: "category" });
                }
                "category" => {
                    let name = StreamName::new(term.whole()).map_err(bad)?;
                    item.category = Some(name.as_str().to_owned());
                }
                _ => return Err(ParseQueryError::UnknownTerm { term: term.to_string() }),
            }
        }
        item.tags = tags.into_iter().collect();
        Ok(item)
    }
}

/// The text of one [`QueryItem`].
impl FromStr for Query {
    type Err = ParseQueryError;

    fn from_str(text: &str) -> Result<Self, ParseQueryError> {
        Ok(Self { items: vec![text.parse()?] })
    }
}

struct Term {
    key: String,
    values: Vec<String>,
}

impl Term {
    fn whole(&self) -> String {
        self.values.join(",")
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.key, self.whole())
    }
}

/// Splits at blanks outside of quotes. A comma outside of quotes parts values.
fn split_terms(text: &str) -> Result<Vec<Term>, ParseQueryError> {
    let mut terms = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((_, first)) = characters.peek().copied() {
        if first.is_whitespace() {
            characters.next();
            continue;
        }
        let mut key = None;
        let mut values = vec![String::new()];
        while let Some((offset, character)) = characters.next_if(|(_, c)| !c.is_whitespace()) {
            let value = values.last_mut().expect("there is always a last value");
            match character {
                ':' if key.is_none() => key = Some(std::mem::take(value)),
                ',' if key.is_some() => values.push(String::new()),
                '"' if key.is_some() => read_quoted(&mut characters, value, offset)?,
                other => value.push(other),
            }
        }
        let Some(key) = key else {
            return Err(ParseQueryError::UnknownTerm { term: values.join(",") });
        };
        terms.push(Term { key, values });
    }
    Ok(terms)
}

fn read_quoted(
    characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    value: &mut String,
    offset: usize,
) -> Result<(), ParseQueryError> {
    loop {
        match characters.next() {
            None => return Err(ParseQueryError::OpenQuote { offset }),
            Some((_, '"')) => return Ok(()),
            Some((_, '\\')) => match characters.next() {
                None => return Err(ParseQueryError::OpenQuote { offset }),
                Some((_, escaped)) => value.push(escaped),
            },
            Some((_, other)) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> QueryItem {
        text.parse().unwrap()
    }

    fn error(text: &str) -> ParseQueryError {
        text.parse::<QueryItem>().unwrap_err()
    }

    fn types(item: &QueryItem) -> Vec<&str> {
        item.types.iter().map(AsRef::as_ref).collect()
    }

    fn tags(item: &QueryItem) -> Vec<&str> {
        item.tags.iter().collect()
    }

    #[test]
    fn no_terms_match_everything() {
        assert!(parse("").is_all());
        assert!(parse(" \t ").is_all());
        assert!("".parse::<Query>().unwrap().is_all());
        assert!(!Query::nothing().is_all());
    }

    #[test]
    fn all_terms_are_read() {
        let item = parse("type:A,B  tag:order:1\ttag:x stream:order-1 category:order");

        assert_eq!(types(&item), ["A", "B"]);
        assert_eq!(tags(&item), ["order:1", "x"]);
        assert_eq!(item.stream.unwrap(), "order-1");
        assert_eq!(item.category.unwrap(), "order");
    }

    #[test]
    fn a_comma_parts_types_and_nothing_else() {
        assert_eq!(tags(&parse("tag:a,b")), ["a,b"]);
        assert_eq!(parse("stream:a,b-1").stream.unwrap(), "a,b-1");
        assert_eq!(types(&parse(r#"type:"A,B",C"#)), ["A,B", "C"]);
    }

    #[test]
    fn quotes_keep_blanks_and_marks() {
        let item = parse(r#"tag:"two words" type:"say \"hi\" \\" tag:half" quoted""#);

        assert_eq!(tags(&item), ["half quoted", "two words"]);
        assert_eq!(types(&item), [r#"say "hi" \"#]);
    }

    #[test]
    fn only_the_first_colon_ends_a_key() {
        assert_eq!(tags(&parse("tag:a:b:c")), ["a:b:c"]);
        assert_eq!(types(&parse("type:urn:x")), ["urn:x"]);
    }

    #[test]
    fn a_term_needs_a_key_that_is_known() {
        for text in ["Placed", "types:A", ":A", "type", "Tag:x", "\"type\":A"] {
            assert!(matches!(error(text), ParseQueryError::UnknownTerm { .. }), "{text}");
        }
    }

    #[test]
    fn a_quote_needs_its_partner() {
        assert_eq!(error(r#"tag:"open"#), ParseQueryError::OpenQuote { offset: 4 });
        assert_eq!(error(r#"tag:a type:"b\"#), ParseQueryError::OpenQuote { offset: 11 });
    }

    #[test]
    fn values_have_to_be_names() {
        for text in ["type:", "type:A,", "tag:", "stream:", "category:", "tag:\"a\nb\""] {
            assert!(matches!(error(text), ParseQueryError::Value { .. }), "{text:?}");
        }
    }

    #[test]
    fn an_event_is_in_one_stream_and_one_category() {
        assert_eq!(error("stream:a stream:b"), ParseQueryError::Twice { key: "stream" });
        assert_eq!(error("category:a category:b"), ParseQueryError::Twice { key: "category" });
    }

    #[test]
    fn any_text_is_parsed_or_refused() {
        let alphabet = ['t', 'a', 'g', ':', ',', '"', '\\', ' ', '\n', 'ü', '$'];
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let text: String = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 16) as usize % alphabet.len()]
                })
                .collect();
            if let Ok(item) = format!("tag:{text}").parse::<QueryItem>() {
                assert!(!item.is_all(), "{text:?}");
            }
        }
    }
}
