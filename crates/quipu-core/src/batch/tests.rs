//! Batches, and spans made of bytes that nobody checked.

use super::*;

fn event(number: u64) -> RecordedEvent {
    RecordedEvent {
        id: EventId::generate(),
        stream: StreamName::new(format!("order-{number}")).unwrap(),
        event_type: EventType::new("Übermittelt").unwrap(),
        tags: Tags::parse(["b:2", "a", "ü"]).unwrap(),
        content_type: ContentType::json(),
        data: EventData::Present(Bytes::from(vec![7; number as usize])),
        metadata: Bytes::from_static(b"meta"),
        recorded_at: Timestamp::from_micros(number.cast_signed()),
        position: Position::new(number),
        revision: Revision::new(number + 1),
    }
}

#[test]
fn events_come_out_as_they_went_in() {
    let events: Vec<RecordedEvent> = (0..5).map(event).collect();

    let batch: EventBatch = events.iter().collect();

    assert_eq!(batch.to_vec(), events);
    assert_eq!(batch.count(), 5);
    assert_eq!(batch.first().unwrap().position(), Position::new(0));
    assert_eq!(batch.last().unwrap().position(), Position::new(4));
    assert!(batch.get(5).is_none());
}

#[test]
fn an_erased_event_is_kept_apart_from_an_empty_one() {
    let empty = RecordedEvent { data: EventData::Present(Bytes::new()), ..event(1) };
    let erased = RecordedEvent { data: EventData::Erased, ..event(2) };

    let batch: EventBatch = [&empty, &erased].into_iter().collect();

    assert_eq!(batch.to_vec(), [empty, erased]);
    assert!(!batch.first().unwrap().is_erased());
    assert!(batch.last().unwrap().is_erased());
    assert_eq!(batch.last().unwrap().data_bytes(), b"");
}

#[test]
fn tags_come_in_the_order_of_their_bytes() {
    let batch: EventBatch = [&event(1)].into_iter().collect();
    let only = batch.first().unwrap();

    assert_eq!(only.tags().collect::<Vec<_>>(), ["a", "b:2", "ü"]);
    assert!(only.has_tag("b:2"));
    assert!(!only.has_tag("b"));
}

#[test]
fn a_batch_can_be_cut_and_picked_from() {
    let events: Vec<RecordedEvent> = (0..6).map(event).collect();
    let mut batch: EventBatch = events.iter().collect();

    batch.retain(|event| event.position().get() % 2 == 1);
    batch.truncate(2);

    let positions: Vec<u64> = batch.iter().map(|event| event.position().get()).collect();
    assert_eq!(positions, [1, 3]);
    assert_eq!(batch.iter().next_back().unwrap().data_bytes(), [7; 3]);
}

fn span_of(event: &RecordedEvent) -> (EventSpan, Vec<u8>) {
    let mut buffer = BytesMut::new();
    let span = write_span(&mut buffer, event);
    (span, buffer.to_vec())
}

#[test]
fn a_span_that_reaches_out_of_its_buffer_is_not_valid() {
    let (span, buffer) = span_of(&event(9));

    assert!(span.is_valid(&buffer));
    assert!(!span.is_valid(&buffer[..buffer.len() - 1]));
    assert!(!span.is_valid(&[]));
    for wrong in [
        EventSpan { offset: 1, ..span },
        EventSpan { offset: u32::MAX, ..span },
        EventSpan { data_size: u32::MAX, metadata_size: u32::MAX, ..span },
        EventSpan { stream_size: u16::MAX, ..span },
        EventSpan { stream_size: 0, ..span },
        EventSpan { type_size: 0, ..span },
        EventSpan { content_type_size: 0, ..span },
    ] {
        assert!(!wrong.is_valid(&buffer), "{wrong:?}");
    }
}

#[test]
fn a_span_whose_names_are_not_names_is_not_valid() {
    let (span, buffer) = span_of(&event(9));

    for hostile in [0x00, 0x0A, 0x7F, 0x80, 0xFF] {
        let mut buffer = buffer.clone();
        buffer[0] = hostile;
        assert!(!span.is_valid(&buffer), "{hostile:#x}");
    }
}

/// Whatever is done to the bytes, a span is refused or can be looked at without a panic.
#[test]
fn valid_spans_over_hostile_bytes_can_be_looked_at() {
    let (span, buffer) = span_of(&event(9));
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let mut valid_count = 0;

    for _ in 0..50_000 {
        let mut buffer = buffer.clone();
        let place = next() % buffer.len();
        buffer[place] = next() as u8;
        let hostile = EventSpan {
            stream_size: span.stream_size.wrapping_add(next() as u16 % 4),
            tags_size: span.tags_size.wrapping_sub(next() as u16 % 4),
            ..span
        };
        if hostile.is_valid(&buffer) {
            valid_count += 1;
            let batch = EventBatch::from_spans(buffer.into(), vec![hostile]);
            assert_eq!(batch.to_vec().len(), 1);
        }
    }

    assert!(valid_count > 0, "some changes do no harm");
}
