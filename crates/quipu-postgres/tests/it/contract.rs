//! The contract suite on `PostgreSQL`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::contract::Harness;
use quipu_core::{Append, EventStore, Rights};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;
use sqlx::{Connection as _, PgConnection};

use crate::support::{RUNTIME, fresh, open};

/// The topics, each a test, on a server where there is one.
macro_rules! topics {
    ($server:path: $($topic:ident)+) => {
        #[test]
        fn every_topic_has_a_test() {
            for case in quipu_core::contract::cases() {
                assert!([$(stringify!($topic)),+].contains(&case.topic()));
            }
        }

        $(#[test]
        fn $topic() {
            let Some(server) = $server() else { return };
            let make = || super::OnPostgres::new(server);
            let report = quipu_core::contract::run_topic(stringify!($topic), make);
            println!("{report}");
            assert!(report.is_passed(), "{report}");
        })+
    };
    ($server:path) => {
        topics! { $server:
            append expectations idempotence conditions decisions many_streams deletes retention
            stream_reads log_reads as_of queries index_reads listing limits stream_subscriptions
            log_subscriptions races snapshots checkpoints leases registry scavenging reopening
            differential
        }
    };
}

/// On the system's own version.
mod on_postgres {
    topics! { super::Server::shared }
}

/// On the newest one that can be installed.
mod on_the_newest_postgres {
    topics! { super::Server::shared_newest }
}

struct OnPostgres {
    server: &'static Server,
    options: PostgresOptions,
    store: Mutex<PostgresStore>,
    /// How many microseconds the store's clock is ahead.
    ahead: Mutex<i64>,
}

impl OnPostgres {
    fn new(server: &'static Server) -> Self {
        let options = fresh(server);
        let store = RUNTIME.block_on(open(options.clone()));
        Self { server, options, store: Mutex::new(store), ahead: Mutex::default() }
    }

    fn handle(&self) -> PostgresStore {
        self.store.lock().unwrap().clone()
    }

    fn move_clock(&self, micros: i64) {
        let mut ahead = self.ahead.lock().unwrap();
        *ahead += micros;
        let schema = self.options.to_string();
        let schema = schema.split_once("schema=").unwrap().1;
        let sql = format!(
            "create or replace function {schema}.now_micros() returns bigint language sql volatile
             as $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint + {ahead} $$"
        );
        self.server.sql("postgres", &sql);
    }
}

impl Drop for OnPostgres {
    fn drop(&mut self) {
        RUNTIME.block_on(self.handle().close());
    }
}

impl Harness for OnPostgres {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.handle())
    }

    fn system(&self) -> Arc<dyn EventStore> {
        Arc::new(self.handle().with_rights(Rights::System))
    }

    fn advance_clock(&self, by: Duration) -> bool {
        self.move_clock(i64::try_from(by.as_micros()).unwrap());
        true
    }

    fn set_clock_back(&self, by: Duration) -> bool {
        self.move_clock(-i64::try_from(by.as_micros()).unwrap());
        true
    }

    fn scavenge(&self) -> bool {
        RUNTIME.block_on(self.handle().scavenge()).unwrap();
        true
    }

    fn begin_life(&self) -> bool {
        RUNTIME.block_on(self.handle().begin_life()).unwrap();
        true
    }

    fn reopen(&self) -> bool {
        let mut store = self.store.lock().unwrap();
        *store = RUNTIME.block_on(async {
            store.close().await;
            open(self.options.clone()).await
        });
        true
    }

    fn transact(&self, appends: Vec<Append>, commits: bool) -> Option<bool> {
        let store = self.handle();
        let url = self.server.socket_url("postgres");
        Some(RUNTIME.block_on(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let mut transaction = connection.begin().await.unwrap();
            for append in appends {
                if store.append_in(&mut transaction, append).await.is_err() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            commits
        }))
    }

    /// Transactions run beside each other, and each has its own time.
    fn keeps_times_in_order(&self) -> bool {
        false
    }

    fn enter(&self, body: &mut dyn FnMut()) {
        let _entered = RUNTIME.enter();
        body();
    }
}
