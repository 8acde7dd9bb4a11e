//! The authority: who is known, who has shown what, and what they may do at this moment.
//!
//! Nothing is remembered about a request but what it showed. Each check asks the present state
//! anew, so that a change of the credentials counts for every request and subscription at once.

mod failures;
mod sessions;
mod state;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quipu_core::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::access::Denied;
use super::credentials::{ChangeError, Credentials, CredentialsError};
use super::password;
use super::rules::Grants;
use super::secret::{Secret, Shown, TokenHash};
use failures::{Failures, Who};
use sessions::{LoggedIn, Sessions};
use state::State;

pub(crate) use failures::Refused;
pub(crate) use sessions::NewSession;

/// Passwords that are hashed at once: each takes 19 MiB and a core.
const HASH_COUNT_MAX: usize = 2;
/// Logins that wait for their hash at most; more are told to come back.
const LOGIN_COUNT_MAX: usize = 16;

/// Decides who asks and what they may do: from the credentials file, or everything where there is
/// none.
///
/// Cloning gives another handle to the same authority.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    path: Option<PathBuf>,
    /// Held while the file is read or changed, so that what was read last is what counts.
    looking: Mutex<()>,
    state: watch::Sender<Arc<State>>,
    sessions: Sessions,
    /// The sessions of those who show their password again and again.
    logged_in: LoggedIn,
    failures: Failures,
    hashing: Semaphore,
    logins: Semaphore,
}

/// What a request has shown to prove who it is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Nothing.
    Nothing,
    /// A token that `quipu token create` made.
    Token { id: String, hash: TokenHash },
    /// A token that a password was exchanged for.
    Session { id: String, hash: TokenHash },
    /// A client certificate with these names, checked in the TLS handshake.
    Certificate(Arc<[String]>),
}

/// Who it is, as of now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) principal: Arc<str>,
    pub(crate) grants: Arc<Grants>,
    /// When the proof ends, if it does.
    pub(crate) expires_at: Option<Timestamp>,
}

/// Why a password was not exchanged for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// No such user, or another password.
    Wrong,
    /// Too many attempts, or too many at once.
    TooMany { retry_after: Duration },
    /// The server asks for no credentials.
    Open,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("path", &self.inner.path)
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// An authority that lets everybody do what an application may do.
    pub fn open() -> Self {
        Self::new(None, State::open())
    }

    /// An authority that goes by these credentials.
    pub fn of(credentials: Credentials) -> Self {
        Self::new(None, State::of(credentials, None))
    }

    /// An authority that goes by a credentials file. Where there is none it is
    /// [open](Self::open) until there is one; once it has gone by a file it never opens again.
    ///
    /// # Errors
    ///
    /// See [`CredentialsError`].
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let state = match Credentials::load_stamped(path) {
            Err(CredentialsError::Missing { .. }) => State::open(),
            loaded => {
                let (credentials, stamp) = loaded?;
                State::of(credentials, None).read_from(Some(stamp))
            }
        };
        Ok(Self::new(Some(path.to_owned()), state))
    }

    fn new(path: Option<PathBuf>, state: State) -> Self {
        let inner = Inner {
            path,
            looking: Mutex::default(),
            state: watch::Sender::new(Arc::new(state)),
            sessions: Sessions::default(),
            logged_in: LoggedIn::default(),
            failures: Failures::default(),
            hashing: Semaphore::new(HASH_COUNT_MAX),
            logins: Semaphore::new(LOGIN_COUNT_MAX),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether nobody has to prove who they are.
    pub fn is_open(&self) -> bool {
        self.state().credentials.is_none()
    }

    /// The credentials file, whether or not it is there.
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// Goes by other credentials from here on, until the credentials file changes. Requests and
    /// subscriptions under way that they do not allow end at once.
    pub fn replace(&self, credentials: Credentials) {
        self.inner.state.send_modify(|state| {
            let stamp = state.stamp;
            *state = Arc::new(State::of(credentials, Some(&**state)).read_from(stamp));
        });
    }

    /// When a token was last used since the server started.
    pub fn last_used(&self, token_id: &str) -> Option<Timestamp> {
        self.state().last_used(token_id)
    }

    /// How often what principals may do has changed.
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Reads the credentials file again if it has changed. Answers what it said before and says
    /// now.
    ///
    /// # Errors
    ///
    /// The file is wrong: the old one counts on. The error comes once for each wrong file.
    pub fn refresh(&self) -> Result<Option<Change>, CredentialsError> {
        let _looking = self.inner.looking.lock().unwrap_or_else(PoisonError::into_inner);
        self.look()
    }

    /// Changes the credentials file; on `Ok` the change counts, and is durable. Answers what `change`
    /// does, and what the file said before and says now.
    pub(crate) fn edit<T>(
        &self,
        change: impl FnOnce(&mut Credentials) -> Result<T, ChangeError>,
    ) -> Result<(T, Option<Change>), EditError> {
        let path = self.path().ok_or(EditError::NoFile)?;
        let _looking = self.inner.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = Credentials::edit(path, |own| change(own).map_err(EditError::Change))?;
        Ok((answer, self.look()?))
    }

    fn look(&self) -> Result<Option<Change>, CredentialsError> {
        let Some(path) = self.path() else { return Ok(None) };
        let before = self.state();
        let stamp = super::credentials::Stamp::of(path);
        if stamp == before.stamp {
            return Ok(None);
        }
        let loaded = Credentials::load_stamped(path);
        self.inner.state.send_if_modified(|state| {
            let next = match &loaded {
                Ok((credentials, stamp)) => {
                    State::of(credentials.clone(), Some(&**state)).read_from(Some(*stamp))
                }
                // The old state counts on; this file is not looked at again.
                Err(_) => State::clone(state).read_from(stamp),
            };
            let is_changed = next.epoch != state.epoch;
            *state = Arc::new(next);
            is_changed
        });
        let (credentials, _) = loaded?;
        let old = before.credentials.clone();
        Ok(Some(Change { old: old.unwrap_or_default(), new: credentials }))
    }

    /// The credentials it goes by; `None` if it is open.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        self.state().credentials.clone()
    }

    /// Tells of each change of what principals may do.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.inner.state.subscribe())
    }

    /// Who has shown this, and what they may do now.
    pub(crate) fn resolve(&self, proof: &Proof) -> Result<Standing, Denied> {
        self.resolve_at(proof, Timestamp::now())
    }

    fn resolve_at(&self, proof: &Proof, now: Timestamp) -> Result<Standing, Denied> {
        let state = self.state();
        if let Some(everybody) = state.everybody() {
            return Ok(everybody);
        }
        let standing = match proof {
            Proof::Nothing => None,
            Proof::Token { id, hash } => state.token(id, hash, now),
            Proof::Session { id, hash } => {
                let session = self.inner.sessions.find(id, hash, now);
                session.and_then(|session| state.session(&session))
            }
            Proof::Certificate(names) => names.iter().find_map(|name| state.certificate(name)),
        };
        standing.ok_or(Denied::Unauthenticated)
    }

    /// What a token proves, if it proves anything now.
    pub(crate) fn authenticate(&self, token: &str) -> Option<Proof> {
        let shown = Shown::parse(token)?;
        let (id, hash) = (shown.id.to_owned(), shown.hash);
        let proof =
            if shown.is_session { Proof::Session { id, hash } } else { Proof::Token { id, hash } };
        self.resolve(&proof).ok().map(|_| proof)
    }

    /// Exchanges a password for a session.
    pub(crate) async fn log_in(
        &self,
        user: &str,
        password: Secret,
        peer: Option<IpAddr>,
    ) -> Result<NewSession, LoginError> {
        if self.is_open() {
            return Err(LoginError::Open);
        }
        let failures = &self.inner.failures;
        let everybody = [Some(Who::user(user)), peer.map(Who::peer)];
        let keys: Vec<Who> = everybody.into_iter().flatten().collect();
        let wait = keys.iter().map(|who| failures.wait(who, Instant::now())).max();
        if let Some(retry_after) = wait.filter(|wait| !wait.is_zero()) {
            failures.refused(peer);
            return Err(LoginError::TooMany { retry_after });
        }
        let busy = LoginError::TooMany { retry_after: Duration::from_secs(1) };
        let _login = self.inner.logins.try_acquire().map_err(|_| busy)?;
        let _hashing = self.inner.hashing.acquire().await.map_err(|_| busy)?;
        let hash = self.state().password_of(user);
        let known = hash.clone();
        let is_right = tokio::task::spawn_blocking(move || {
            password::verify(&password, known.as_ref().map(Secret::reveal))
        })
        .await
        .unwrap_or(false);
        let Some(hash) = hash.filter(|_| is_right) else {
            for who in keys {
                failures.failed(who, Instant::now());
            }
            failures.refused(peer);
            return Err(LoginError::Wrong);
        };
        failures.forget(&Who::user(user));
        Ok(self.inner.sessions.begin(user, &hash, Timestamp::now()))
    }

    /// What a name and a password prove that come with every request: they are exchanged for a
    /// session once, and the session counts as long as it lasts.
    pub(crate) async fn log_in_again(
        &self,
        user: &str,
        password: Secret,
        peer: Option<IpAddr>,
    ) -> Result<Option<Proof>, LoginError> {
        let shown = TokenHash::of_password(user, &password);
        if let Some(token) = self.inner.logged_in.find(&shown)
            && let Some(proof) = self.authenticate(token.reveal())
        {
            return Ok(Some(proof));
        }
        let session = self.log_in(user, password, peer).await?;
        let proof = self.authenticate(session.token.reveal());
        self.inner.logged_in.keep(shown, session.token);
        Ok(proof)
    }

    /// Ends a session. What else proves something goes on to do so.
    pub(crate) fn log_out(&self, proof: &Proof) {
        if let Proof::Session { id, hash } = proof {
            self.inner.sessions.end(id, hash);
        }
    }

    /// Notes a token that was refused, and answers how long to let its sender wait.
    pub(crate) fn refused(&self, peer: Option<IpAddr>) -> Duration {
        /// Tokens cannot be guessed: this is to keep the noise down, not for safety.
        const WAIT_MAX: Duration = Duration::from_secs(1);
        const FREE_COUNT: u32 = 10;
        self.inner.failures.refused(peer);
        let Some(peer) = peer else { return Duration::ZERO };
        let count = self.inner.failures.failed(Who::sender(peer), Instant::now());
        (Duration::from_millis(100) * count.saturating_sub(FREE_COUNT)).min(WAIT_MAX)
    }

    /// The logins that were refused since it was last asked.
    pub(crate) fn take_refused(&self) -> Vec<Refused> {
        self.inner.failures.take_refused()
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.inner.state.borrow())
    }
}

/// Why the credentials file was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// The credentials are in no file.
    #[error("this server's credentials are not in a file, and cannot be changed")]
    NoFile,
    /// The change is not possible.
    #[error(transparent)]
    Change(ChangeError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] CredentialsError),
    /// The server stops, or the change broke off.
    #[error("the change was interrupted: look whether it was made")]
    Interrupted,
}

/// What the credentials file said, and what it says now.
#[derive(Debug)]
#[non_exhaustive]
pub struct Change {
    /// What it said.
    pub old: Credentials,
    /// What it says.
    pub new: Credentials,
}

/// Waits for changes of what principals may do.
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<Arc<State>>);

impl Changes {
    /// The next change since the last one that was waited for.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The authority is gone, and with it all that could change.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
