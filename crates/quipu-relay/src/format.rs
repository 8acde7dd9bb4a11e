//! The JSON format of `CloudEvents`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quipu_core::{ContentType, Timestamp};
use serde_json::value::RawValue;

use crate::cloud_event::CloudEvent;

/// A moment as RFC 3339 has it; `None` for one that it does not reach.
pub(crate) fn rfc3339(time: Timestamp) -> Option<String> {
    jiff::Timestamp::from_microsecond(time.as_micros()).ok().map(|time| time.to_string())
}

/// The cloud event's attributes with their names, without the data.
pub(crate) fn attributes(cloud_event: &CloudEvent) -> Vec<(&str, String)> {
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", cloud_event.id.clone()),
        ("source", cloud_event.source.clone().unwrap_or_default()),
        ("type", cloud_event.event_type.clone()),
    ];
    let time = cloud_event.time.and_then(rfc3339);
    let optional = [
        ("subject", cloud_event.subject.clone()),
        ("time", time),
        ("datacontenttype", cloud_event.data_content_type.clone()),
        ("partitionkey", cloud_event.key.clone()),
    ];
    let present = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    attributes.extend(present);
    let extensions = cloud_event.extensions.iter();
    attributes.extend(extensions.map(|(name, value)| (name.as_str(), value.clone())));
    attributes
}

/// Appends the cloud event in one line of JSON, without its end.
///
/// Data that is JSON is put there as it is, to the last digit; other data in base64.
pub(crate) fn write_json(cloud_event: &CloudEvent, line: &mut Vec<u8>) {
    let mut separator = b'{';
    for (name, value) in attributes(cloud_event) {
        line.push(separator);
        separator = b',';
        write_text(name, line);
        line.push(b':');
        write_text(&value, line);
    }
    if let Some(data) = &cloud_event.data {
        let content_type = cloud_event.data_content_type.as_deref().unwrap_or("application/json");
        let is_json = ContentType::new(content_type).is_ok_and(|it| it.is_json());
        match serde_json::from_slice::<&RawValue>(data) {
            Ok(json) if is_json => {
                line.extend_from_slice(b",\"data\":");
                // Inside of JSON's strings there are no line ends, outside they are blanks.
                let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                let bytes = json.get().bytes();
                line.extend(bytes.map(|byte| if is_end(&byte) { b' ' } else { byte }));
            }
            _ => {
                line.extend_from_slice(b",\"data_base64\":\"");
                line.extend_from_slice(STANDARD.encode(data).as_bytes());
                line.push(b'"');
            }
        }
    }
    line.push(b'}');
}

fn write_text(text: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Percent-encodes what the bindings of HTTP and NATS want encoded in header values.
#[cfg(any(feature = "nats", feature = "webhook"))]
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if matches!(byte, 0x21..=0x7E) && !matches!(byte, b'"' | b'%') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.extend([byte >> 4, byte & 15].map(|digit| {
                char::from(b"0123456789ABCDEF".get(usize::from(digit)).copied().unwrap_or(b'0'))
            }));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::BTreeMap;

    fn cloud_event(content_type: &str, data: &'static [u8]) -> CloudEvent {
        CloudEvent {
            id: "1".to_owned(),
            source: Some("urn:x".to_owned()),
            event_type: "T".to_owned(),
            subject: None,
            time: Some(Timestamp::from_micros(1_500_000)),
            data_content_type: Some(content_type.to_owned()),
            data: Some(Bytes::from_static(data)),
            key: Some("k\"\u{fc}".to_owned()),
            extensions: BTreeMap::from([("position".to_owned(), "7".to_owned())]),
        }
    }

    fn json(cloud_event: &CloudEvent) -> String {
        let mut line = Vec::new();
        write_json(cloud_event, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn json_data_stays_as_it_is_but_for_line_ends() {
        let text = json(&cloud_event("application/json", b"{\"a\":\n 1.10e400}"));

        assert_eq!(
            text,
            concat!(
                r#"{"specversion":"1.0","id":"1","source":"urn:x","type":"T","#,
                r#""time":"1970-01-01T00:00:01.5Z","datacontenttype":"application/json","#,
                r#""partitionkey":"k\"ü","position":"7","data":{"a":  1.10e400}}"#
            )
        );
    }

    #[test]
    fn data_that_is_not_json_is_in_base64_whatever_it_says_it_is() {
        let octets = json(&cloud_event("application/octet-stream", b"{}"));
        let broken = json(&cloud_event("application/json", b"{\xFF"));

        assert!(octets.ends_with(r#","data_base64":"e30="}"#), "{octets}");
        assert!(broken.ends_with(r#","data_base64":"e/8="}"#), "{broken}");
    }

    #[test]
    fn a_moment_that_rfc_3339_does_not_reach_is_left_out() {
        assert_eq!(rfc3339(Timestamp::from_micros(i64::MAX)), None);
    }

    #[cfg(any(feature = "nats", feature = "webhook"))]
    #[test]
    fn header_values_are_escaped_as_the_binding_asks() {
        assert_eq!(escape("Euro € \"5%\""), "Euro%20%E2%82%AC%20%225%25%22");
    }
}
