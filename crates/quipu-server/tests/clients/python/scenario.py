"""What the PyPI package kurrentdbclient sees of a server. The first argument is its URL, the second
which part to play. Asks for a restart by a line on standard output, and waits for one on standard
input."""

import sys
import uuid

from kurrentdbclient import CaughtUp, Checkpoint, KurrentDBClient, NewEvent, NewEvents, StreamState
from kurrentdbclient.exceptions import (
    NotFoundError,
    StreamIsDeletedError,
    UnauthenticatedError,
    WrongCurrentVersionError,
)

ANY, NO_STREAM, EXISTS = StreamState.ANY, StreamState.NO_STREAM, StreamState.EXISTS


def name(category):
    return f"{category}-{uuid.uuid4().hex}"


def events(count, event_type="Made"):
    return [
        NewEvent(type=event_type, data=b'{"number":%d}' % number, metadata=b'{"by":"python"}')
        for number in range(count)
    ]


def refuses(error, call):
    try:
        call()
    except error as refused:
        return refused
    raise AssertionError(f"{error.__name__} was expected")


def appends(client):
    stream = name("append")
    first = events(3)
    place = client.append_to_stream(stream, current_version=NO_STREAM, events=first)
    assert client.append_to_stream(stream, current_version=NO_STREAM, events=first) == place
    refuses(
        WrongCurrentVersionError,
        lambda: client.append_to_stream(stream, current_version=NO_STREAM, events=events(1)),
    )
    refuses(
        WrongCurrentVersionError,
        lambda: client.append_to_stream(stream, current_version=7, events=events(2)),
    )
    client.append_to_stream(stream, current_version=2, events=events(2))
    client.append_to_stream(stream, current_version=EXISTS, events=events(1)[0])
    client.append_to_stream(stream, current_version=ANY, events=events(1))
    refuses(
        WrongCurrentVersionError,
        lambda: client.append_to_stream(name("absent"), current_version=EXISTS, events=events(1)),
    )
    read = client.get_stream(stream)
    assert [event.stream_position for event in read] == list(range(7))
    assert [event.id for event in read[:3]] == [event.id for event in first]
    assert read[0].metadata == b'{"by":"python"}' and read[0].content_type == "application/json"
    assert read[0].recorded_at is not None
    last = next(iter(client.read_all(commit_position=place, limit=1)))
    assert last.id == first[-1].id, "a read from an append's place begins with its last event"


def reads(client):
    stream = name("read")
    place = client.append_to_stream(stream, current_version=NO_STREAM, events=events(100))
    positions = lambda **kind: [e.stream_position for e in client.get_stream(stream, **kind)]
    assert positions(stream_position=10, limit=3) == [10, 11, 12]
    assert positions(stream_position=10, backwards=True, limit=3) == [10, 9, 8]
    assert positions(backwards=True) == list(range(99, -1, -1))
    assert positions(stream_position=1000) == []
    backwards = client.read_all(commit_position=place, backwards=True, limit=2)
    assert all(event.commit_position < place for event in backwards), "it is exclusive"
    of_type = name("type")
    client.append_to_stream(stream, current_version=ANY, events=events(5, of_type))
    found = client.read_all(filter_include=[of_type])
    assert [event.type for event in found] == [of_type] * 5
    found = client.read_all(filter_include=[stream], filter_by_stream_name=True)
    assert len(list(found)) == 105
    found = client.read_all(filter_exclude=["Made", r"\$.+"], filter_by_stream_name=False)
    assert all(event.type != "Made" for event in found)
    refuses(NotFoundError, lambda: client.get_stream(name("absent")))


def links(client):
    target, source = name("target"), name("links")
    made = events(2)
    client.append_to_stream(target, current_version=NO_STREAM, events=made)
    link = NewEvent(type="$>", data=f"1@{target}".encode(), content_type="application/octet-stream")
    client.append_to_stream(source, current_version=NO_STREAM, events=[link])
    (resolved,) = client.get_stream(source, resolve_links=True)
    assert resolved.id == made[1].id and resolved.link.id == link.id
    (kept,) = client.get_stream(source)
    assert kept.type == "$>" and kept.data == link.data
    by_category = client.get_stream(f"$ce-{target.split('-')[0]}", resolve_links=True)
    assert {made[0].id, made[1].id} <= {event.id for event in by_category}


def deletes(client):
    stream = name("delete")
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(3))
    refuses(WrongCurrentVersionError, lambda: client.delete_stream(stream, current_version=7))
    client.delete_stream(stream, current_version=2)
    refuses(NotFoundError, lambda: client.get_stream(stream))
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(1))
    assert [event.stream_position for event in client.get_stream(stream)] == [3]
    client.tombstone_stream(stream, current_version=ANY)
    refuses(StreamIsDeletedError, lambda: client.get_stream(stream))
    append = lambda: client.append_to_stream(stream, current_version=ANY, events=events(2))
    refuses(StreamIsDeletedError, append)
    refuses(StreamIsDeletedError, lambda: client.delete_stream(stream, current_version=ANY))
    refuses(NotFoundError, lambda: client.delete_stream(name("absent"), current_version=ANY))
    foreign = name("bücher-日本")
    client.append_to_stream(foreign, current_version=NO_STREAM, events=events(1))
    client.tombstone_stream(foreign, current_version=0)
    refuses(StreamIsDeletedError, lambda: client.get_stream(foreign))


def metadata(client):
    stream = name("metadata")
    assert client.get_stream_metadata(stream) == ({}, NO_STREAM)
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(10))
    given = {"$maxCount": 2, "owner": "ada"}
    client.set_stream_metadata(stream, metadata=given, current_version=NO_STREAM)
    assert client.get_stream_metadata(stream) == (given, 0)
    assert [event.stream_position for event in client.get_stream(stream)] == [8, 9]


def many_streams(client):
    one, two = name("one"), name("two")
    batches = [
        NewEvents(stream_name=one, events=events(2), current_version=NO_STREAM),
        NewEvents(stream_name=two, events=events(1), current_version=ANY),
    ]
    place = client.multi_append_to_stream(batches)
    assert next(iter(client.read_all(commit_position=place, limit=1))).stream_name == two
    wrong = [
        NewEvents(stream_name=two, events=events(1), current_version=0),
        NewEvents(stream_name=one, events=events(1), current_version=7),
    ]
    refuses(WrongCurrentVersionError, lambda: client.multi_append_to_stream(wrong))
    assert len(client.get_stream(two)) == 1, "all or nothing"


def subscribes(client):
    """Catches up, goes on live, and goes on from where it was after the server is started again."""
    stream = name("subscribe")
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(3))
    seen = []
    with client.subscribe_to_stream(stream, include_caught_up=True) as subscription:
        for event in subscription:
            if isinstance(event, CaughtUp):
                client.append_to_stream(stream, current_version=2, events=events(2))
                continue
            seen.append(event.stream_position)
            if len(seen) == 5:
                break
    checkpoint = None
    filtered = client.subscribe_to_all(
        filter_include=[stream],
        filter_by_stream_name=True,
        include_checkpoints=True,
        include_caught_up=True,
    )
    with filtered as subscription:
        for event in subscription:
            if isinstance(event, Checkpoint):
                checkpoint = event.commit_position
            elif isinstance(event, CaughtUp):
                break
    assert checkpoint is not None, "a checkpoint comes before the end"

    print("restart", flush=True)
    assert sys.stdin.readline().strip() == "restarted"
    again = KurrentDBClient(sys.argv[1])
    again.append_to_stream(stream, current_version=4, events=events(2))
    with again.subscribe_to_stream(stream, stream_position=seen[-1]) as subscription:
        for event in subscription:
            seen.append(event.stream_position)
            if len(seen) == 7:
                break
    assert seen == list(range(7)), seen
    after = again.subscribe_to_all(
        commit_position=checkpoint, filter_include=[stream], filter_by_stream_name=True
    )
    with after as subscription:
        assert next(iter(subscription)).stream_position == 5
    return again


def projections(client):
    listed = {projection.name for projection in client.list_continuous_projection_statistics()}
    assert "$by_category" in listed, listed
    client.disable_projection("$by_category")
    assert client.get_projection_statistics(name="$by_category").status == "Stopped"
    client.enable_projection("$by_category")
    assert client.get_projection_statistics(name="$by_category").status == "Running"
    refuses(NotFoundError, lambda: client.get_projection_statistics(name="absent"))


def plain(url):
    client = KurrentDBClient(url)
    appends(client)
    reads(client)
    links(client)
    deletes(client)
    metadata(client)
    many_streams(client)
    projections(client)
    client = subscribes(client)
    client.close()


def eventsourcing(url):
    """The basic scenario of the library eventsourcing, which keeps its events by this client."""
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate, event
    from eventsourcing.persistence import IntegrityError

    class Dog(Aggregate):
        INITIAL_VERSION = 0  # as the library asks for: revisions begin there

        @event("Registered")
        def __init__(self, name):
            self.name = name
            self.tricks = []

        @event("TrickAdded")
        def add_trick(self, trick):
            self.tricks.append(trick)

    class School(Application):
        env = {"PERSISTENCE_MODULE": "eventsourcing_kurrentdb", "KURRENTDB_URI": url}

    school, dog = School(), Dog("Fido")
    dog.add_trick("roll over")
    school.save(dog)
    early, late = (school.repository.get(dog.id) for _ in range(2))
    assert early.tricks == ["roll over"]
    early.add_trick("sit")
    school.save(early)
    late.add_trick("stay")
    refuses(IntegrityError, lambda: school.save(late))
    assert len(school.notification_log.select(start=1, limit=10)) == 3


def secure(url):
    """With TLS and a password in the URL."""
    client = KurrentDBClient(url)
    stream = name("secure")
    client.append_to_stream(stream, current_version=NO_STREAM, events=events(2))
    assert len(client.get_stream(stream)) == 2
    client.set_stream_metadata(stream, metadata={"$maxCount": 1})
    wrong = client.construct_call_credentials("ada", "another password altogether")
    refuses(UnauthenticatedError, lambda: client.get_stream(stream, credentials=wrong))
    client.close()


if __name__ == "__main__":
    parts = {"plain": plain, "secure": secure, "eventsourcing": eventsourcing}
    parts[sys.argv[2]](sys.argv[1])
    print("done", flush=True)
