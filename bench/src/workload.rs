//! The job that every store does: the same events in the same order.
//!
//! An event is a pure function of its index, but for its revision, which counts the events before
//! it in its stream. So two processes make the same events without telling each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of data in each event.
pub(crate) const DATA_SIZE: usize = 256;
/// The stream that has one event in twenty.
pub(crate) const LONG_STREAM: u32 = 0;
/// How many types there are.
pub(crate) const TYPE_COUNT: u64 = 50;

const LONG_SHARE: u64 = 20;
const KIND_COUNT: usize = 1_000;
/// Where the indexes of events begin that are never appended.
const UNAPPENDED: u64 = 1 << 42;
const SEED: u64 = 0x5175_6970_7500_0001;

/// One event in the words of no store.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "`type` is a keyword")]
pub(crate) struct Event {
    pub(crate) id: [u8; 16],
    pub(crate) stream: Box<str>,
    /// Its place in the stream, from 0; what each append expects the stream to be at.
    pub(crate) revision: u32,
    /// Whether it is the first of its stream in the batch that it is appended with.
    pub(crate) opens_stream: bool,
    pub(crate) event_type: Box<str>,
    pub(crate) tags: [Box<str>; 3],
    pub(crate) data: Box<[u8]>,
}

impl Event {
    fn become_unique(&mut self) {
        let number = u64::from_le_bytes(self.id[..8].try_into().expect("an id has 16 bytes"));
        self.tags[2] = format!("username:{number:016x}").into();
    }
}

/// How large the job is: how many streams and entities there are.
#[derive(Debug)]
pub(crate) struct Workload {
    stream_count: u64,
    entity_count: u64,
    /// Cumulative shares of the kinds, of a Zipf distribution.
    kinds: Vec<f64>,
}

impl Workload {
    /// The job whose streams get ten events each once `event_count` are in.
    pub(crate) fn new(event_count: u64) -> Self {
        let weights = (1..=KIND_COUNT).map(|rank| 1.0 / rank as f64);
        let total: f64 = weights.clone().sum();
        let kinds = weights.scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Self {
            stream_count: (event_count / 10).max(1_000),
            entity_count: (event_count * 3 / 10).max(1_000),
            kinds: kinds.collect(),
        }
    }

    /// How many streams there are beside the long one.
    pub(crate) fn stream_count(&self) -> u64 {
        self.stream_count
    }

    /// The name of a stream.
    pub(crate) fn stream_name(stream: u32) -> String {
        format!("order-{stream:07}")
    }

    /// The name of a type.
    pub(crate) fn type_name(number: u64) -> String {
        format!("ItemPicked{:02}", number % TYPE_COUNT)
    }

    /// Which stream an event is in.
    fn stream(&self, index: u64) -> u32 {
        let random = mix(index, 1);
        if random.is_multiple_of(LONG_SHARE) {
            LONG_STREAM
        } else {
            1 + ((random >> 8) % self.stream_count) as u32
        }
    }

    fn event(&self, index: u64, stream: u32, revision: u32) -> Event {
        let share = (mix(index, 2) >> 11) as f64 / (1_u64 << 53) as f64;
        let kind = self.kinds.partition_point(|sum| *sum < share).min(KIND_COUNT - 1);
        let customer = mix(index, 3) % self.entity_count;
        let product = mix(index, 4) % self.entity_count;
        Event {
            id: id(index),
            stream: Self::stream_name(stream).into(),
            revision,
            opens_stream: true,
            event_type: Self::type_name(mix(index, 5)).into(),
            tags: [
                format!("customer:{customer:07}").into(),
                format!("kind:{kind:04}").into(),
                format!("product:{product:07}").into(),
            ],
            data: data(index, customer, product),
        }
    }
}

/// How far each stream has come, shared by all who append to one store.
type Revisions = Arc<[AtomicU32]>;

/// Hands out the job's events to one store, in order.
#[derive(Debug)]
pub(crate) struct Feed {
    workload: Arc<Workload>,
    revisions: Revisions,
    next: u64,
}

impl Feed {
    /// The events from `index` on, those before it being in the store.
    pub(crate) fn after(workload: &Arc<Workload>, index: u64) -> Self {
        let stream_count = workload.stream_count as usize + 1;
        let revisions: Revisions = (0..stream_count).map(|_| AtomicU32::new(0)).collect();
        for index in 0..index {
            revisions[workload.stream(index) as usize].fetch_add(1, Ordering::Relaxed);
        }
        Self { workload: Arc::clone(workload), revisions, next: index }
    }

    /// The same place of the same job, for another store.
    pub(crate) fn fork(&self) -> Self {
        let copy = |count: &AtomicU32| AtomicU32::new(count.load(Ordering::Relaxed));
        Self {
            workload: Arc::clone(&self.workload),
            revisions: self.revisions.iter().map(copy).collect(),
            next: self.next,
        }
    }

    /// How many events a stream has by now.
    pub(crate) fn count(&self, stream: u32) -> u64 {
        u64::from(self.revisions[stream as usize].load(Ordering::Relaxed))
    }

    /// The next events, in batches of `size`.
    pub(crate) fn take(&mut self, count: u64, size: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count as usize);
        while (events.len() as u64) < count {
            let left = (count - events.len() as u64) as usize;
            let mut streams: Vec<u32> = Vec::with_capacity(size);
            for _ in 0..size.min(left) {
                let stream = self.workload.stream(self.next);
                let mut event = self.event(stream);
                event.opens_stream = size == 1 || !streams.contains(&stream);
                streams.push(stream);
                events.push(event);
            }
        }
        events
    }

    /// The next events for callers that append at the same time: each has streams of its own, so
    /// that none makes another's demand fail.
    pub(crate) fn take_for(&mut self, caller_count: u32, each: usize) -> Vec<Vec<Event>> {
        let mut shares = Vec::new();
        for caller in 0..caller_count {
            let mut share = Vec::with_capacity(each);
            for _ in 0..each {
                let any = self.workload.stream(self.next);
                let own = any - any % caller_count + caller;
                let own = if u64::from(own) > self.workload.stream_count { caller } else { own };
                share.push(self.event(own));
            }
            shares.push(share);
        }
        shares
    }

    /// The next events with a tag that no other event has, in place of the last one.
    pub(crate) fn take_unique(&mut self, count: usize) -> Vec<Event> {
        let mut events = self.take(count as u64, 1);
        events.iter_mut().for_each(Event::become_unique);
        events
    }

    /// Events with a tag that no other event has, and that are not going to be appended.
    pub(crate) fn unappended(workload: &Workload, count: u64) -> Vec<Event> {
        let mut events: Vec<Event> =
            (0..count).map(|n| workload.event(UNAPPENDED + n, LONG_STREAM, 0)).collect();
        events.iter_mut().for_each(Event::become_unique);
        events
    }

    /// One event of its own in a stream of its own.
    pub(crate) fn single(workload: &Workload, index: u64, stream: String) -> Event {
        Event { stream: stream.into(), ..workload.event(index, LONG_STREAM, 0) }
    }

    fn event(&mut self, stream: u32) -> Event {
        let revision = self.revisions[stream as usize].fetch_add(1, Ordering::Relaxed);
        let event = self.workload.event(self.next, stream, revision);
        self.next += 1;
        event
    }
}

/// A random number of a caller's own, the same in every run.
pub(crate) fn random(index: u64) -> u64 {
    mix(index, 9)
}

/// `SplitMix64` over an index and a lane, so that an event's parts do not hang together.
fn mix(index: u64, lane: u64) -> u64 {
    let step = index.wrapping_mul(16).wrapping_add(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = step.wrapping_add(SEED);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random UUID of version 4.
fn id(index: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(index, 6).to_le_bytes());
    id[8..].copy_from_slice(&mix(index, 7).to_le_bytes());
    id[6] = 0x40 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    id
}

/// JSON of exactly [`DATA_SIZE`] bytes that does not compress to nothing.
fn data(index: u64, customer: u64, product: u64) -> Box<[u8]> {
    let mut json = format!(r#"{{"customer":{customer},"product":{product},"note":""#).into_bytes();
    let end = DATA_SIZE - 2;
    let mut lane = 16;
    while json.len() < end {
        let letters = mix(index, lane).to_le_bytes().map(|byte| b'a' + byte % 26);
        let count = letters.len().min(end - json.len());
        json.extend_from_slice(&letters[..count]);
        lane += 1;
    }
    json.extend_from_slice(br#""}"#);
    json.into()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn feed(event_count: u64) -> Feed {
        Feed::after(&Arc::new(Workload::new(event_count)), 0)
    }

    #[test]
    fn revisions_have_no_gaps_and_every_id_is_new() {
        let mut next: HashMap<Box<str>, u32> = HashMap::new();
        let mut ids = HashSet::new();

        for event in feed(20_000).take(20_000, 100) {
            let revision = next.entry(event.stream.clone()).or_default();
            assert_eq!(event.revision, *revision);
            *revision += 1;
            assert!(ids.insert(event.id));
            assert_eq!(event.data.len(), DATA_SIZE);
        }
        let long = f64::from(next[&*Workload::stream_name(LONG_STREAM)]);
        assert!((900.0..1_100.0).contains(&long), "{long} of 20,000 are in the long stream");
    }

    #[test]
    fn a_feed_that_begins_later_hands_out_the_same_events() {
        let workload = Arc::new(Workload::new(10_000));
        let mut whole = Feed::after(&workload, 0);
        let first: Vec<Event> = whole.take(6_000, 1);
        let rest: Vec<Event> = whole.take(100, 1);

        let mut later = Feed::after(&workload, 6_000);

        assert_eq!(first.len(), 6_000);
        for (a, b) in rest.iter().zip(later.take(100, 1)) {
            assert_eq!((a.id, &a.stream, a.revision), (b.id, &b.stream, b.revision));
        }
    }

    #[test]
    fn callers_at_the_same_time_never_share_a_stream() {
        let mut owners: HashMap<Box<str>, usize> = HashMap::new();

        for (caller, share) in feed(10_000).take_for(64, 50).into_iter().enumerate() {
            for event in share {
                assert_eq!(*owners.entry(event.stream).or_insert(caller), caller);
            }
        }
    }

    #[test]
    fn only_the_first_event_of_a_stream_in_a_batch_opens_it() {
        for batch in feed(10_000).take(5_000, 1_000).chunks(1_000) {
            let mut seen = HashSet::new();
            for event in batch {
                assert_eq!(event.opens_stream, seen.insert(&event.stream));
            }
        }
    }
}
