//! Consumer groups: members elsewhere share the events of a log.
//!
//! Where a [`Runner`](crate::Runner) hands events to a handler in its own process, a group hands them
//! to members that are connected, and waits for each one's acknowledgement.
//!
//! ```text
//! settings   what a group goes by
//! machine    decides what goes to whom; pure
//! roster     the members: who has room, whose turn it is
//! ```

pub mod machine;

mod roster;
mod settings;

pub use machine::{Dispatch, GroupCounts, GroupMachine, Nack, Note, SetAside};
pub use roster::{MemberId, MemberStatus};
pub use settings::{GroupSettings, Strategy};
