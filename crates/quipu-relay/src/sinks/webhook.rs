//! Messages over HTTP.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use quipu_core::{BoxFuture, Timestamp};

use crate::cloud_event::CloudEvent;
use crate::format::{attributes, escape, write_json};
use crate::sink::{Batch, Sink, SinkError};

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = hyper_util::client::legacy::connect::HttpConnector;

/// How a cloud event is put into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the specification has no other for one cloud event")]
pub enum WebhookMode {
    /// The data is the body, the attributes are headers: `ce-id`, `ce-type` and so on.
    #[default]
    Binary,
    /// The body is the cloud event as JSON: `application/cloudevents+json`.
    Structured,
}

/// Posts each cloud event to a URL, one after the other; any answer of 2xx acknowledges it.
///
/// 5xx, 408, 425, 429 and everything that kept an answer from coming are tried again, not before
/// what `Retry-After` asks for. Every other answer is a refusal.
#[derive(Debug)]
pub struct WebhookSink {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    mode: WebhookMode,
    timeout: Duration,
    headers: HeaderMap,
}

/// The longest wait that is taken from an answer.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// The most bytes of an answer that are read, so that its connection can be used again.
const ANSWER_SIZE_MAX: usize = 64 << 10;

impl WebhookSink {
    /// A sink that posts to `url`, in binary mode, and waits 30 s for an answer. `https` needs the
    /// feature `tls`.
    ///
    /// # Errors
    ///
    /// See [`WebhookError`].
    pub fn new(url: &str) -> Result<Self, WebhookError> {
        let uri: Uri = url.parse().map_err(|_| WebhookError::Url { url: url.to_owned() })?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(WebhookError::NoTls),
            _ => return Err(WebhookError::Url { url: url.to_owned() }),
        }
        if uri.authority().is_none() {
            return Err(WebhookError::Url { url: url.to_owned() });
        }
        let client = Client::builder(TokioExecutor::new()).build(connector()?);
        let (mode, timeout) = (WebhookMode::Binary, Duration::from_secs(30));
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("quipu-relay"));
        Ok(Self { client, uri, mode, timeout, headers })
    }

    /// The same sink in this mode.
    #[must_use]
    pub fn mode(mut self, mode: WebhookMode) -> Self {
        self.mode = mode;
        self
    }

    /// The same sink waiting that long for an answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same sink with one more header in each request, such as `authorization`. It is not
    /// printed.
    ///
    /// # Errors
    ///
    /// [`WebhookError::Header`] if it is not a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, WebhookError> {
        let invalid = || WebhookError::Header { name: name.to_owned() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        self.headers.insert(parsed, value);
        Ok(self)
    }

    fn request(
        &self,
        cloud_event: &CloudEvent,
    ) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let mut headers = self.headers.clone();
        let body = match self.mode {
            WebhookMode::Structured => {
                let json = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
                headers.insert(CONTENT_TYPE, json);
                let mut body = Vec::new();
                write_json(cloud_event, &mut body);
                body.into()
            }
            WebhookMode::Binary => {
                for (name, value) in attributes(cloud_event) {
                    if name == "datacontenttype" {
                        headers.insert(CONTENT_TYPE, value.parse()?);
                    } else {
                        let name = HeaderName::try_from(format!("ce-{name}"))?;
                        headers.insert(name, escape(&value).parse()?);
                    }
                }
                cloud_event.data.clone().unwrap_or_default()
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Posts one cloud event; `published` went before it.
    async fn post(&self, cloud_event: &CloudEvent, published: usize) -> Result<(), SinkError> {
        let request = self
            .request(cloud_event)
            .map_err(|source| SinkError::Rejected { published, source })?;
        let unavailable =
            |source, retry_after| SinkError::Unavailable { published, retry_after, source };
        let answer = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unavailable(error.into(), None)),
            Err(error) => return Err(unavailable(error.into(), None)),
        };
        let (status, retry_after) = (answer.status(), retry_after(&answer));
        self.drain(answer).await;
        if status.is_success() {
            return Ok(());
        }
        let source = WebhookError::Answer { status: status.as_u16() }.into();
        let is_passing = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
        if is_passing {
            Err(unavailable(source, retry_after))
        } else {
            Err(SinkError::Rejected { published, source })
        }
    }

    /// Reads what the answer says and forgets it. It was acknowledged, or not, by its status.
    async fn drain(&self, answer: Response<hyper::body::Incoming>) {
        let body = Limited::new(answer.into_body(), ANSWER_SIZE_MAX);
        tokio::time::timeout(self.timeout, body.collect()).await.ok();
    }
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, WebhookError> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = builder.with_native_roots().map_err(WebhookError::Roots)?;
    Ok(builder.https_or_http().enable_http1().build())
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS there may be no certificates")]
fn connector() -> Result<Connector, WebhookError> {
    Ok(Connector::new())
}

/// What the answer asks to wait: seconds, or a date.
fn retry_after(answer: &Response<hyper::body::Incoming>) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    parse_retry_after(text, Timestamp::now())
}

fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
        let micros = until.saturating_sub(now.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

impl Sink for WebhookSink {
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            for (published, cloud_event) in batch.cloud_events.iter().enumerate() {
                self.post(cloud_event, published).await?;
            }
            Ok(())
        })
    }
}

/// What is wrong with a webhook, or with its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// It is not an absolute `http` or `https` URL.
    #[error("\"{url}\" is not an absolute http or https URL")]
    Url {
        /// What was given.
        url: String,
    },
    /// `https` without the feature `tls`.
    #[error("https needs the feature \"tls\"")]
    NoTls,
    /// The machine's certificates could not be read.
    #[error("the machine's root certificates could not be read")]
    Roots(#[source] std::io::Error),
    /// It is not a header.
    #[error("the header \"{name}\" or its value is not valid")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The answer did not acknowledge the cloud event.
    #[error("the webhook answered {status}")]
    Answer {
        /// The answer's status.
        status: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_has_a_limit() {
        let now = Timestamp::from_micros(784_111_777_000_000);
        let parse = |text| parse_retry_after(text, now).map(|wait| wait.as_secs());

        assert_eq!(parse("120"), Some(120));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(parse("99999999999"), Some(3_600));
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn a_url_is_absolute_and_of_http() {
        for url in ["", "/hook", "ftp://x/", "http:", "x y"] {
            assert!(matches!(WebhookSink::new(url), Err(WebhookError::Url { .. })), "{url}");
        }
        assert!(WebhookSink::new("http://localhost:1/hook?x=1").is_ok());
    }
}
