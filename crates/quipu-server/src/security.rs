//! Who asks, and what they may do.

mod access;
mod permissions;

pub use access::{Access, Denied};
pub(crate) use permissions::action_of;
pub use permissions::{Action, PERMISSIONS, Permission};
