//! Old events in the log, read by the code of today.

use quipu::core::{Append, NewEvent};
use quipu::{DecodeProblem, ExecuteError, LoadError, Quipu, StreamName, UpcasterError, Upcasters};
use serde_json::json;

use crate::bank::{Account, Balance, deposit, id, withdraw};
use crate::stores::on_every_store;

/// Appends an event as an old program would have.
async fn append_old(app: &Quipu, event_type: &str, version: u32, tags: &[&str], data: &str) {
    let mut event = NewEvent::json(event_type, data.to_owned()).unwrap();
    for tag in tags {
        event = event.with_tag(tag).unwrap();
    }
    let metadata = json!({ "$schemaVersion": version }).to_string();
    let stream = StreamName::new("account-a").unwrap();
    let append = Append::new().event(stream, event.with_metadata(metadata));
    app.store().append(append).await.unwrap();
}

fn upcasters() -> Upcasters {
    Upcasters::new()
        .rename("bank.opened", "bank.account-opened")
        .split(
            "bank.funds-moved",
            1,
            [("bank.funds-withdrawn", 1), ("bank.funds-deposited", 1)],
            |moved| {
                let part = |side: &str| json!({ "account": moved[side], "cents": moved["cents"] });
                Ok(vec![
                    ("bank.funds-withdrawn", part("from")),
                    ("bank.funds-deposited", part("to")),
                ])
            },
        )
        .drop("bank.noise")
}

#[tokio::test]
async fn every_way_of_reading_goes_through_the_upcasters() {
    on_every_store(async |app| {
        let app = app.with_upcasters(upcasters()).unwrap();
        let opened = |account: &str| json!({ "account": account, "owner": "x" }).to_string();
        append_old(&app, "bank.opened", 1, &["account:a"], &opened("a")).await;
        append_old(&app, "bank.opened", 1, &["account:b"], &opened("b")).await;
        let deposited = json!({ "account": "a", "cents": 100 }).to_string();
        append_old(&app, "bank.funds-deposited", 1, &["account:a"], &deposited).await;
        let moved = json!({ "from": "a", "to": "b", "cents": 30 }).to_string();
        let tags = ["account:a", "account:b"];
        append_old(&app, "bank.funds-moved", 1, &tags, &moved).await;
        append_old(&app, "bank.noise", 7, &tags, "not even JSON").await;

        let (a, b) =
            app.load((Balance::of(id("a")), Balance::of(id("b")))).await.unwrap().into_state();
        let history = app.history(Balance::of(id("b"))).await.unwrap();
        let spent = app.execute(withdraw("b", 31)).await.unwrap_err();

        assert_eq!((a.cents, b.cents), (70, 30), "each account took its own part");
        let types: Vec<&str> = history.iter().map(|it| it.event_type.as_str()).collect();
        assert_eq!(types, ["bank.account-opened", "bank.funds-deposited"]);
        assert_eq!(history[1].part, 1);
        assert!(spent.rejection().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_version_from_the_future_stops_everything_that_reads_it() {
    on_every_store(async |app| {
        append_old(&app, "bank.funds-deposited", 2, &["account:a"], "{}").await;

        let loaded = app.load(Account::of(id("a"))).await.unwrap_err();
        let model = app.load(Balance::of(id("a"))).await.unwrap_err();
        let history = app.history(Account::of(id("a"))).await.unwrap_err();
        let decided = app.execute(deposit("a", 1)).await.unwrap_err();

        let ExecuteError::Decode(decided) = decided else { panic!("got {decided:?}") };
        assert_eq!(decided.event_type, "bank.funds-deposited");
        let problem = decided.problem;
        assert!(matches!(problem, DecodeProblem::FutureVersion { found: 2, known: 1 }));
        for error in [loaded, model, history] {
            let LoadError::Decode(error) = error else { panic!("got {error:?}") };
            assert!(matches!(error.problem, DecodeProblem::FutureVersion { found: 2, known: 1 }));
        }
    })
    .await;
}

#[tokio::test]
async fn data_that_does_not_fit_names_the_event() {
    on_every_store(async |app| {
        append_old(&app, "bank.funds-deposited", 1, &["account:a"], r#"{"account":"a"}"#).await;

        let error = app.load(Account::of(id("a"))).await.unwrap_err();

        let LoadError::Decode(error) = error else { panic!("got {error:?}") };
        assert!(matches!(error.problem, DecodeProblem::Data(_)), "{error:?}");
        assert!(error.to_string().contains("account-a"), "{error}");
    })
    .await;
}

#[test]
fn upcasters_that_lead_nowhere_are_refused_when_the_application_is_made() {
    let refused = Quipu::in_memory().with_upcasters(Upcasters::new().rename("a", "a"));

    assert_eq!(refused.err(), Some(UpcasterError::Cycle { event_type: "a".into() }));
}
