//! Every SQL text that is run, but for those of the migrations and of queries (`query`).
//!
//! They are written for the schema `quipu`; another one takes its place when the store is opened.

use std::fmt;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::error::DatabaseError;

/// A statement with a name, for people who look for what failed.
#[derive(Clone)]
pub(crate) struct Statement {
    name: &'static str,
    text: SqlStr,
}

impl Statement {
    pub(crate) fn new(name: &'static str, text: String) -> Self {
        // The texts are ours, and a schema's name is checked when it is given.
        Self { name, text: AssertSqlSafe(text).into_sql_str() }
    }

    pub(crate) fn text(&self) -> SqlStr {
        self.text.clone()
    }

    /// Why it failed.
    pub(crate) fn failed(&self, cause: sqlx::Error) -> DatabaseError {
        DatabaseError::new(self.name, cause)
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Puts a schema's name where the texts have `quipu.`, or `schema quipu`.
pub(crate) fn in_schema(text: &str, schema: &str) -> String {
    if schema == "quipu" {
        return text.to_owned();
    }
    let text = text.replace("quipu.", &format!("{schema}."));
    text.replace("schema quipu", &format!("schema {schema}"))
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)+) => {
        /// The statements, for one schema.
        #[derive(Debug)]
        pub(crate) struct Sql {
            pub(crate) schema: String,
            $($(#[$doc])* pub(crate) $name: Statement,)+
        }

        impl Sql {
            pub(crate) fn new(schema: &str) -> Self {
                Self {
                    schema: schema.to_owned(),
                    $($name: Statement::new(stringify!($name), in_schema($text, schema)),)+
                }
            }
        }
    };
}

/// What is read of an event.
macro_rules! columns {
    () => {
        "e.position, e.revision, e.recorded_at, e.id, e.stream, e.type, e.content_type, \
         array_to_string(e.tags, E'\\n'), e.metadata, e.data"
    };
}
pub(crate) use columns;

/// Events in an order, with how many bytes of data and metadata are before each: what a page is cut
/// by. The sizes are known without looking at what is stored apart.
macro_rules! sized {
    ($source:expr, $order:literal) => {
        concat!(
            "(select o.*, sum(octet_length(o.data) + octet_length(o.metadata)) over (order by ",
            $order,
            " rows between unbounded preceding and 1 preceding) as before from (",
            $source,
            ") o)"
        )
    };
}

/// The lowest position that an append under way has announced, or the last one of the log where that
/// is lower; then the last one of the log, and the time.
///
/// The lock carries the lower half of a position. The whole one is the nearest to the sequence's.
macro_rules! frontier {
    () => {
        "select least(m.last, a.announced), m.last, quipu.now_micros() from
         (select coalesce(max(position), 0) as last from quipu.events) m,
         (select min(p.last_value - 2147483648
              + ((l.objid::bigint - p.last_value + 2147483648) & 4294967295)) as announced
          from pg_locks l, quipu.positions p
          where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
            and l.classid = 'quipu.events'::regclass
            and l.database = (select oid from pg_database where datname = current_database())) a"
    };
}

statements! {
    // Opening.

    /// What the schema holds: whether it is there, whether it is ours, and what else is in it.
    look_at_schema = "select
        exists (select from pg_namespace where nspname = $1),
        exists (select from pg_class where relnamespace = to_regnamespace($1)::oid
                and relname = 'migrations' and relkind = 'r'),
        coalesce((select string_agg(relname, ', ' order by relname) from (
            select relname from pg_class where relnamespace = to_regnamespace($1)::oid
            and relkind in ('r', 'p', 'v', 'm', 'S') order by relname limit 5) t), ''),
        pg_is_in_recovery(), current_setting('server_encoding'),
        current_setting('server_version_num')::int, current_setting('synchronous_commit')";
    create_schema = "create schema quipu";
    create_migrations = "create table if not exists quipu.migrations (
        number int primary key, name text not null, applied_at timestamptz not null default now())";
    lock_migrations = "select pg_advisory_xact_lock(hashtextextended($1, 7220))";
    list_migrations = "select number, name from quipu.migrations order by number";
    record_migration = "insert into quipu.migrations (number, name) values ($1, $2)";
    create_store = "insert into quipu.store (log, name) select $1, $2
        where not exists (select from quipu.store)";
    read_store = "select log, name, 'quipu.events'::regclass::oid::bigint from quipu.store";

    // Lives.

    read_cluster = "select (select system_identifier from pg_control_system()), quipu.timeline()";
    read_lives = "select incarnation, began_at, system_identifier, timeline from quipu.lives
        order by incarnation";
    lock_lives = "lock table quipu.lives in share row exclusive mode";
    begin_life = "insert into quipu.lives (incarnation, began_at, system_identifier, timeline)
        select coalesce(max(incarnation), 0) + 1,
            (select coalesce(max(position), 0) from quipu.events), $1, $2
        from quipu.lives";

    // Appending.

    append = "select refused, positions, revisions from quipu.append(
        $1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    /// How long to wait for locks; and to use indexes, which every statement here has: a plan is kept
    /// that was made while the log was small, and a scan is cheaper then. A scan where there is no
    /// other way looks so costly to older versions that they would compile it.
    prepare_session = "select set_config('lock_timeout', $1, false),
        set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)";
    limit_idle = "select set_config('idle_in_transaction_session_timeout', $1, true)";
    hold = "select name, last, tombstoned, metadata from quipu.hold($1, $2, $3, $4)";
    streams = "select name, last, tombstoned, metadata from quipu.streams where name = any ($1)";
    ids_at = "select revision, id, position from quipu.events
        where stream = $1 and revision >= $2 and revision < $2 + $3";
    find_ids = "select distinct on (stream, id) stream, id, position, revision from quipu.events
        where id = any ($1) order by stream, id, revision desc";
    first_match = "select quipu.first_match($1::text::jsonb, $2)";
    last_position = "select coalesce(max(position), 0) from quipu.events";
    describe_streams = "insert into quipu.streams (name, metadata, deleted)
        select * from unnest($1::text[], $2::bytea[], $3::boolean[])
        on conflict (name) do update set metadata = excluded.metadata, deleted = excluded.deleted";
    end_streams = "update quipu.streams set tombstoned = true where name = any ($1)";

    // Reading.

    frontier = frontier!();
    now = "select quipu.now_micros()";
    /// A stream's facts with its first page, so that reading a short one is one statement.
    read_stream = concat!(
        "select s.last, s.tombstoned, s.metadata, ", columns!(), "
         from (select $1::text collate \"C\" as name) n
         left join quipu.streams s on s.name = n.name
         left join lateral ", sized!("select * from quipu.events
            where stream = n.name and revision >= $2 and not scavenged
            order by revision limit $3", "o.revision"), " e on coalesce(e.before, 0) < $4
         order by e.revision");
    page_forward = concat!("select ", columns!(), " from ", sized!("select * from quipu.events
            where stream = $1 and revision >= $2 and revision <= $3 and not scavenged
            order by revision limit $4", "o.revision"), " e
        where coalesce(e.before, 0) < $5 order by e.revision");
    page_backward = concat!("select ", columns!(), " from ", sized!("select * from quipu.events
            where stream = $1 and revision >= $2 and revision <= $3 and not scavenged
            order by revision desc limit $4", "o.revision desc"), " e
        where coalesce(e.before, 0) < $5 order by e.revision desc");
    log_forward = concat!("select ", columns!(), " from ", sized!("select * from quipu.events
            where position >= $1 and position <= $2 and not scavenged
            order by position limit $3", "o.position"), " e
        where coalesce(e.before, 0) < $4 order by e.position");
    log_backward = concat!("select ", columns!(), " from ", sized!("select * from quipu.events
            where position >= $1 and position <= $2 and not scavenged
            order by position desc limit $3", "o.position desc"), " e
        where coalesce(e.before, 0) < $4 order by e.position desc");
    /// A stream as it was: its last event at or before a place, and its metadata then.
    stream_at = "select
        (select revision from quipu.events where stream = $1 and position <= $3
         order by revision desc limit 1),
        (select type from quipu.events where stream = $1 and position <= $3
         order by revision desc limit 1),
        (select data from quipu.events where stream = $2 and position <= $3
         and type = '$metadata' and not scavenged order by revision desc limit 1)";
    time_at = "select recorded_at from quipu.events where position <= $1
        order by position desc limit 1";
    list_streams = "select name from quipu.streams
        where last is not null and name >= $1 and name > $2 and ($3::text is null or name < $3)
          and ($4::text is null or split_part(name, '-', 1) = $4)
        order by name limit $5";
    count_shown = "select count(*), min(revision),
            coalesce(sum(octet_length(data)::bigint + octet_length(metadata)), 0)::bigint
        from quipu.events
        where stream = $1 and revision >= $2 and recorded_at >= $3 and not scavenged";

    // Terms by ordinal, and times. $1 is the kind: 0 category, 1 type, 2 first events.

    last_mark = "select ordinal, position from quipu.term_marks
        where kind = $1 and term = $2 and ordinal <= $3 order by ordinal desc limit 1";
    put_marks = "insert into quipu.term_marks (kind, term, ordinal, position)
        select $1, $2, * from unnest($3::bigint[], $4::bigint[]) on conflict do nothing";
    category_positions = "select position from quipu.events where split_part(stream, '-', 1) = $1
        and position > $2 and position <= $3 order by position limit $4";
    type_positions = "select position from quipu.events where type = $1
        and position > $2 and position <= $3 order by position limit $4";
    first_positions = "select position from quipu.events where revision = 0 and $1 = $1
        and position > $2 and position <= $3 order by position limit $4";
    events_at = concat!("select ", columns!(), " from ", sized!("select * from quipu.events
            where position = any ($1) and not scavenged", "array_position($1, o.position)"), " e
        where coalesce(e.before, 0) < $2 order by array_position($1, e.position)");
    last_time_mark = "select position, latest from quipu.time_marks order by position desc limit 1";
    put_time_marks = "insert into quipu.time_marks (position, latest)
        select * from unnest($1::bigint[], $2::bigint[]) on conflict do nothing";
    times = "select position, recorded_at from quipu.events
        where position > $1 and position <= $2 order by position limit $3";
    time_mark_before = "select coalesce(max(position), 0) from quipu.time_marks where latest <= $1";
    first_later = "select position from quipu.events
        where position > $1 and position <= $2 and recorded_at > $3 order by position limit 1";

    // Scavenging.

    /// Streams that may have something hidden, a page of them.
    scavengeable = "select name, last, tombstoned, metadata from quipu.streams
        where last > 0 and name > $1
          and (tombstoned or metadata is not null or (name like '$$%' and length(name) > 2))
        order by name limit 256";
    scavenge = "with gone as (
            update quipu.events e set scavenged = true, data = '', metadata = '', tags = '{}'
            where e.stream = $1 and not e.scavenged and e.revision < $2
              and (e.revision < $3 or e.recorded_at < $4)
              and e.revision is distinct from $5
            returning e.position),
        untagged as (
            delete from quipu.event_tags t using gone where t.position = gone.position)
        select count(*) from gone";
    latest_metadata = "select max(revision) from quipu.events
        where stream = $1 and type = '$metadata' and not scavenged";

    // Waking up.

    /// The names of what came.
    came = "select position, stream, type, array_to_string(tags, E'\\n') from quipu.events
        where position > $1 and position <= $2 order by position limit $3";
    notify = "select pg_notify($1, '')";
    /// How long the oldest transaction that holds readers back has been open, in milliseconds.
    held_back = "select coalesce(max(extract(epoch from clock_timestamp() - a.xact_start) * 1000), 0)
            ::bigint
        from pg_locks l join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
          and l.classid = 'quipu.events'::regclass
          and l.database = (select oid from pg_database where datname = current_database())";

    // Beside the log.

    get_snapshot = "select position, data from quipu.snapshots
        where key = $1 and position <= $2 order by position desc limit 1";
    put_snapshot = "insert into quipu.snapshots (key, position, data) values ($1, $2, $3)
        on conflict (key, position) do update set data = excluded.data";
    prune_snapshots = "delete from quipu.snapshots where key = $1 and position not in (
        select position from quipu.snapshots where key = $1 order by position desc limit $2)";
    get_checkpoint = "select position, incarnation,
            (select coalesce(max(position), 0) from quipu.events)
        from quipu.checkpoints where name = $1";
    swap_checkpoint = "select moved, current_epoch, current_position
        from quipu.swap_checkpoint($1, $2, $3, $4, $5)";
    list_checkpoints = "select name from quipu.checkpoints order by name";
    acquire_lease = "insert into quipu.leases as own (name, owner, epoch, expires_at, ttl)
        values ($1, $2, 1, quipu.now_micros() + $3, $3)
        on conflict (name) do update
        set owner = excluded.owner, epoch = own.epoch + 1, expires_at = excluded.expires_at,
            ttl = excluded.ttl, released = false
        where own.released or own.expires_at <= quipu.now_micros()
            or (own.expires_at - quipu.now_micros()) / 2 > own.ttl
        returning owner, epoch, expires_at";
    get_lease = "select owner, epoch, expires_at from quipu.leases where name = $1";
    renew_lease = "update quipu.leases set expires_at = quipu.now_micros() + $3, ttl = $3
        where name = $1 and epoch = $2 and not released returning owner, epoch, expires_at";
    release_lease = "update quipu.leases
        set released = true, expires_at = least(expires_at, quipu.now_micros())
        where name = $1 and epoch = $2 and not released";
    report_component = "insert into quipu.components as own (kind, name, version, owner, epoch, state,
            position, lag, last_error, parked_count, parked, reported_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (kind, name, version) do update
        set owner = excluded.owner, epoch = excluded.epoch, state = excluded.state,
            position = excluded.position, lag = excluded.lag, last_error = excluded.last_error,
            parked_count = excluded.parked_count, parked = excluded.parked,
            reported_at = excluded.reported_at
        where own.epoch <= excluded.epoch";
    component_epoch = "select epoch from quipu.components
        where kind = $1 and name = $2 and version = $3";
    list_components = "select kind, name, version, owner, epoch, state, position, lag, last_error,
            parked_count, parked, reported_at from quipu.components";
    remove_component = "delete from quipu.components where kind = $1 and name = $2 and version = $3";
    /// The component's row is locked, so that two requests do not both find the last free place.
    lock_component = "select (select count(*) from quipu.component_requests r
            where r.kind = c.kind and r.name = c.name and r.version = c.version)
        from quipu.components c where kind = $1 and name = $2 and version = $3 for update";
    add_request = "insert into quipu.component_requests (kind, name, version, request, position)
        values ($1, $2, $3, $4, $5)";
    take_requests = "with taken as (
            delete from quipu.component_requests where kind = $1 and name = $2 and version = $3
            returning number, request, position)
        select request, position from taken order by number";
}
