//! What a request brings: the store as its caller may use it, and the server around it.

use std::net::SocketAddr;
use std::sync::Arc;

use quipu_core::{BoxFuture, EventStore, StorageError, Timestamp};
use tonic::{Request, Status};

use crate::failure::Failure;
use crate::persistent_subscriptions::Subsystem;

/// Whoever makes a request. The server puts one in the extensions of each.
pub trait Caller: Send + Sync {
    /// The store as the caller may use it. What they may not do fails with a storage error that
    /// [`denial`](Self::denial) knows.
    fn store(&self) -> Arc<dyn EventStore>;

    /// The store for names that the protocol reserves: metadata, links, and streams that begin with
    /// `$`. It asks for the same rights as [`store`](Self::store), and more where names are the
    /// server's own.
    fn reserved(&self) -> Arc<dyn EventStore>;

    /// The store for what the server writes itself, whoever asks: configurations and checkpoints.
    /// Handlers check before they use it what the caller may do.
    fn server_store(&self) -> Arc<dyn EventStore>;

    /// Who it is, as KurrentDB's clients are told: `anonymous` where nobody has to say.
    fn name(&self) -> &str;

    /// Why the store refused, if it is because of who asks.
    fn denial(&self, error: &StorageError) -> Option<Denial>;

    /// Whether what the caller has shown still holds.
    ///
    /// # Errors
    ///
    /// Why not.
    fn still_holds(&self) -> Result<(), Denial>;

    /// The address that the connection came in at.
    fn address(&self) -> SocketAddr;

    /// Where the caller is, for people.
    fn peer(&self) -> String;

    /// The server's users.
    fn users(&self) -> &dyn Users;

    /// The server's persistent subscriptions.
    fn subscriptions(&self) -> Arc<Subsystem>;

    /// Work on the server and its store.
    fn operations(&self) -> &dyn Operations;

    /// Waits until the server is asked to stop: what never ends by itself ends then.
    fn stopping(&self) -> BoxFuture<'static, ()>;
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Denial {
    /// They have not shown who they are.
    Unauthenticated,
    /// They may not do it.
    Forbidden,
}

/// Somebody who proves by a password who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "servers build it")]
pub struct User {
    /// What they log in as.
    pub login: String,
    /// What people call them.
    pub full_name: String,
    /// The groups they are in, `$admins` and `$ops` among them.
    pub groups: Vec<String>,
    /// When what is known of them last changed, if that is known.
    pub changed_at: Option<Timestamp>,
    /// Whether they cannot log in.
    pub disabled: bool,
}

/// Why a change of a user was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has an answer to each")]
pub enum UserError {
    /// There is nobody of that name.
    NotFound,
    /// There is somebody of that name already.
    Exists,
    /// The password that was shown is another one.
    WrongPassword,
    /// The change cannot be made, and why.
    Invalid(String),
    /// Too many passwords are being looked at.
    Busy,
    /// The users could not be changed; the server's log says why.
    Failed,
}

/// The server's users. Handlers ask it only for callers who may.
pub trait Users: Send + Sync {
    /// Adds a user.
    fn create<'a>(&'a self, user: User, password: &'a str) -> BoxFuture<'a, Result<(), UserError>>;

    /// Replaces a user's names and groups; and the password, unless it is empty.
    fn update<'a>(&'a self, user: User, password: &'a str) -> BoxFuture<'a, Result<(), UserError>>;

    /// Removes a user.
    fn delete<'a>(&'a self, login: &'a str) -> BoxFuture<'a, Result<(), UserError>>;

    /// Lets a user in again, or no longer.
    fn set_disabled<'a>(
        &'a self,
        login: &'a str,
        disabled: bool,
    ) -> BoxFuture<'a, Result<(), UserError>>;

    /// All users, or the one of that name.
    fn list<'a>(&'a self, login: Option<&'a str>) -> BoxFuture<'a, Result<Vec<User>, UserError>>;

    /// Replaces a user's password. With `current`, only where it is right.
    fn set_password<'a>(
        &'a self,
        login: &'a str,
        current: Option<&'a str>,
        password: &'a str,
    ) -> BoxFuture<'a, Result<(), UserError>>;
}

/// A scavenge, under way or over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "servers build it")]
pub struct Scavenge {
    /// Names it.
    pub id: String,
    /// Whether it is still under way.
    pub is_running: bool,
}

/// Work on the server and its store.
pub trait Operations: Send + Sync {
    /// Begins to scavenge, and goes on in the background; the one under way, if there is one.
    /// `None` where the store cannot be scavenged here.
    fn start_scavenge(&self) -> Option<Scavenge>;

    /// Asks the scavenge of that id, if it is the last one, to end, and waits a while until it has.
    /// What it did so far stays.
    fn stop_scavenge<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Scavenge>>;

    /// Asks the server to stop.
    fn shut_down(&self);

    /// What is counted of the server and its store: names and values.
    fn statistics(&self) -> BoxFuture<'_, Vec<(String, String)>>;
}

/// The caller of a request.
///
/// # Errors
///
/// The server put none in: nobody may then do anything.
pub fn caller_of<T>(request: &Request<T>) -> Result<Arc<dyn Caller>, Status> {
    let caller = request.extensions().get::<Arc<dyn Caller>>().cloned();
    caller.ok_or_else(|| Failure::AccessDenied.into())
}
