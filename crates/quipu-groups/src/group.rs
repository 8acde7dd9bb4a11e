//! Consumer groups: members elsewhere share the events of a log.
//!
//! Where a [`Runner`](crate::Runner) hands events to a handler in its own process, a group hands them
//! to members that are connected, and waits for each one's acknowledgement.
//!
//! ```text
//! settings   what a group goes by
//! machine    decides what goes to whom; pure
//! roster     the members: who has room, whose turn it is
//! backing    where events come from, and where a group's state is kept
//! drive      the one task that runs a group
//! member     a group as its members and operators see it
//! config     what a group of a store is
//! catalog    which groups a store has
//! native     what a group of a store stands on
//! groups     the groups of a store, as a server has them
//! ```

pub mod machine;

mod backing;
mod catalog;
mod config;
mod drive;
mod groups;
mod member;
mod native;
mod roster;
mod settings;

pub use backing::{Backing, Fetched, Kept, Pulled, Reading, Replay, Source};
pub use config::{
    GROUP_NAME_SIZE_MAX, GROUP_QUERY_COUNT_MAX, GroupConfig, KeyBy, give_up_name, give_up_of,
    strategy_name, strategy_of,
};
pub use drive::{Hosting, spawn};
pub use groups::{GroupError, GroupEvent, GroupStatus, Groups, GroupsOptions};
pub use machine::{Dispatch, GroupCounts, GroupMachine, Nack, Note, SetAside};
pub use member::{Answers, Group, GroupEnd, GroupInfo, Joining, MemberInfo, Membership, Which};
pub use roster::{MemberId, MemberStatus};
pub use settings::{GroupSettings, Strategy};
