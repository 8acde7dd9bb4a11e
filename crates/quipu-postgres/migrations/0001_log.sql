-- The log, what is looked up in it, and what is kept beside it.
--
-- Names compare by their bytes: hence the collation. Times are microseconds since 1970 in UTC.

-- Which log this is, in one row.
create table quipu.store (
  log uuid not null,
  name text not null,
  created_at timestamptz not null default now()
);

-- The lives of the log: 1, and one more with every failover and restore. Two lives share the log up
-- to the place where the later one began. A cluster is known by its system identifier, and by its
-- timeline, which rises whenever a standby or a restored copy takes over.
create table quipu.lives (
  incarnation bigint primary key,
  began_at bigint not null,
  system_identifier bigint not null,
  timeline text not null,
  recorded_at timestamptz not null default now()
);

-- The first position is 1; 0 is taken here, since a sequence that was never asked does not tell
-- whether its last value was given out. A cache would give positions out of order.
create sequence quipu.positions as bigint minvalue 0 start 0 cache 1;
select nextval('quipu.positions');

-- What an append has to know of a stream, in the one row that it locks.
create table quipu.streams (
  name text collate "C" primary key,
  last bigint,
  tombstoned boolean not null default false,
  deleted boolean not null default false,
  metadata bytea
) with (fillfactor = 70);

create table quipu.events (
  position bigint primary key,
  stream text collate "C" not null,
  revision bigint not null,
  id uuid not null,
  type text collate "C" not null,
  tags text[] not null default '{}',
  content_type text,
  data bytea not null,
  metadata bytea not null default '',
  recorded_at bigint not null,
  scavenged boolean not null default false,
  unique (stream, revision)
);
comment on column quipu.events.content_type is 'null is application/json';
comment on column quipu.events.recorded_at is 'microseconds since 1970 in UTC';
create index events_id on quipu.events (id);
create index events_type on quipu.events (type, position);
create index events_category on quipu.events (split_part(stream, '-', 1), position);
create index events_first on quipu.events (position) where revision = 0;

create table quipu.event_tags (
  tag text collate "C" not null,
  position bigint not null,
  type text collate "C" not null,
  primary key (tag, position) include (type)
);

-- Where every so many entries of a term are, so that an ordinal is found without counting from the
-- first one. They follow from the log, so that it does not matter who writes them.
create table quipu.term_marks (
  kind smallint not null,
  term text collate "C" not null,
  ordinal bigint not null,
  position bigint not null,
  primary key (kind, term, ordinal)
);

-- The latest time of all events up to a position, every so many events.
create table quipu.time_marks (
  position bigint primary key,
  latest bigint not null
);

create table quipu.snapshots (
  key text collate "C" not null,
  position bigint not null,
  data bytea not null,
  primary key (key, position)
);

create table quipu.checkpoints (
  name text collate "C" primary key,
  position bigint not null,
  incarnation bigint not null,
  epoch bigint not null,
  updated_at timestamptz not null default now()
) with (fillfactor = 50);

create table quipu.leases (
  name text collate "C" primary key,
  owner text not null,
  epoch bigint not null,
  expires_at bigint not null,
  released boolean not null default false
) with (fillfactor = 50);

create table quipu.components (
  kind text not null,
  name text collate "C" not null,
  version bigint not null,
  owner text not null,
  epoch bigint not null,
  state text not null,
  position bigint not null,
  lag bigint not null,
  last_error text,
  parked_count bigint not null,
  parked bytea not null,
  reported_at bigint not null,
  primary key (kind, name, version)
) with (fillfactor = 50);

create table quipu.component_requests (
  number bigint generated always as identity primary key,
  kind text not null,
  name text collate "C" not null,
  version bigint not null,
  request text not null,
  position bigint,
  foreign key (kind, name, version) references quipu.components on delete cascade
);

create function quipu.now_micros() returns bigint language sql volatile as $$
  select (extract(epoch from clock_timestamp()) * 1000000)::bigint
$$;

-- Which of the cluster's timelines is written now. It changes with every failover and restore.
create function quipu.timeline() returns text language sql volatile as $$
  select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
$$;

-- The first event behind a place that matches one of the items of a query.
create function quipu.first_match(p_items jsonb, p_after bigint) returns bigint
language plpgsql volatile as $$
declare
  v_item jsonb;
  v_types text[];
  v_tags text[];
  v_stream text;
  v_category text;
  v_found bigint;
  v_first bigint;
begin
  for v_item in select * from jsonb_array_elements(p_items) loop
    v_types := array(select jsonb_array_elements_text(v_item->'types'));
    v_tags := array(select jsonb_array_elements_text(v_item->'tags'));
    v_stream := v_item->>'stream';
    v_category := v_item->>'category';
    v_found := null;
    if cardinality(v_tags) > 0 then
      select t.position into v_found from quipu.event_tags t
      where t.tag = v_tags[1] and t.position > p_after
        and (cardinality(v_types) = 0 or t.type = any (v_types))
        and not exists (
          select from unnest(v_tags[2:]) o (tag)
          where not exists (
            select from quipu.event_tags x where x.tag = o.tag and x.position = t.position))
        and (v_stream is null and v_category is null or exists (
          select from quipu.events e where e.position = t.position
            and (v_stream is null or e.stream = v_stream)
            and (v_category is null or split_part(e.stream, '-', 1) = v_category)))
      order by t.position limit 1;
    elsif v_stream is not null then
      select min(e.position) into v_found from quipu.events e
      where e.stream = v_stream and e.position > p_after and not e.scavenged
        and (cardinality(v_types) = 0 or e.type = any (v_types))
        and (v_category is null or split_part(e.stream, '-', 1) = v_category);
    elsif cardinality(v_types) > 0 then
      select min(m.position) into v_found from unnest(v_types) as t (type) cross join lateral (
        select e.position from quipu.events e
        where e.type = t.type and e.position > p_after and not e.scavenged
          and (v_category is null or split_part(e.stream, '-', 1) = v_category)
        order by e.position limit 1) m;
    elsif v_category is not null then
      select e.position into v_found from quipu.events e
      where split_part(e.stream, '-', 1) = v_category and e.position > p_after and not e.scavenged
      order by e.position limit 1;
    else
      select e.position into v_found from quipu.events e
      where e.position > p_after and not e.scavenged order by e.position limit 1;
    end if;
    v_first := least(v_first, v_found);
  end loop;
  return v_first;
end
$$;

-- Appends a group of appends, each of them as a whole or not at all, in one statement.
--
-- 1. Locks: the buckets of what conditions are about, then the rows of the streams, in the order
--    given, which is the same for everyone.
-- 2. Decides the demands that are easily decided. What does not simply hold, be it a conflict, a
--    retry or a deleted stream, is refused here, and the caller decides it with all its rules.
-- 3. Announces the last position given out, so that readers stop there until this is over, and only
--    then takes positions.
--
-- Expectations are a revision, -1 for any, -2 for no stream, -3 for an existing one; null is
-- decided already. Conditions are of a group of one.
create function quipu.append(
  p_timeline text, p_lock bigint[], p_exclusive boolean[], p_conditions jsonb,
  p_stream text[], p_append int[], p_expected bigint[], p_count bigint[],
  e_stream int[], e_offset bigint[], e_id uuid[], e_type text[], e_tags text[],
  e_content_type text[], e_data bytea[], e_metadata bytea[], e_recorded_at bigint[],
  out refused int[], out positions bigint[], out revisions bigint[]
) language plpgsql volatile as $$
declare
  v_looks_up boolean;
  v_condition jsonb;
  v_last bigint;
  v_now bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using errcode = 'QP001', message = format(
      'an append needs the isolation level "read committed", the transaction has "%s"',
      current_setting('transaction_isolation'));
  end if;
  if p_timeline is distinct from quipu.timeline() then
    raise exception using errcode = 'QP002', message = format(
      'the database goes on on timeline %s, this node knows %s', quipu.timeline(), p_timeline);
  end if;
  if (select max(a) from unnest(p_append) as a) > 0 then
    -- One append that has to wait is not to keep the others of its group waiting.
    perform set_config('lock_timeout', '200ms', true);
  end if;
  perform case when l.exclusive then pg_advisory_xact_lock(l.key)
               else pg_advisory_xact_lock_shared(l.key) end
  from unnest(p_lock, p_exclusive) as l (key, exclusive);
  insert into quipu.streams (name)
  select s.name from unnest(p_stream, p_expected) as s (name, expected)
  where (s.expected is null or s.expected in (-1, -2))
    and not exists (select from quipu.streams o where o.name = s.name)
  on conflict do nothing;
  with own as materialized (
    select s.name, s.last, s.tombstoned or s.deleted as closed, s.metadata is not null as described
    from quipu.streams s where s.name = any (p_stream) order by s.name for no key update
  ), asked as (
    select a.append,
      case when a.expected is null then true
           when own.name is null or own.closed then false
           when a.expected = -1 then true
           when a.expected = -2 then own.last is null
           when a.expected = -3 then own.last is not null or own.described
           else own.last is not distinct from a.expected end as holds,
      a.expected in (-1, -3) and a.count > 0 and own.last is not null as looks_up
    from unnest(p_stream, p_append, p_expected, p_count) as a (name, append, expected, count)
    left join own on own.name = a.name
  )
  select coalesce(array_agg(distinct append) filter (where not holds), '{}'),
         coalesce(bool_or(looks_up), false)
  into refused, v_looks_up from asked;
  if v_looks_up and exists (select from quipu.events e where e.id = any (e_id)) then
    refused := refused || array(
      select distinct p_append[own.stream] from unnest(e_id, e_stream) as own (id, stream)
      where exists (select from quipu.events e where e.id = own.id));
  end if;
  if p_conditions is not null then
    select p.last_value into v_last from quipu.positions p;
    for v_condition in select * from jsonb_array_elements(p_conditions) loop
      if (v_condition->>'after')::bigint > v_last or quipu.first_match(
        v_condition->'items', (v_condition->>'after')::bigint) is not null
      then
        refused := refused || 0;
      end if;
    end loop;
  end if;
  positions := '{}';
  revisions := '{}';
  if (select bool_and(a = any (refused)) from unnest(p_append) as a) then
    return;
  end if;
  -- All positions taken here are above this one: whoever sees the lock stops there, and whoever
  -- does not see it yet looked before any of them was taken.
  select p.last_value into v_last from quipu.positions p;
  perform pg_advisory_xact_lock_shared(
    ('quipu.events'::regclass::oid::bigint)::bit(32)::int, v_last::bit(32)::int);
  v_now := quipu.now_micros();
  with target as (
    update quipu.streams s set last = coalesce(s.last, -1) + t.count
    from unnest(p_stream, p_append, p_count) with ordinality as t (name, append, count, number)
    where s.name = t.name and t.count > 0 and t.append <> all (refused)
    returning t.number, s.name, s.last - t.count as base
  ), written as (
    insert into quipu.events (
      position, stream, revision, id, type, tags, content_type, data, metadata, recorded_at)
    select nextval('quipu.positions'), n.* from (
      select target.name, target.base + 1 + e.place, e.id, e.type,
        string_to_array(e.tags, E'\n'), e.content_type, e.data, e.metadata,
        coalesce(e.recorded_at, v_now)
      from unnest(e_stream, e_offset, e_id, e_type, e_tags, e_content_type, e_data, e_metadata,
          e_recorded_at) with ordinality
        as e (stream, place, id, type, tags, content_type, data, metadata, recorded_at, number)
      join target on target.number = e.stream
      order by e.number) n
    returning position, revision, type, tags
  ), tagged as (
    insert into quipu.event_tags (tag, position, type)
    select t.tag, w.position, w.type from written w cross join lateral unnest(w.tags) as t (tag)
  )
  select array_agg(w.position order by w.position), array_agg(w.revision order by w.position)
  into positions, revisions from written w;
end
$$;

-- Locks what a decision rests on, and says what is known of streams.
create function quipu.hold(
  p_lock bigint[], p_exclusive boolean[], p_hold text[], p_name text[]
) returns table (name text, last bigint, tombstoned boolean, metadata bytea)
language plpgsql volatile as $$
#variable_conflict use_column
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using errcode = 'QP001', message = format(
      'an append needs the isolation level "read committed", the transaction has "%s"',
      current_setting('transaction_isolation'));
  end if;
  perform case when l.exclusive then pg_advisory_xact_lock(l.key)
               else pg_advisory_xact_lock_shared(l.key) end
  from unnest(p_lock, p_exclusive) as l (key, exclusive);
  insert into quipu.streams (name) select h.name from unnest(p_hold) as h (name)
  on conflict do nothing;
  perform from (
    select from quipu.streams s where s.name = any (p_hold) order by s.name for no key update) l;
  return query select s.name, s.last, s.tombstoned, s.metadata
  from quipu.streams s where s.name = any (p_name);
end
$$;

-- Moves a checkpoint, if it is where it is said to be. The answer is that of the last row seen:
-- what kept it from moving, or nothing where it moved.
create function quipu.swap_checkpoint(
  p_name text, p_epoch bigint, p_old bigint, p_new bigint, p_incarnation bigint,
  out moved boolean, out current_epoch bigint, out current_position bigint
) language plpgsql volatile as $$
begin
  if p_old is null then
    insert into quipu.checkpoints (name, position, incarnation, epoch)
    values (p_name, p_new, p_incarnation, p_epoch) on conflict do nothing;
    if found then
      moved := true;
      return;
    end if;
  else
    update quipu.checkpoints c
    set position = p_new, incarnation = p_incarnation, epoch = p_epoch, updated_at = now()
    where c.name = p_name and c.position = p_old and c.epoch <= p_epoch;
    if found then
      moved := true;
      return;
    end if;
  end if;
  moved := false;
  select c.epoch, c.position into current_epoch, current_position
  from quipu.checkpoints c where c.name = p_name;
end
$$;
