//! What a game promises.

use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;
use quipu::testing::{Given, given};
use quipu::{Events, Quipu, events};
use quipu_testing::served::Served;

use crate::board::{Board, COLUMN_COUNT, Color, ROW_COUNT};
use crate::game::{
    Branch, DiscDropped, DropDisc, Game, GameEvent, GameId, Origin, Refusal, Start, Started,
};
use crate::replay::{after_move, branch};
use crate::{BRANCH_MOVE, MOVES, OTHER_MOVES, id, play};

fn started(game: &str, origin: Option<Origin>) -> Started {
    Started { game: id(game), red: "Ana".into(), yellow: "Ben".into(), origin }
}

fn start(game: &str) -> Start {
    Start { game: id(game), red: "Ana".into(), yellow: "Ben".into() }
}

fn dropped(game: &str, color: Color, column: usize) -> DiscDropped {
    DiscDropped { game: id(game), color, column }
}

fn drop_disc(color: Color, column: usize) -> DropDisc {
    DropDisc { game: id("a"), color, column }
}

/// The game "a" after these moves.
fn after(columns: &[usize]) -> Events {
    let mut history = events![started("a", None)];
    for (index, column) in columns.iter().enumerate() {
        history.push(dropped("a", Color::after(index), *column));
    }
    history
}

fn winner(given: &Given) -> Option<Color> {
    given.state(Game::of(id("a"))).winner
}

#[test]
fn a_game_is_started_once() {
    given(events![]).when(start("a")).then(events![started("a", None)]);
    given(after(&[])).when(start("a")).then_rejected(&Refusal::Started);
    given(events![]).when(drop_disc(Color::Red, 0)).then_rejected(&Refusal::NotStarted(id("a")));
}

#[test]
fn players_take_turns_and_red_begins() {
    given(after(&[]))
        .when(drop_disc(Color::Yellow, 0))
        .then_rejected(&Refusal::NotYourTurn(Color::Red));
    given(after(&[])).when(drop_disc(Color::Red, 0)).then(events![dropped("a", Color::Red, 0)]);
    given(after(&[0]))
        .when(drop_disc(Color::Red, 0))
        .then_rejected(&Refusal::NotYourTurn(Color::Yellow));
}

#[test]
fn a_disc_needs_a_column_with_room() {
    given(after(&[])).when(drop_disc(Color::Red, 7)).then_rejected(&Refusal::NoSuchColumn(7));
    given(after(&[0, 0, 0, 0, 0, 0]))
        .when(drop_disc(Color::Red, 0))
        .then_rejected(&Refusal::ColumnFull(0));
}

#[test]
fn four_in_a_row_win_in_every_direction() {
    let up = [0, 1, 0, 1, 0, 1, 0];
    let across = [0, 0, 1, 1, 3, 3, 2];
    let rising = [0, 1, 1, 2, 3, 2, 2, 3, 4, 3, 3];
    let falling = [3, 2, 2, 1, 0, 1, 1, 0, 4, 0, 0];

    for columns in [&up[..], &across, &rising, &falling] {
        let before = &columns[..columns.len() - 1];
        assert_eq!(winner(&given(after(before))), None, "{before:?}");
        assert_eq!(winner(&given(after(columns))), Some(Color::Red), "{columns:?}");
    }
}

#[test]
fn nobody_plays_on_after_the_end() {
    given(after(&MOVES))
        .when(drop_disc(Color::Yellow, 0))
        .then_rejected(&Refusal::Over(Color::Red));
}

#[test]
fn a_branch_begins_with_the_moves_before_it() {
    let origin = |move_count| Origin { game: id("a"), move_count };
    let branch = |move_count| Branch { origin: origin(move_count), game: id("b") };

    given(after(&[3, 4, 5])).when(branch(2)).then(events![
        started("b", Some(origin(2))),
        dropped("b", Color::Red, 3),
        dropped("b", Color::Yellow, 4),
    ]);
    given(after(&[3])).when(branch(2)).then_rejected(&Refusal::NoSuchMove { move_count: 1 });
    given(after(&[3]).and(started("b", None))).when(branch(1)).then_rejected(&Refusal::Started);
    given(events![]).when(branch(0)).then_rejected(&Refusal::NotStarted(id("a")));
}

#[tokio::test]
async fn the_other_side_wins_the_branch_and_both_games_remain() {
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open(directory.path().join("game.quipu")).await.unwrap();
    app.execute(start("first")).await.unwrap();
    play(&app, &id("first"), &MOVES).await.unwrap();

    branch(&app, &id("first"), BRANCH_MOVE, &id("second")).await.unwrap();
    play(&app, &id("second"), &OTHER_MOVES).await.unwrap();

    let first = app.load(Game::of(id("first"))).await.unwrap();
    let second = app.load(Game::of(id("second"))).await.unwrap();
    assert_eq!((first.winner, second.winner), (Some(Color::Red), Some(Color::Yellow)));
    assert_eq!(first.moves, MOVES);
    assert_eq!(second.moves, [&MOVES[..BRANCH_MOVE], &OTHER_MOVES].concat());
    let cause = app.history(Game::of(id("first"))).await.unwrap()[BRANCH_MOVE].id.to_string();
    let copied = app.history(Game::of(id("second"))).await.unwrap();
    for change in &copied[..=BRANCH_MOVE] {
        assert_eq!(change.causation(), Some(cause.as_str()));
        assert_eq!(change.correlation(), Some("first"));
    }
    assert_eq!(copied[BRANCH_MOVE + 1].causation(), None, "this move is the branch's own");
}

/// Plays random moves to the end of the game, and gives the board after each of them.
async fn play_randomly(app: &Quipu, game: &GameId, random: &mut Rng) -> Vec<Board> {
    let mut boards = Vec::new();
    loop {
        let now = app.load(Game::of(game)).await.unwrap();
        boards.push(now.board.clone());
        let has_room = |column: &usize| now.board.disc_count(*column) < Some(ROW_COUNT);
        let columns: Vec<usize> = (0..COLUMN_COUNT).filter(has_room).collect();
        if now.winner.is_some() || columns.is_empty() {
            return boards;
        }
        let column = columns[random.usize(..columns.len())];
        app.execute(DropDisc { game: game.clone(), color: now.turn(), column }).await.unwrap();
    }
}

/// The board after each number of moves, by reading the log as of then.
async fn step_back(app: &Quipu, game: &GameId) -> Vec<Board> {
    let move_count = app.load(Game::of(game)).await.unwrap().moves.len();
    let mut boards = Vec::new();
    for number in 0..=move_count {
        boards.push(after_move(app, game, number).await.unwrap().board.clone());
    }
    boards
}

/// The board after each number of moves, by playing the first events again.
async fn play_again(app: &Quipu, game: &GameId) -> Vec<Board> {
    let changes = app.history(Game::of(game)).await.unwrap();
    let events = changes.into_iter().map(|change| change.event.unwrap());
    let mut replayed = Game::from_history(game, None::<GameEvent>);
    let boards = events.map(|event| {
        replayed.apply(event);
        replayed.board.clone()
    });
    boards.collect()
}

#[tokio::test]
async fn every_prefix_of_a_game_gives_the_board_that_was_there() {
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("game"));
    println!("replay with QUIPU_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let app = Quipu::in_memory();

    for number in 0..10 {
        let (game, other) = (id(&format!("{number}")), id(&format!("{number}b")));
        app.execute(start(&game.0)).await.unwrap();
        let boards = play_randomly(&app, &game, &mut random).await;
        let move_count = random.usize(..boards.len() - 1);
        branch(&app, &game, move_count, &other).await.unwrap();
        let other_boards = play_randomly(&app, &other, &mut random).await;

        assert_eq!(step_back(&app, &game).await, boards);
        assert_eq!(play_again(&app, &game).await, boards);
        let expected = [&boards[..move_count], &other_boards].concat();
        assert_eq!(step_back(&app, &other).await, expected);
        assert_eq!(play_again(&app, &other).await, expected);
    }
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::run(&app).await.unwrap();
}
