//! A yarn shop that does not exist: its orders, payments and shipments, as samples and as a log
//! that lives while someone looks at it.

mod staff;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    Append, AppendError, EventId, EventStore, NameError, NewEvent, ParseQueryError, ReadError,
    StreamName, Timestamp,
};
use serde_json::{Value, json};

use staff::Staff;

/// Numbers that look random and are the same each time. (The mixing is `SplitMix64`'s, by Steele,
/// Lea and Flood, 2014.)
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

const PRODUCTS: [(&str, u64); 8] = [
    ("wool-red", 690),
    ("wool-blue", 690),
    ("wool-undyed", 540),
    ("cotton-white", 420),
    ("needles-4mm", 980),
    ("needles-6mm", 980),
    ("spindle", 2_450),
    ("dye-indigo", 1_275),
];
/// The number of the first order.
const FIRST_ORDER: u64 = 1_001;
/// How many orders a living shop has behind it when it opens: about a year's.
const PAST_ORDER_COUNT: u64 = 1_200;

/// Something that happened in the shop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// When, in seconds since the shop opened.
    pub at: u64,
    /// The stream it belongs to.
    pub stream: String,
    /// What kind of fact it is.
    pub event_type: &'static str,
    /// What queries find it by.
    pub tags: Vec<String>,
    /// The rest.
    pub data: Value,
}

impl Fact {
    /// The fact as an event and the stream that it goes to.
    fn event(&self) -> Result<(StreamName, NewEvent), NameError> {
        let mut event = NewEvent::json(self.event_type, self.data.to_string())?;
        event.tags = quipu_core::Tags::parse(&self.tags)?;
        Ok((StreamName::new(&self.stream)?, event))
    }
}

/// The facts of the shop's first orders, in the order in which they happened.
pub fn facts(order_count: u64) -> Vec<Fact> {
    let mut dice = Dice(2026);
    let mut facts = Vec::new();
    let mut at = 0;
    for order in FIRST_ORDER..FIRST_ORDER + order_count {
        at += 600 + dice.roll(14_400);
        order_of(order, at, &mut dice, &mut facts);
    }
    facts.sort_by_key(|fact| fact.at);
    facts
}

/// One order's life: placed, paid or not, shipped, delivered, now and then returned.
fn order_of(order: u64, at: u64, dice: &mut Dice, facts: &mut Vec<Fact>) {
    let customer = 1 + dice.roll(40);
    let mut tags = vec![format!("order:{order}"), format!("customer:{customer}")];
    let (mut lines, mut total_cents) = (Vec::new(), 0);
    for _ in 0..=dice.roll(3) {
        let (product, price_cents) = PRODUCTS[dice.roll(8) as usize];
        let tag = format!("product:{product}");
        if !tags.contains(&tag) {
            let quantity = 1 + dice.roll(5);
            total_cents += quantity * price_cents;
            tags.push(tag);
            lines.push(
                json!({"price_cents": price_cents, "product": product, "quantity": quantity}),
            );
        }
    }
    let mut add = |at, kind: &str, event_type, tags: &[String], data| {
        let stream = format!("{kind}-{order}");
        facts.push(Fact { at, stream, event_type, tags: tags.to_vec(), data });
    };
    add(
        at,
        "order",
        "OrderPlaced",
        &tags,
        json!({"customer": customer, "lines": lines, "total_cents": total_cents}),
    );
    let short = &tags[..2];
    let mut paid_at = at + 30 + dice.roll(900);
    if dice.roll(8) == 0 {
        add(paid_at, "payment", "PaymentFailed", short, json!({"reason": "card declined"}));
        if dice.roll(2) == 0 {
            add(paid_at + 86_400, "order", "OrderCancelled", short, json!({"reason": "not paid"}));
            return;
        }
        paid_at += 3_600;
    }
    add(paid_at, "payment", "PaymentReceived", short, json!({"amount_cents": total_cents}));
    let sent_at = paid_at + 7_200 + dice.roll(86_400);
    let parcel = format!("QP{:08}", dice.roll(100_000_000));
    add(sent_at, "shipment", "ShipmentSent", &tags, json!({"parcel": parcel}));
    let delivered_at = sent_at + 86_400 + dice.roll(172_800);
    add(delivered_at, "shipment", "ShipmentDelivered", short, json!({"parcel": parcel}));
    if dice.roll(10) == 0 {
        let returned_at = delivered_at + 172_800 + dice.roll(400_000);
        add(returned_at, "shipment", "ShipmentReturned", &tags, json!({"parcel": parcel}));
        add(
            returned_at + 3_600,
            "payment",
            "PaymentRefunded",
            short,
            json!({"amount_cents": total_cents}),
        );
    }
}

/// A shop that has a past and goes on.
pub struct LivingShop {
    store: Arc<dyn EventStore>,
    /// Of each order: its first event and its last one.
    chains: HashMap<String, (EventId, EventId)>,
    dice: Dice,
    /// What will happen, by when it will and a number that tells facts of one second apart.
    coming: BTreeMap<(u64, u64), Fact>,
    fact_count: u64,
    next_order: u64,
    now: u64,
}

/// Why the shop could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopError {
    /// A name of the sample is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store did not take an event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store did not say where it is.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A query of the sample is not one.
    #[error(transparent)]
    Query(#[from] ParseQueryError),
}

impl fmt::Debug for LivingShop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivingShop").field("now", &self.now).finish_non_exhaustive()
    }
}

impl LivingShop {
    /// Opens the shop: appends its past, with times that end now.
    ///
    /// # Errors
    ///
    /// The store does not take the events.
    pub async fn open(store: Arc<dyn EventStore>) -> Result<Self, ShopError> {
        let facts = facts(PAST_ORDER_COUNT);
        let placed = facts.iter().rfind(|fact| fact.event_type == "OrderPlaced");
        let now = placed.map_or(0, |fact| fact.at);
        let opened_at = Timestamp::now().as_micros() - i64::try_from(now).unwrap_or(0) * 1_000_000;
        let (past, coming): (Vec<_>, Vec<_>) = facts.into_iter().partition(|fact| fact.at <= now);
        let mut shop = Self {
            store,
            chains: HashMap::new(),
            dice: Dice(now),
            coming: BTreeMap::new(),
            fact_count: 0,
            next_order: FIRST_ORDER + PAST_ORDER_COUNT,
            now,
        };
        for part in past.chunks(500) {
            let mut append = Append::new();
            for fact in part {
                let (stream, mut event) = shop.event_of(fact)?;
                let at = opened_at + i64::try_from(fact.at).unwrap_or(0) * 1_000_000;
                event.recorded_at = Some(Timestamp::from_micros(at));
                append.events.push((stream, event));
            }
            shop.store.append(append).await?;
        }
        shop.expect(coming);
        Ok(shop)
    }

    /// The fact as an event that tells what it follows from: the order's event before it.
    fn event_of(&mut self, fact: &Fact) -> Result<(StreamName, NewEvent), NameError> {
        let (stream, mut event) = fact.event()?;
        let order = fact.tags.first().cloned().unwrap_or_default();
        let before = self.chains.get(&order).copied();
        let first = before.map_or(event.id, |(first, _)| first);
        let mut metadata = json!({"$correlationId": first.to_string()});
        if let Some((_, last)) = before {
            metadata["$causationId"] = last.to_string().into();
        }
        event.metadata = metadata.to_string().into();
        self.chains.insert(order, (first, event.id));
        Ok((stream, event))
    }

    /// Appends what happens next, now and then, for as long as it is polled: hours of the shop's
    /// time pass in seconds.
    ///
    /// # Errors
    ///
    /// The store does not take an event.
    pub async fn live(mut self) -> Result<(), ShopError> {
        let _staff = Staff::begin(&self.store, self.store.frontier().await?)?;
        loop {
            tokio::time::sleep(Duration::from_millis(200 + self.dice.roll(1_300))).await;
            if self.dice.roll(4) == 0 || self.coming.is_empty() {
                let mut facts = Vec::new();
                order_of(self.next_order, self.now, &mut self.dice, &mut facts);
                self.next_order += 1;
                self.expect(facts);
            }
            let Some(((at, _), fact)) = self.coming.pop_first() else { continue };
            self.now = self.now.max(at);
            let (stream, event) = self.event_of(&fact)?;
            self.store.append(Append::new().event(stream, event)).await?;
        }
    }

    fn expect(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            self.coming.insert((fact.at, self.fact_count), fact);
            self.fact_count += 1;
        }
    }
}
