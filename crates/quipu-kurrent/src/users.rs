//! The service `Users`.

use futures_lite::stream;
use tonic::{Request, Response, Status};

use crate::caller::{User, UserError, caller_of};
use crate::failure::Failure;
use crate::proto::event_store::client::users as wire;
use crate::streams::Answers;
use wire::details_resp::{UserDetails, user_details::DateTime};
use wire::users_server::Users;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

/// Why a call about a user did not succeed.
fn failure(login: &str, error: UserError) -> Status {
    let user = login.to_owned();
    match error {
        UserError::NotFound => Failure::UserNotFound { user },
        UserError::Exists => Failure::UserConflict { user },
        UserError::WrongPassword => Failure::AccessDenied,
        UserError::Invalid(reason) => Failure::Invalid { reason },
        UserError::Busy => Failure::Busy,
        UserError::Failed => Failure::Storage,
    }
    .into()
}

/// The options that a request has to have, with a name to log in as.
macro_rules! options {
    ($request:expr) => {{
        let options = $request.into_inner().options;
        let options = options.filter(|options| !options.login_name.is_empty());
        options.ok_or_else(|| Failure::invalid("the request has no login name"))?
    }};
}

/// A user as who makes or changes one describes them.
fn user(login: &str, full_name: String, groups: Vec<String>) -> User {
    User { login: login.to_owned(), full_name, groups, ..User::default() }
}

fn details(user: User) -> wire::DetailsResp {
    let ticks_since_epoch = user.changed_at.map_or(0, |at| at.as_micros().saturating_mul(10));
    wire::DetailsResp {
        user_details: Some(UserDetails {
            login_name: user.login,
            full_name: user.full_name,
            groups: user.groups,
            last_updated: Some(DateTime { ticks_since_epoch }),
            disabled: user.disabled,
        }),
    }
}

#[tonic::async_trait]
impl Users for Handler {
    async fn create(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        let caller = caller_of(&request)?;
        let options = options!(request);
        let login = options.login_name;
        let user = user(&login, options.full_name, options.groups);
        let made = caller.users().create(user, &options.password).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::CreateResp {}))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        let caller = caller_of(&request)?;
        let options = options!(request);
        let login = options.login_name;
        let user = user(&login, options.full_name, options.groups);
        let made = caller.users().update(user, &options.password).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::UpdateResp {}))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        let caller = caller_of(&request)?;
        let login = options!(request).login_name;
        caller.users().delete(&login).await.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::DeleteResp {}))
    }

    async fn disable(
        &self,
        request: Request<wire::DisableReq>,
    ) -> Result<Response<wire::DisableResp>, Status> {
        let caller = caller_of(&request)?;
        let login = options!(request).login_name;
        let made = caller.users().set_disabled(&login, true).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::DisableResp {}))
    }

    async fn enable(
        &self,
        request: Request<wire::EnableReq>,
    ) -> Result<Response<wire::EnableResp>, Status> {
        let caller = caller_of(&request)?;
        let login = options!(request).login_name;
        let made = caller.users().set_disabled(&login, false).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::EnableResp {}))
    }

    type DetailsStream = Answers<wire::DetailsResp>;

    async fn details(
        &self,
        request: Request<wire::DetailsReq>,
    ) -> Result<Response<Self::DetailsStream>, Status> {
        let caller = caller_of(&request)?;
        let login = request.into_inner().options.map(|it| it.login_name).unwrap_or_default();
        let wanted = Some(login.as_str()).filter(|login| !login.is_empty());
        let users = caller.users().list(wanted).await.map_err(|error| failure(&login, error))?;
        let answers: Vec<_> = users.into_iter().map(|user| Ok(details(user))).collect();
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }

    async fn change_password(
        &self,
        request: Request<wire::ChangePasswordReq>,
    ) -> Result<Response<wire::ChangePasswordResp>, Status> {
        let caller = caller_of(&request)?;
        let options = options!(request);
        let (login, current) = (options.login_name, options.current_password);
        let made = caller.users().set_password(&login, Some(&current), &options.new_password).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::ChangePasswordResp {}))
    }

    async fn reset_password(
        &self,
        request: Request<wire::ResetPasswordReq>,
    ) -> Result<Response<wire::ResetPasswordResp>, Status> {
        let caller = caller_of(&request)?;
        let options = options!(request);
        let login = options.login_name;
        let made = caller.users().set_password(&login, None, &options.new_password).await;
        made.map_err(|error| failure(&login, error))?;
        Ok(Response::new(wire::ResetPasswordResp {}))
    }
}
