-- Conditions of all appends of a group, looked at together. And fewer statements within it: what is
-- an expression costs a tenth of what a query does.

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
-- decided already. A condition is about one tag, with one of its types where there are any, or about
-- the items of a query; no append of a group is about the events of another.
create or replace function quipu.append(
  p_timeline text, p_lock bigint[], p_exclusive boolean[], p_conditions jsonb,
  p_stream text[], p_append int[], p_expected bigint[], p_count bigint[],
  e_stream int[], e_offset bigint[], e_id uuid[], e_type text[], e_tags text[],
  e_content_type text[], e_data bytea[], e_metadata bytea[], e_recorded_at bigint[],
  out refused int[], out positions bigint[], out revisions bigint[]
) language plpgsql volatile
-- Plans that are made once, and by index: the tables may have been empty when they were made.
set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  v_looks_up boolean;
  v_last bigint;
  v_now bigint;
  -- The last revision before, of each stream; -2 where nothing is written to it.
  v_base bigint[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using errcode = 'QP001', message = format(
      'an append needs the isolation level "read committed", the transaction has "%s"',
      current_setting('transaction_isolation'));
  end if;
  if p_timeline is distinct from substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) then
    raise exception using errcode = 'QP002', message = format(
      'the database goes on on timeline %s, this node knows %s', quipu.timeline(), p_timeline);
  end if;
  if 0 <> any (p_append) then
    -- One append that has to wait is not to keep the others of its group waiting.
    perform set_config('lock_timeout', '200ms', true);
  end if;
  perform case when l.exclusive then pg_advisory_xact_lock(l.key)
               else pg_advisory_xact_lock_shared(l.key) end
  from unnest(p_lock, p_exclusive) as l (key, exclusive);
  if (0 <= all (p_expected)) is distinct from true then
    insert into quipu.streams (name)
    select s.name from unnest(p_stream, p_expected) as s (name, expected)
    where (s.expected is null or s.expected in (-1, -2))
      and s.name <> all (array(select o.name from quipu.streams o where o.name = any (p_stream)))
    on conflict do nothing;
  end if;
  -- One stream after the other, in the order given.
  with asked as (
    select a.append,
      case when a.expected is null then true
           when own.name is null or own.closed then false
           when a.expected = -1 then true
           when a.expected = -2 then own.last is null
           when a.expected = -3 then own.last is not null or own.described
           else own.last is not distinct from a.expected end as holds,
      a.expected in (-1, -3) and a.count > 0 and own.last is not null as looks_up
    from unnest(p_stream, p_append, p_expected, p_count) as a (name, append, expected, count)
    left join lateral (
      select s.name, s.last, s.tombstoned or s.deleted as closed, s.metadata is not null as described
      from quipu.streams s where s.name = a.name for no key update) own on true
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
    refused := refused || array(
      select distinct coalesce(c.append, 0)
      from jsonb_to_recordset(p_conditions)
        as c (append int, after bigint, tag text, types text[], items jsonb)
      where c.after > v_last
        or exists (
          select from quipu.event_tags t
          where t.tag = c.tag and t.position > c.after
            and (c.types is null or t.type = any (c.types)))
        or (c.items is not null and quipu.first_match(c.items, c.after) is not null));
  end if;
  positions := '{}';
  revisions := '{}';
  if p_append <@ refused then
    return;
  end if;
  -- All positions taken here are above this one: whoever sees the lock stops there, and whoever
  -- does not see it yet looked before any of them was taken.
  perform pg_advisory_xact_lock_shared(
    ('quipu.events'::regclass::oid::bigint)::bit(32)::int, p.last_value::bit(32)::int)
  from quipu.positions p;
  v_now := quipu.now_micros();
  with target as (
    update quipu.streams s
    set last = coalesce(s.last, -1) + p_count[array_position(p_stream, s.name)]
    where s.name = any (p_stream) and p_count[array_position(p_stream, s.name)] > 0
      and p_append[array_position(p_stream, s.name)] <> all (refused)
    returning array_position(p_stream, s.name) as number,
      s.last - p_count[array_position(p_stream, s.name)] as base
  )
  select array_agg(coalesce(target.base, -2) order by n.number) into v_base
  from generate_subscripts(p_stream, 1) as n (number) left join target on target.number = n.number;
  with written as (
    insert into quipu.events (
      position, stream, revision, id, type, tags, content_type, data, metadata, recorded_at)
    select nextval('quipu.positions'), n.* from (
      select p_stream[e.stream], v_base[e.stream] + 1 + e.place, e.id, e.type,
        string_to_array(e.tags, E'\n'), e.content_type, e.data, e.metadata,
        coalesce(e.recorded_at, v_now)
      from unnest(e_stream, e_offset, e_id, e_type, e_tags, e_content_type, e_data, e_metadata,
          e_recorded_at) with ordinality
        as e (stream, place, id, type, tags, content_type, data, metadata, recorded_at, number)
      where v_base[e.stream] >= -1
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
