//! A bank: `cargo run -p bank` opens accounts, moves money, and looks back.
//! `--store` names the store to use.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod account;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::Path;

use account::{Account, AccountEvent, AccountId, Deposit, ListedAccount, Open, Transfer};
use quipu::projection::SqliteDocuments;
use quipu::{Quipu, Timestamp};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

fn id(text: &str) -> AccountId {
    AccountId(text.to_owned())
}

fn show(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.as_micros())
        .map_or_else(|_| format!("{} us", time.as_micros()), |time| time.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let app = example_store::open(directory.path()).await?;
    run(&app, directory.path()).await
}

async fn run(app: &Quipu, directory: &Path) -> Result<(), Box<dyn Error>> {
    println!("A bank in the log {}", app.store().identity().log);

    let (ana, ben) = (id("ana"), id("ben"));
    for account in [&ana, &ben] {
        let open = Open { account: account.clone(), owner: account.0.clone() };
        app.execute(open).actor("clerk").correlation("opening day").await?;
    }
    let deposit = Deposit { account: ana.clone(), cents: 10_000 };
    app.execute(deposit).actor("ana").correlation("salary").await?;
    println!("\nAna and Ben have accounts, and Ana has 100.00");

    // A moment that lies between two events, for later.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let before = Timestamp::now();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;

    let transfer = |cents| Transfer { from: ana.clone(), to: ben.clone(), cents };
    let send = || app.execute(transfer(4_000)).actor("ana").correlation("rent");
    send().idempotency_key("rent of october").await?;
    let again = send().idempotency_key("rent of october").await?;
    println!(
        "Ana pays Ben 40.00, and sends it twice: the second time was a replay: {}",
        again.replayed
    );

    match app.execute(transfer(100_000)).actor("ana").await {
        Ok(_) => println!("Ana pays what she does not have"),
        Err(error) => match error.rejection() {
            Some(refusal) => println!("Ana pays Ben 1000.00: refused, {refusal}"),
            None => return Err(error.into()),
        },
    }

    println!("\nThe balances, now and as of {}:", show(before));
    for account in [&ana, &ben] {
        let now = app.load(Account::of(account.clone())).await?;
        let then = app.load(Account::of(account.clone())).as_of_time(before).await?;
        println!("  {:<4} {:>6} cents, was {:>6} cents", account.0, now.cents, then.cents);
    }

    println!("\nThe list of accounts, a read model in SQLite that follows the log:");
    let file = SqliteConnectOptions::new().filename(directory.join("accounts.db"));
    let pool = SqlitePool::connect_with(file.create_if_missing(true)).await?;
    let list = app.project(SqliteDocuments::<ListedAccount>::new()).into(pool).spawn().await?;
    app.wait_for::<SqliteDocuments<ListedAccount>>(app.store().frontier().await?).await?;
    for (account, row) in list.view().page("", 100).await? {
        println!("  {account:<4} {:>6} cents, of {}", row.cents, row.owner);
    }
    list.stop().await?;

    println!("\nThe audit trail of Ana's account:");
    for change in app.history(Account::of(ana)).await? {
        let what = match &change.event {
            Some(AccountEvent::Opened(_)) => "opened".to_owned(),
            Some(AccountEvent::Deposited(deposited)) => format!("+{}", deposited.cents),
            Some(AccountEvent::Withdrawn(withdrawn)) => format!("-{}", withdrawn.cents),
            None => "erased".to_owned(),
        };
        let (who, why) = (change.actor().unwrap_or("?"), change.correlation().unwrap_or("?"));
        println!("  {}  {what:<8} by {who:<6} for: {why}", show(change.recorded_at));
    }
    Ok(())
}
