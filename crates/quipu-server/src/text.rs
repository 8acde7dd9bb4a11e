//! Words that the command line and HTTP share.

use std::fmt::Write as _;

use quipu_core::{EventId, EventType, ExpectedRevision, NameError, QueryItem, Revision};

/// Reads what a stream must be like: `any`, `none`, `exists`, or the revision of its last event.
pub fn expected_revision(text: &str) -> Result<ExpectedRevision, String> {
    match text {
        "any" => Ok(ExpectedRevision::Any),
        "none" => Ok(ExpectedRevision::NoStream),
        "exists" => Ok(ExpectedRevision::StreamExists),
        number => match number.parse() {
            Ok(revision) => Ok(ExpectedRevision::Exactly(Revision::new(revision))),
            Err(_) => Err("it is any, none, exists, or a revision such as 7".to_owned()),
        },
    }
}

/// Reads an event's id, a UUID.
pub fn event_id(text: &str) -> Result<EventId, String> {
    let uuid = uuid::Uuid::try_parse(text).map_err(|error| format!("not a UUID: {error}"))?;
    Ok(EventId::from_uuid(uuid))
}

/// Reads the name of a type of events.
pub fn event_type(text: &str) -> Result<EventType, String> {
    EventType::new(text).map_err(|error: NameError| error.to_string())
}

/// A query's item as text that is read as the same item.
pub fn of_query_item(item: &QueryItem) -> String {
    let mut terms = Vec::new();
    if !item.types.is_empty() {
        let types: Vec<String> = item.types.iter().map(|own| quoted(own.as_str())).collect();
        terms.push(format!("type:{}", types.join(",")));
    }
    terms.extend(item.tags.iter().map(|tag| format!("tag:{}", quoted(tag))));
    terms.extend(item.stream.iter().map(|own| format!("stream:{}", quoted(own.as_str()))));
    terms.extend(item.category.iter().map(|own| format!("category:{}", quoted(own))));
    terms.join(" ")
}

/// A value of a term, in quotation marks where it would not be read as it is.
fn quoted(value: &str) -> String {
    if !value.chars().any(|it| it.is_whitespace() || "\",\\".contains(it)) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for it in value.chars() {
        let escape = if "\"\\".contains(it) { "\\" } else { "" };
        write!(text, "{escape}{it}").expect("writing to a text does not fail");
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_written_as_it_is_read() {
        let texts = [
            "",
            "type:A,B tag:order:1 tag:x stream:order-1",
            "category:order",
            r#"type:"A,B",C tag:"two words" tag:"say \"hi\" \\""#,
        ];
        for text in texts {
            let item: QueryItem = text.parse().unwrap();

            assert_eq!(of_query_item(&item).parse(), Ok(item), "{text}");
        }
    }

    #[test]
    fn an_expectation_is_a_word_or_a_revision() {
        assert_eq!(expected_revision("none"), Ok(ExpectedRevision::NoStream));
        assert_eq!(expected_revision("7"), Ok(ExpectedRevision::Exactly(Revision::new(7))));
        assert!(expected_revision("-1").is_err());
    }
}
