use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

fn apply(upcasters: &Upcasters, event_type: &str, version: u32, data: &Value) -> Vec<String> {
    upcasters.check().unwrap();
    let bytes = data.to_string();
    let stored = PartData::Stored { bytes: bytes.as_bytes(), content_type: "application/json" };
    let parts = upcasters.apply(Part::new(Cow::Borrowed(event_type), version, stored)).unwrap();
    let show = |part: &Part<'_>| {
        let (name, version, index) = (part.event_type(), part.version(), part.index());
        match part.clone().into_data() {
            PartData::Stored { .. } => format!("{index}:{name}@{version} as stored"),
            PartData::Value(value) => format!("{index}:{name}@{version} {value}"),
            PartData::Erased => format!("{index}:{name}@{version} erased"),
        }
    };
    parts.iter().map(show).collect()
}

fn types(query: &Query) -> Vec<&str> {
    query.items.iter().flat_map(|item| &item.types).map(AsRef::as_ref).collect()
}

#[test]
fn an_event_without_steps_is_left_as_it_was_stored() {
    let upcasters = Upcasters::new().map("other", 1, Ok);

    assert_eq!(apply(&upcasters, "a", 3, &json!({})), ["0:a@3 as stored"]);
    assert_eq!(apply(&upcasters, "other", 2, &json!({})), ["0:other@2 as stored"]);
}

#[test]
fn a_chain_runs_to_its_end() {
    let add = |key: &'static str| {
        move |mut data: Value| {
            data[key] = true.into();
            Ok(data)
        }
    };
    let upcasters =
        Upcasters::new().rename("old", "a").map("a", 1, add("one")).map("a", 2, add("two"));

    assert_eq!(apply(&upcasters, "old", 1, &json!({})), [r#"0:a@3 {"one":true,"two":true}"#]);
    assert_eq!(apply(&upcasters, "old", 2, &json!({})), [r#"0:a@3 {"two":true}"#]);
    assert_eq!(apply(&upcasters, "a", 3, &json!({})), ["0:a@3 as stored"]);
}

#[test]
fn structs_lead_from_one_version_to_the_next() {
    #[derive(crate::Event, Serialize, Deserialize)]
    #[event(type = "paid", version = 1, stream = "s")]
    struct PaidV1 {
        cents: u64,
    }
    #[derive(crate::Event, Serialize, Deserialize)]
    #[event(type = "paid", version = 2, stream = "s")]
    struct Paid {
        cents: u64,
        currency: String,
    }
    impl From<PaidV1> for Paid {
        fn from(old: PaidV1) -> Self {
            Self { cents: old.cents, currency: "EUR".into() }
        }
    }

    let upcasters = Upcasters::new().map_typed::<PaidV1, Paid>();

    let found = apply(&upcasters, "paid", 1, &json!({ "cents": 5 }));
    assert_eq!(found, [r#"0:paid@2 {"cents":5,"currency":"EUR"}"#]);
}

#[test]
fn the_parts_of_a_split_go_on_and_are_counted() {
    let upcasters = Upcasters::new()
        .split("moved", 1, [("out", 1), ("in", 1), ("noise", 1)], |data| {
            Ok(vec![("out", data.clone()), ("noise", data.clone()), ("in", data)])
        })
        .map("in", 1, |_| Ok(json!("mapped")))
        .drop("noise");

    let found = apply(&upcasters, "moved", 1, &json!(1));

    assert_eq!(found, ["0:out@1 1", r#"1:in@2 "mapped""#]);
}

#[test]
fn a_dropped_event_has_no_parts() {
    let upcasters = Upcasters::new().drop("noise");

    assert!(apply(&upcasters, "noise", 7, &json!({})).is_empty());
}

#[test]
fn erased_data_goes_through_a_chain_untouched() {
    let upcasters = Upcasters::new()
        .split("moved", 1, [("out", 1), ("in", 1)], |_| Err("never called".into()))
        .map("in", 1, |_| Err("never called".into()));
    let erased = Part::new(Cow::Borrowed("moved"), 1, PartData::Erased);

    let parts = upcasters.apply(erased).unwrap();

    let found: Vec<(&str, u32)> =
        parts.iter().map(|part| (part.event_type(), part.version())).collect();
    assert_eq!(found, [("out", 1), ("in", 2)]);
    assert!(parts.iter().all(Part::is_erased));
}

#[test]
fn a_step_that_fails_names_itself() {
    let fails = Upcasters::new().map("a", 1, |_| Err("no such thing".into()));
    let strays = Upcasters::new().split("a", 1, [("b", 1)], |data| Ok(vec![("c", data)]));

    for (upcasters, expected) in [(fails, "no such thing"), (strays, "\"c\"")] {
        let stored = PartData::Stored { bytes: b"{}", content_type: "application/json" };
        let failed = upcasters.apply(Part::new(Cow::Borrowed("a"), 1, stored)).unwrap_err();

        let DecodeProblem::Upcast { event_type, version: 1, cause } = failed else {
            panic!("expected a failed step, got {failed:?}");
        };
        assert_eq!(event_type, "a");
        assert!(cause.to_string().contains(expected), "{cause}");
    }
}

#[test]
fn data_that_no_codec_reads_is_an_error() {
    let upcasters = Upcasters::new().map("a", 1, Ok);
    let stored = PartData::Stored { bytes: b"\x01", content_type: "application/cbor" };

    let failed = upcasters.apply(Part::new(Cow::Borrowed("a"), 1, stored)).unwrap_err();

    assert!(matches!(failed, DecodeProblem::UnknownContentType { .. }), "{failed:?}");
}

#[test]
fn a_query_finds_what_becomes_what_it_asks_for() {
    let upcasters = Upcasters::new().rename("older", "old").rename("old", "new").split(
        "both",
        1,
        [("new", 1), ("else", 1)],
        |_| Ok(Vec::new()),
    );
    let query: Query = "type:new tag:a:1".parse().unwrap();

    let wide = upcasters.widen(query);

    assert_eq!(types(&wide), ["new", "both", "old", "older"]);
    assert!(wide.items[0].tags.contains("a:1"));
    let other: Query = "type:other".parse().unwrap();
    assert_eq!(upcasters.widen(other.clone()), other);
}

#[test]
fn chains_that_lead_back_are_refused() {
    let cycles = [
        Upcasters::new().rename("a", "a"),
        Upcasters::new().rename("a", "b").rename("b", "a"),
        Upcasters::new().split("a", 1, [("b", 1)], |_| Ok(Vec::new())).rename("b", "a"),
        Upcasters::new().split("a", 1, [("a", 1)], |_| Ok(Vec::new())),
    ];
    for upcasters in cycles {
        let refused = upcasters.check();

        assert!(matches!(refused, Err(UpcasterError::Cycle { .. })), "{refused:?}");
    }
}

#[test]
fn chains_with_a_gap_are_refused() {
    let refused = Upcasters::new().map("a", 1, Ok).map("a", 3, Ok).check();

    assert_eq!(refused, Err(UpcasterError::Gap { event_type: "a".into(), missing: 2 }));
}

#[test]
fn steps_that_never_run_are_refused() {
    let twice = Upcasters::new().map("a", 1, Ok).map("a", 1, Ok).check();
    let hidden = Upcasters::new().rename("a", "b").map("a", 1, Ok).check();
    let zero = Upcasters::new().map("a", 0, Ok).check();

    assert_eq!(twice, Err(UpcasterError::Twice { event_type: "a".into(), version: 1 }));
    assert_eq!(hidden, Err(UpcasterError::Unreachable { event_type: "a".into() }));
    assert_eq!(zero, Err(UpcasterError::VersionZero { event_type: "a".into() }));
}
