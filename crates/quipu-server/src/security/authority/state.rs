//! What the authority knows at one moment, arranged for looking up.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quipu_core::Timestamp;

use super::Standing;
use super::sessions::Session;
use crate::security::credentials::{Credentials, Stamp};
use crate::security::permissions::Action;
use crate::security::rules::{Effect, Grants, Rule, Scope};
use crate::security::secret::{Secret, TokenHash};

/// One state of the credentials. It never changes; another one takes its place.
#[derive(Clone)]
pub(super) struct State {
    pub(super) epoch: u64,
    /// `None`: everybody may do what an application may do.
    pub(super) credentials: Option<Credentials>,
    /// The file that it was read from, or that was found wrong since.
    pub(super) stamp: Option<Stamp>,
    tokens: HashMap<String, Token>,
    principals: HashMap<String, Known>,
    certificates: HashMap<String, String>,
    everybody: Option<Standing>,
}

#[derive(Clone)]
struct Token {
    hash: TokenHash,
    principal: String,
    expires_at: Option<Timestamp>,
    /// Microseconds since 1970; 0 for never. States that follow each other share it.
    used_at: Arc<AtomicI64>,
}

/// A principal that is not disabled.
#[derive(Clone)]
struct Known {
    name: Arc<str>,
    grants: Arc<Grants>,
    password: Option<Secret>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn open() -> Self {
        let allow = |action| Rule { effect: Effect::Allow, action, scope: Scope::All };
        let actions = [
            Action::Read,
            Action::Append,
            Action::Delete,
            Action::Metadata,
            Action::Consume,
            Action::Operate,
        ];
        let everybody = Standing {
            principal: Arc::from("anonymous"),
            grants: Arc::new(Grants::new(&[], actions.map(allow))),
            expires_at: None,
        };
        Self {
            epoch: 0,
            credentials: None,
            stamp: None,
            tokens: HashMap::new(),
            principals: HashMap::new(),
            certificates: HashMap::new(),
            everybody: Some(everybody),
        }
    }

    pub(super) fn of(credentials: Credentials, before: Option<&Self>) -> Self {
        let mut state = Self {
            epoch: before.map_or(0, |before| before.epoch) + 1,
            everybody: None,
            ..Self::open()
        };
        for principal in credentials.principals.iter().filter(|own| !own.disabled) {
            let name = &principal.name;
            for token in principal.tokens.iter().filter(|token| !token.revoked) {
                let Some(hash) = TokenHash::from_hex(token.hash.reveal()) else { continue };
                let used_before = before.and_then(|before| before.tokens.get(&token.id));
                let used_at = used_before.map(|own| Arc::clone(&own.used_at)).unwrap_or_default();
                let expires_at = token.expires_at.map(Timestamp::from_micros);
                let kept = Token { hash, principal: name.clone(), expires_at, used_at };
                state.tokens.insert(token.id.clone(), kept);
            }
            for subject in &principal.certificates {
                state.certificates.insert(subject.clone(), name.clone());
            }
            let known = Known {
                name: Arc::from(name.as_str()),
                grants: Arc::new(credentials.grants_of(name)),
                password: principal.password.clone(),
            };
            state.principals.insert(name.clone(), known);
        }
        state.credentials = Some(credentials);
        state
    }

    /// The same state, from a file with this stamp.
    pub(super) fn read_from(mut self, stamp: Option<Stamp>) -> Self {
        self.stamp = stamp;
        self
    }

    /// What everybody may do, if nobody has to prove anything.
    pub(super) fn everybody(&self) -> Option<Standing> {
        self.everybody.clone()
    }

    pub(super) fn token(&self, id: &str, hash: &TokenHash, now: Timestamp) -> Option<Standing> {
        let token = self.tokens.get(id).filter(|token| token.hash.is(hash))?;
        if token.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        token.used_at.store(now.as_micros(), Ordering::Relaxed);
        Some(Standing { expires_at: token.expires_at, ..self.standing(&token.principal)? })
    }

    /// Whose session it is; nobody's, if the password is not the one that it began with.
    pub(super) fn session(&self, session: &Session) -> Option<Standing> {
        let password = self.principals.get(&session.user)?.password.as_ref()?;
        if !TokenHash::of(password.reveal()).is(&session.password) {
            return None;
        }
        let standing = self.standing(&session.user)?;
        Some(Standing { expires_at: Some(session.expires_at), ..standing })
    }

    pub(super) fn certificate(&self, subject: &str) -> Option<Standing> {
        self.standing(self.certificates.get(subject)?)
    }

    pub(super) fn password_of(&self, user: &str) -> Option<Secret> {
        self.principals.get(user)?.password.clone()
    }

    pub(super) fn last_used(&self, token_id: &str) -> Option<Timestamp> {
        let micros = self.tokens.get(token_id)?.used_at.load(Ordering::Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros))
    }

    fn standing(&self, principal: &str) -> Option<Standing> {
        let known = self.principals.get(principal)?;
        let (principal, grants) = (Arc::clone(&known.name), Arc::clone(&known.grants));
        Some(Standing { principal, grants, expires_at: None })
    }
}
