//! Sessions: tokens that passwords were exchanged for. They are in memory alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quipu_core::Timestamp;

use crate::security::secret::{NewToken, SESSION_PREFIX, Secret, TokenHash};

/// How long a session lasts.
const DURATION: Duration = Duration::from_hours(12);
/// The most sessions at once. One more ends the oldest.
const COUNT_MAX: usize = 10_000;

/// A session that has begun.
#[derive(Clone)]
pub(super) struct Session {
    hash: TokenHash,
    pub(super) user: String,
    /// A hash of the password's hash: a changed password ends the session.
    pub(super) password: TokenHash,
    pub(super) expires_at: Timestamp,
}

/// A session's token, to be shown once.
pub(crate) struct NewSession {
    pub(crate) token: Secret,
    pub(crate) expires_at: Timestamp,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    /// Guards the sessions by id. Nothing but looking up and adding happens under it.
    table: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    pub(super) fn begin(&self, user: &str, password: &Secret, now: Timestamp) -> NewSession {
        let token = NewToken::generate(SESSION_PREFIX);
        let duration = i64::try_from(DURATION.as_micros()).expect("hours are few microseconds");
        let expires_at = Timestamp::from_micros(now.as_micros() + duration);
        let session = Session {
            hash: token.hash,
            user: user.to_owned(),
            password: TokenHash::of(password.reveal()),
            expires_at,
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= COUNT_MAX {
            table.retain(|_, own| own.expires_at > now);
        }
        if table.len() >= COUNT_MAX
            && let Some(oldest) =
                table.iter().min_by_key(|(_, own)| own.expires_at).map(|(id, _)| id.clone())
        {
            table.remove(&oldest);
        }
        table.insert(token.id, session);
        NewSession { token: token.text, expires_at }
    }

    /// Ends the session with this token.
    pub(super) fn end(&self, id: &str, hash: &TokenHash) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.get(id).is_some_and(|own| own.hash.is(hash)) {
            table.remove(id);
        }
    }

    /// The session with this token, unless it is over.
    pub(super) fn find(&self, id: &str, hash: &TokenHash, now: Timestamp) -> Option<Session> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(id).filter(|own| own.hash.is(hash) && own.expires_at > now).cloned()
    }
}

/// The sessions of those who show their password with every request, by the hash of what they show.
#[derive(Default)]
pub(super) struct LoggedIn {
    tokens: Mutex<HashMap<String, Secret>>,
}

impl LoggedIn {
    /// The session's token, if there was a login that showed this.
    pub(super) fn find(&self, shown: &TokenHash) -> Option<Secret> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&shown.to_hex()).cloned()
    }

    /// Keeps a session's token. Where there are as many as there are sessions at most, the others
    /// are forgotten: who comes again logs in again.
    pub(super) fn keep(&self, shown: TokenHash, token: Secret) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= COUNT_MAX {
            tokens.clear();
        }
        tokens.insert(shown.to_hex(), token);
    }
}
