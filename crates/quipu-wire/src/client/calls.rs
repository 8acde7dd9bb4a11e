//! Calls, and when to make them again.

use std::error::Error;
use std::time::Duration;

use quipu_core::{AppendError, Appended, Change, ReadError, StreamState, Violation};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::connecting::Credentials;
use super::{Client, not_valid};
use crate::proto::notes_client::NotesClient;
use crate::proto::store_client::StoreClient;
use crate::proto::{self, ErrorCode};
use crate::status::{details, from_error, from_status, without_details};
use crate::{from_proto, to_proto};

/// The most bytes of one message of an answer. Servers cut pages far below; a single event with its
/// names is below 17 MiB, a snapshot may be larger.
pub(super) const MESSAGE_SIZE_MAX: usize = 96 << 20;

pub(super) type Transport = InterceptedService<Channel, Credentials>;

impl Client {
    pub(super) fn store_over(&self, channel: &Channel) -> StoreClient<Transport> {
        let transport = InterceptedService::new(channel.clone(), self.inner.credentials.clone());
        StoreClient::new(transport).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }

    pub(super) fn notes(&self) -> NotesClient<Transport> {
        let transport =
            InterceptedService::new(self.inner.calls.clone(), self.inner.credentials.clone());
        NotesClient::new(transport).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }

    /// Makes a call that changes nothing, and again where the connection broke, within the time
    /// that a call may take.
    pub(super) async fn call<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(StoreClient<Transport>, Request<Q>) -> F + Send + Sync,
    ) -> Result<A, Status>
    where
        Q: Clone + Send + Sync,
        A: Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let timeout = self.inner.options.request_timeout;
        self.retry(|| within(timeout, call(self.calls(), Request::new(request.clone())))).await
    }

    /// Makes a call that may take as long as it takes, and again where the connection broke.
    pub(super) async fn read<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(StoreClient<Transport>, Request<Q>) -> F + Send + Sync,
    ) -> Result<A, ReadError>
    where
        Q: Clone + Send + Sync,
        A: Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        self.retry(|| call(self.calls(), Request::new(request.clone()))).await.map_err(from_status)
    }

    /// Makes a call about what is beside the log. Once only, since it may not be the same twice;
    /// again only where it did not arrive.
    pub(super) async fn note<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(NotesClient<Transport>, Request<Q>) -> F + Send + Sync,
    ) -> Result<A, Status>
    where
        Q: Clone + Send + Sync,
        A: Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let timeout = self.inner.options.request_timeout;
        let mut backoff = Backoff::new();
        for _ in 0..self.inner.options.retry_count_max {
            match within(timeout, call(self.notes(), Request::new(request.clone()))).await {
                Err(status) if fate(&status) == Fate::NotSent => backoff.wait().await,
                answer => return answer.map(Response::into_inner),
            }
        }
        let last = within(timeout, call(self.notes(), Request::new(request.clone()))).await;
        last.map(Response::into_inner)
    }

    fn calls(&self) -> StoreClient<Transport> {
        self.store_over(&self.inner.calls)
    }

    async fn retry<A, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<A, Status>
    where
        A: Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let mut backoff = Backoff::new();
        for _ in 0..self.inner.options.retry_count_max {
            match call().await {
                Err(status) if fate(&status).may_go_again() => backoff.wait().await,
                answer => return answer.map(Response::into_inner),
            }
        }
        call().await.map(Response::into_inner)
    }

    /// Makes a change. See the rules of retries at [`Client`].
    pub(super) async fn make(&self, change: Change) -> Result<Appended, AppendError> {
        let timeout = self.inner.options.request_timeout;
        let request = proto::ChangeRequest { change: Some(to_proto::change(change)) };
        let mut backoff = Backoff::new();
        let mut is_open = false;
        let mut attempts_left = self.inner.options.retry_count_max;
        loop {
            let mut store = self.calls();
            let status = match within(timeout, store.change(request.clone())).await {
                Ok(answer) => return appended(answer.into_inner().appended),
                Err(status) => status,
            };
            let fate = fate(&status);
            if fate == Fate::Answered {
                let answer = self.answered(status, request).await;
                return answer.map_err(|error| if is_open { leave_open(error) } else { error });
            }
            is_open |= fate != Fate::NotSent;
            if attempts_left == 0 || !fate.may_go_again() {
                let cause = without_details(status);
                return Err(if is_open {
                    AppendError::OutcomeUnknown(cause)
                } else {
                    AppendError::Storage(cause)
                });
            }
            attempts_left -= 1;
            backoff.wait().await;
        }
    }

    /// What the server answered a change with. Where a status had no room for all of a conflict's
    /// violations, nothing was appended: the change is made again over the call that has room.
    async fn answered(
        &self,
        status: Status,
        request: proto::ChangeRequest,
    ) -> Result<Appended, AppendError> {
        use proto::append_stream_response::Outcome;
        let is_cut = details(&status).is_some_and(|error| {
            error.code() == ErrorCode::AppendConflict
                && error.violation_count as usize > error.violations.len()
        });
        if !is_cut {
            return Err(from_status(status));
        }
        let open = |status| AppendError::OutcomeUnknown(without_details(status));
        let request = proto::AppendStreamRequest { number: 0, change: request.change };
        let mut store = self.calls();
        let answers = async {
            let answers = store.append_stream(tokio_stream::once(request)).await?;
            answers.into_inner().message().await
        };
        let timeout = self.inner.options.request_timeout;
        match within(timeout, answers).await.map_err(open)?.and_then(|answer| answer.outcome) {
            Some(Outcome::Appended(it)) => appended(Some(it)),
            Some(Outcome::Error(error)) => Err(from_error(error)),
            None => Err(open(Status::internal("the server did not say how the change ended"))),
        }
    }
}

/// An answer that cannot be read says nothing about the change.
fn appended(answer: Option<proto::Appended>) -> Result<Appended, AppendError> {
    let answer = from_proto::appended(answer);
    answer.map_err(|error| AppendError::OutcomeUnknown(not_valid(error)))
}

/// What an error says once an earlier attempt may have been made: a conflict with events of others
/// shows that it was not, since ids are looked up first. A stream that was deleted or tombstoned may
/// have the earlier attempt's events in it.
fn leave_open(error: AppendError) -> AppendError {
    let is_over = |violation: &Violation| {
        matches!(violation, Violation::Stream { found, .. }
            if matches!(found, StreamState::Deleted { .. } | StreamState::Tombstoned { .. }))
    };
    match &error {
        AppendError::Invalid(_) | AppendError::OutcomeUnknown(_) => error,
        AppendError::Conflict { violations } if !violations.iter().any(is_over) => error,
        _ => AppendError::OutcomeUnknown(quipu_core::StorageError::new(error)),
    }
}

/// What became of a call that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It did not leave this machine: there was no connection.
    NotSent,
    /// The connection broke, or something between answered: it may have been carried out.
    Unknown,
    /// It took too long: it may have been carried out.
    Late,
    /// The server answered.
    Answered,
}

impl Fate {
    fn may_go_again(self) -> bool {
        matches!(self, Self::NotSent | Self::Unknown)
    }
}

pub(super) fn fate(status: &Status) -> Fate {
    if details(status).is_some() {
        return Fate::Answered;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return Fate::NotSent;
        }
        source = error.source();
    }
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => Fate::Unknown,
        Code::DeadlineExceeded => Fate::Late,
        _ => Fate::Answered,
    }
}

pub(super) async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("the server took too long to answer")),
    }
}

/// Growing waits between attempts.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}
