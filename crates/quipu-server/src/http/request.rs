//! What requests have in common: the stream in the path, parameters, demands, formats, the body.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::BytesMut;
use http_body_util::BodyExt;
use quipu_core::{AsOf, Direction, EventId, ExpectedRevision, Query, QueryItem, StreamName};

use super::failure;
use super::problem::{Kind, Problem};
use crate::config::Limits;
use crate::{text, time};

/// The most queries in one request.
pub(super) const QUERY_COUNT_MAX: usize = 256;

/// The stream that the path names, percent-encoded.
pub(super) struct StreamPath(pub(super) StreamName);

impl<S: Send + Sync> FromRequestParts<S> for StreamPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|error| {
                Problem::malformed("the name of the stream cannot be read")
                    .because(error.body_text())
            })?;
        StreamName::new(&name).map(Self).map_err(|error| {
            Problem::malformed("the path names no stream")
                .because(error.to_string())
                .with("stream", name)
        })
    }
}

/// The parameters of a request: what stands behind the `?`.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the parameters. One that is not among `known` is refused by its name.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(name).zip(decode(value));
            let Some((name, value)) = decoded else {
                let detail = format!("the parameter {pair:?} is not percent-encoded UTF-8");
                return Err(Problem::malformed(detail));
            };
            if !known.contains(&name.as_str()) {
                let detail = format!("there is no parameter {name:?} here");
                return Err(Problem::malformed(detail)
                    .hint(format!("the parameters are: {}", known.join(", ")))
                    .with("parameter", name));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter that may stand once.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(refused(name, "it may stand once"));
        }
        Ok(value)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of some kind.
    pub(super) fn parse<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let value = self.one(name)?.map(parse).transpose();
        value.map_err(|reason| refused(name, &reason))
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        self.parse(name, |text| {
            // No log is longer, and the description promises it: `int64`.
            let is_fit = |number: &u64| i64::try_from(*number).is_ok();
            let number = text.parse().ok().filter(is_fit);
            number.ok_or_else(|| format!("{text:?} is not a whole number from 0 to 2^63 - 1"))
        })
    }

    /// A parameter that is true or false; false where it is left out.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        let flag = self.parse(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("it is true or false".to_owned()),
        })?;
        Ok(flag.unwrap_or_default())
    }

    /// How many are wanted at most: a default where nothing is said, the most where it is more.
    pub(super) fn limit(&self, default: u64, max: u64) -> Result<u64, Problem> {
        match self.number("limit")? {
            Some(0) => Err(refused("limit", "it is at least 1")),
            limit => Ok(limit.unwrap_or(default).min(max)),
        }
    }

    /// Which way to read.
    pub(super) fn direction(&self) -> Result<Direction, Problem> {
        let direction = self.parse("direction", |text| match text {
            "forward" => Ok(Direction::Forward),
            "backward" => Ok(Direction::Backward),
            _ => Err("it is forward or backward".to_owned()),
        })?;
        Ok(direction.unwrap_or_default())
    }

    /// The moment to read at.
    pub(super) fn as_of(&self) -> Result<Option<AsOf>, Problem> {
        self.parse("as_of", time::parse_as_of)
    }

    /// The id of the event that records a change, so that it can be retried.
    pub(super) fn event_id(&self) -> Result<EventId, Problem> {
        Ok(self.parse("id", text::event_id)?.unwrap_or_else(EventId::generate))
    }

    /// The queries, any of which an event matches; every event where there is none.
    pub(super) fn query(&self) -> Result<Query, Problem> {
        let texts: Vec<&str> = self.all("query").collect();
        if texts.is_empty() {
            return Ok(Query::all());
        }
        query_of(&texts)
    }

    /// The same parameters with another value of one, as text for a link.
    pub(super) fn link(&self, path: &str, name: &str, value: &str) -> String {
        let kept = self.0.iter().filter(|(own, _)| own != name);
        let own = (name, value);
        let pairs = kept.map(|(name, value)| (name.as_str(), value.as_str())).chain([own]);
        let pairs: Vec<String> =
            pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        format!("{path}?{}", pairs.join("&"))
    }
}

fn refused(name: &'static str, reason: &str) -> Problem {
    Problem::malformed(format!("the parameter {name} is not valid"))
        .because(reason)
        .with("parameter", name)
}

/// The query whose items are these texts.
pub(super) fn query_of(texts: &[impl AsRef<str>]) -> Result<Query, Problem> {
    if texts.len() > QUERY_COUNT_MAX {
        let detail = format!("a request has at most {QUERY_COUNT_MAX} queries");
        return Err(Problem::malformed(detail));
    }
    let parse =
        |text: &str| text.parse::<QueryItem>().map_err(|error| failure::of_query(text, &error));
    let items = texts.iter().map(|text| parse(text.as_ref()));
    Ok(Query { items: items.collect::<Result<_, _>>()? })
}

/// Percent-decodes text, with `+` as a blank.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes everything but what is unreserved in a URI.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a text does not fail");
        }
    }
    encoded
}

/// What a request demands of its stream, and whether a header says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) expected: ExpectedRevision,
    pub(super) is_header: bool,
}

impl Demand {
    /// Reads the demand from `?expect=`, `If-Match` or `If-None-Match`: from one of them.
    pub(super) fn read(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let param = params.parse("expect", expectation)?;
        let if_match = tag_in(headers, &IF_MATCH)?;
        let if_none_match = tag_in(headers, &IF_NONE_MATCH)?;
        let expected = match (param, if_match, if_none_match) {
            (None, None, None) => ExpectedRevision::Any,
            (Some(expected), None, None) => expected,
            (None, Some("*"), None) => ExpectedRevision::StreamExists,
            (None, Some(tag), None) => revision_in(tag)?,
            (None, None, Some("*")) => ExpectedRevision::NoStream,
            (None, None, Some(_)) => {
                return Err(Problem::malformed("If-None-Match is understood as * alone"));
            }
            _ => {
                let detail = "a request has one of expect, If-Match and If-None-Match";
                return Err(Problem::malformed(detail));
            }
        };
        Ok(Self { expected, is_header: param.is_none() })
    }

    /// The problem as the answer to how the demand was made.
    pub(super) fn refuse(self, problem: Problem) -> Problem {
        if self.is_header && self.expected != ExpectedRevision::Any {
            problem.of_header()
        } else {
            problem
        }
    }
}

/// Reads what a stream must be like; HTTP knows two words more than the command line.
pub(super) fn expectation(word: &str) -> Result<ExpectedRevision, String> {
    match word {
        "deleted" => Ok(ExpectedRevision::Deleted),
        "tombstoned" => Ok(ExpectedRevision::Tombstoned),
        other => text::expected_revision(other),
    }
}

fn tag_in<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(error) => {
            Err(Problem::malformed(format!("{name} is not text")).because(error.to_string()))
        }
    }
}

fn revision_in(tag: &str) -> Result<ExpectedRevision, Problem> {
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let number = inner.and_then(|text| text.parse().ok());
    match number {
        Some(revision) => Ok(ExpectedRevision::Exactly(quipu_core::Revision::new(revision))),
        None => Err(Problem::malformed("If-Match is not a revision in quotation marks")
            .hint("send If-Match: \"7\" for revision 7, or If-Match: * for a stream that exists")),
    }
}

/// The type of the body, without its parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    essence(value.unwrap_or_default())
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body whose format is none of these.
pub(super) fn unsupported(found: &str, formats: &[&'static str]) -> Problem {
    let detail = if found.is_empty() {
        "the request does not say which format its body has".to_owned()
    } else {
        format!("the body's format {found} is not read here")
    };
    Problem::new(Kind::UnsupportedMediaType, detail).with("accepted", formats.to_vec())
}

/// The format among `formats`, best first, that the client likes most.
pub(super) fn accepted(
    headers: &HeaderMap,
    formats: &[&'static str],
) -> Result<&'static str, Problem> {
    let mut best: Option<(f32, &'static str)> = None;
    let mut is_asked = false;
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')).filter(|range| !range.trim().is_empty())
    {
        is_asked = true;
        let kind = essence(range);
        let matches = |format: &&str| match kind.as_str() {
            "*/*" => true,
            other => match other.strip_suffix("/*") {
                Some(family) => format.split('/').next() == Some(family),
                None => *format == other,
            },
        };
        let Some(format) = formats.iter().copied().find(matches) else { continue };
        let weight = range.split(';').skip(1).find_map(|param| param.trim().strip_prefix("q="));
        let weight: f32 = weight.and_then(|text| text.trim().parse().ok()).unwrap_or(1.0);
        if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, format));
        }
    }
    match (best, formats.first()) {
        (Some((_, format)), _) => Ok(format),
        (None, Some(first)) if !is_asked => Ok(first),
        _ => Err(Problem::new(Kind::NotAcceptable, "the answer has none of the formats accepted")
            .with("formats", formats.to_vec())),
    }
}

/// Reads the body, at most as many bytes of it as the limits say, and for as long as some come.
pub(super) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    let size_max = limits.request_size_max;
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_told_too_large = told.is_some_and(|size: usize| size > size_max);
    let mut bytes = BytesMut::new();
    let mut size = 0;
    // A client that is still sending hears the answer only if its bytes are taken meanwhile. What
    // is too much is dropped as it comes; who sends twice as much as is allowed is cut off.
    let most = size_max.saturating_mul(2);
    // One that waits to be told to go on is answered at once.
    let is_waiting = is_told_too_large && headers.contains_key(EXPECT);
    while !is_waiting && size <= most {
        let frame = tokio::time::timeout(limits.handshake_timeout, body.frame()).await;
        let stalled = |_| Problem::malformed("the body stopped to arrive");
        let Some(frame) = frame.map_err(stalled)? else { break };
        let frame = frame.map_err(|error| {
            Problem::malformed("the body did not arrive").because(error.to_string())
        })?;
        let Some(data) = frame.data_ref() else { continue };
        size += data.len();
        if size > size_max || is_told_too_large {
            bytes = BytesMut::new();
        } else {
            bytes.extend_from_slice(data);
        }
    }
    if size > size_max || is_told_too_large {
        let detail = format!("the body is larger than {size_max} bytes");
        return Err(Problem::new(Kind::TooLarge, detail).with("size_max", size_max));
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const FORMATS: [&str; 2] = ["application/json", "application/x-ndjson"];

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn encoded_text_is_decoded_to_itself() {
        for text in ["", "order-1", "a/b?c&d=e+f %", "zürich \u{1F9F6}", "../../etc"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn text_that_is_not_encoded_well_is_refused() {
        for text in ["%", "%2", "%zz", "%ff", "%C3"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_parameter_is_known_and_stands_once() {
        assert!(Params::read(Some("limit=1&colour=red"), &["limit"]).is_err());
        let twice = Params::read(Some("limit=1&limit=2"), &["limit"]).unwrap();
        assert!(twice.number("limit").is_err());
    }

    #[test]
    fn a_link_keeps_the_other_parameters() {
        let params = Params::read(Some("query=tag:a+b&from=3"), &["query", "from"]).unwrap();

        assert_eq!(params.link("/events", "from", "9"), "/events?query=tag%3Aa%20b&from=9");
    }

    #[test]
    fn the_format_liked_most_is_answered() {
        let cases = [
            ("*/*", Some(FORMATS[0])),
            ("application/x-ndjson", Some(FORMATS[1])),
            ("application/*;q=0.5, application/x-ndjson", Some(FORMATS[1])),
            ("text/html, */*;q=0.1", Some(FORMATS[0])),
            ("application/json;q=0", None),
            ("text/html", None),
        ];
        for (value, expected) in cases {
            assert_eq!(accepted(&accept(value), &FORMATS).ok(), expected, "{value}");
        }
        assert_eq!(accepted(&HeaderMap::new(), &FORMATS).ok(), Some(FORMATS[0]));
    }
}
