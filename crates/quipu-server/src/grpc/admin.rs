//! The service `Admin`: tasks on the embedded store, one at a time; and who may ask the server.
//!
//! A task runs on a thread of its own and says how far it has come a few times a second. It ends early
//! when its caller goes or the server stops.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_lite::stream;
use quipu_core::StorageError;
use quipu_engine::{
    BackupError, Engine, Progress, RebuildError, ScavengeError, ScavengeOptions, VerifyError,
};
use quipu_wire::proto::admin_server::Admin;
use quipu_wire::proto::{
    self, BackupRequest, BackupResponse, ChangeCredentialsRequest, ChangeCredentialsResponse,
    ListCredentialsRequest, ListCredentialsResponse, RebuildIndexRequest, RebuildIndexResponse,
    ScavengeRequest, ScavengeResponse, StatsRequest, StatsResponse, TaskProgress, VerifyRequest,
    VerifyResponse, backup_response, rebuild_index_response, scavenge_response, verify_response,
};
use quipu_wire::status::TaskError;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::answering::{Answers, access, failed};
use super::{credentials, to_proto};
use crate::security::{Access, EditError, administer, record_task};
use crate::server::on_behalf;
use crate::service::Service;

/// How often a task says how far it has come.
const INTERVAL: Duration = Duration::from_millis(200);
/// The most messages of a task that wait for its caller. Then the task waits, too.
const WAITING_COUNT_MAX: usize = 64;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(super) struct Handler;

#[tonic::async_trait]
impl Admin for Handler {
    async fn stats(
        &self,
        request: Request<StatsRequest>,
    ) -> Result<Response<StatsResponse>, Status> {
        let engine = engine(&access(&request)?)?;
        let looked = tokio::task::spawn_blocking(move || engine.stats()).await;
        let stats = looked.map_err(|error| Status::internal(error.to_string()))?;
        let stats = stats.map_err(|error| failed(TaskError::Storage(error)))?;
        Ok(Response::new(to_proto::stats(&stats)))
    }

    type VerifyStream = Answers<VerifyResponse>;

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        use verify_response::Part;
        let access = access(&request)?;
        let engine = engine(&access)?;
        let wrap = |part| VerifyResponse { part: Some(part) };
        run(&access, "verify", move |teller| {
            let mut damage = |found: quipu_engine::Damage| {
                teller.tell(wrap(Part::Damage(to_proto::damage(&found))));
            };
            let mut watch = |own| teller.watch(own, |own| wrap(Part::Progress(own)));
            let verified = quipu_engine::verify(engine.directory(), &mut damage, &mut watch);
            Ok(wrap(Part::Done(to_proto::verified(&verified.map_err(of_verify)?))))
        })
        .await
    }

    type BackupStream = Answers<BackupResponse>;

    async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        use backup_response::Part;
        let access = access(&request)?;
        let engine = engine(&access)?;
        let name = request.into_inner().name;
        let directory = backup_directory(access.service(), &name).map_err(failed)?;
        let wrap = |part| BackupResponse { part: Some(part) };
        run(&access, "backup", move |teller| {
            let mut watch = |own| teller.watch(own, |own| wrap(Part::Progress(own)));
            let made = engine.backup(&directory, &mut watch);
            if let Err(BackupError::Cancelled) = &made {
                // A copy that is not whole is of no use, and its name would be taken.
                let _left_behind = std::fs::remove_dir_all(&directory);
            }
            let made = made.map_err(|error| of_backup(error, name))?;
            Ok(wrap(Part::Done(proto::BackedUp {
                directory: directory.display().to_string(),
                frontier: made.frontier.get(),
                segment_count: made.segment_count,
                size: made.size,
            })))
        })
        .await
    }

    type ScavengeStream = Answers<ScavengeResponse>;

    async fn scavenge(
        &self,
        request: Request<ScavengeRequest>,
    ) -> Result<Response<Self::ScavengeStream>, Status> {
        use scavenge_response::Part;
        let access = access(&request)?;
        let engine = engine(&access)?;
        let mut options = ScavengeOptions::new();
        if let Some(percent) = request.into_inner().threshold_percent {
            options = options.threshold_percent(u8::try_from(percent.min(100)).unwrap_or(100));
        }
        let wrap = |part| ScavengeResponse { part: Some(part) };
        run(&access, "scavenge", move |teller| {
            let mut watch = |own| teller.watch(own, |own| wrap(Part::Progress(own)));
            let done = engine.scavenge_with(options, &mut watch).map_err(of_scavenge)?;
            Ok(wrap(Part::Done(to_proto::scavenged(&done))))
        })
        .await
    }

    type RebuildIndexStream = Answers<RebuildIndexResponse>;

    async fn rebuild_index(
        &self,
        request: Request<RebuildIndexRequest>,
    ) -> Result<Response<Self::RebuildIndexStream>, Status> {
        use rebuild_index_response::Part;
        let access = access(&request)?;
        let engine = engine(&access)?;
        let wrap = |part| RebuildIndexResponse { part: Some(part) };
        run(&access, "rebuild-index", move |teller| {
            let mut watch = |own| teller.watch(own, |own| wrap(Part::Progress(own)));
            let done = engine.rebuild_index(&mut watch).map_err(of_rebuild)?;
            Ok(wrap(Part::Done(to_proto::rebuilt(done))))
        })
        .await
    }

    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Result<Response<ListCredentialsResponse>, Status> {
        let access = access(&request)?;
        let known = access.service().authority().credentials().unwrap_or_default();
        Ok(Response::new(credentials::listed(&known)))
    }

    async fn change_credentials(
        &self,
        request: Request<ChangeCredentialsRequest>,
    ) -> Result<Response<ChangeCredentialsResponse>, Status> {
        let access = access(&request)?;
        let wanted = credentials::parse(request.into_inner().change).map_err(failed)?;
        let made = administer(&access, move |own| wanted.make(own)).await;
        Ok(Response::new(made.map_err(|error| failed(of_edit(error)))?))
    }
}

/// Why credentials were not changed, as the protocol says it.
fn of_edit(error: EditError) -> TaskError {
    match error {
        EditError::Change(_) | EditError::NoFile => {
            TaskError::Credentials { reason: error.to_string() }
        }
        EditError::File(_) | EditError::Interrupted => TaskError::Storage(StorageError::new(error)),
    }
}

/// The store, if it is one that tasks can work on.
fn engine(access: &Access) -> Result<Engine, Status> {
    let what = "the server's store is not a directory of its own";
    let engine = access.service().engine().cloned();
    engine.ok_or_else(|| failed(TaskError::Unsupported { what: what.to_owned() }))
}

/// Where a backup of this name goes. The name comes from outside and becomes part of a path, so what
/// it may have is listed.
fn backup_directory(service: &Service, name: &str) -> Result<PathBuf, TaskError> {
    let what = "the server has no directory of backups";
    let unsupported = || TaskError::Unsupported { what: what.to_owned() };
    let directory = service.backup_directory().ok_or_else(unsupported)?;
    let is_fit = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    let is_name = (1..=64).contains(&name.len()) && !name.starts_with('.');
    if !is_name || !name.chars().all(is_fit) {
        return Err(TaskError::InvalidName { name: name.chars().take(64).collect() });
    }
    Ok(directory.join(name))
}

fn of_verify(error: VerifyError) -> TaskError {
    match error {
        VerifyError::Cancelled => TaskError::Closed,
        other => TaskError::Storage(StorageError::new(other)),
    }
}

fn of_backup(error: BackupError, name: String) -> TaskError {
    match error {
        BackupError::NotEmpty { .. } => TaskError::Exists { name },
        BackupError::Cancelled => TaskError::Closed,
        BackupError::Disk(error) if error.is_disk_full() => TaskError::DiskFull,
        other => TaskError::Storage(StorageError::new(other)),
    }
}

fn of_rebuild(error: RebuildError) -> TaskError {
    match error {
        RebuildError::Cancelled | RebuildError::Closed => TaskError::Closed,
        other => TaskError::Storage(StorageError::new(other)),
    }
}

fn of_scavenge(error: ScavengeError) -> TaskError {
    match error {
        ScavengeError::Busy => TaskError::Busy,
        ScavengeError::Cancelled | ScavengeError::Closed => TaskError::Closed,
        ScavengeError::DiskFull => TaskError::DiskFull,
        other => TaskError::Storage(StorageError::new(other)),
    }
}

/// Runs a task, unless another is under way, and answers what it tells. Its last message is what it
/// returns. That somebody began it goes on record.
async fn run<M: Send + 'static>(
    access: &Access,
    name: &'static str,
    task: impl FnOnce(&Teller<M>) -> Result<M, TaskError> + Send + 'static,
) -> Result<Response<Answers<M>>, Status> {
    let service = access.service();
    let slot = service.task_slot().ok_or_else(|| failed(TaskError::Busy))?;
    record_task(service, access.principal(), name).await;
    let (sender, receiver) = mpsc::channel(WAITING_COUNT_MAX);
    let teller = Teller { sender, service: service.clone(), last: std::cell::Cell::new(None) };
    tokio::spawn(on_behalf(async move {
        let ran = tokio::task::spawn_blocking(move || {
            let ended = task(&teller).map_err(failed);
            // Before its caller hears of it: they may begin the next.
            drop(slot);
            // Whoever went does not want to know.
            let _unheard = teller.sender.blocking_send(ended);
        });
        if let Err(error) = ran.await {
            tracing::error!(%error, task = name, "a task broke");
        }
    }));
    let messages = stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        Some((message, receiver))
    });
    Ok(Response::new(Box::pin(messages)))
}

/// Tells a task's caller what there is to tell.
struct Teller<M> {
    sender: mpsc::Sender<Result<M, Status>>,
    service: Service,
    /// When it last said how far the task has come.
    last: std::cell::Cell<Option<Instant>>,
}

impl<M> Teller<M> {
    fn tell(&self, message: M) {
        let _unheard = self.sender.blocking_send(Ok(message));
    }

    /// Says how far the task has come, if it is time to, and whether it is to go on.
    fn watch(&self, own: Progress, wrap: impl FnOnce(TaskProgress) -> M) -> ControlFlow<()> {
        if self.sender.is_closed() || self.service.is_stopping() {
            return ControlFlow::Break(());
        }
        if self.last.get().is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last.set(Some(Instant::now()));
            let (done, total, unit) = (own.done, own.total, own.unit.to_owned());
            self.tell(wrap(TaskProgress { done, total, unit }));
        }
        ControlFlow::Continue(())
    }
}
