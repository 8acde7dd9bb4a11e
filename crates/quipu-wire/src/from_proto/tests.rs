//! Whatever comes in, the parsers answer: what is valid comes back as it was, and what is not is an
//! error and never a panic.

use bytes::Bytes;
use prost::Message;
use quipu_core::{
    Append, Change, Checkpoint, ComponentKey, ComponentKind, ComponentRequest, ComponentState,
    ComponentStatus, Direction, EventBatch, EventData, EventId, ExpectedRevision, Incarnation,
    IndexEntry, IndexRead, Lease, LogId, NewEvent, ParkedItem, Position, Query, ReadAll, ReadIndex,
    ReadStream, RecordedEvent, Revision, StreamName, Subscribe, SubscribeFrom, Tags, Term,
    Timestamp,
};

use crate::{from_proto, proto, to_proto};

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn recorded(number: u64) -> RecordedEvent {
    let is_odd = number % 2 == 1;
    let content_type = if is_odd { "text/plain" } else { "application/json" };
    RecordedEvent {
        id: EventId::generate(),
        stream: stream(&format!("order-{number}")),
        event_type: "OrderPlaced".parse().unwrap(),
        tags: Tags::parse(["order:1", "ärger:2"]).unwrap(),
        content_type: content_type.parse().unwrap(),
        data: if number == 3 { EventData::Erased } else { EventData::Present("{}".into()) },
        metadata: Bytes::from(vec![7; number as usize]),
        recorded_at: Timestamp::from_micros(-5),
        position: Position::new(number + 1),
        revision: Revision::new(number),
    }
}

fn batch(count: u64) -> (Vec<RecordedEvent>, EventBatch) {
    let events: Vec<RecordedEvent> = (0..count).map(recorded).collect();
    let batch = events.iter().collect();
    (events, batch)
}

#[test]
fn events_come_back_as_they_were_however_they_are_split() {
    let (events, batch) = batch(40);
    for size_max in [1, 300, 1 << 20] {
        let pages: Vec<proto::Events> = to_proto::events(&batch, size_max).collect();

        let back = pages.iter().cloned().map(|page| from_proto::events(page).unwrap());
        let back: Vec<RecordedEvent> = back.flat_map(|page| page.to_vec()).collect();

        assert_eq!(back, events);
        let fits = |page: &proto::Events| page.encoded_len() <= size_max.max(300);
        assert!(pages.iter().all(fits), "a page is over {size_max} bytes");
    }
}

#[test]
fn a_batch_without_events_takes_no_message() {
    assert_eq!(to_proto::events(&EventBatch::default(), 100).count(), 0);
}

#[test]
fn entries_of_a_term_come_back_as_they_were_however_they_are_split() {
    let (events, batch) = batch(20);
    let entry = |index: usize| IndexEntry {
        ordinal: index as u64,
        position: Position::new(index as u64 + 1),
        event: (index != 4).then_some(if index < 4 { index } else { index - 1 }),
    };
    let entries: Vec<IndexEntry> = (0..21).map(entry).collect();
    let read = IndexRead { frontier: Position::new(30), count: 21, entries, events: batch };
    for size_max in [1, 400, 1 << 20] {
        let mut ordinals = Vec::new();
        let mut found = Vec::new();
        for page in to_proto::index_entries(&read, size_max) {
            let (entries, events) = from_proto::index_entries(page).unwrap();
            let with_event = entries.iter().filter_map(|entry| entry.event);
            assert!(with_event.eq(0..events.count()));
            ordinals.extend(entries.iter().map(|entry| entry.ordinal));
            found.extend(events.to_vec());
        }
        assert_eq!(ordinals, (0..21).collect::<Vec<u64>>());
        assert_eq!(found, events);
    }
}

#[test]
fn sizes_that_do_not_add_up_are_refused() {
    type Spoil = fn(&mut proto::Events);
    let (_, batch) = batch(2);
    let message = || to_proto::events(&batch, 1 << 20).next().unwrap();
    let spoils: [Spoil; 8] = [
        |it| it.data_sizes[1] += 1,
        |it| it.data_sizes[1] -= 1,
        |it| it.stream_sizes[0] = u32::MAX,
        |it| it.metadata_sizes[0] = u32::MAX,
        |it| it.type_sizes[0] = 256,
        |it| it.positions.truncate(1),
        |it| it.ids.truncate(31),
        |it| it.erased.push(0),
    ];
    for spoil in spoils {
        let mut spoilt = message();
        spoil(&mut spoilt);
        assert!(from_proto::events(spoilt).is_err());
    }
}

#[test]
fn a_change_comes_back_as_it_was() {
    let event = || NewEvent::json("A", "{}").unwrap().with_tag("t:1").unwrap();
    let mut timed = event().with_metadata("{}");
    timed.recorded_at = Some(Timestamp::from_micros(5));
    let append = Append::new()
        .event(stream("a-1"), event())
        .event(stream("a-1"), timed)
        .event(stream("b-1"), event())
        .event(stream("a-1"), event())
        .expect(stream("a-1"), ExpectedRevision::Exactly(Revision::new(4)))
        .expect(stream("c-1"), ExpectedRevision::NoStream)
        .fail_if("type:A tag:t:1".parse().unwrap(), Some(Position::new(9)))
        .fail_if(Query::nothing(), None);
    let (expected, id) = (ExpectedRevision::Any, EventId::generate());
    let metadata = Bytes::from("{}");
    for change in [
        Change::Append(append),
        Change::Append(Append::new()),
        Change::Delete { stream: stream("a-1"), expected, id },
        Change::Tombstone { stream: stream("a-1"), expected, id },
        Change::SetMetadata { stream: stream("a-1"), expected, id, metadata },
    ] {
        let message = to_proto::change(change.clone());
        assert_eq!(from_proto::change(Some(message)), Ok(change));
    }
}

/// One valid message of each kind.
fn samples() -> Vec<Vec<u8>> {
    let log = LogId::generate();
    let (_, events) = batch(6);
    let query: Query = "type:A,B tag:t:1 category:order".parse().unwrap();
    let append = Append::to_stream(
        stream("a-1"),
        ExpectedRevision::NoStream,
        [NewEvent::json("A", "{}").unwrap().with_tag("t:1").unwrap()],
    );
    let change = Change::Append(append.fail_if(query.clone(), Some(Position::new(3))));
    let key = ComponentKey { kind: ComponentKind::Relay, name: "kafka".to_owned(), version: 1 };
    let parked = ParkedItem { position: Position::new(1), key: "k".into(), cause: "c".into() };
    let status = ComponentStatus {
        key: key.clone(),
        owner: "host".to_owned(),
        epoch: 1,
        state: ComponentState::Live,
        position: Position::new(4),
        lag: 1,
        last_error: Some("e".to_owned()),
        parked_count: 1,
        parked: vec![parked],
        reported_at: Timestamp::from_micros(1),
    };
    let lease = Lease {
        name: "l".to_owned(),
        owner: "o".to_owned(),
        epoch: 1,
        expires_at: Timestamp::from_micros(9),
    };
    let position = Position::new(4);
    let checkpoint = Checkpoint { position, log, incarnation: Incarnation::FIRST };
    let term = Term::Category("order".to_owned());
    let index = ReadIndex { term, from: Some(1), direction: Direction::Backward, limit: 9 };
    let subscription =
        Subscribe::Stream { stream: stream("a-1"), from: SubscribeFrom::After(Revision::FIRST) };
    vec![
        to_proto::events(&events, 1 << 20).next().unwrap().encode_to_vec(),
        to_proto::change(change).encode_to_vec(),
        to_proto::read_stream(&ReadStream::new(stream("a-1")).backward()).encode_to_vec(),
        to_proto::read_all(&ReadAll::new(query)).encode_to_vec(),
        to_proto::read_index(index).encode_to_vec(),
        to_proto::subscribe(&subscription).encode_to_vec(),
        to_proto::component_status(status).encode_to_vec(),
        to_proto::component_key(&key).encode_to_vec(),
        to_proto::component_request(ComponentRequest::Retry(Some(position))).encode_to_vec(),
        to_proto::lease(&lease).encode_to_vec(),
        to_proto::checkpoint(checkpoint).encode_to_vec(),
    ]
}

/// Gives bytes to every parser, and looks at what it makes of them.
fn parse_as_everything(bytes: &Bytes) {
    fn decode<M: Message + Default>(bytes: &Bytes) -> Option<M> {
        M::decode(bytes.clone()).ok()
    }
    if let Some(Ok(batch)) = decode(bytes).map(from_proto::events) {
        assert_eq!(batch.to_vec().len(), batch.count());
    }
    if let Some(Ok((entries, events))) = decode(bytes).map(from_proto::index_entries) {
        assert!(entries.len() >= events.to_vec().len());
    }
    if let Some(Ok(change)) = decode(bytes).map(|it| from_proto::change(Some(it))) {
        let again = from_proto::change(Some(to_proto::change(change.clone())));
        assert_eq!(again, Ok(change), "what was parsed is said again the same");
    }
    let parsed = |is_valid: Option<bool>| std::hint::black_box(is_valid);
    parsed(decode(bytes).map(|it| from_proto::read_stream(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::read_all(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::read_index(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::list_streams(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::subscribe(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::identity(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::appended(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::stream_state(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::violation(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::stream_info(stream("a-1"), &it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::snapshot(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::checkpoint(&it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::swap_checkpoint(it).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::lease(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::component_key(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::component_status(Some(it)).is_ok()));
    parsed(decode(bytes).map(|it| from_proto::component_request(Some(it)).is_ok()));
    if let Some(error) = decode::<proto::Error>(bytes) {
        std::hint::black_box(crate::status::from_error::<quipu_core::AppendError>(error));
    }
    let status = tonic::Status::with_details(tonic::Code::Aborted, "", bytes.clone());
    std::hint::black_box(crate::status::details(&status));
}

/// A small generator of numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.next() as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => bytes.extend((0..20).map(|_| random.next() as u8)),
        }
    }
}

#[test]
fn no_bytes_make_a_parser_panic() {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| EventId::generate().as_uuid().as_u128() as u64);
    println!("QUIPU_SEED={seed}");
    let mut random = Random(seed);
    let samples = samples();
    for sample in &samples {
        parse_as_everything(&Bytes::from(sample.clone()));
    }
    for round in 0..50_000 {
        let mut bytes = if round % 10 == 0 {
            (0..random.below(200)).map(|_| random.next() as u8).collect()
        } else {
            samples[random.below(samples.len())].clone()
        };
        mutate(&mut bytes, &mut random);
        parse_as_everything(&Bytes::from(bytes));
    }
}
