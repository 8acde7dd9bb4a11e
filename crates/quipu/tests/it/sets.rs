//! Sets, tags and streams as derives make them, and events whose data was erased.

use quipu::core::{EventBatch, EventData, RecordedEvent};
use quipu::{
    DecisionModel, Event, EventId, EventSet, Evolve, Position, Revision, Tags, Timestamp,
    Upcasters, decode, decode_recorded,
};

use crate::bank::{AccountEvent, AccountOpened, Balance, FundsDeposited, FundsMoved, id};

fn stored<E: Event>(event: &E) -> RecordedEvent {
    RecordedEvent {
        id: EventId::generate(),
        stream: event.stream().unwrap(),
        event_type: E::TYPE.try_into().unwrap(),
        tags: event.tags().unwrap(),
        content_type: quipu::core::ContentType::json(),
        data: EventData::Present(serde_json::to_vec(event).unwrap().into()),
        metadata: br#"{"$schemaVersion":1,"$actor":"ana","other":[1]}"#.to_vec().into(),
        recorded_at: Timestamp::from_micros(7),
        position: Position::new(9),
        revision: Revision::new(3),
    }
}

fn moved() -> FundsMoved {
    FundsMoved { from: id("a"), to: id("b"), cents: 5 }
}

#[test]
fn an_event_says_its_stream_and_tags() {
    let deposited = FundsDeposited { account: id("a-1"), cents: 5 };

    assert_eq!(deposited.stream().unwrap(), "account-a-1");
    assert_eq!(moved().stream().unwrap(), "transfer-a-b");
    assert_eq!(moved().tags().unwrap(), Tags::parse(["from:a", "to:b"]).unwrap());
    assert!(FundsDeposited { account: id("\n"), cents: 5 }.tags().is_err());
}

#[test]
fn a_set_decodes_its_own_types_and_leaves_the_others() {
    let event = stored(&FundsDeposited { account: id("a"), cents: 5 });

    let own = decode_recorded::<AccountEvent>(&event, &Upcasters::new()).unwrap();
    let other = decode_recorded::<AccountOpened>(&event, &Upcasters::new()).unwrap();

    assert!(other.is_empty());
    let recorded = own.into_iter().next().unwrap().transpose().unwrap();
    assert_eq!(recorded.event, FundsDeposited { account: id("a"), cents: 5 }.into());
    assert_eq!(
        (recorded.position, recorded.revision, recorded.part),
        (Position::new(9), Revision::new(3), 0)
    );
    assert_eq!((recorded.actor(), recorded.tags.count()), (Some("ana"), 1));
    let types: Vec<&str> = AccountEvent::SHAPES.iter().map(|shape| shape.event_type).collect();
    assert_eq!(types, ["bank.account-opened", "bank.funds-deposited", "bank.funds-withdrawn"]);
}

#[test]
fn the_parts_of_a_split_share_the_place_and_have_tags_of_their_own() {
    let upcasters = Upcasters::new().split(
        "bank.funds-moved",
        1,
        [("bank.funds-withdrawn", 1), ("bank.funds-deposited", 1)],
        |moved| {
            let part =
                |side: &str| serde_json::json!({ "account": moved[side], "cents": moved["cents"] });
            Ok(vec![("bank.funds-withdrawn", part("from")), ("bank.funds-deposited", part("to"))])
        },
    );

    let parts = decode_recorded::<AccountEvent>(&stored(&moved()), &upcasters).unwrap();

    let shown: Vec<_> = parts
        .iter()
        .map(|part| (part.part, part.position.get(), part.tags.iter().next().unwrap()))
        .collect();
    assert_eq!(shown, [(0, 9, "account:a"), (1, 9, "account:b")]);
    assert_eq!(parts[1].event_type, "bank.funds-deposited");
}

#[test]
fn erased_data_is_a_fact_and_no_error() {
    let erased = RecordedEvent {
        data: EventData::Erased,
        ..stored(&FundsDeposited { account: id("a"), cents: 5 })
    };
    let batch: EventBatch = [&erased].into_iter().collect();

    let decoded = decode::<AccountEvent>(batch.first().unwrap(), &Upcasters::new()).unwrap();

    let place = decoded.into_iter().next().unwrap().transpose().unwrap_err();
    assert_eq!(
        (place.event_type.as_str(), place.position),
        ("bank.funds-deposited", Position::new(9))
    );
    assert!(place.tags.contains("account:a"));
}

#[test]
fn a_model_asks_for_its_types_and_keys_only() {
    let query = Balance::of(id("a")).query().unwrap();

    assert_eq!(query.items.len(), 1);
    assert_eq!(query.items[0].types.len(), 3);
    assert!(query.items[0].tags.contains("account:a"));
    assert!(Balance::of(id(&"a".repeat(300))).query().is_err(), "too long for a tag");
}

#[test]
fn an_aggregate_is_what_its_history_makes_it() {
    let mut account = crate::bank::Account::from_history(
        id("a"),
        [
            AccountEvent::from(AccountOpened { account: id("a"), owner: "Ana".into() }),
            FundsDeposited { account: id("a"), cents: 5 }.into(),
        ],
    );
    account.apply(FundsDeposited { account: id("a"), cents: 1 });

    assert_eq!((account.balance, account.revision()), (6, Some(Revision::new(2))));
    let mut state = account.into_state();
    state.evolve(&FundsDeposited { account: id("a"), cents: 1 }.into());
    assert_eq!(state.balance, 7);
}
