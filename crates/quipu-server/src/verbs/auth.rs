//! What `token`, `user` and `rule` share: the credentials file.

use std::path::PathBuf;

use quipu_server::security::{ChangeError, Credentials, CredentialsError};

use super::Context;
use crate::cli::AuthArgs;
use crate::report::Refusal;

impl AuthArgs {
    pub(crate) fn path(&self, context: &Context) -> PathBuf {
        self.auth.clone().unwrap_or_else(|| Credentials::default_path(&context.target.data))
    }

    /// What the file says; nothing where there is none.
    pub(crate) fn load(&self, context: &Context) -> Result<Credentials, CredentialsError> {
        match Credentials::load(&self.path(context)) {
            Err(CredentialsError::Missing { .. }) => Ok(Credentials::default()),
            loaded => loaded,
        }
    }

    /// Changes the file.
    pub(crate) fn edit<T>(
        &self,
        context: &Context,
        change: impl FnOnce(&mut Credentials) -> Result<T, ChangeError>,
    ) -> anyhow::Result<T> {
        let path = self.path(context);
        let edited: Result<T, Failure> =
            Credentials::edit(&path, |own| change(own).map_err(Failure::Change));
        edited.map_err(|failure| match failure {
            // The answer is no: exit code 1, as for a conflict.
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
