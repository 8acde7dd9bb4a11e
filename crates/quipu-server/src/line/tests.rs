use quipu_core::{EventBatch, EventData, Position, RecordedEvent, Revision};

use super::*;

fn event(data: &[u8], metadata: &[u8]) -> RecordedEvent {
    RecordedEvent {
        id: EventId::from_bytes(*b"0123456789abcdef"),
        stream: StreamName::new("order-\"1\" \u{1F9F6}").unwrap(),
        event_type: EventType::new("OrderPlaced").unwrap(),
        tags: Tags::parse(["order:1", "a \\ b", "zürich"]).unwrap(),
        content_type: ContentType::json(),
        data: EventData::Present(Bytes::copy_from_slice(data)),
        metadata: Bytes::copy_from_slice(metadata),
        recorded_at: Timestamp::from_micros(1_317_422_324_546_123),
        position: Position::new(7),
        revision: Revision::new(3),
    }
}

fn line_of(event: &RecordedEvent) -> Vec<u8> {
    let batch = EventBatch::from_iter([event]);
    let mut out = Vec::new();
    to_json(batch.first().unwrap(), &mut out);
    out
}

fn text_of(event: &RecordedEvent) -> String {
    String::from_utf8(line_of(event)).unwrap()
}

#[test]
fn an_event_is_one_object_with_its_fields_in_order() {
    let text = text_of(&event(br#"{"b":1, "a":2}"#, b""));

    assert_eq!(
        text,
        "{\"position\":7,\"revision\":3,\"stream\":\"order-\\\"1\\\" \u{1F9F6}\",\
         \"id\":\"30313233-3435-3637-3839-616263646566\",\"type\":\"OrderPlaced\",\
         \"time\":\"2011-09-30T22:38:44.546123Z\",\"tags\":[\"a \\\\ b\",\"order:1\",\"zürich\"],\
         \"content_type\":\"application/json\",\"data\":{\"b\":1, \"a\":2}}\n"
    );
}

#[test]
fn bytes_come_back_as_they_were_whatever_they_are() {
    let cases: [&[u8]; 20] = [
        b"",
        b"null",
        b"true",
        b"{}",
        b"{\"a\":1}",
        b"{ \"a\" : 1.0e0, \"a\": 1e400 }",
        b" {}",
        b"{} ",
        b"{}\n",
        b"{\n}",
        b"{\r}",
        b"[\"\\u00e9\",\"\\ud800\",\"\xc3\xa9\"]",
        b"\"\xff\"",
        b"\xff\xfe",
        b"not json",
        b"{}{}",
        b"\0",
        b"123456789012345678901234567890.000",
        b"-0",
        b"\"\x7f\xe2\x80\xa8\"",
    ];
    for bytes in cases {
        let original = event(bytes, bytes);

        let line = from_json(&line_of(&original)).unwrap();

        assert_eq!(line.data, bytes, "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(line.metadata, bytes, "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(line.content_type, original.content_type);
    }
}

#[test]
fn deeply_nested_data_comes_back_as_it_was() {
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();

    let line = from_json(&line_of(&event(&deep, b""))).unwrap();

    assert_eq!(line.data, deep);
}

#[test]
fn names_id_tags_and_time_come_back_as_they_were() {
    let original = event(b"{}", b"");

    let line = from_json(&line_of(&original)).unwrap();

    assert_eq!(line.stream, original.stream);
    assert_eq!(line.id, Some(original.id));
    assert_eq!(line.event_type, original.event_type);
    assert_eq!(line.tags, original.tags);
    assert_eq!(line.time, Some(original.recorded_at));
}

#[test]
fn a_line_never_has_a_break_in_it() {
    for bytes in [&b"{\n}"[..], b"\"\n", b"\r", b"[1,\r\n2]"] {
        let line = line_of(&event(bytes, bytes));

        assert_eq!(line.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1);
    }
}

#[test]
fn data_that_is_json_stands_inline_and_other_data_in_base64() {
    let text = text_of(&event(b"[1]", b"\x01"));

    assert!(text.contains(r#""data":[1]"#), "{text}");
    assert!(text.contains(r#""metadata_base64":"AQ==""#), "{text}");
}

/// The grammar of JSON allows more than most programs can read.
#[test]
fn json_that_many_programs_cannot_read_stands_in_base64() {
    let deep = [vec![b'['; 1_000], vec![b']'; 1_000]].concat();
    for bytes in [&b"[1e400]"[..], br#""\ud800""#, br#"{"\udfff":1}"#, &deep] {
        let line = line_of(&event(bytes, b""));

        assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        assert_eq!(from_json(&line).unwrap().data, bytes);
    }
}

#[test]
fn an_erased_event_says_so_and_is_not_imported() {
    let mut erased = event(b"", b"");
    erased.data = EventData::Erased;

    let text = text_of(&erased);
    let refused = from_json(text.as_bytes()).unwrap_err();

    assert!(text.contains(r#""erased":true"#), "{text}");
    assert!(refused.reason.contains("erased"), "{}", refused.reason);
}

#[test]
fn a_line_needs_only_stream_and_type() {
    let line = from_json(br#"{"stream":"a","type":"T"}"#).unwrap();

    assert_eq!(line.id, None);
    assert_eq!(line.time, None);
    assert!(line.data.is_empty() && line.metadata.is_empty() && line.tags.is_empty());
}

#[test]
fn the_content_type_follows_from_how_the_data_stands() {
    let inline = from_json(br#"{"stream":"a","type":"T","data":null}"#).unwrap();
    let base64 = from_json(br#"{"stream":"a","type":"T","data_base64":"bnVsbA=="}"#).unwrap();

    assert_eq!((inline.data.as_ref(), inline.content_type), (&b"null"[..], ContentType::json()));
    assert_eq!((base64.data.as_ref(), base64.content_type), (&b"null"[..], ContentType::octets()));
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_column() {
    let cases = [
        (r"[]", 1, "object"),
        (r#"  "x""#, 3, "object"),
        (r#"{"stream":"a","type":"T""#, 24, "EOF"),
        (r#"{"stream":"a"}"#, 14, "missing field `type`"),
        (r#"{"type":"T"}"#, 12, "missing field `stream`"),
        (r#"{"stream":"","type":"T"}"#, 12, "must not be empty"),
        (r#"{"stream":"a\u0007","type":"T"}"#, 19, "control characters"),
        (r#"{"stream":1,"type":"T"}"#, 11, "expected a string"),
        (r#"{"stream":"a","type":"T","id":"7"}"#, 33, "not a UUID"),
        (r#"{"stream":"a","type":"T","time":"noon"}"#, 38, "RFC 3339"),
        (r#"{"stream":"a","type":"T","tags":["x",""]}"#, 39, "must not be empty"),
        (r#"{"stream":"a","type":"T","colour":1}"#, 33, "unknown field `colour`"),
        (r#"{"stream":"a","stream":"b","type":"T"}"#, 22, "duplicate field"),
        (r#"{"stream":"a","type":"T","data":1,"data_base64":""}"#, 51, "not both"),
        (r#"{"stream":"a","type":"T","data_base64":"?"}"#, 42, "not base64"),
        (r#"{"stream":"a","type":"T"} x"#, 27, "trailing characters"),
    ];
    for (line, column, reason) in cases {
        let error = from_json(line.as_bytes()).unwrap_err();

        assert!(error.reason.contains(reason), "{line}: {}", error.reason);
        assert_eq!(error.column, column, "{line}: {}", error.reason);
    }
}
