//! The service `Projections`: the system projections, which are indexes here. Projections in
//! JavaScript are not run.

use futures_lite::stream;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Request, Response, Status};

use crate::caller::{Caller, caller_of};
use crate::failure::Failure;
use crate::indexes::Projection;
use crate::proto::event_store::client::projections as wire;
use crate::streams::Answers;
use wire::projections_server::Projections;
use wire::statistics_req::options::Mode;
use wire::statistics_resp::Details;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

fn no_javascript() -> Failure {
    let reason = "projections in JavaScript are not run here: subscribe and keep the state in your \
                  own program. The system projections ($by_category and its like) are indexes, and \
                  can be read, enabled and disabled";
    Failure::Unsupported { reason }
}

fn find(name: &str) -> Result<Projection, Failure> {
    Projection::of(name).ok_or_else(|| Failure::ProjectionNotFound { name: name.to_owned() })
}

/// The name in the options of a request.
macro_rules! name {
    ($request:expr) => {
        $request.into_inner().options.map(|options| options.name).unwrap_or_default()
    };
}

async fn details(caller: &dyn Caller, projection: Projection) -> Result<Details, Failure> {
    let stopped_at = projection.standing(caller).await?.stopped_at;
    let frontier = if let Some(position) = stopped_at {
        position
    } else {
        let frontier = caller.server_store().frontier().await;
        frontier.map_err(|error| Failure::of_read(caller, &error))?
    };
    let status = if stopped_at.is_some() { "Stopped" } else { "Running" };
    let name = projection.name().to_owned();
    let position = format!("C:{frontier}/P:{frontier}");
    Ok(Details {
        effective_name: name.clone(),
        name,
        status: status.to_owned(),
        mode: "Continuous".to_owned(),
        progress: 100.0,
        last_checkpoint: position.clone(),
        position,
        ..Details::default()
    })
}

fn empty() -> Value {
    Value { kind: Some(Kind::StructValue(Struct::default())) }
}

#[tonic::async_trait]
impl Projections for Handler {
    async fn create(
        &self,
        _: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        Err(no_javascript().into())
    }

    async fn update(
        &self,
        request: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        find(&name!(request))?;
        Err(no_javascript().into())
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        find(&name!(request))?;
        let reason = "system projections are part of the store and cannot be deleted: disable them";
        Err(Failure::Unsupported { reason }.into())
    }

    type StatisticsStream = Answers<wire::StatisticsResp>;

    async fn statistics(
        &self,
        request: Request<wire::StatisticsReq>,
    ) -> Result<Response<Self::StatisticsStream>, Status> {
        let caller = caller_of(&request)?;
        let wanted = match request.into_inner().options.and_then(|options| options.mode) {
            Some(Mode::Name(name)) => vec![find(&name)?],
            Some(Mode::All(()) | Mode::Continuous(())) => Projection::ALL.to_vec(),
            Some(Mode::Transient(()) | Mode::OneTime(())) => Vec::new(),
            None => return Err(Failure::invalid("the request has no mode").into()),
        };
        let mut answers = Vec::new();
        for projection in wanted {
            let details = Some(details(&*caller, projection).await?);
            answers.push(Ok(wire::StatisticsResp { details }));
        }
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }

    async fn disable(
        &self,
        request: Request<wire::DisableReq>,
    ) -> Result<Response<wire::DisableResp>, Status> {
        let caller = caller_of(&request)?;
        find(&name!(request))?.set(&*caller, false).await?;
        Ok(Response::new(wire::DisableResp {}))
    }

    async fn enable(
        &self,
        request: Request<wire::EnableReq>,
    ) -> Result<Response<wire::EnableResp>, Status> {
        let caller = caller_of(&request)?;
        find(&name!(request))?.set(&*caller, true).await?;
        Ok(Response::new(wire::EnableResp {}))
    }

    /// An index is always what it would be if it were built again.
    async fn reset(
        &self,
        request: Request<wire::ResetReq>,
    ) -> Result<Response<wire::ResetResp>, Status> {
        find(&name!(request))?;
        Ok(Response::new(wire::ResetResp {}))
    }

    /// System projections have no state.
    async fn state(
        &self,
        request: Request<wire::StateReq>,
    ) -> Result<Response<wire::StateResp>, Status> {
        find(&name!(request))?;
        Ok(Response::new(wire::StateResp { state: Some(empty()) }))
    }

    /// System projections have no result.
    async fn result(
        &self,
        request: Request<wire::ResultReq>,
    ) -> Result<Response<wire::ResultResp>, Status> {
        find(&name!(request))?;
        Ok(Response::new(wire::ResultResp { result: Some(empty()) }))
    }

    /// There is nothing to restart: indexes are there with the store.
    async fn restart_subsystem(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}
