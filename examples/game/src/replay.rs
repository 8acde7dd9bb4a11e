//! Going back: a game as it was after a move, and another one from there.

use std::error::Error;

use quipu::{Change, Loaded, Quipu};

use crate::game::{Branch, Game, GameId, Origin};

/// The game as it was after so many moves.
pub(crate) async fn after_move(
    app: &Quipu,
    game: &GameId,
    move_count: usize,
) -> Result<Loaded<Game>, Box<dyn Error>> {
    let position = change_of(app, game, move_count).await?.position;
    Ok(app.load(Game::of(game)).as_of(position).await?)
}

/// Begins a new game after so many moves of another one. Its events say what they come of: the
/// event of that move is their cause, and the other game is what they have in common.
pub(crate) async fn branch(
    app: &Quipu,
    from: &GameId,
    move_count: usize,
    game: &GameId,
) -> Result<(), Box<dyn Error>> {
    let cause = change_of(app, from, move_count).await?.id;
    let origin = Origin { game: from.clone(), move_count };
    app.execute(Branch { origin, game: game.clone() })
        .causation(cause.to_string())
        .correlation(from.0.as_str())
        .await?;
    Ok(())
}

/// The event of a move. The first event is the start of the game, so that move 1 has revision 1.
async fn change_of(
    app: &Quipu,
    game: &GameId,
    move_count: usize,
) -> Result<Change<Game>, Box<dyn Error>> {
    let mut changes = app.history(Game::of(game)).await?.into_iter();
    changes.nth(move_count).ok_or_else(|| format!("{} has no move {move_count}", game.0).into())
}
