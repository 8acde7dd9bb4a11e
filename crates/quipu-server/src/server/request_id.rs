//! What names a request: in its answer, in its errors, and in every line of the log about it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use tokio::task_local;
use tracing::{Instrument, Span};

/// The header that names a request, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

task_local! {
    /// The request that this task works for. The body of an answer is made within it, too.
    static CURRENT: RequestId;
}

/// Names one request, in logs and in what its client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id that the client gave, if it is fit for logs; another one otherwise.
    pub(super) fn of(request: &Request) -> Self {
        const SIZE_MAX: usize = 64;
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let given = request.headers().get(REQUEST_ID).filter(|value| {
            let bytes = value.as_bytes();
            !bytes.is_empty() && bytes.len() <= SIZE_MAX && bytes.iter().all(is_fit)
        });
        Self(given.cloned().unwrap_or_else(Self::next))
    }

    /// Another one each time: a random number that the process begins with, counted on, so that the
    /// system is not asked for random bytes with each request.
    fn next() -> HeaderValue {
        static FIRST: LazyLock<u128> = LazyLock::new(|| uuid::Uuid::now_v7().as_u128());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = FIRST.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).into());
        let id = format!("{number:032x}");
        HeaderValue::from_str(&id).expect("it has digits and letters")
    }

    /// The value for the answer's header, which is not worth a place in the table of HTTP/2's header
    /// compression: it never comes again, and would push out what does.
    pub(super) fn header(&self) -> HeaderValue {
        let mut value = self.0.clone();
        value.set_sensitive(true);
        value
    }

    /// The id of the request that is being worked for, if this is work for one.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Does the future's work for this request.
    pub(super) fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Does the work for this request.
    pub(super) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// Has a task of its own do what belongs to the request at hand, under its name.
pub(crate) fn on_behalf<F>(work: F) -> impl Future<Output = F::Output> + Send
where
    F: Future + Send,
{
    let id = RequestId::current();
    async move {
        match id {
            Some(id) => id.scope(work).await,
            None => work.await,
        }
    }
    .instrument(Span::current())
}
