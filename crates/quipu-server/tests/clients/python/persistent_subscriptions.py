"""What teams do with persistent subscriptions, through the official Python client."""
import sys, time, uuid
from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient import exceptions as ex

client = KurrentDBClient(sys.argv[1])

def stream(): return "ps-" + uuid.uuid4().hex
def events(n): return [NewEvent(type="Happened", data=b'{"n":%d}' % i) for i in range(n)]
def expect(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")

def wait(what, is_so):
    for _ in range(300):
        if is_so(): return
        time.sleep(0.1)
    raise AssertionError(what)

# create, info, list, update, delete
s = stream()
client.create_subscription_to_stream("g", s)
expect(ex.AlreadyExistsError, lambda: client.create_subscription_to_stream("g", s))
info = client.get_subscription_info("g", s)
assert (info.event_source, info.group_name, info.status) == (s, "g", "Live"), info
assert info.start_from == "0", info.start_from
assert [i.group_name for i in client.list_subscriptions_to_stream(s)] == ["g"]
assert any(i.event_source == s for i in client.list_subscriptions())
client.update_subscription_to_stream("g", s, max_retry_count=3)
assert client.get_subscription_info("g", s).max_retry_count == 3
expect(ex.NotFoundError, lambda: client.update_subscription_to_stream("nope", s))
expect(ex.NotFoundError, lambda: client.get_subscription_info("nope", s))
client.delete_subscription("g", s)
expect(ex.NotFoundError, lambda: client.delete_subscription("g", s))
expect(ex.NotFoundError, lambda: client.read_subscription_to_stream("g", s))
print("ok create, info, list, update, delete")

# ack, checkpoint across reconnects
s = stream()
client.append_events(s, events=events(30), current_version=StreamState.NO_STREAM)
client.create_subscription_to_stream("g", s, min_checkpoint_count=1, checkpoint_after=0.1)
with client.read_subscription_to_stream("g", s, event_buffer_size=10) as sub:
    assert sub.subscription_id == f"{s}::g", sub.subscription_id
    got = []
    for event in sub:
        got.append(event.stream_position)
        assert event.retry_count == 0
        sub.ack(event)
        if len(got) == 20: break
assert got == list(range(20)), got
time.sleep(1)
with client.read_subscription_to_stream("g", s) as sub:
    rest = []
    for event in sub:
        rest.append(event.stream_position)
        sub.ack(event)
        if len(rest) == 10: break
assert rest == list(range(20, 30)), rest
wait("the checkpoint", lambda: client.get_subscription_info("g", s).last_checkpointed_event_position == "29")
print("ok ack and checkpoint")

# nack: retry, park, skip; replay
s = stream()
client.append_events(s, events=events(4), current_version=StreamState.NO_STREAM)
client.create_subscription_to_stream("g", s, max_retry_count=2)
with client.read_subscription_to_stream("g", s) as sub:
    log = []
    for event in sub:
        log.append((event.stream_position, event.retry_count))
        if event.stream_position == 0: sub.nack(event, "retry")
        elif event.stream_position == 1: sub.nack(event, "park")
        elif event.stream_position == 2: sub.nack(event, "skip")
        else: sub.ack(event)
        if len(log) == 6: break
assert sorted(log) == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0)], log
wait("two parked", lambda: client.get_subscription_info("g", s).parked_message_count == 2)
client.replay_parked_events("g", s)
with client.read_subscription_to_stream("g", s) as sub:
    again = []
    for event in sub:
        again.append(event.stream_position)
        sub.ack(event)
        if len(again) == 2: break
assert sorted(again) == [0, 1], again
wait("none parked", lambda: client.get_subscription_info("g", s).parked_message_count == 0)
expect(ex.NotFoundError, lambda: client.replay_parked_events("nope", s))
print("ok retry, park, skip, replay")

# timeouts
s = stream()
client.append_events(s, events=events(1), current_version=StreamState.NO_STREAM)
client.create_subscription_to_stream("g", s, message_timeout=0.3)
with client.read_subscription_to_stream("g", s) as sub:
    first, second = next(sub), next(sub)
    assert (first.retry_count, second.retry_count) == (0, 1)
    sub.ack(second)
print("ok message timeout")

# too many consumers; deleted under a consumer
s = stream()
client.create_subscription_to_stream("g", s, max_subscriber_count=1)
one = client.read_subscription_to_stream("g", s)
expect(ex.MaximumSubscriptionsReachedError, lambda: client.read_subscription_to_stream("g", s))
client.delete_subscription("g", s)
expect(ex.KurrentDBClientError, lambda: next(one))
print("ok limits and drops")

# bad settings
error = expect(ex.KurrentDBClientError, lambda: client.create_subscription_to_stream(
    "g", stream(), history_buffer_size=10, read_batch_size=10))
print("ok bad settings:", type(error).__name__)

# $all with filters, links, strategies
category = "c" + uuid.uuid4().hex
client.create_subscription_to_all("g-" + category, from_end=True,
    filter_include=[category + "-.*"], filter_by_stream_name=True)
for name in (category + "-1", "other", category + "-2"):
    client.append_events(name, events=events(2), current_version=StreamState.ANY)
with client.read_subscription_to_all("g-" + category) as sub:
    seen = []
    for event in sub:
        seen.append((event.stream_name, event.stream_position))
        sub.ack(event)
        if len(seen) == 4: break
assert seen == [(category + "-1", 0), (category + "-1", 1), (category + "-2", 0), (category + "-2", 1)], seen
for strategy in ("RoundRobin", "DispatchToSingle", "Pinned", "PinnedByCorrelation"):
    client.create_subscription_to_stream(strategy, s, consumer_strategy=strategy)
    assert client.get_subscription_info(strategy, s).consumer_strategy == strategy
print("ok $all with filters; strategies")

target, links = stream(), stream()
client.append_events(target, events=events(2), current_version=StreamState.NO_STREAM)
link = NewEvent(type="$>", data=f"1@{target}".encode(), content_type="application/octet-stream")
client.append_events(links, events=[link], current_version=StreamState.NO_STREAM)
client.create_subscription_to_stream("g", links, resolve_links=True)
with client.read_subscription_to_stream("g", links) as sub:
    event = next(sub)
    assert (event.stream_name, event.stream_position) == (target, 1), event
    assert event.link is not None and event.ack_id == event.link.id
    sub.ack(event)
print("ok links")

# the stream of a system projection, from its start, with parking
category = "c" + uuid.uuid4().hex
for number in (1, 2):
    client.append_events(f"{category}-{number}", events=events(2), current_version=StreamState.ANY)
client.create_subscription_to_stream("g", f"$ce-{category}", resolve_links=True)
with client.read_subscription_to_stream("g", f"$ce-{category}") as sub:
    seen = []
    for event in sub:
        seen.append((event.stream_name, event.stream_position, event.link.stream_position))
        sub.nack(event, "park") if len(seen) == 1 else sub.ack(event)
        if len(seen) == 4: break
expected = [(f"{category}-{n}", r, 2 * (n - 1) + r) for n in (1, 2) for r in (0, 1)]
assert seen == expected, seen
wait("one parked", lambda: client.get_subscription_info("g", f"$ce-{category}").parked_message_count == 1)
client.replay_parked_events("g", f"$ce-{category}")
with client.read_subscription_to_stream("g", f"$ce-{category}") as sub:
    event = next(sub)
    assert (event.stream_name, event.stream_position) == (f"{category}-1", 0), event
    sub.ack(event)
print("ok system projections")
client.close()
print("done")
