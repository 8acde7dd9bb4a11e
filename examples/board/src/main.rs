//! A shared board: `cargo run -p board` lets three replicas edit it offline and meet again.
//! `--store` names the store to use.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod note;
mod replica;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::Path;

use quipu::Quipu;
use replica::{Replica, sync};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let first = example_store::open(directory.path()).await?;
    run(first, directory.path()).await
}

/// Has replicas that begin with one in this store; the stores of the others are in the directory.
async fn run(first: Quipu, directory: &Path) -> Result<(), Box<dyn Error>> {
    let mut replicas = vec![Replica::new("ana", first)];
    for name in ["ben", "cleo"] {
        let app = Quipu::open(directory.join(format!("{name}.quipu"))).await?;
        replicas.push(Replica::new(name, app));
    }
    let [ana, ben, cleo] = &replicas[..] else { return Ok(()) };
    println!("Three replicas of one board, each with a store of its own");

    println!("\nAna adds two notes, and all three meet:");
    ana.add("milk", "1 litre").await?;
    ana.add("paint", "the blue one").await?;
    sync(ana, ben).await?;
    sync(ben, cleo).await?;
    show(&replicas).await?;

    println!("\nThen all three are offline:");
    println!("  Ana removes the milk, and adds it anew");
    ana.remove("milk").await?;
    ana.add("milk", "2 litres").await?;
    println!("  Ben removes the milk, of which he knows the first adding only");
    ben.remove("milk").await?;
    println!("  Ben and Cleo both edit the paint, and both add bread");
    ben.edit("paint", "the green one").await?;
    cleo.edit("paint", "the red one").await?;
    ben.add("bread", "white").await?;
    cleo.add("bread", "brown").await?;
    show(&replicas).await?;

    println!("\nBen and Cleo meet; Ana is still offline:");
    println!("  {} events were passed on", sync(ben, cleo).await?);
    show(&replicas).await?;

    println!("\nAna meets Cleo, whose answer is lost, so that Ana sends the same again:");
    let news = ana.news_for(cleo).await?;
    println!("  the first time, {} events were new", cleo.take(news.clone()).await?);
    println!("  the second time, {} events were new", cleo.take(news).await?);
    println!("\nThen everybody meets, and all boards are the same:");
    sync(cleo, ana).await?;
    sync(cleo, ben).await?;
    show(&replicas).await?;
    println!("\nAna's second adding of the milk stays, since Ben had not seen it");
    println!("Of two texts that did not know of each other, all show the same one");
    Ok(())
}

async fn show(replicas: &[Replica]) -> Result<(), Box<dyn Error>> {
    for replica in replicas {
        let board = replica.board().await?;
        let notes: Vec<String> =
            board.notes().iter().map(|(note, text)| format!("{note} ({text})")).collect();
        println!("  {:<5}| {}", replica.id.0, notes.join(", "));
    }
    Ok(())
}
