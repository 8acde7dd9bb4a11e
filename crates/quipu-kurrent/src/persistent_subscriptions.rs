//! Persistent subscriptions: groups whose place the server keeps.
//!
//! ```text
//! settings   what a subscription is, from requests and back
//! subsystem  which there are, and those that run
//! backing    their events, and the streams that keep their state
//! index_source  the streams of system projections
//! consuming  a consumer's call
//! info       how a subscription is
//! ```
//!
//! A subscription is a group of `quipu-groups` with the strategies of this protocol, none of which
//! keeps order between redelivered events and others.

mod backing;
mod consuming;
mod index_source;
mod info;
mod settings;
mod subsystem;

use std::sync::Arc;

use quipu_core::{Query, ReadAll, ReadStream, StreamName};
use tonic::{Request, Response, Status, Streaming};

use crate::caller::{Caller, caller_of};
use crate::failure::Failure;
use crate::proto::event_store::client::persistent_subscriptions as wire;
use crate::streams::Answers;
use settings::{Asked, Key, Origin};
pub use subsystem::Subsystem;
use wire::persistent_subscriptions_server::PersistentSubscriptions;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

fn no_options() -> Failure {
    Failure::invalid("the request has no options")
}

/// Fails unless the caller may read what the subscription is over.
async fn may_read(caller: &dyn Caller, origin: &Origin) -> Result<(), Failure> {
    let store = caller.store();
    let read = match origin {
        Origin::All => store.read_all(ReadAll::new(Query::all()).limit(0)).await.map(drop),
        Origin::Stream(stream) => {
            let stream = StreamName::new(stream);
            let stream = stream.map_err(|error| Failure::invalid(error.to_string()))?;
            store.read_stream(ReadStream::new(stream).limit(0)).await.map(drop)
        }
    };
    read.map_err(|error| Failure::of_read(caller, &error))
}

/// Which subscription options name: a stream's, or one of `$all`. The requests have the same words,
/// each in its own types.
macro_rules! key_of {
    ($options:expr, $module:ident) => {{
        use wire::$module::options::StreamOption;
        match &$options.stream_option {
            Some(StreamOption::StreamIdentifier(own)) => {
                Key::of_stream(Some(own), $options.group_name)
            }
            Some(StreamOption::All(())) => Key::of_all($options.group_name),
            None => Err(Failure::invalid("the request has no stream_option")),
        }
    }};
}

/// Where a replay ends among the parked events.
fn end_of(key: &Key, stop_at: Option<i64>) -> Result<Option<u64>, Failure> {
    let negative = |_| key.failed("The place to stop at must not be negative.");
    stop_at.map(u64::try_from).transpose().map_err(negative)
}

#[tonic::async_trait]
impl PersistentSubscriptions for Handler {
    async fn create(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        let caller = caller_of(&request)?;
        let asked = Asked::to_create(request.into_inner())?;
        may_read(&*caller, &asked.key.origin).await?;
        caller.subscriptions().create(asked).await?;
        Ok(Response::new(wire::CreateResp {}))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        let caller = caller_of(&request)?;
        let asked = Asked::to_update(request.into_inner())?;
        may_read(&*caller, &asked.key.origin).await?;
        caller.subscriptions().update(asked).await?;
        Ok(Response::new(wire::UpdateResp {}))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let key = key_of!(options, delete_req)?;
        may_read(&*caller, &key.origin).await?;
        caller.subscriptions().delete(&key).await?;
        Ok(Response::new(wire::DeleteResp {}))
    }

    type ReadStream = Answers<wire::ReadResp>;

    async fn read(
        &self,
        request: Request<Streaming<wire::ReadReq>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let caller = caller_of(&request)?;
        let peer = caller.peer();
        let name = request.metadata().get("connection-name").and_then(|it| it.to_str().ok());
        let name = name.unwrap_or("<unknown>").to_owned();
        let consumer = consuming::Consumer { caller, peer, name };
        Ok(Response::new(consuming::begin(consumer, request.into_inner()).await?))
    }

    async fn get_info(
        &self,
        request: Request<wire::GetInfoReq>,
    ) -> Result<Response<wire::GetInfoResp>, Status> {
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let key = key_of!(options, get_info_req)?;
        may_read(&*caller, &key.origin).await?;
        let status = caller.subscriptions().status(&key).await?;
        let subscription_info = Some(info::to_proto(&status));
        Ok(Response::new(wire::GetInfoResp { subscription_info }))
    }

    async fn replay_parked(
        &self,
        request: Request<wire::ReplayParkedReq>,
    ) -> Result<Response<wire::ReplayParkedResp>, Status> {
        use wire::replay_parked_req::options::StopAtOption;
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let stop_at = match options.stop_at_option {
            Some(StopAtOption::StopAt(place)) => Some(place),
            Some(StopAtOption::NoLimit(())) | None => None,
        };
        let key = key_of!(options, replay_parked_req)?;
        may_read(&*caller, &key.origin).await?;
        caller.subscriptions().replay(&key, end_of(&key, stop_at)?).await?;
        Ok(Response::new(wire::ReplayParkedResp {}))
    }

    async fn truncate_parked(
        &self,
        request: Request<wire::TruncateParkedReq>,
    ) -> Result<Response<wire::TruncateParkedResp>, Status> {
        use wire::truncate_parked_req::options::StopAtOption;
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let stop_at = match options.stop_at_option {
            Some(StopAtOption::StopAt(place)) => Some(place),
            Some(StopAtOption::NoLimit(())) | None => None,
        };
        let key = key_of!(options, truncate_parked_req)?;
        may_read(&*caller, &key.origin).await?;
        caller.subscriptions().truncate(&key, end_of(&key, stop_at)?).await?;
        Ok(Response::new(wire::TruncateParkedResp {}))
    }

    async fn list(
        &self,
        request: Request<wire::ListReq>,
    ) -> Result<Response<wire::ListResp>, Status> {
        use wire::list_req::options::ListOption;
        use wire::list_req::stream_option::StreamOption;
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let origin = match options.list_option {
            Some(ListOption::ListAllSubscriptions(())) => None,
            Some(ListOption::ListForStream(own)) => match own.stream_option {
                Some(StreamOption::Stream(identifier)) => {
                    Some(Key::of_stream(Some(&identifier), "any".to_owned())?.origin)
                }
                Some(StreamOption::All(())) | None => Some(Origin::All),
            },
            None => return Err(Failure::invalid("the request has no list_option").into()),
        };
        let subscriptions: Arc<Subsystem> = caller.subscriptions();
        let mut statuses = Vec::new();
        for status in subscriptions.list(origin.as_ref()).await? {
            let readable = may_read(&*caller, &status.config.key.origin).await;
            if !matches!(readable, Err(Failure::AccessDenied)) {
                statuses.push(status);
            }
        }
        if let Some(origin) = origin.filter(|_| statuses.is_empty()) {
            let (stream, group) = (origin.name().to_owned(), String::new());
            return Err(Failure::SubscriptionMissing { stream, group }.into());
        }
        let subscriptions = statuses.iter().map(info::to_proto).collect();
        Ok(Response::new(wire::ListResp { subscriptions }))
    }

    async fn restart_subsystem(&self, request: Request<()>) -> Result<Response<()>, Status> {
        caller_of(&request)?.subscriptions().restart().await;
        Ok(Response::new(()))
    }
}
