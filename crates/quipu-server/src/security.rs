//! Who asks, and what they may do.
//!
//! ```text
//! permissions  which right each operation needs
//! rules        the one place that decides: roles, rules, regions of the log
//! credentials  the file of principals, tokens, passwords and rules
//! authority    what was shown, turned into who it is and what they may do now
//! access       what a handler gets: the caller, and the store as the caller may use it
//! guarded      that store
//! audit        changes of the credentials and refused logins, on record
//! exposure     which addresses may be listened on without protection
//! ```

mod access;
mod audit;
mod authority;
mod credentials;
mod exposure;
mod guarded;
mod password;
mod permissions;
mod rules;
mod secret;

pub use access::{Access, Denied};
pub use audit::AUDIT_STREAM;
pub(crate) use audit::{administer, keep, record_task};
pub use authority::{Authority, Change};
pub(crate) use authority::{EditError, LoginError, NewSession, Proof};
pub(crate) use credentials::Stamp;
pub use credentials::{
    ChangeError, Credentials, CredentialsError, NumberedRule, Principal, Profile, Token,
};
pub use exposure::{Authentication, Exposure, ExposureError, Listen, Transport, check_exposure};
pub use password::{PASSWORD_SIZE_MAX, PASSWORD_SIZE_MIN, PasswordError};
pub use permissions::{Action, PERMISSIONS, Permission};
pub(crate) use permissions::{operation_number, wanted};
pub use rules::{Effect, ParseRuleError, Role, Rule, Scope};
pub use secret::Secret;
