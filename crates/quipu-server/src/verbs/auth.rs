//! What `token`, `user` and `rule` share: the credentials, of a file or of a server.

use std::path::PathBuf;

use futures_lite::future::block_on;
use quipu_server::grpc::credentials::{listed, parse};
use quipu_server::security::{ChangeError, Credentials, CredentialsError};
use quipu_wire::proto::change_credentials_request::Change;
use quipu_wire::proto::{ChangeCredentialsResponse, ListCredentialsResponse};
use quipu_wire::status::TaskError;

use super::Context;
use crate::cli::AuthArgs;
use crate::report::Refusal;

impl AuthArgs {
    fn path(&self, context: &Context) -> PathBuf {
        self.auth.clone().unwrap_or_else(|| Credentials::default_path(&context.target.data))
    }

    /// Where the credentials are kept, for people.
    pub(crate) fn place(&self, context: &Context) -> String {
        let file = || self.path(context).display().to_string();
        context.target.remote.url.clone().unwrap_or_else(file)
    }

    /// Who there is, and what they may do; nobody where there is no file.
    pub(crate) fn list(&self, context: &Context) -> anyhow::Result<ListCredentialsResponse> {
        if let Some(client) = context.target.server()? {
            return Ok(block_on(client.credentials())?);
        }
        match Credentials::load(&self.path(context)) {
            Err(CredentialsError::Missing { .. }) => Ok(ListCredentialsResponse::default()),
            loaded => Ok(listed(&loaded?)),
        }
    }

    /// Makes a change. It is durable when this returns.
    pub(crate) fn change(
        &self,
        context: &Context,
        change: Change,
    ) -> anyhow::Result<ChangeCredentialsResponse> {
        if let Some(client) = context.target.server()? {
            let made = block_on(client.change_credentials(change));
            return made.map_err(|error| match error {
                // The answer is no: exit code 1, as for a conflict.
                TaskError::Credentials { reason } => Refusal(reason).into(),
                error => error.into(),
            });
        }
        let wanted = parse(Some(change))?;
        let made: Result<_, Failure> =
            Credentials::edit(&self.path(context), |own| wanted.make(own).map_err(Failure::Change));
        made.map_err(|failure| match failure {
            Failure::Change(error) => Refusal(error.to_string()).into(),
            Failure::File(error) => error.into(),
        })
    }
}

enum Failure {
    Change(ChangeError),
    File(CredentialsError),
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::File(error)
    }
}
