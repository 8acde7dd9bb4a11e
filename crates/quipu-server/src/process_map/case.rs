//! What belongs together.

use std::str::FromStr;

use quipu_core::{EventRef, NameError, Query, StreamName, Tag};

/// By what events are told to belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum CaseBy {
    /// Each stream is a case.
    #[default]
    Stream,
    /// Each tag of this key is a case: `order` for `order:1`, `order:2`. An event with several such
    /// tags belongs to each of those cases.
    Tag(String),
}

impl CaseBy {
    /// Calls for each case that the event belongs to.
    pub(super) fn each<'a>(&self, event: EventRef<'a>, mut then: impl FnMut(&'a str)) {
        match self {
            Self::Stream => then(event.stream()),
            Self::Tag(key) => event.tags().filter(|tag| has_key(tag, key)).for_each(then),
        }
    }

    /// The query for those events of `query` that belong to one case.
    pub(super) fn restrict(&self, query: &Query, case: &str) -> Result<Query, NameError> {
        let mut items = Vec::with_capacity(query.items.len());
        for item in &query.items {
            let mut item = item.clone();
            match self {
                Self::Stream => {
                    if item.stream.as_ref().is_some_and(|own| own.as_str() != case) {
                        continue;
                    }
                    item.stream = Some(StreamName::new(case)?);
                    // The stream says it already.
                    item.category = None;
                }
                Self::Tag(_) => {
                    let tags = item.tags.iter().map(Tag::new).chain([Tag::new(case)]);
                    item.tags = tags.collect::<Result<_, _>>()?;
                }
            }
            items.push(item);
        }
        Ok(Query { items })
    }
}

fn has_key(tag: &str, key: &str) -> bool {
    tag.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
}

/// `stream`, or `tag:KEY`.
impl FromStr for CaseBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stream" => Ok(Self::Stream),
            Some(("tag", key)) if !key.is_empty() && !key.starts_with('$') => {
                Ok(Self::Tag(key.to_owned()))
            }
            _ => Err("it is stream, or tag: with the part of tags before their colon, such as \
                      tag:order for order:1"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_stream_or_a_key_of_tags() {
        assert_eq!("stream".parse(), Ok(CaseBy::Stream));
        assert_eq!("tag:order".parse(), Ok(CaseBy::Tag("order".to_owned())));
        for text in ["", "streams", "tag", "tag:", "tag:$x", "category:order"] {
            assert!(text.parse::<CaseBy>().is_err(), "{text:?}");
        }
        assert!(has_key("order:1", "order") && has_key("order:", "order"));
        assert!(!has_key("order", "order") && !has_key("orders:1", "order"));
    }

    #[test]
    fn a_query_is_restricted_to_one_case() {
        let query: Query = "category:order type:Placed tag:a".parse().unwrap();

        let by_stream = CaseBy::Stream.restrict(&query, "order-1").unwrap();
        let by_tag = CaseBy::Tag("order".to_owned()).restrict(&query, "order:1").unwrap();
        let of_other = Query::stream(StreamName::new("order-2").unwrap());

        assert_eq!(by_stream, "stream:order-1 type:Placed tag:a".parse().unwrap());
        assert_eq!(by_tag, "category:order type:Placed tag:a tag:order:1".parse().unwrap());
        assert_eq!(CaseBy::Stream.restrict(&of_other, "order-1"), Ok(Query::nothing()));
    }
}
