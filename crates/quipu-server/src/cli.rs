//! What the user may type: every verb, its arguments and its help.
//!
//! Arguments are parsed to the words of the contract here, so that a verb never sees raw text
//! and a wrong name, query or time is refused before anything is opened.

mod access;
mod group;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use quipu_core::{
    AsOf, ContentType, EventId, EventType, ExpectedRevision, NameError, Query, QueryItem,
    StreamName, Tag,
};

use quipu_server::config::{DatabaseUrl, Settings};
use quipu_server::text::{event_id, expected_revision};

use crate::time;
pub(crate) use access::{
    AuthArgs, CertArgs, CertVerb, RuleArgs, RuleVerb, TokenArgs, TokenVerb, UserArgs, UserVerb,
};
pub(crate) use group::{
    GroupArgs, GroupConsumeArgs, GroupCreateArgs, GroupGiveUp, GroupStrategy, GroupVerb, GroupWhich,
};

/// Keeps events durably in a directory: imports, appends, reads, follows and verifies them.
#[derive(Debug, Parser)]
#[command(name = "quipu", version, after_help = GENERAL_HELP, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The directory that holds the log. [default: ./quipu-data]
    #[arg(long, global = true, value_name = "DIR", env = "QUIPU_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,

    /// How to print answers. Tables stay tables in a pipe; ask for jsonl to feed a program.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) remote: RemoteArgs,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// A database or a server to work on, instead of a directory.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Elsewhere")]
pub(crate) struct RemoteArgs {
    /// Work on the store in this PostgreSQL database: postgres://USER:PASSWORD@HOST:PORT/DATABASE.
    /// The environment keeps the password from who lists processes.
    #[arg(long, global = true, value_name = "URL", env = "QUIPU_POSTGRES", value_parser = database_url)]
    #[arg(hide_env_values = true, conflicts_with = "url")]
    pub(crate) postgres: Option<DatabaseUrl>,
    /// Work on the store of the server at this URL.
    #[arg(long, global = true, value_name = "URL", env = "QUIPU_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// The file that holds the token for the server; or set `QUIPU_TOKEN`.
    #[arg(long, global = true, value_name = "FILE", env = "QUIPU_TOKEN_FILE")]
    #[arg(hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// The authority that signed the server's certificate, PEM. An https URL needs it.
    #[arg(long, global = true, value_name = "FILE", env = "QUIPU_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show to the server, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "QUIPU_CERT", hide_env_values = true)]
    #[arg(requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "QUIPU_KEY", hide_env_values = true)]
    #[arg(requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

impl Verb {
    /// Whether the verb works on whatever keeps the contract. The others need the directory.
    pub(crate) fn works_on_servers(&self) -> bool {
        matches!(
            self,
            Self::Import(_)
                | Self::Export(_)
                | Self::Append(_)
                | Self::Read(_)
                | Self::Tail(_)
                | Self::Streams(_)
                | Self::Schemas(_)
                | Self::Projections(_)
                | Self::Parked(_)
                | Self::Group(_)
                | Self::Relay(_)
                | Self::Stream(_)
                | Self::Stats(_)
                | Self::Verify(_)
                | Self::Scavenge(_)
                | Self::Backup(_)
                | Self::RebuildIndex(_)
                | Self::Token(_)
                | Self::User(_)
                | Self::Rule(_)
                | Self::Completions(_)
        )
    }

    /// Whether the verb works on a store in a database, or needs no store.
    pub(crate) fn works_on_databases(&self) -> bool {
        let is_about_files = matches!(
            self,
            Self::Stats(_) | Self::Verify(_) | Self::Backup(_) | Self::RebuildIndex(_)
        );
        self.works_on_servers() && !is_about_files
            || matches!(
                self,
                Self::Scavenge(_)
                    | Self::Migrate(_)
                    | Self::Serve(_)
                    | Self::Config(_)
                    | Self::Cert(_)
            )
    }

    /// Whether the verb takes its stores as arguments, and needs no other.
    pub(crate) fn names_its_stores(&self) -> bool {
        matches!(self, Self::Copy(_))
    }
}

/// The directory of the log, where nobody names one.
pub(crate) const DEFAULT_DATA: &str = "./quipu-data";

const GENERAL_HELP: &str = "\
Answers go to standard output, everything else to standard error.
Exit codes: 0 done, 1 the answer is no (a conflict, damage found), 2 failure.

A QUERY is one item of blank-separated terms, all of which must hold:
  type:A,B        the event has one of these types
  tag:order:1     it has this tag; may stand repeatedly
  stream:order-1  it is in this stream
  category:order  its stream's name begins with order and a hyphen, or is order
A value may be quoted: tag:\"two words\". Several --query mean: any of them.";

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// One JSON object a line, for programs.
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Import(ImportArgs),
    Export(ExportArgs),
    Append(AppendArgs),
    Read(ReadArgs),
    Tail(TailArgs),
    Streams(StreamsArgs),
    Stats(StatsArgs),
    Schemas(SchemasArgs),
    Projections(ProjectionsArgs),
    Parked(ParkedArgs),
    Group(GroupArgs),
    Relay(RelayArgs),
    Verify(VerifyArgs),
    RebuildIndex(RebuildIndexArgs),
    Scavenge(ScavengeArgs),
    Stream(StreamArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Copy(CopyArgs),
    Migrate(MigrateArgs),
    Serve(ServeArgs),
    Config(ConfigArgs),
    Bench(BenchArgs),
    Token(TokenArgs),
    User(UserArgs),
    Rule(RuleArgs),
    Cert(CertArgs),
    Completions(CompletionsArgs),
}

/// Adds the events of a file of JSON lines, each at most once.
///
/// Each line is an object with the fields `stream`, `type`, and optionally `id`, `time`, `tags`,
/// `content_type`, `data` or `data_base64`, `metadata` or `metadata_base64`; `position` and
/// `revision` are ignored. The file may be plain, gzip or zstd, whatever its name says.
///
/// A line without an id gets one derived from its content, so importing a file twice adds nothing.
/// Lines are appended in batches of up to 1,000. A wrong line refuses its batch and ends the import;
/// earlier batches stay.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu import orders.jsonl.gz --keep-time
  quipu export - | quipu --data ./copy import - --keep-time
  quipu import samples/orders.jsonl --show")]
pub(crate) struct ImportArgs {
    /// The file to read; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Record each event with its line's time. A time earlier than the last event's is raised to
    /// it, and counted as clamped; a time in the future is refused.
    #[arg(long)]
    pub(crate) keep_time: bool,
    /// Check and count all lines, append nothing.
    #[arg(long, conflicts_with = "show")]
    pub(crate) dry_run: bool,
    /// Accept reserved names, those that begin with $, as `export --full` writes them.
    #[arg(long)]
    pub(crate) system: bool,
    /// Print the first events of the log afterwards.
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "20")]
    pub(crate) show: Option<u64>,
}

/// Writes events as JSON lines, in the order of the log.
///
/// The lines are what `import` reads: with --keep-time there, data, metadata, ids, tags and times
/// come back byte for byte. A file appears under its name when it is complete; it is compressed if
/// the name ends in .gz or .zst.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu export > all.jsonl
  quipu export orders.jsonl.zst --query category:order --as-of 2026-01-01
  quipu export --full everything.jsonl.gz")]
pub(crate) struct ExportArgs {
    /// The file to write; - is standard output.
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) queries: QueryArgs,
    /// The first position wanted.
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<u64>,
    #[command(flatten)]
    pub(crate) moment: MomentArgs,
    /// The most events wanted.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Keep reserved events too: metadata, deletions, tombstones. `import --system` takes them.
    #[arg(long, visible_alias = "system")]
    pub(crate) full: bool,
}

/// Adds one event to a stream.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("data-source").required(true).args(["json", "file", "stdin"])))]
#[command(after_help = "\
Examples:
  quipu append order-1 --type OrderPlaced --json '{\"total_cents\":1200}' --tag order:1 --expect none
  quipu append user-7 --type UsernameClaimed --json '{}' --tag username:ada \\
      --fail-if 'type:UsernameClaimed tag:username:ada'
  generate-report | quipu append report-9 --type ReportMade --content-type application/pdf -

With --expect or --fail-if, a demand that does not hold is a conflict: exit code 1, nothing appended.")]
pub(crate) struct AppendArgs {
    /// The stream to add to. Made if it is missing.
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) stream: StreamName,
    /// What kind of fact it is.
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    pub(crate) event_type: EventType,
    /// The event's data, as JSON text.
    #[arg(long, value_name = "TEXT", value_parser = json_text)]
    pub(crate) json: Option<String>,
    /// A file with the event's data.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Take the event's data from standard input.
    #[arg(value_name = "-", value_parser = ["-"])]
    pub(crate) stdin: Option<String>,
    /// How to read the data; application/json if it is JSON, application/octet-stream otherwise.
    #[arg(long, value_name = "TYPE", value_parser = content_type)]
    pub(crate) content_type: Option<ContentType>,
    /// The event's id. A retry with the same id adds nothing.
    #[arg(long, value_name = "UUID", value_parser = event_id)]
    pub(crate) id: Option<EventId>,
    /// What queries find the event by. May stand repeatedly.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub(crate) tags: Vec<Tag>,
    /// What travels beside the data, as JSON text.
    #[arg(long, value_name = "JSON", value_parser = json_text)]
    pub(crate) metadata: Option<String>,
    /// What the stream must be like: any, none, exists, or the revision of its last event.
    #[arg(long, value_name = "EXPECTED", value_parser = expected_revision, default_value = "any")]
    pub(crate) expect: ExpectedRevision,
    /// Append only if no event matches. Repeated: if none matches any of them.
    #[arg(long, value_name = "QUERY", value_parser = query_item)]
    pub(crate) fail_if: Vec<QueryItem>,
    /// Events at or before this position do not count for --fail-if.
    #[arg(long, value_name = "POSITION", requires = "fail_if")]
    pub(crate) after: Option<u64>,
}

/// Prints the events of a stream, or of the whole log.
///
/// A stream that does not exist, and one that is deleted, has no events to print.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu read order-1
  quipu read --all --query 'type:OrderPlaced,OrderPaid tag:customer:7' --query category:parcel
  quipu read order-1 --as-of 2026-03-31T12:00:00Z
  quipu read --all --backward --limit 10 --format jsonl")]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) queries: QueryArgs,
    /// The first revision of the stream, or position of the log, wanted; inclusive both ways.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<u64>,
    #[command(flatten)]
    pub(crate) moment: MomentArgs,
    /// From the newest to the oldest.
    #[arg(long)]
    pub(crate) backward: bool,
    /// The most events wanted.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Show reserved events too, those whose stream or type begins with $.
    #[arg(long)]
    pub(crate) system: bool,
}

/// Prints events as they are appended, until it is interrupted.
///
/// It follows a log that another process writes. Without --from it begins with what comes next.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu tail --all
  quipu tail order-1 --from 0
  quipu tail --query tag:customer:7 --format jsonl | while read -r event; do ...; done")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) queries: QueryArgs,
    /// The first revision of the stream, or position of the log, wanted: 0 is everything.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<u64>,
    /// Show reserved events too, those whose stream or type begins with $.
    #[arg(long)]
    pub(crate) system: bool,
}

/// Lists the streams, in the order of the bytes of their names.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu streams
  quipu streams order-2026
  quipu streams --category order --limit 100")]
pub(crate) struct StreamsArgs {
    /// Only streams whose names begin with this.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Only streams of this category.
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Option<String>,
    /// The most streams wanted.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// List reserved streams too, those whose names begin with $.
    #[arg(long)]
    pub(crate) system: bool,
}

/// Says how large the log is, what it takes of the disk, and which streams replay longest.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu stats
  quipu stats --format jsonl

On a server, streams are not looked into: reserved ones count, and none is named.")]
pub(crate) struct StatsArgs {
    /// Count reserved events and streams too.
    #[arg(long)]
    pub(crate) system: bool,
}

/// Lists the schema versions of each event type that the log holds.
///
/// The framework notes them in the events' metadata, under `$schemaVersion`; `-` stands for events
/// of which nobody noted one. It reads the whole log.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu schemas
  quipu schemas --format jsonl")]
pub(crate) struct SchemasArgs {
    /// List reserved types too, those of the store and the framework.
    #[arg(long)]
    pub(crate) system: bool,
}

/// Lists the projections that follow the log and how they are, or asks something of one.
///
/// They run in other processes, which report about once a second and look for requests twice a second.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu projections
  quipu projections rebuild account_list
  quipu projections promote account_list --version 2")]
pub(crate) struct ProjectionsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<ProjectionsVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectionsVerb {
    /// Lets a projection stand still. What it has stays readable.
    #[command(after_help = "Example:\n  quipu projections pause account_list")]
    Pause(ProjectionArgs),
    /// Lets a paused projection go on.
    #[command(after_help = "Example:\n  quipu projections resume account_list")]
    Resume(ProjectionArgs),
    /// Lets a projection that stopped at an event try it again, and all that is parked.
    #[command(after_help = "Example:\n  quipu projections retry account_list")]
    Retry(ProjectionArgs),
    /// Lets a version serve in place of the one that does.
    #[command(after_help = "Example:\n  quipu projections promote account_list --version 2")]
    Promote(ProjectionArgs),
    /// Empties a read model and builds it again from the log's first event.
    #[command(after_help = "Example:\n  quipu projections rebuild account_list")]
    Rebuild(ProjectionArgs),
}

/// Which projection.
#[derive(Args, Debug)]
pub(crate) struct ProjectionArgs {
    /// The projection.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its version, where several run.
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<u32>,
}

/// Publishes events elsewhere, lists the relays that do and how they are, or asks something of one.
///
/// A relay runs where its file is given to `run`, or beside a server (`quipu serve --relays`), or in a
/// program. Of several with one name one publishes; the others wait to take over. What one set aside
/// is listed by `quipu parked`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu relay run --config public-orders.toml
  quipu relay run --config public-orders.toml --url http://localhost:2113
  quipu relay list
  quipu relay replay public-orders --after 4711")]
pub(crate) struct RelayArgs {
    #[command(subcommand)]
    pub(crate) verb: RelayVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RelayVerb {
    /// Runs a relay until it is told to stop, and says on standard error how it is.
    #[command(after_help = "Example:\n  quipu relay run --config public-orders.toml")]
    Run {
        /// The relay's file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Stop when everything is published that is in the log now.
        #[arg(long)]
        once: bool,
    },
    /// Checks a relay's file, and says what the relay would do.
    #[command(after_help = "Example:\n  quipu relay check --config public-orders.toml")]
    Check {
        /// The relay's file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Lists the relays and how they are.
    #[command(after_help = "Example:\n  quipu relay list --format jsonl")]
    List,
    /// Lets a relay stand still.
    #[command(after_help = "Example:\n  quipu relay pause public-orders")]
    Pause(RelayName),
    /// Lets a paused relay go on.
    #[command(after_help = "Example:\n  quipu relay resume public-orders")]
    Resume(RelayName),
    /// Lets a relay that stopped at an event try it again, and all that is parked.
    #[command(after_help = "Example:\n  quipu relay retry public-orders")]
    Retry(RelayName),
    /// Publishes everything behind a position again. Consumers see it twice.
    #[command(after_help = "Example:\n  quipu relay replay public-orders --after 4711")]
    Replay {
        #[command(flatten)]
        name: RelayName,
        /// The last position that is not published again; 0 for everything.
        #[arg(long, value_name = "POSITION")]
        after: u64,
    },
}

/// Which relay.
#[derive(Args, Debug)]
pub(crate) struct RelayName {
    /// The relay.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Lists the events that projections and relays set aside, tries them again, or leaves them out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu parked list
  quipu parked retry account_list --all
  quipu parked drop account_list --position 4711")]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    pub(crate) verb: ParkedVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedVerb {
    /// Lists parked events, the first 1,000 of each projection.
    #[command(after_help = "Example:\n  quipu parked list account_list --format jsonl")]
    List {
        /// The projection; all of them otherwise.
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Its version, where several run.
        #[arg(long, value_name = "VERSION", requires = "name")]
        version: Option<u32>,
    },
    /// Tries an event again, with the later ones of its key behind it.
    #[command(after_help = "Example:\n  quipu parked retry account_list --position 4711")]
    Retry(ParkedWhich),
    /// Leaves an event out for good, on record.
    #[command(after_help = "Example:\n  quipu parked drop account_list --position 4711")]
    Drop(ParkedWhich),
}

/// Which parked events.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["position", "all"])))]
pub(crate) struct ParkedWhich {
    #[command(flatten)]
    pub(crate) projection: ProjectionArgs,
    /// The event, or the one at which a partition stopped.
    #[arg(long, value_name = "POSITION")]
    pub(crate) position: Option<u64>,
    /// Every parked event.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Checks every byte of the store and lists what is damaged.
///
/// Exit code 1 if anything is. It changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quipu verify && quipu backup /mnt/backups/today")]
pub(crate) struct VerifyArgs {}

/// Makes the index anew from the log.
///
/// The index holds nothing that the log does not. A store in a directory must not be open for writing; a
/// server makes its index anew while it serves, and uses the old one until the new one is there.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu rebuild-index
  quipu --url https://db.example.com:2113 rebuild-index")]
pub(crate) struct RebuildIndexArgs {}

/// Frees the space of events that no read of their stream shows any more.
///
/// Those are the events of deleted and tombstoned streams, and those beyond `$maxCount`, `$maxAge`
/// and `$tb`. The segment that is written to is looked at as well: if it is rewritten, the log goes on
/// in another one. It cannot be undone.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quipu stream delete order-1 && quipu scavenge")]
pub(crate) struct ScavengeArgs {
    /// The share of a segment's bytes that must go for the segment to be rewritten.
    #[arg(long, value_name = "PERCENT", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) threshold: u8,
}

/// Shows or changes one stream.
#[derive(Args, Debug)]
pub(crate) struct StreamArgs {
    #[command(subcommand)]
    pub(crate) verb: StreamVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StreamVerb {
    /// Says what is known of a stream.
    #[command(after_help = "Example:\n  quipu stream info order-1")]
    Info {
        /// The stream.
        #[arg(value_name = "STREAM", value_parser = stream_name)]
        stream: StreamName,
    },
    /// Shows a stream's metadata, or replaces it.
    #[command(after_help = "\
Examples:
  quipu stream metadata order-1
  quipu stream metadata sensor-7 --set '{\"$maxAge\":86400}'

$maxCount shows only that many events, $maxAge only those of so many seconds, $tb only those
from that revision on. Other keys are yours.")]
    Metadata {
        /// The stream.
        #[arg(value_name = "STREAM", value_parser = stream_name)]
        stream: StreamName,
        /// The metadata, a JSON object, in place of what is there.
        #[arg(long, value_name = "JSON", value_parser = json_text)]
        set: Option<String>,
        /// What the metadata must be like: any, none, exists, or its revision.
        #[arg(long, value_name = "EXPECTED", value_parser = expected_revision)]
        #[arg(default_value = "any", requires = "set")]
        expect: ExpectedRevision,
    },
    /// Hides a stream's events before a revision.
    #[command(after_help = "Example:\n  quipu stream truncate order-1 --before 100")]
    Truncate {
        /// The stream.
        #[arg(value_name = "STREAM", value_parser = stream_name)]
        stream: StreamName,
        /// The first revision that stays.
        #[arg(long, value_name = "REVISION")]
        before: u64,
    },
    /// Hides a stream until something is appended to it again.
    #[command(after_help = "Example:\n  quipu stream delete order-1 --expect 7")]
    Delete {
        /// The stream.
        #[arg(value_name = "STREAM", value_parser = stream_name)]
        stream: StreamName,
        /// What the stream must be like: any, exists, or the revision of its last event.
        #[arg(long, value_name = "EXPECTED", value_parser = expected_revision)]
        #[arg(default_value = "any")]
        expect: ExpectedRevision,
    },
    /// Ends a stream for good: nothing can ever be appended to it again.
    #[command(after_help = "Example:\n  quipu stream tombstone order-1")]
    Tombstone {
        /// The stream.
        #[arg(value_name = "STREAM", value_parser = stream_name)]
        stream: StreamName,
        /// What the stream must be like: any, none, exists, or the revision of its last event.
        #[arg(long, value_name = "EXPECTED", value_parser = expected_revision)]
        #[arg(default_value = "any")]
        expect: ExpectedRevision,
    },
}

/// Copies the store to a new directory, also while another process writes to it.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quipu backup /mnt/backups/2026-03-31
  quipu --url https://db.example.com:2113 backup 2026-03-31

On a server DEST is a name: the backup goes into the directory that its --backup-dir names.")]
pub(crate) struct BackupArgs {
    /// The directory to make; on a server, its name there.
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
}

/// Makes a store of a backup, checking every byte, at the directory that --data names.
///
/// The restored log is a new life of the same log: consumers that were ahead of it notice. A server goes on
/// with the log that it holds: restore to a directory of its own, and serve that one.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quipu --data ./quipu-data restore /mnt/backups/2026-03-31")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
}

/// Measures this disk: a few seconds of appends and a scan, in a directory of its own.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu bench
  quipu --data /mnt/fast/log bench --seconds 10")]
pub(crate) struct BenchArgs {
    /// How long each kind of append goes on.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}

/// Prints a completion script for a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  quipu completions bash > ~/.local/share/bash-completion/completions/quipu")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// One stream or the whole log.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("source").required(true).multiple(true).args(["stream", "all", "queries"])))]
pub(crate) struct SourceArgs {
    /// The stream.
    #[arg(value_name = "STREAM", value_parser = stream_name, conflicts_with = "all")]
    pub(crate) stream: Option<StreamName>,
    /// The whole log.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which events.
#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Only events that match; repeated: that match any of them.
    #[arg(long = "query", id = "queries", value_name = "QUERY", value_parser = query_item)]
    pub(crate) items: Vec<QueryItem>,
}

impl QueryArgs {
    /// The query that the options make together; everything where there are none.
    pub(crate) fn query(&self) -> Query {
        if self.items.is_empty() { Query::all() } else { Query { items: self.items.clone() } }
    }
}

/// Copies a log into another store: from and to directories, databases and servers.
///
/// Ids, tags, data, metadata and times come along, and so do checkpoints, translated to the places that
/// the events have in the copy. It can be stopped at any time, and goes on where it was; nothing is
/// copied twice. At the end both logs are read again and compared. Events that were scavenged are
/// gone, and the revisions behind them then differ, which is counted.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu copy ./quipu-data postgres://shop@db/shop
  quipu copy postgres://shop@db/shop ./copy
  quipu copy ./quipu-data https://db.example.com --map places.jsonl

Exit codes: 0 copied and the same, 1 the copy differs, 2 failure.")]
pub(crate) struct CopyArgs {
    /// The log to copy: a directory, postgres://... or https://...
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// Where to copy it to. Made if it is missing, but for a server's.
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Write which positions became which: a line for each run of them that follow each other.
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Leave out comparing the logs at the end.
    #[arg(long)]
    pub(crate) no_verify: bool,
}

/// Makes the store in a database, or brings it up to what this version needs.
///
/// All of it happens in one transaction. `quipu serve` makes a store where there is none; it never
/// changes one that is there.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu --postgres postgres://shop@db/shop migrate
  QUIPU_POSTGRES=postgres://shop@db/shop quipu migrate --dry-run")]
pub(crate) struct MigrateArgs {
    /// Say what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Serves the log to other processes until it is stopped.
///
/// One port has gRPC, HTTP/JSON, server-sent events, metrics at /metrics, health at /health/live and
/// /health/ready, and a page at /. The directory is made if it is missing. SIGTERM and SIGINT end the
/// server in order: subscriptions end with the place to go on from, requests under way are
/// answered. SIGHUP reads the configuration file again: the limits hold for new requests, an address
/// only after a restart.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu serve
  quipu --data ./orders serve --listen 127.0.0.1:0 --print-address
  quipu serve --sample
  QUIPU_POSTGRES=postgres://shop@db/shop quipu serve
  curl http://127.0.0.1:2113/health/ready

The configuration file is TOML; its keys are the long flags with underscores, and data:
  data = \"/var/lib/quipu\"
  listen = \"127.0.0.1:2113\"
  in_flight_max = 64")]
pub(crate) struct ServeArgs {
    /// Keep the log in memory. All of it is gone when the server ends.
    #[arg(long)]
    pub(crate) memory: bool,
    /// Serve a shop that does not exist: a year of orders, and new ones while you look. It is kept
    /// in a directory of its own, which is removed at the end.
    #[arg(long)]
    pub(crate) sample: bool,
    /// Print nothing but the address, when the server can be reached at it.
    #[arg(long)]
    pub(crate) print_address: bool,
    /// The file of settings. Flags and environment go before it.
    #[arg(long, value_name = "FILE", env = "QUIPU_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Shows how a server would be configured.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quipu config show --config /etc/quipu.toml")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    Show(ConfigShowArgs),
}

/// Prints every setting, its value, and where it comes from. Passwords are left out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu config show --config /etc/quipu.toml
  QUIPU_LISTEN=127.0.0.1:9000 quipu config show --format jsonl")]
pub(crate) struct ConfigShowArgs {
    /// The file of settings. Flags and environment go before it.
    #[arg(long, value_name = "FILE", env = "QUIPU_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// When.
#[derive(Args, Debug)]
pub(crate) struct MomentArgs {
    /// See the log as it was: at a position, an RFC 3339 time, or the start of a date (UTC).
    #[arg(long, value_name = "POSITION|TIME", value_parser = time::parse_as_of)]
    pub(crate) as_of: Option<AsOf>,
}

fn stream_name(text: &str) -> Result<StreamName, NameError> {
    StreamName::new(text)
}

fn event_type(text: &str) -> Result<EventType, NameError> {
    EventType::new(text)
}

fn content_type(text: &str) -> Result<ContentType, NameError> {
    ContentType::new(text)
}

fn tag(text: &str) -> Result<Tag, NameError> {
    Tag::new(text)
}

fn query_item(text: &str) -> Result<QueryItem, String> {
    text.parse::<QueryItem>().map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

fn json_text(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    let url = DatabaseUrl::new(text);
    url.options().map_err(|error| error.to_string())?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_arguments_holds_together() {
        use clap::CommandFactory;

        Cli::command().debug_assert();
    }
}
