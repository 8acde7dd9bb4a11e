//! The view `outbox`: rows of applications that are not event-sourced.

use quipu_core::{
    Append, AppendError, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, RecordedEvent,
    StreamName, collect,
};
use quipu_postgres::PostgresStore;
use quipu_testing::postgres::Server;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{fresh, open, server};

struct Subject {
    store: PostgresStore,
    schema: String,
    pool: PgPool,
}

async fn set_up(server: &Server) -> Subject {
    let options = fresh(server);
    let schema = options.to_string().split_once("schema=").unwrap().1.to_owned();
    let pool = PgPool::connect(&server.socket_url("postgres")).await.unwrap();
    Subject { store: open(options).await, schema, pool }
}

impl Subject {
    fn insert(&self, values: &str) -> AssertSqlSafe<String> {
        let columns = "id, aggregatetype, aggregateid, type, payload, tags";
        AssertSqlSafe(format!("insert into {}.outbox ({columns}) values ({values})", self.schema))
    }

    async fn log(&self) -> Vec<RecordedEvent> {
        let read = self.store.read_all(ReadAll::new(Query::all())).await.unwrap();
        collect(read.batches).await.unwrap()
    }
}

const PLACED: &str =
    r#"'018f0000-0000-7000-8000-000000000001', 'order', '1', 'Placed', '{"a": 1}', '{t:2,t:1}'"#;

#[tokio::test]
async fn a_row_is_an_event_once_its_transaction_commits() {
    let Some(server) = server() else { return };
    let subject = set_up(server).await;

    let mut transaction = subject.pool.begin().await.unwrap();
    sqlx::query(subject.insert(PLACED)).execute(&mut *transaction).await.unwrap();
    let before = subject.log().await.len();
    transaction.commit().await.unwrap();
    let mut transaction = subject.pool.begin().await.unwrap();
    let undone = subject.insert("null, 'order', '2', 'Placed', '{}', null");
    sqlx::query(undone).execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();

    let log = subject.log().await;
    assert_eq!((before, log.len()), (0, 1));
    assert_eq!((log[0].stream.as_str(), log[0].event_type.as_str()), ("order-1", "Placed"));
    assert_eq!(log[0].tags.iter().collect::<Vec<_>>(), ["t:1", "t:2"]);
    assert_eq!(&log[0].data.present().unwrap()[..], br#"{"a": 1}"#);
    let again = sqlx::query(subject.insert(PLACED)).execute(&subject.pool).await.unwrap_err();
    assert!(again.to_string().contains("is in the log already"), "{again}");
}

#[tokio::test]
async fn conditions_and_queries_see_rows_as_events() {
    let Some(server) = server() else { return };
    let subject = set_up(server).await;
    sqlx::query(subject.insert(PLACED)).execute(&subject.pool).await.unwrap();

    for text in ["tag:t:1 tag:t:2", "type:Placed", "category:order", "stream:order-1"] {
        let query: Query = text.parse().unwrap();
        let event = NewEvent::json("Late", "{}").unwrap();
        let append =
            Append::new().event(StreamName::new("late-1").unwrap(), event).fail_if(query, None);
        let late = subject.store.append(append).await;
        assert!(matches!(late, Err(AppendError::Conflict { .. })), "{text}: {late:?}");
    }
    let next = NewEvent::json("Paid", "{}").unwrap();
    let stream = StreamName::new("order-1").unwrap();
    let exists = Append::to_stream(stream, ExpectedRevision::StreamExists, [next]);
    let appended = subject.store.append(exists).await.unwrap();
    assert_eq!(appended.streams[0].revision.get(), 1);
}

/// What an insert into the view has to wait for is what an append with the same names waits for.
#[tokio::test]
async fn a_row_waits_for_a_condition_on_its_names() {
    let Some(server) = server() else { return };
    for text in ["tag:t:1", "type:Placed", "category:order"] {
        let subject = set_up(server).await;
        let mut transaction = subject.pool.begin().await.unwrap();
        let event = NewEvent::json("Guarded", "{}").unwrap();
        let guarded = Append::new()
            .event(StreamName::new("other-1").unwrap(), event)
            .fail_if(text.parse().unwrap(), None);
        subject.store.append_in(&mut transaction, guarded).await.unwrap();

        let mut late = subject.pool.begin().await.unwrap();
        sqlx::query("set local lock_timeout = '100ms'").execute(&mut *late).await.unwrap();
        let waited = sqlx::query(subject.insert(PLACED)).execute(&mut *late).await.unwrap_err();
        assert!(waited.to_string().contains("lock timeout"), "{text}: {waited}");
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_an_event_is_refused() {
    let Some(server) = server() else { return };
    let subject = set_up(server).await;
    for (values, told) in [
        ("null, null, '1', 'Placed', '{}', null", "needs aggregatetype"),
        ("null, '$order', '1', 'Placed', '{}', null", "reserved"),
        ("null, 'order', '1', E'a\\nb', '{}', null", "control characters"),
        ("null, 'order', repeat('x', 600), 'Placed', '{}', null", "at most 512 bytes"),
    ] {
        let refused = sqlx::query(subject.insert(values)).execute(&subject.pool).await.unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
    assert!(subject.log().await.is_empty());
}
