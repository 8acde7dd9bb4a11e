//! What is found out of a log of loan applications.

use std::path::{Path, PathBuf};

use quipu::testing::given;
use quipu::{Quipu, Timestamp, events};
use quipu_testing::served::Served;
use serde_json::json;
use uuid::Uuid;

use crate::application::{
    Accepted, Approved, Cancelled, Declined, Funnel, Preaccepted, Stage, Submitted,
};
use crate::import::{Imported, import, lines};
use crate::report::{funnel_as_of, waiting_times};
use crate::waiting::Waited;
use crate::{SEED, generated};

const HOUR_US: i64 = 3_600_000_000;

fn submitted(amount_requested: u64) -> Submitted {
    Submitted { amount_requested }
}

fn counts(funnel: &Funnel) -> [u64; 7] {
    Stage::ALL.map(|stage| funnel.count(stage))
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn line(loan: u32, id: u128, event_type: &str, time: &str) -> String {
    json!({
        "stream": format!("loan-{loan}"),
        "id": Uuid::from_u128(id),
        "type": event_type,
        "time": time,
        "tags": [format!("loan:{loan}")],
        "data": { "amount_requested": 1_000, "resource": "7" },
    })
    .to_string()
}

#[test]
fn the_funnel_counts_stages_and_what_is_open() {
    let history = events![
        submitted(1_000),
        submitted(2_000),
        submitted(3_000),
        submitted(4_000),
        Preaccepted {},
        Accepted {},
        Approved {},
        Declined {},
        Cancelled {},
    ];

    let funnel = given(history).state(Funnel::of());

    assert_eq!(counts(&funnel), [4, 1, 1, 0, 1, 1, 1]);
    assert_eq!((funnel.open_count(), funnel.requested), (1, 10_000));
}

#[test]
fn of_waiting_times_the_nearest_rank_counts() {
    let sorted: Vec<i64> = (1..=10).collect();

    assert_eq!(Waited::of(&sorted), Some(Waited { count: 10, median_us: 5, p90_us: 9 }));
    assert_eq!(Waited::of(&[7]), Some(Waited { count: 1, median_us: 7, p90_us: 7 }));
    assert_eq!(Waited::of(&[]), None);
}

#[tokio::test]
async fn a_log_is_imported_with_its_times_and_read_as_of_one_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open(directory.path().join("loans.quipu")).await.unwrap();
    let log = || {
        [
            line(1, 1, "ApplicationSubmitted", "2025-01-01T00:00:00Z"),
            line(2, 2, "ApplicationSubmitted", "2025-01-01T01:00:00Z"),
            line(1, 3, "WorkItemStarted", "2025-01-01T02:00:00Z"),
            line(1, 4, "ApplicationDeclined", "2025-01-01T03:00:00Z"),
            line(2, 5, "ApplicationDeclined", "2025-01-01T06:00:00Z"),
        ]
    };

    let imported = import(&app, log().into_iter().map(Ok)).await.unwrap();
    let again = import(&app, log().into_iter().map(Ok)).await.unwrap();

    let Imported { event_count, stream_count, first, last, position } = imported;
    assert_eq!((event_count, stream_count), (5, 2));
    assert_eq!((first, last), (time("2025-01-01T00:00:00Z"), time("2025-01-01T06:00:00Z")));
    assert_eq!(again.position, position);
    assert_eq!(app.store().frontier().await.unwrap(), position);
    let then = funnel_as_of(&app, time("2025-01-01T03:00:00Z")).await.unwrap();
    assert_eq!(counts(&then), [2, 0, 0, 0, 0, 1, 0]);
    let times = waiting_times(&app, &directory.path().join("stages.db"), position).await.unwrap();
    let declined = times.iter().find(|(_, to, _)| *to == Stage::Declined).unwrap();
    let expected = Waited { count: 2, median_us: 3 * HOUR_US, p90_us: 5 * HOUR_US };
    assert_eq!(declined.2, Some(expected));
}

#[tokio::test]
async fn a_line_that_is_no_event_is_named() {
    let lines = [line(1, 1, "ApplicationSubmitted", "2025-01-01T00:00:00Z"), "{}".to_owned()];

    let error = import(&Quipu::in_memory(), lines.into_iter().map(Ok)).await.unwrap_err();

    assert!(error.to_string().starts_with("line 2: "), "{error}");
}

#[tokio::test]
async fn a_made_up_log_is_the_same_for_the_same_seed_and_has_the_shape_of_the_real_one() {
    assert_eq!(generated::lines(SEED), generated::lines(SEED));
    assert_ne!(generated::lines(SEED), generated::lines(SEED + 1));
    let app = Quipu::in_memory();

    let log = generated::lines(SEED).into_iter().map(Ok);
    let imported = import(&app, log).await.unwrap();

    assert!((18_000..22_000).contains(&imported.event_count), "{imported:?}");
    let funnel = app.load(Funnel::of()).await.unwrap();
    let counts = counts(&funnel);
    assert_eq!(counts[0], 1_000);
    assert!(counts[..5].is_sorted_by(|before, after| before > after), "{counts:?}");
    assert!(counts[4..].iter().all(|count| *count > 0), "{counts:?}");
}

/// The real log, where it is at hand.
fn real_log() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("QUIPU_DATA_LOANS").map(PathBuf::from);
    let found = here.ancestors().map(|directory| directory.join("shared/data/loans.jsonl.gz"));
    let path = given.or_else(|| found.into_iter().find(|path| path.is_file()));
    if path.is_none() {
        println!(
            "skipped: QUIPU_DATA_LOANS is not set, and there is no shared/data/loans.jsonl.gz in \
             or above the workspace"
        );
    }
    path
}

/// The expected numbers were counted from the file by a script that knows nothing of Quipu.
#[tokio::test]
async fn the_numbers_of_the_real_log_are_right() {
    let Some(path) = real_log() else { return };
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open(directory.path().join("loans.quipu")).await.unwrap();

    let imported = import(&app, lines(&path).unwrap()).await.unwrap();

    assert_eq!((imported.event_count, imported.stream_count), (262_200, 13_087));
    assert_eq!(imported.first, time("2011-09-30T22:38:44.546Z"));
    assert_eq!(imported.last, time("2012-03-14T15:04:54.681Z"));
    let now = app.load(Funnel::of()).await.unwrap();
    assert_eq!(counts(&now), [13_087, 7_367, 5_113, 5_015, 2_246, 7_635, 2_807]);
    assert_eq!((now.open_count(), now.requested), (399, 177_634_511));
    let then = funnel_as_of(&app, time("2012-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(counts(&then), [7_455, 4_139, 2_863, 2_815, 1_130, 4_334, 1_346]);
    assert_eq!((then.open_count(), then.requested), (645, 98_531_557));

    let database = directory.path().join("stages.db");
    let times = waiting_times(&app, &database, imported.position).await.unwrap();
    let found: Vec<_> = times.into_iter().filter_map(|(_, _, waited)| waited).collect();
    let expected = [
        (7_367, 43_963_000, 34_552_643_000),
        (5_113, 14_832_523_000, 157_024_270_000),
        (5_015, 183_982_000, 420_982_000),
        (2_246, 1_194_273_525_000, 2_401_937_585_000),
        (2_246, 1_247_106_400_000, 2_478_959_616_000),
        (7_635, 673_212_000, 680_193_052_000),
        (2_807, 1_455_499_529_000, 2_748_135_473_000),
    ];
    assert_eq!(
        found,
        expected.map(|(count, median_us, p90_us)| Waited { count, median_us, p90_us })
    );
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::run(&app, directory.path(), None).await.unwrap();
}
