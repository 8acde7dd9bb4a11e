//! What a request may do: made once for each request, from its credentials.

use std::sync::Arc;

use quipu_core::EventStore;

use crate::service::Service;

/// What the caller of one request may do. It is in the request's extensions when a handler runs,
/// and is the only way to the store.
#[derive(Clone, Debug)]
pub struct Access {
    principal: Arc<str>,
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
        /// What they asked for.
        what: String,
    },
}

impl Access {
    /// Access to everything an application may do: where the server is open.
    pub(crate) fn open(service: Service) -> Self {
        Self { principal: Arc::from("anonymous"), service }
    }

    /// Who asks, as logs and the audit name them.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The store as the caller may use it.
    ///
    /// A call that they may not make fails with the error's `Storage` variant whose cause is
    /// [`Denied`].
    pub fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(self.service.store())
    }

    /// The store with system rights, for operations that need them by their nature.
    pub fn system(&self) -> Arc<dyn EventStore> {
        Arc::clone(self.service.system())
    }

    /// What handlers share.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether what the caller may do is still what it was when the request began. What never ends
    /// by itself asks before each message, and ends with the error.
    pub fn still_holds(&self) -> Result<(), Denied> {
        Ok(())
    }
}
