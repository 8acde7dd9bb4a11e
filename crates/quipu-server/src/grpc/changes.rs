//! Many changes over one call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::{StreamExt, stream};
use futures_util::stream::FuturesUnordered;
use quipu_core::{BoxFuture, EventStore};
use quipu_wire::proto::append_stream_response::Outcome;
use quipu_wire::proto::{self, AppendStreamRequest, AppendStreamResponse};
use quipu_wire::status::Failure;
use quipu_wire::{from_proto, to_proto};
use tokio::task::{JoinError, JoinHandle};
use tonic::{Status, Streaming};

use super::answering::{Answers, check, explained, failed};
use crate::security::Access;
use crate::server::on_behalf;
use crate::service::Service;

/// Makes a change, and says how it ended.
pub(super) async fn make(
    store: &dyn EventStore,
    change: Option<proto::Change>,
) -> Result<proto::Appended, Box<proto::Error>> {
    let change = from_proto::change(change).map_err(|error| Box::new(explained(error)))?;
    let made = store.change(change).await;
    made.map(to_proto::appended).map_err(|error| Box::new(explained(error)))
}

/// The changes of one call that are under way.
struct Changes {
    access: Access,
    store: Arc<dyn EventStore>,
    requests: Option<Streaming<AppendStreamRequest>>,
    under_way: FuturesUnordered<BoxFuture<'static, Made>>,
    stopping: stream::Boxed<()>,
    is_over: bool,
}

type Made = Result<Box<AppendStreamResponse>, JoinError>;

/// What happened next to a call of many changes.
enum Step {
    Made(Made),
    Asked(Result<Option<AppendStreamRequest>, Status>),
    Stopping,
    Done,
}

/// Answers each request when its change is made. At most as many are under way as one connection
/// may have requests: beyond that, the requests wait in the transport.
pub(super) fn answers(
    access: Access,
    requests: Streaming<AppendStreamRequest>,
) -> Answers<AppendStreamResponse> {
    let service = access.service().clone();
    let under_way_max = service.limits().in_flight_max as usize;
    let changes = Changes {
        stopping: stopping(service),
        store: access.store(),
        access,
        requests: Some(requests),
        under_way: FuturesUnordered::new(),
        is_over: false,
    };
    Box::pin(stream::unfold(changes, move |mut changes| async move {
        let answer = changes.next(under_way_max).await?;
        Some((answer, changes))
    }))
}

fn stopping(service: Service) -> stream::Boxed<()> {
    Box::pin(stream::once_future(async move { service.stopping().await }))
}

impl Changes {
    async fn next(&mut self, under_way_max: usize) -> Option<Result<AppendStreamResponse, Status>> {
        while !self.is_over {
            match self.step(under_way_max).await {
                Step::Made(Ok(answer)) => return Some(Ok(*answer)),
                Step::Made(Err(error)) => {
                    self.is_over = true;
                    return Some(Err(Status::internal(error.to_string())));
                }
                Step::Asked(Ok(Some(request))) => {
                    if let Err(status) = check(&self.access) {
                        self.is_over = true;
                        return Some(Err(status));
                    }
                    self.begin(request);
                }
                // What is under way is still answered.
                Step::Asked(Ok(None)) => self.requests = None,
                // The client is gone: nobody waits for the answers.
                Step::Asked(Err(_)) | Step::Done => self.is_over = true,
                Step::Stopping => {
                    self.requests = None;
                    if self.under_way.is_empty() {
                        self.is_over = true;
                        return Some(Err(failed(Failure::Stopping { resume_after: None })));
                    }
                }
            }
        }
        None
    }

    async fn step(&mut self, under_way_max: usize) -> Step {
        let has_room = self.under_way.len() < under_way_max;
        let Some(requests) = &mut self.requests else {
            return self.under_way.next().await.map_or(Step::Done, Step::Made);
        };
        // None of these loses anything when another comes first. Answers go before requests: as
        // many of them as there may be changes under way, and then requests have their turn.
        tokio::select! {
            biased;
            Some(()) = self.stopping.next() => Step::Stopping,
            Some(answer) = self.under_way.next() => Step::Made(answer),
            asked = requests.message(), if has_room => Step::Asked(asked),
        }
    }

    fn begin(&mut self, request: AppendStreamRequest) {
        let store = Arc::clone(&self.store);
        let change = async move {
            let outcome = match make(&*store, request.change).await {
                Ok(appended) => Outcome::Appended(appended),
                Err(error) => Outcome::Error(*error),
            };
            Box::new(AppendStreamResponse { number: request.number, outcome: Some(outcome) })
        };
        // While the client takes no answers, nobody polls what is made here. The embedded store's
        // changes hold nothing meanwhile: what one sync has made durable is answered together, and
        // no change costs a task. Others may hold a transaction, and others' locks with it.
        self.under_way.push(if self.access.service().engine().is_some() {
            Box::pin(async move { Ok(change.await) })
        } else {
            Box::pin(Task(tokio::spawn(on_behalf(change))))
        });
    }
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
