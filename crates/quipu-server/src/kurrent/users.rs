//! Users as KurrentDB's clients keep them: the principals that have a password.
//!
//! Groups are roles here: `$admins` may do everything, `$ops` operates the store, and everybody may
//! use streams, as KurrentDB has it where nobody says otherwise. An open server asks nobody who they
//! are; the users that it is told of are kept until it stops, and prove nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use quipu_core::{BoxFuture, Timestamp};
use quipu_kurrent::caller::{User, UserError, Users};

use super::OwnCaller;
use crate::security::{
    ChangeError, Credentials, EditError, LoginError, Principal, Profile, Secret, administer,
};

/// The most users that an open server keeps.
const USER_COUNT_MAX: usize = 1_000;

/// The users of an open server.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    users: Mutex<BTreeMap<String, (User, Secret)>>,
}

impl Directory {
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, (User, Secret)>) -> Result<T, UserError>,
    ) -> Result<T, UserError> {
        change(&mut self.users.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn create(&self, user: User, password: &str) -> Result<(), UserError> {
        self.change(|users| {
            if users.contains_key(&user.login) {
                return Err(UserError::Exists);
            }
            if users.len() >= USER_COUNT_MAX {
                let reason = format!("an open server keeps at most {USER_COUNT_MAX} users");
                return Err(UserError::Invalid(reason));
            }
            let user = User { changed_at: Some(Timestamp::now()), ..user };
            users.insert(user.login.clone(), (user, Secret::new(password)));
            Ok(())
        })
    }

    fn edit(
        &self,
        login: &str,
        edit: impl FnOnce(&mut User, &mut Secret) -> Result<(), UserError>,
    ) -> Result<(), UserError> {
        self.change(|users| {
            let (user, password) = users.get_mut(login).ok_or(UserError::NotFound)?;
            edit(user, password)?;
            user.changed_at = Some(Timestamp::now());
            Ok(())
        })
    }

    fn list(&self, login: Option<&str>) -> Result<Vec<User>, UserError> {
        self.change(|users| match login {
            None => Ok(users.values().map(|(user, _)| user.clone()).collect()),
            Some(login) => {
                let (user, _) = users.get(login).ok_or(UserError::NotFound)?;
                Ok(vec![user.clone()])
            }
        })
    }
}

impl OwnCaller {
    /// The users of this server, if it is open.
    fn directory(&self) -> Option<&Directory> {
        let service = self.access.service();
        service.authority().is_open().then(|| service.kurrent().directory())
    }

    /// Changes the credentials file. What it says counts when this is done.
    async fn edit<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Credentials) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, UserError> {
        Ok(administer(&self.access, edit).await?)
    }
}

impl From<EditError> for UserError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Change(ChangeError::Exists { .. }) => Self::Exists,
            EditError::Change(ChangeError::NoPrincipal { .. }) => Self::NotFound,
            error @ (EditError::Change(_) | EditError::NoFile) => Self::Invalid(error.to_string()),
            error @ (EditError::File(_) | EditError::Interrupted) => {
                tracing::error!(%error, "could not change the users");
                Self::Failed
            }
        }
    }
}

fn profile(user: User) -> Profile {
    Profile { full_name: user.full_name, groups: user.groups }
}

fn user_of(principal: &Principal) -> User {
    let profile = principal.profile();
    User {
        login: principal.name.clone(),
        full_name: profile.full_name,
        groups: profile.groups,
        changed_at: None,
        disabled: principal.disabled,
    }
}

impl Users for OwnCaller {
    fn create<'a>(&'a self, user: User, password: &'a str) -> BoxFuture<'a, Result<(), UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                return directory.create(user, password);
            }
            let password = Secret::new(password);
            self.edit(move |own| {
                let login = user.login.clone();
                own.add_member(&login, profile(user), &password)
            })
            .await
        })
    }

    fn update<'a>(&'a self, user: User, password: &'a str) -> BoxFuture<'a, Result<(), UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                let login = user.login.clone();
                return directory.edit(&login, |own, secret| {
                    *own = User { disabled: own.disabled, ..user };
                    if !password.is_empty() {
                        *secret = Secret::new(password);
                    }
                    Ok(())
                });
            }
            let password = Secret::new(password);
            self.edit(move |own| {
                let login = user.login.clone();
                own.set_profile(&login, profile(user))?;
                if !password.reveal().is_empty() {
                    own.set_password(&login, &password)?;
                }
                Ok(())
            })
            .await
        })
    }

    fn delete<'a>(&'a self, login: &'a str) -> BoxFuture<'a, Result<(), UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                let removed = directory.change(|users| Ok(users.remove(login)))?;
                return removed.map(|_| ()).ok_or(UserError::NotFound);
            }
            let login = login.to_owned();
            self.edit(move |own| own.remove_principal(&login)).await
        })
    }

    fn set_disabled<'a>(
        &'a self,
        login: &'a str,
        disabled: bool,
    ) -> BoxFuture<'a, Result<(), UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                return directory.edit(login, |own, _| {
                    own.disabled = disabled;
                    Ok(())
                });
            }
            let login = login.to_owned();
            self.edit(move |own| own.set_disabled(&login, disabled)).await
        })
    }

    fn list<'a>(&'a self, login: Option<&'a str>) -> BoxFuture<'a, Result<Vec<User>, UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                return directory.list(login);
            }
            let credentials = self.access.service().authority().credentials().unwrap_or_default();
            let with_password = credentials.principals.iter().filter(|own| own.has_password());
            let wanted = with_password.filter(|own| login.is_none_or(|login| own.name == login));
            let users: Vec<User> = wanted.map(user_of).collect();
            if users.is_empty() && login.is_some() { Err(UserError::NotFound) } else { Ok(users) }
        })
    }

    fn set_password<'a>(
        &'a self,
        login: &'a str,
        current: Option<&'a str>,
        password: &'a str,
    ) -> BoxFuture<'a, Result<(), UserError>> {
        Box::pin(async move {
            if let Some(directory) = self.directory() {
                return directory.edit(login, |_, secret| {
                    if current.is_some_and(|current| secret.reveal() != current) {
                        return Err(UserError::WrongPassword);
                    }
                    *secret = Secret::new(password);
                    Ok(())
                });
            }
            if let Some(current) = current {
                // As a login, with its limits: who can try passwords here could guess them.
                let authority = self.access.service().authority();
                let shown = authority.log_in(login, Secret::new(current), None).await;
                shown.map_err(|error| match error {
                    LoginError::TooMany { .. } => UserError::Busy,
                    LoginError::Wrong | LoginError::Open => UserError::WrongPassword,
                })?;
            }
            let (login, password) = (login.to_owned(), Secret::new(password));
            self.edit(move |own| own.set_password(&login, &password)).await
        })
    }
}
