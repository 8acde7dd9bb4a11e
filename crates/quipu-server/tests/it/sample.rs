//! The sample log that ships with the repository: small, made by the generator here, importable.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Store, field};

/// Numbers that look random and are the same each time.
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

/// An event of the sample: when, in seconds, and its line but for the time.
struct Fact {
    at: u64,
    stream: String,
    event_type: &'static str,
    tags: Vec<String>,
    data: Value,
}

/// A yarn shop's first weeks of 2026: orders, payments and shipments.
fn generate() -> String {
    let mut dice = Dice(2026);
    let mut facts = Vec::new();
    let mut at = 0;
    for order in 1_001..1_121 {
        at += 600 + dice.roll(14_400);
        order_of(order, at, &mut dice, &mut facts);
    }
    facts.sort_by_key(|fact| fact.at);
    let start: jiff::Timestamp = "2026-01-05T08:00:00Z".parse().unwrap();
    let mut text = String::new();
    for fact in facts {
        let time = start + jiff::SignedDuration::from_secs(i64::try_from(fact.at).unwrap());
        let (stream, tags) = (json!(fact.stream), json!(fact.tags));
        let Fact { event_type, data, .. } = fact;
        writeln!(
            text,
            r#"{{"stream":{stream},"type":"{event_type}","time":"{time}","tags":{tags},"data":{data}}}"#
        )
        .unwrap();
    }
    text
}

/// One order's life: placed, paid or not, shipped, delivered, now and then returned.
fn order_of(order: u64, at: u64, dice: &mut Dice, facts: &mut Vec<Fact>) {
    let customer = 1 + dice.roll(40);
    let mut tags = vec![format!("order:{order}"), format!("customer:{customer}")];
    let (mut lines, mut total_cents) = (Vec::new(), 0);
    for _ in 0..=dice.roll(3) {
        let (product, price_cents) = PRODUCTS[usize::try_from(dice.roll(8)).unwrap()];
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

/// With `QUIPU_BLESS` set it writes the file instead of comparing it.
#[test]
fn the_sample_is_what_its_generator_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/orders.jsonl");
    let generated = generate();
    if std::env::var_os("QUIPU_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }

    let stored = std::fs::read_to_string(&path).unwrap();

    assert!(stored == generated, "run the test with QUIPU_BLESS=1 to write {}", path.display());
}

#[test]
fn the_sample_imports_and_shows_its_first_events() {
    let store = Store::missing();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/orders.jsonl");

    let ran = store.run(&["import", path, "--keep-time", "--show"]).ok();

    assert_eq!(ran.fact("clamped"), "0");
    assert!(ran.out().contains("OrderPlaced"), "{ran}");
    let events = store.events();
    assert!((450..=550).contains(&events.len()), "{}", events.len());
    let customer = store.json(&["read", "--query", "tag:customer:7 type:OrderPlaced"]);
    assert!(!customer.is_empty());
    assert!(field(&customer, "type").iter().all(|event_type| *event_type == "OrderPlaced"));
    let life = store.json(&["read", "--query", "tag:order:1001"]);
    assert_eq!(field(&life, "type").first(), Some(&"OrderPlaced"));
}
