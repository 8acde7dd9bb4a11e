//! Words that the command line and HTTP share.

use quipu_core::{EventId, EventType, ExpectedRevision, NameError, Revision};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_a_word_or_a_revision() {
        assert_eq!(expected_revision("none"), Ok(ExpectedRevision::NoStream));
        assert_eq!(expected_revision("7"), Ok(ExpectedRevision::Exactly(Revision::new(7))));
        assert!(expected_revision("-1").is_err());
    }
}
