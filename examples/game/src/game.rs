//! A game: its events, its state, and what the players may do.

use quipu::{Aggregate, Command, Ctx, Event, EventSet, Events, Evolve, TagValue, events};
use serde::{Deserialize, Serialize};

use crate::board::{Board, Color, ROW_COUNT};

#[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GameId(pub(crate) String);

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "game.started")]
pub(crate) struct Started {
    #[tag]
    pub(crate) game: GameId,
    pub(crate) red: String,
    pub(crate) yellow: String,
    /// The game that this one branched from.
    pub(crate) origin: Option<Origin>,
}

/// A move of another game.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) game: GameId,
    pub(crate) move_count: usize,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "game.disc-dropped")]
pub(crate) struct DiscDropped {
    #[tag]
    pub(crate) game: GameId,
    pub(crate) color: Color,
    /// Counted from 0.
    pub(crate) column: usize,
}

#[derive(EventSet)]
pub(crate) enum GameEvent {
    Started(Started),
    Dropped(DiscDropped),
}

/// The state of a game is its moves, played again.
#[derive(Aggregate, Clone, Debug)]
#[aggregate(events = GameEvent)]
pub(crate) struct Game {
    #[key("game")]
    pub(crate) id: GameId,
    pub(crate) started: Option<Started>,
    /// The column of each move.
    pub(crate) moves: Vec<usize>,
    pub(crate) board: Board,
    pub(crate) winner: Option<Color>,
}

impl Evolve for Game {
    fn evolve(&mut self, event: &GameEvent) {
        match event {
            GameEvent::Started(started) => self.started = Some(started.clone()),
            GameEvent::Dropped(dropped) => {
                self.moves.push(dropped.column);
                self.board.drop_disc(dropped.column, dropped.color);
                if self.board.makes_four(dropped.column) {
                    self.winner = Some(dropped.color);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the game is under way already")]
    Started,
    #[error("there is no game {}", .0.0)]
    NotStarted(GameId),
    #[error("the game is over, {0:?} won")]
    Over(Color),
    #[error("it is the turn of {0:?}")]
    NotYourTurn(Color),
    #[error("there is no column {0}")]
    NoSuchColumn(usize),
    #[error("column {0} is full")]
    ColumnFull(usize),
    #[error("only {move_count} moves were made")]
    NoSuchMove { move_count: usize },
}

impl Game {
    /// Whose turn it is.
    pub(crate) fn turn(&self) -> Color {
        Color::after(self.moves.len())
    }

    fn started(&self) -> Result<&Started, Refusal> {
        self.started.as_ref().ok_or_else(|| Refusal::NotStarted(self.id.clone()))
    }

    fn check_not_started(&self) -> Result<(), Refusal> {
        if self.started.is_some() { Err(Refusal::Started) } else { Ok(()) }
    }
}

pub(crate) struct Start {
    pub(crate) game: GameId,
    pub(crate) red: String,
    pub(crate) yellow: String,
}

impl Command for Start {
    type Model = Game;
    type Error = Refusal;

    fn model(&self) -> Game {
        Game::of(self.game.clone())
    }

    fn decide(&self, game: &Game, _ctx: &Ctx) -> Result<Events, Refusal> {
        game.check_not_started()?;
        let (game, red, yellow) = (self.game.clone(), self.red.clone(), self.yellow.clone());
        Ok(events![Started { game, red, yellow, origin: None }])
    }
}

pub(crate) struct DropDisc {
    pub(crate) game: GameId,
    pub(crate) color: Color,
    pub(crate) column: usize,
}

impl Command for DropDisc {
    type Model = Game;
    type Error = Refusal;

    fn model(&self) -> Game {
        Game::of(self.game.clone())
    }

    fn decide(&self, game: &Game, _ctx: &Ctx) -> Result<Events, Refusal> {
        game.started()?;
        if let Some(winner) = game.winner {
            return Err(Refusal::Over(winner));
        }
        if game.turn() != self.color {
            return Err(Refusal::NotYourTurn(game.turn()));
        }
        match game.board.disc_count(self.column) {
            None => Err(Refusal::NoSuchColumn(self.column)),
            Some(ROW_COUNT..) => Err(Refusal::ColumnFull(self.column)),
            Some(_) => {
                let (game, color, column) = (self.game.clone(), self.color, self.column);
                Ok(events![DiscDropped { game, color, column }])
            }
        }
    }
}

/// Begins a game with the first moves of another one, which stays as it is.
pub(crate) struct Branch {
    pub(crate) origin: Origin,
    pub(crate) game: GameId,
}

impl Command for Branch {
    type Model = (Game, Game);
    type Error = Refusal;

    fn model(&self) -> (Game, Game) {
        (Game::of(self.origin.game.clone()), Game::of(self.game.clone()))
    }

    fn decide(&self, (origin, game): &(Game, Game), _ctx: &Ctx) -> Result<Events, Refusal> {
        game.check_not_started()?;
        let Started { red, yellow, .. } = origin.started()?.clone();
        let Some(moves) = origin.moves.get(..self.origin.move_count) else {
            return Err(Refusal::NoSuchMove { move_count: origin.moves.len() });
        };
        let game = self.game.clone();
        let mut events = events![Started { game, red, yellow, origin: Some(self.origin.clone()) }];
        for (index, column) in moves.iter().enumerate() {
            let (game, color) = (self.game.clone(), Color::after(index));
            events.push(DiscDropped { game, color, column: *column });
        }
        Ok(events)
    }
}
