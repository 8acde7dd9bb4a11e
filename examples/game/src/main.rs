//! Four in a row: `cargo run -p game` plays a game, steps through it, and lets the other side win.
//! `--store` names the store to use.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod board;
mod game;
mod replay;
#[cfg(test)]
mod tests;

use std::error::Error;

use game::{DropDisc, Game, GameId, Start};
use quipu::Quipu;
use replay::{after_move, branch};

/// Red builds a column, and Yellow the one beside it. Columns are counted from 0.
const MOVES: [usize; 7] = [3, 2, 3, 2, 3, 2, 3];
/// Red looks away once, and Yellow is first.
const OTHER_MOVES: [usize; 2] = [6, 2];
/// The move after which the two games part.
const BRANCH_MOVE: usize = 6;
/// How many boards are drawn beside each other.
const BOARDS_IN_A_ROW: usize = 4;

fn id(text: &str) -> GameId {
    GameId(text.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let app = example_store::open(directory.path()).await?;
    run(&app).await
}

async fn run(app: &Quipu) -> Result<(), Box<dyn Error>> {
    println!("Four in a row in the log {}", app.store().identity().log);

    let (first, second) = (id("first"), id("second"));
    let (red, yellow) = ("Ana".to_owned(), "Ben".to_owned());
    app.execute(Start { game: first.clone(), red, yellow }).await?;
    play(app, &first, &MOVES).await?;
    println!("\nAna (red) plays against Ben (yellow), move by move:\n");
    step_through(app, &first, 0).await?;

    let late = DropDisc { game: first.clone(), color: board::Color::Yellow, column: 0 };
    match app.execute(late).await {
        Ok(_) => println!("Ben plays on"),
        Err(error) => match error.rejection() {
            Some(refusal) => println!("Ben wants another move: refused, {refusal}"),
            None => return Err(error.into()),
        },
    }

    println!("\nA second game branches from the first after move {BRANCH_MOVE}:\n");
    branch(app, &first, BRANCH_MOVE, &second).await?;
    play(app, &second, &OTHER_MOVES).await?;
    step_through(app, &second, BRANCH_MOVE).await?;

    println!("Both games remain:");
    for game in [&first, &second] {
        let loaded = app.load(Game::of(game)).await?;
        let winner = loaded.winner.map_or("nobody".to_owned(), |color| format!("{color:?}"));
        println!("  {:<6} {} moves, won by {winner}", game.0, loaded.moves.len());
    }
    let history = app.history(Game::of(&second)).await?;
    if let Some(start) = history.first() {
        let (origin, cause) = (start.correlation().unwrap_or("?"), start.causation());
        println!("The second came of the game {origin:?}, event {}", cause.unwrap_or("?"));
    }
    Ok(())
}

/// Plays moves in turn.
async fn play(app: &Quipu, game: &GameId, columns: &[usize]) -> Result<(), Box<dyn Error>> {
    for column in columns {
        let color = app.load(Game::of(game)).await?.turn();
        app.execute(DropDisc { game: game.clone(), color, column: *column }).await?;
    }
    Ok(())
}

/// Draws the board as it was after each move from one on.
async fn step_through(app: &Quipu, game: &GameId, first: usize) -> Result<(), Box<dyn Error>> {
    let move_count = app.load(Game::of(game)).await?.moves.len();
    let mut boards = Vec::new();
    for number in first..=move_count {
        let board = after_move(app, game, number).await?.into_state().board;
        boards.push(format!("{:<14}\n{board}", format!("move {number}")));
    }
    for row in boards.chunks(BOARDS_IN_A_ROW) {
        let mut columns: Vec<_> = row.iter().map(|board| board.lines()).collect();
        loop {
            let line: Vec<&str> = columns.iter_mut().filter_map(Iterator::next).collect();
            if line.is_empty() {
                break;
            }
            println!("  {}", line.join("    "));
        }
        println!();
    }
    Ok(())
}
