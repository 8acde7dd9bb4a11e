//! The services `Operations` and `Monitoring`.

use std::time::Duration;

use futures_lite::stream;
use tonic::{Request, Response, Status};

use crate::caller::{Scavenge, caller_of};
use crate::failure::Failure;
use crate::proto::event_store::client::monitoring::monitoring_server::Monitoring;
use crate::proto::event_store::client::monitoring::{StatsReq, StatsResp};
use crate::proto::event_store::client::operations as wire;
use crate::streams::Answers;
use wire::operations_server::Operations;
use wire::scavenge_resp::ScavengeResult;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

fn scavenge(scavenge: Scavenge, result: ScavengeResult) -> Response<wire::ScavengeResp> {
    Response::new(wire::ScavengeResp { scavenge_id: scavenge.id, scavenge_result: result.into() })
}

#[tonic::async_trait]
impl Operations for Handler {
    /// How many threads and from where is not for the client to say: the store's way is one.
    async fn start_scavenge(
        &self,
        request: Request<wire::StartScavengeReq>,
    ) -> Result<Response<wire::ScavengeResp>, Status> {
        let caller = caller_of(&request)?;
        let options = request.into_inner().options.unwrap_or_default();
        if options.thread_count < 0 || options.start_from_chunk < 0 {
            let reason = "thread_count and start_from_chunk must not be negative";
            return Err(Failure::invalid(reason).into());
        }
        let reason = "this store is not scavenged here";
        let started = caller.operations().start_scavenge();
        let started = started.ok_or(Failure::Unsupported { reason })?;
        Ok(scavenge(started, ScavengeResult::Started))
    }

    /// One that takes long to end is answered as being in progress.
    async fn stop_scavenge(
        &self,
        request: Request<wire::StopScavengeReq>,
    ) -> Result<Response<wire::ScavengeResp>, Status> {
        let caller = caller_of(&request)?;
        let id = request.into_inner().options.map(|it| it.scavenge_id).unwrap_or_default();
        let Some(found) = caller.operations().stop_scavenge(&id).await else {
            return Err(Failure::ScavengeNotFound { id }.into());
        };
        let result =
            if found.is_running { ScavengeResult::InProgress } else { ScavengeResult::Stopped };
        Ok(scavenge(found, result))
    }

    async fn shutdown(&self, request: Request<()>) -> Result<Response<()>, Status> {
        caller_of(&request)?.operations().shut_down();
        Ok(Response::new(()))
    }

    /// The store merges by itself.
    async fn merge_indexes(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    /// A server alone has nobody to resign to, and goes on.
    async fn resign_node(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    /// A server alone is elected whatever its priority.
    async fn set_node_priority(
        &self,
        _: Request<wire::SetNodePriorityReq>,
    ) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn restart_persistent_subscriptions(
        &self,
        request: Request<()>,
    ) -> Result<Response<()>, Status> {
        caller_of(&request)?.subscriptions().restart().await;
        Ok(Response::new(()))
    }
}

#[tonic::async_trait]
impl Monitoring for Handler {
    type StatsStream = Answers<StatsResp>;

    /// Statistics now, and again after each period, until the client goes or the server stops.
    async fn stats(
        &self,
        request: Request<StatsReq>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        /// More often would be work for nothing.
        const PERIOD_MIN: Duration = Duration::from_millis(100);
        let caller = caller_of(&request)?;
        let asked = Duration::from_millis(request.into_inner().refresh_time_period_in_ms);
        let mut interval = tokio::time::interval(asked.max(PERIOD_MIN));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let state = (caller, interval, false);
        let answers = stream::unfold(state, async |(caller, mut interval, is_over)| {
            if is_over {
                return None;
            }
            let ended = tokio::select! {
                biased;
                () = caller.stopping() => Some(Failure::NotReady),
                _ = interval.tick() => caller.still_holds().err().map(Failure::from),
            };
            if let Some(failure) = ended {
                return Some((Err(Status::from(failure)), (caller, interval, true)));
            }
            let stats = caller.operations().statistics().await.into_iter().collect();
            Some((Ok(StatsResp { stats }), (caller, interval, false)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
