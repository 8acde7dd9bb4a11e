//! What a request may do: made once for each request, from what it has shown.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{EventStore, Query, Timestamp};

use super::authority::{Changes, Proof, Standing};
use super::guarded::Guarded;
use super::permissions::Action;
use super::rules::Region;
use super::secret::Secret;
use crate::service::Service;

/// What the caller of one request may do. It is in the request's extensions when a handler runs,
/// and is the only way to the store.
#[derive(Clone, Debug)]
pub struct Access {
    principal: Arc<str>,
    proof: Arc<Proof>,
    /// Whether the caller asked for system rights, and may have them.
    has_system_rights: bool,
    service: Service,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The request has no credentials, or wrong ones. Send a valid token.
    #[error("this needs valid credentials")]
    Unauthenticated,
    /// The principal may not do this. Ask an administrator for a rule that allows it.
    #[error("{principal} may not {what}")]
    Forbidden {
        /// Who asked.
        principal: String,
        /// What they asked for, and the rule or the missing right that refuses it.
        what: String,
    },
}

impl Access {
    /// The access of whoever has shown this; of nobody if it proves nothing.
    pub(crate) fn new(service: Service, proof: Proof) -> Self {
        let standing = service.authority().resolve(&proof).ok();
        let principal = standing.map_or_else(|| Arc::from("anonymous"), |own| own.principal);
        Self { principal, proof: Arc::new(proof), has_system_rights: false, service }
    }

    /// The access of whoever shows this token, if it proves anything. For what is served by other
    /// means than requests, and for tests.
    pub fn of_token(service: &Service, token: &Secret) -> Option<Self> {
        let proof = service.authority().authenticate(token.reveal())?;
        Some(Self::new(service.clone(), proof))
    }

    /// The access of whoever shows nothing: everything an application may do where the server is
    /// open, nothing otherwise.
    pub fn anonymous(service: &Service) -> Self {
        Self::new(service.clone(), Proof::Nothing)
    }

    /// Who asks, as logs and the audit name them.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The same access with system rights, by which reserved names are written: an administrator's,
    /// and anybody's where the server is open.
    pub fn with_system_rights(self) -> Result<Self, Denied> {
        if !self.service.authority().is_open() {
            self.may(Action::Administer)?;
        }
        Ok(Self { has_system_rights: true, ..self })
    }

    /// The store as the caller may use it.
    ///
    /// A call that they may not make fails with the error's `Storage` variant whose cause is
    /// [`Denied`].
    pub fn store(&self) -> Arc<dyn EventStore> {
        if self.has_system_rights {
            return Arc::new(Guarded::system(Arc::clone(self.service.system()), self.clone()));
        }
        Arc::new(Guarded::new(Arc::clone(self.service.store()), self.clone()))
    }

    /// The store for the names that KurrentDB's protocol writes itself: metadata, links, and streams
    /// that begin with `$`. The rules ask for the same rights as for any other stream; the server's
    /// own names, such as the audit's, take system rights as they do everywhere.
    pub(crate) fn reserved(&self) -> Arc<dyn EventStore> {
        Arc::new(Guarded::reserved(Arc::clone(self.service.system()), self.clone()))
    }

    /// What handlers share.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether what the caller has shown still proves who they are. What never ends by itself asks
    /// before each message, and ends with the error; the subscriptions of [`store`](Self::store) do
    /// so on their own.
    pub fn still_holds(&self) -> Result<(), Denied> {
        self.standing().map(|_| ())
    }

    /// Whether the caller may do this to anything at all.
    pub fn may(&self, action: Action) -> Result<(), Denied> {
        if action == Action::Public {
            return Ok(());
        }
        self.standing()?.grants.check_action(action).map_err(|what| self.forbidden(what))
    }

    /// Whether the caller may do one of these to anything at all.
    pub(crate) fn may_one_of(&self, actions: [Action; 2]) -> Result<(), Denied> {
        let [first, second] = actions;
        self.may(second).or_else(|_| self.may(first))
    }

    /// Whether the caller may do this to all of the region.
    pub(crate) fn may_on(&self, action: Action, region: &Region) -> Result<(), Denied> {
        self.standing()?.grants.check(action, region).map_err(|what| self.forbidden(what))
    }

    /// Whether the caller may read everything that the query may match.
    pub(crate) fn may_query(&self, query: &Query) -> Result<(), Denied> {
        let grants = self.standing()?.grants;
        grants.check_query(Action::Read, query).map_err(|what| self.forbidden(what))
    }

    /// Ends the session that the caller has shown, if it is one.
    pub(crate) fn log_out(&self) {
        self.service.authority().log_out(&self.proof);
    }

    /// Tells of each change of what principals may do.
    pub(crate) fn changes(&self) -> Changes {
        self.service.authority().changes()
    }

    /// Waits until what the caller has shown ends by itself. It may be back too early.
    pub(crate) async fn expired(&self) {
        let end = self.standing().ok().and_then(|own| own.expires_at);
        let Some(end) = end else { return std::future::pending().await };
        let micros = end.as_micros().saturating_sub(Timestamp::now().as_micros());
        let wait = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
        // The clock may be set meanwhile, so that a long wait looks at it again.
        tokio::time::sleep(wait.min(Duration::from_mins(1))).await;
    }

    pub(crate) fn standing(&self) -> Result<Standing, Denied> {
        self.service.authority().resolve(&self.proof)
    }

    pub(crate) fn forbidden(&self, what: String) -> Denied {
        Denied::Forbidden { principal: self.principal.to_string(), what }
    }
}
