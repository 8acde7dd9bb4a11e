//! The verb about consumer groups: `group`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::QueryArgs;

/// Makes consumer groups on a server, looks after them, and consumes their events.
///
/// The members of a group share the events of a query. Each event is acknowledged; events of one key
/// are in order, others side by side. It takes a server: give its --url.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu group create billing --query category:order
  quipu group consume billing --format jsonl | ./handle
  quipu group parked billing
  quipu group replay billing --all")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) verb: GroupVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// Creates a group. It begins at the first event, unless told otherwise.
    #[command(after_help = "\
Example:
  quipu group create billing --query category:order --key-tag order --timeout 60 --retries 3")]
    Create(GroupCreateArgs),
    /// Lists the groups.
    #[command(after_help = "Example:\n  quipu group list --format jsonl")]
    List,
    /// Shows how a group is, and its members.
    #[command(after_help = "Example:\n  quipu group info billing")]
    Info(GroupName),
    /// Joins a group and prints its events; each is acknowledged once it is printed.
    #[command(after_help = "Example:\n  quipu group consume billing --format jsonl | ./handle")]
    Consume(GroupConsumeArgs),
    /// Lists what a group parked.
    #[command(after_help = "Example:\n  quipu group parked billing --format jsonl")]
    Parked(GroupName),
    /// Tries parked events again, before anything else of their keys.
    #[command(after_help = "Example:\n  quipu group replay billing --position 4711")]
    Replay(GroupWhich),
    /// Forgets parked events for good, on record.
    #[command(after_help = "Example:\n  quipu group drop billing --position 4711")]
    Drop(GroupWhich),
    /// Deletes a group, its place and what it parked.
    #[command(after_help = "Example:\n  quipu group delete billing")]
    Delete(GroupName),
}

/// Which group.
#[derive(Args, Debug)]
pub(crate) struct GroupName {
    /// The group.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Which member gets an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupStrategy {
    /// In order within each key, side by side across keys.
    #[default]
    ByKey,
    /// To each member in turn; not in order.
    RoundRobin,
    /// To the oldest member that has room; not in order.
    DispatchToSingle,
    /// All events of a key to one member; redelivered ones are not in order.
    Pinned,
}

/// What happens to an event that was tried often enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupGiveUp {
    /// Park it, and later ones of its key behind it.
    #[default]
    Park,
    /// Leave it out, on record.
    Skip,
    /// Try it for ever.
    Retry,
}

/// A group that is to be.
#[derive(Args, Debug)]
pub(crate) struct GroupCreateArgs {
    /// The group.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) queries: QueryArgs,
    /// Begin behind this position.
    #[arg(long, value_name = "POSITION", conflicts_with = "from_end")]
    pub(crate) after: Option<u64>,
    /// Begin with what comes next.
    #[arg(long)]
    pub(crate) from_end: bool,
    /// Keep order by the first tag that begins with this and a colon, instead of by stream.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) key_tag: Option<String>,
    /// Which member gets an event.
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t)]
    pub(crate) strategy: GroupStrategy,
    /// How long a member may take for an event, in seconds; 0 is as long as it takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) timeout: u64,
    /// How often an event is tried again.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) retries: u32,
    /// What happens then.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(crate) give_up: GroupGiveUp,
    /// The most members; 0 is any number.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) members: usize,
}

/// Who consumes.
#[derive(Args, Debug)]
pub(crate) struct GroupConsumeArgs {
    /// The group.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The most events that are here at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) capacity: usize,
    /// What people call this member.
    #[arg(long, value_name = "NAME", default_value = "quipu")]
    pub(crate) member: String,
    /// Leave after so many events.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
}

/// Which parked events.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["position", "all"])))]
pub(crate) struct GroupWhich {
    /// The group.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The event; a replay takes the others of its key with it.
    #[arg(long, value_name = "POSITION")]
    pub(crate) position: Option<u64>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
}
