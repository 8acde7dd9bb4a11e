-- The outbox for applications that are not event-sourced.
--
-- A row that is inserted into the view `outbox`, in the application's own transaction, is an event of
-- the log from the moment that the transaction commits. There is no table behind it that would have to
-- be emptied. The columns have the names that Debezium's outbox event router knows.

-- The number of the bucket that a name is in: 1 for types, 2 for tags, 3 for categories.
create function quipu.bucket(p_kind int, p_name text) returns bigint language sql immutable as $$
  select 1 + (get_byte(h, 0) * 256 + get_byte(h, 1)) % 4096
  from (select sha256(convert_to(p_kind || ':' || p_name, 'UTF8')) as h) s
$$;

create view quipu.outbox as
select null::uuid as id, null::text as aggregatetype, null::text as aggregateid, null::text as type,
  null::jsonb as payload, null::jsonb as metadata, null::text[] as tags
where false;

create function quipu.append_row() returns trigger language plpgsql as $$
declare
  v_stream text := new.aggregatetype || '-' || new.aggregateid;
  v_store bigint := 'quipu.events'::regclass::oid::bigint << 32;
  v_tags text[] := coalesce(array(
    select distinct t collate "C" from unnest(new.tags) t order by 1), '{}');
  v_locks bigint[];
  v_refused int[];
begin
  if v_stream is null or new.type is null or new.payload is null then
    raise not_null_violation using message =
      'a row of the outbox needs aggregatetype, aggregateid, type and payload';
  end if;
  if left(v_stream, 1) = '$' or left(new.type, 1) = '$' or exists (
    select from unnest(v_tags) t where left(t, 1) = '$')
  then
    raise check_violation using message = 'names that begin with $ are reserved';
  end if;
  if octet_length(v_stream) > 512 or octet_length(new.type) not between 1 and 255
    or cardinality(v_tags) > 64 or v_stream || new.type ~ '[\x01-\x1f\x7f-\x9f]'
    or exists (select from unnest(v_tags) t
      where octet_length(t) not between 1 and 255 or t ~ '[\x01-\x1f\x7f-\x9f]')
  then
    raise check_violation using message =
      'a stream has at most 512 bytes, a type and a tag 1 to 255, and none has control characters';
  end if;
  -- Readers stop before the transaction: it is not to be left open.
  perform set_config('idle_in_transaction_session_timeout', '5000', true);
  v_locks := array(
    select distinct v_store | b from (
      select 0::bigint as b
      union all select quipu.bucket(1, new.type)
      union all select quipu.bucket(3, new.aggregatetype)
      union all select quipu.bucket(2, t) from unnest(v_tags) t) s
    order by 1);
  select a.refused into v_refused from quipu.append(
    (select l.timeline from quipu.lives l order by l.incarnation desc limit 1),
    v_locks, array(select false from unnest(v_locks)), null,
    array[v_stream], array[0], array[-1]::bigint[], array[1]::bigint[],
    array[1], array[0]::bigint[], array[coalesce(new.id, gen_random_uuid())], array[new.type],
    array[array_to_string(v_tags, E'\n')], array[null]::text[],
    array[convert_to(new.payload::text, 'UTF8')],
    array[coalesce(convert_to(new.metadata::text, 'UTF8'), '')], array[null]::bigint[]) a;
  if cardinality(v_refused) > 0 then
    raise unique_violation using message = format(
      'the event %s is in the log already, or the stream "%s" is deleted', new.id, v_stream);
  end if;
  return new;
end
$$;

create trigger append_row instead of insert on quipu.outbox
for each row execute function quipu.append_row();
