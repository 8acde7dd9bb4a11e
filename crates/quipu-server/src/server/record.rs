//! What becomes of each request: counted, timed, and written to the access log when its answer is
//! over. An answer without end, such as a subscription's, is over when its client goes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use tracing::Span;

use super::request_id::RequestId;
use crate::metrics::Ending;
use crate::service::Service;

/// The target of the access log's lines.
pub const ACCESS_LOG: &str = "quipu::access";

/// What is known of a request so far. It is written down when dropped.
pub(super) struct Record {
    service: Service,
    /// Its entry in the permission table, if it has one.
    operation: Option<usize>,
    peer: Option<SocketAddr>,
    span: Span,
    id: RequestId,
    begun: Instant,
    /// The answer's HTTP status; 0 before there is one.
    status: u16,
    /// How it ended. Until that is known, its client may go at any time.
    ending: Ending,
}

impl Record {
    pub(super) fn begin(
        service: &Service,
        operation: Option<usize>,
        peer: Option<SocketAddr>,
        span: Span,
        id: RequestId,
    ) -> Self {
        let (service, begun, ending) = (service.clone(), Instant::now(), Ending::Cancelled);
        Self { service, operation, peer, span, id, begun, status: 0, ending }
    }

    /// The answer, which tells when it is over.
    pub(super) fn answered(mut self, response: Response<Body>, is_grpc: bool) -> Response<Body> {
        self.status = response.status().as_u16();
        let (head, body) = response.into_parts();
        match code_in(&head.headers) {
            Some(code) => self.ending = Ending::of_code(code),
            None if is_grpc => {}
            // A body whose size is known is made already.
            None if body.size_hint().exact().is_some() => {
                self.ending = Ending::of_status(self.status);
            }
            None => {}
        }
        if self.ending != Ending::Cancelled {
            return Response::from_parts(head, body);
        }
        Response::from_parts(head, Body::new(Observed { body, is_grpc, record: self }))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.service.metrics().requests.count(self.operation, self.ending, took);
        let _entered = self.span.enter();
        tracing::info!(
            target: ACCESS_LOG,
            peer = self.peer.map(tracing::field::display),
            status = self.status,
            outcome = self.ending.as_str(),
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

/// The gRPC code in headers or trailers.
fn code_in(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The body of an answer that goes on. Each part is made under the name of its request.
struct Observed {
    body: Body,
    is_grpc: bool,
    record: Record,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, is_grpc, record } = self.get_mut();
        let polled = {
            let _entered = record.span.enter();
            record.id.clone().enter(|| Pin::new(body).poll_frame(context))
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    record.ending = Ending::of_code(code);
                }
            }
            Poll::Ready(Some(Err(_))) => record.ending = Ending::Failed,
            Poll::Ready(None) if !*is_grpc => record.ending = Ending::of_status(record.status),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
