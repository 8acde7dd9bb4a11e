//! Work on the store behind the server.

use quipu_core::StorageError;
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;

use super::Client;
use super::calls::{MESSAGE_SIZE_MAX, Transport};
use crate::proto::admin_client::AdminClient;
use crate::proto::change_credentials_request::Change;
use crate::proto::{
    BackedUp, BackupRequest, ChangeCredentialsRequest, ChangeCredentialsResponse, Damage,
    ListCredentialsRequest, ListCredentialsResponse, RebuildIndexRequest, RebuiltIndex,
    ScavengeRequest, Scavenged, StatsRequest, StatsResponse, TaskProgress, Verified, VerifyRequest,
    backup_response, rebuild_index_response, scavenge_response, verify_response,
};
use crate::status::{TaskError, from_status};

/// Where a task says how far it has come.
pub type Watch<'a> = &'a mut (dyn FnMut(TaskProgress) + Send);

/// What a task's next message says.
enum Step<T> {
    Progress(TaskProgress),
    Done(T),
    Other,
}

/// What a message says of a task's course. Each task has messages of its own, with the same parts.
macro_rules! step {
    ($response:ident, $message:expr) => {
        match $message.part {
            Some($response::Part::Progress(progress)) => Step::Progress(progress),
            Some($response::Part::Done(done)) => Step::Done(done),
            _ => Step::Other,
        }
    };
}

/// Work on the store, for those who may operate it, and on who may do what. Dropping the future of a
/// task ends the task.
///
/// # Errors
///
/// See [`TaskError`]. A call that the server refuses fails with its `Storage` variant, in which
/// [`StorageError::downcast_ref`] finds [`Refused`](crate::Refused).
impl Client {
    /// What the store holds, and what it takes of the disk.
    pub async fn stats(&self) -> Result<StatsResponse, TaskError> {
        let answer = self.admin().stats(StatsRequest {}).await.map_err(from_status::<TaskError>)?;
        Ok(answer.into_inner())
    }

    /// Checks every byte of the store, and gives each damage to `damage`.
    pub async fn verify(
        &self,
        damage: &mut (dyn FnMut(Damage) + Send),
        watch: Watch<'_>,
    ) -> Result<Verified, TaskError> {
        let messages = self.admin().verify(VerifyRequest {}).await;
        let messages = messages.map_err(from_status::<TaskError>)?.into_inner();
        follow(messages, watch, |message| match message.part {
            Some(verify_response::Part::Damage(found)) => {
                damage(found);
                Step::Other
            }
            _ => step!(verify_response, message),
        })
        .await
    }

    /// Copies the store into the server's directory of backups, under this name.
    pub async fn backup(
        &self,
        name: impl Into<String> + Send,
        watch: Watch<'_>,
    ) -> Result<BackedUp, TaskError> {
        let messages = self.admin().backup(BackupRequest { name: name.into() }).await;
        let messages = messages.map_err(from_status::<TaskError>)?.into_inner();
        follow(messages, watch, |message| step!(backup_response, message)).await
    }

    /// Frees the space of events that no read of their stream shows any more, in the segments where
    /// that is at least so many percent of the bytes.
    pub async fn scavenge(
        &self,
        threshold_percent: Option<u8>,
        watch: Watch<'_>,
    ) -> Result<Scavenged, TaskError> {
        let request = ScavengeRequest { threshold_percent: threshold_percent.map(u32::from) };
        let messages = self.admin().scavenge(request).await;
        let messages = messages.map_err(from_status::<TaskError>)?.into_inner();
        follow(messages, watch, |message| step!(scavenge_response, message)).await
    }

    /// Makes the index of the store anew from its log, while the old one is used.
    pub async fn rebuild_index(&self, watch: Watch<'_>) -> Result<RebuiltIndex, TaskError> {
        let messages = self.admin().rebuild_index(RebuildIndexRequest {}).await;
        let messages = messages.map_err(from_status::<TaskError>)?.into_inner();
        follow(messages, watch, |message| step!(rebuild_index_response, message)).await
    }

    /// Who may ask the server, and what they may do. For administrators, as is the next one.
    pub async fn credentials(&self) -> Result<ListCredentialsResponse, TaskError> {
        let answer = self.admin().list_credentials(ListCredentialsRequest {}).await;
        Ok(answer.map_err(from_status::<TaskError>)?.into_inner())
    }

    /// Changes who may ask the server, or what they may do. On `Ok` the change counts and is durable.
    /// It is not made again where the connection breaks: look whether it was made.
    pub async fn change_credentials(
        &self,
        change: Change,
    ) -> Result<ChangeCredentialsResponse, TaskError> {
        let request = ChangeCredentialsRequest { change: Some(change) };
        let answer = self.admin().change_credentials(request).await;
        Ok(answer.map_err(from_status::<TaskError>)?.into_inner())
    }

    fn admin(&self) -> AdminClient<Transport> {
        let transport =
            InterceptedService::new(self.inner.calls.clone(), self.inner.credentials.clone());
        AdminClient::new(transport).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }
}

/// Follows a task to its last message.
async fn follow<M, T>(
    mut messages: Streaming<M>,
    watch: Watch<'_>,
    mut step: impl FnMut(M) -> Step<T>,
) -> Result<T, TaskError> {
    while let Some(message) = messages.message().await.map_err(from_status::<TaskError>)? {
        match step(message) {
            Step::Progress(progress) => watch(progress),
            Step::Done(done) => return Ok(done),
            Step::Other => {}
        }
    }
    Err(TaskError::Storage(StorageError::new("the server did not say how the task ended")))
}
