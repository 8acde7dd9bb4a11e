//! What every server is asked to keep: the same events, put together from texts that are made
//! beforehand, so that making them costs next to nothing.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Bytes of data in each event.
const DATA_SIZE: usize = 256;
/// How many events have the same customer in a log that was loaded.
pub(crate) const CUSTOMER_EVENT_COUNT: usize = 10;
/// Appended by the row whose condition is about a type alone.
const WATCHED_TYPE: usize = 7;
/// How many appends go to one stream.
const STREAM_LENGTH: u64 = 10;

/// One event in the words of no store.
#[expect(clippy::struct_field_names, reason = "`type` is a keyword")]
pub(crate) struct Event {
    pub(crate) id: [u8; 16],
    pub(crate) event_type: &'static str,
    pub(crate) tags: [Cow<'static, str>; 3],
    pub(crate) data: Bytes,
}

/// Events that are appended together, all to one stream.
pub(crate) struct Batch {
    pub(crate) stream: String,
    pub(crate) events: Vec<Event>,
    pub(crate) condition: Option<Condition>,
}

/// What must not be in the log.
pub(crate) enum Condition {
    /// Any event with the tag.
    Tag(String),
    /// An event of the type behind a place.
    Type { name: &'static str, after: u64 },
}

/// The texts that events are made of.
pub(crate) struct Texts {
    types: Vec<String>,
    customers: Vec<String>,
    guests: Vec<String>,
    kinds: Vec<String>,
    products: Vec<String>,
    data: Vec<Bytes>,
}

impl Texts {
    /// The texts of a log of so many events. They are needed until the program ends.
    pub(crate) fn new(event_count: usize) -> &'static Self {
        let names = |name: &str, count: usize| -> Vec<String> {
            (0..count).map(|number| format!("{name}:{number:07}")).collect()
        };
        Box::leak(Box::new(Self {
            types: (0..50).map(|number| format!("ItemPicked{number:02}")).collect(),
            customers: names("customer", event_count / CUSTOMER_EVENT_COUNT),
            guests: names("guest", 10_000),
            kinds: (0..1_000).map(|number| format!("kind:{number:04}")).collect(),
            products: names("product", 100_000),
            data: (0..1_024).map(data).collect(),
        }))
    }

    /// The tag of one of the customers.
    pub(crate) fn customer(&self, random: u64) -> &str {
        pick(&self.customers, random).as_str()
    }

    fn event(&'static self, number: u64, who: &'static str) -> Event {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&mix(number, 1).to_le_bytes());
        id[8..].copy_from_slice(&mix(number, 2).to_le_bytes());
        // A random UUID.
        id[6] = 0x40 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        Event {
            id,
            event_type: pick(&self.types, mix(number, 3)).as_str(),
            tags: [
                who.into(),
                pick(&self.kinds, mix(number, 4)).as_str().into(),
                pick(&self.products, mix(number, 5)).as_str().into(),
            ],
            data: pick(&self.data, mix(number, 6)).clone(),
        }
    }
}

fn pick<T>(from: &[T], random: u64) -> &T {
    &from[(random % from.len() as u64) as usize]
}

/// What the appends of a client are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Without a condition.
    Plain,
    /// On the condition that the log has no event with a tag that the append's first event has.
    UniqueTag,
    /// On the condition that no event of a type came since the client's last append.
    Type,
}

/// The appends of one client, one after the other.
pub(crate) struct Feed {
    texts: &'static Texts,
    size: usize,
    kind: Kind,
    /// Which of all the feeds of this process it is.
    number: u64,
    batch_count: u64,
    event_count: u64,
    /// The place of the last event, for [`Kind::Type`].
    pub(crate) after: u64,
}

impl Feed {
    /// Appends of so many events each, that no other feed hands out.
    pub(crate) fn new(texts: &'static Texts, size: usize, kind: Kind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { texts, size, kind, number, batch_count: 0, event_count: 0, after: 0 }
    }

    pub(crate) fn next(&mut self) -> Batch {
        let mut events = Vec::with_capacity(self.size);
        for _ in 0..self.size {
            let number = (self.number << 40) + self.event_count;
            let who = pick(&self.texts.guests, mix(number, 7)).as_str();
            events.push(self.texts.event(number, who));
            self.event_count += 1;
        }
        let username = format!("username:{:06x}{:010x}", self.number, self.batch_count);
        let condition = match self.kind {
            Kind::Plain => None,
            Kind::UniqueTag => Some(Condition::Tag(username.clone())),
            Kind::Type => {
                let name = &self.texts.types[WATCHED_TYPE];
                events[0].event_type = name;
                Some(Condition::Type { name, after: self.after })
            }
        };
        events[0].tags[2] = username.into();
        let stream = format!("order-{:06x}{:08x}", self.number, self.batch_count / STREAM_LENGTH);
        self.batch_count += 1;
        Batch { stream, events, condition }
    }
}

/// The appends that load a log: each customer has ten events, all over the log.
pub(crate) struct Load {
    texts: &'static Texts,
    next: usize,
    end: usize,
}

impl Load {
    const SIZE: usize = 1_000;
    /// Prime, and no factor of a count of customers.
    const STRIDE: usize = 7_919;

    pub(crate) fn new(texts: &'static Texts) -> Self {
        Self { texts, next: 0, end: texts.customers.len() * CUSTOMER_EVENT_COUNT }
    }

    pub(crate) fn next(&mut self) -> Option<Batch> {
        let numbers = self.next..self.end.min(self.next + Self::SIZE);
        self.next = numbers.end;
        let stream = format!("load-{:07}", numbers.start / Self::SIZE);
        let event = |number: usize| {
            let customer = number * Self::STRIDE % self.texts.customers.len();
            self.texts.event(number as u64, &self.texts.customers[customer])
        };
        let events: Vec<Event> = numbers.map(event).collect();
        (!events.is_empty()).then_some(Batch { stream, events, condition: None })
    }
}

/// JSON of [`DATA_SIZE`] bytes that does not compress to nothing.
fn data(number: u64) -> Bytes {
    let mut json = format!(r#"{{"quantity":{number},"note":""#).into_bytes();
    for lane in 16.. {
        let letters = mix(number, lane).to_le_bytes().map(|byte| b'a' + byte % 26);
        let count = letters.len().min(DATA_SIZE - 2 - json.len());
        json.extend_from_slice(&letters[..count]);
        if count < letters.len() {
            break;
        }
    }
    json.extend_from_slice(br#""}"#);
    json.into()
}

/// A number that looks random, of a number and a lane (`SplitMix64`).
pub(crate) fn mix(number: u64, lane: u64) -> u64 {
    let step = number.wrapping_mul(64).wrapping_add(lane);
    let mut z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn each_customer_has_ten_events_of_a_loaded_log() {
        let mut load = Load::new(Texts::new(20_000));
        let mut counts: HashMap<String, usize> = HashMap::new();
        while let Some(batch) = load.next() {
            for event in batch.events {
                assert_eq!(event.data.len(), DATA_SIZE);
                *counts.entry(event.tags[0].to_string()).or_default() += 1;
            }
        }

        assert_eq!(counts.len(), 2_000);
        assert!(counts.values().all(|count| *count == CUSTOMER_EVENT_COUNT));
    }

    #[test]
    fn no_two_appends_have_the_same_unique_tag_or_id() {
        let texts = Texts::new(20_000);
        let mut tags = HashSet::new();
        let mut ids = HashSet::new();
        for mut feed in [Feed::new(texts, 3, Kind::UniqueTag), Feed::new(texts, 3, Kind::UniqueTag)]
        {
            for _ in 0..100 {
                let batch = feed.next();
                let Some(Condition::Tag(tag)) = batch.condition else { panic!("no condition") };
                assert_eq!(batch.events[0].tags[2], tag);
                assert!(tags.insert(tag));
                for event in batch.events {
                    assert!(ids.insert(event.id));
                }
            }
        }
    }
}
