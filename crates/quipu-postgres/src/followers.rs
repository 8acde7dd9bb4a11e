//! Who follows the log and its streams, and what each wants of what comes.
//!
//! What came is looked at once for all of them: who follows a stream is called when an event of it
//! came, who follows a query when the frontier has passed an event that matches. Nobody else has to
//! ask the database: who follows a query is told up to where nothing matches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_core::{Position, Query, StreamName};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::sync::Notify;

use crate::rows::{TAG_SEPARATOR, position_of};

/// What is followed.
pub(crate) enum Followed {
    Stream(StreamName),
    Log(Query),
}

/// One who follows.
pub(crate) struct Follower {
    followed: Followed,
    /// A call is kept for one who is busy.
    call: Notify,
    /// Nothing is awaited while it is locked. It is of no use to who follows a stream.
    state: Mutex<State>,
}

/// How one who follows the log stands to what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It will look by itself.
    Busy,
    /// It waits, and knows all that there is up to this place.
    Waiting(Position),
    /// Up to this place nothing came that matches.
    Passed(Position),
}

impl Follower {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, state: State) {
        *self.lock() = state;
    }

    /// Waits until it is called. Answers what it was told, and is busy from then on.
    pub(crate) async fn called(&self) -> State {
        self.call.notified().await;
        std::mem::replace(&mut *self.lock(), State::Busy)
    }

    fn call(&self, state: State) {
        self.set(state);
        self.call.notify_one();
    }

    /// Tells one who follows the log what came in a part of it.
    fn tell(&self, query: &Query, part: Part<'_>) {
        let State::Waiting(after) = *self.lock() else { return };
        let Part { after: begin, frontier, came } = part;
        if frontier <= after {
            return;
        }
        let is_new = |it: &Came| it.position > after && it.position <= frontier;
        let has_match = |came: &[Came]| came.iter().any(|it| is_new(it) && it.matches(query));
        // Who waits further back than the part begins has to look by itself.
        let has_to_look = after < begin || query.is_all() || came.is_none_or(has_match);
        self.call(if has_to_look { State::Busy } else { State::Passed(frontier) });
    }
}

/// What came behind a place.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) after: Position,
    /// What is above it is not told to those who follow the log.
    pub(crate) frontier: Position,
    /// All that came, where it is known.
    pub(crate) came: Option<&'a [Came]>,
}

/// The names of an event that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) position: Position,
    pub(crate) stream: String,
    event_type: String,
    tags: String,
}

impl Came {
    pub(crate) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: position_of(row.try_get(0)?),
            stream: row.try_get(1)?,
            event_type: row.try_get(2)?,
            tags: row.try_get(3)?,
        })
    }

    fn matches(&self, query: &Query) -> bool {
        let has_tag = |tag: &str| self.tags.split(TAG_SEPARATOR).any(|own| own == tag);
        query.items.iter().any(|it| it.matches_names(&self.stream, &self.event_type, has_tag))
    }
}

/// All who follow.
#[derive(Default)]
pub(crate) struct Followers {
    /// Nothing is awaited while it is locked.
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    of_streams: HashMap<StreamName, Vec<Arc<Follower>>>,
    of_log: Vec<Arc<Follower>>,
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, from now on: it is called for all that comes, be it busy or not.
    pub(crate) fn add(&self, followed: Followed) -> Arc<Follower> {
        let (call, state) = (Notify::new(), Mutex::new(State::Busy));
        let follower = Arc::new(Follower { followed, call, state });
        let own = Arc::clone(&follower);
        let mut all = self.lock();
        match &follower.followed {
            Followed::Stream(stream) => {
                all.of_streams.entry(stream.clone()).or_default().push(own);
            }
            Followed::Log(_) => all.of_log.push(own),
        }
        drop(all);
        follower
    }

    pub(crate) fn remove(&self, follower: &Arc<Follower>) {
        let mut all = self.lock();
        let is_other = |it: &Arc<Follower>| !Arc::ptr_eq(it, follower);
        match &follower.followed {
            Followed::Stream(stream) => {
                if let Some(own) = all.of_streams.get_mut(stream) {
                    own.retain(is_other);
                    if own.is_empty() {
                        all.of_streams.remove(stream);
                    }
                }
            }
            Followed::Log(_) => all.of_log.retain(is_other),
        }
    }

    /// Whether it matters to anybody what the names are of what comes.
    pub(crate) fn want_names(&self) -> bool {
        let all = self.lock();
        let is_choosy = |it: &Arc<Follower>| match &it.followed {
            Followed::Log(query) => !query.is_all(),
            Followed::Stream(_) => true,
        };
        !all.of_streams.is_empty() || all.of_log.iter().any(is_choosy)
    }

    /// Calls all who follow streams.
    pub(crate) fn call_streams(&self) {
        self.lock().of_streams.values().flatten().for_each(|it| it.call(State::Busy));
    }

    /// Calls who follows a stream.
    pub(crate) fn call_stream(&self, stream: &str) {
        let all = self.lock();
        // A name that is none has no followers.
        let own = StreamName::new(stream).ok().and_then(|stream| all.of_streams.get(&stream));
        own.into_iter().flatten().for_each(|it| it.call(State::Busy));
    }

    /// Tells those who follow the log what came in a part of it.
    pub(crate) fn tell_log(&self, part: Part<'_>) {
        for follower in &self.lock().of_log {
            if let Followed::Log(query) = &follower.followed {
                follower.tell(query, part);
            }
        }
    }

    /// Calls everybody: each has to look by itself.
    pub(crate) fn call_all(&self) {
        self.call_streams();
        self.lock().of_log.iter().for_each(|it| it.call(State::Busy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u64) -> Position {
        Position::new(number)
    }

    fn came(number: u64, tags: &str) -> Came {
        let (stream, event_type) = ("order-1".to_owned(), "Placed".to_owned());
        Came { position: position(number), stream, event_type, tags: tags.to_owned() }
    }

    /// What one who follows these tags, and waits at 10, is told of what came behind 9.
    fn told(query: &str, frontier: u64, events: &[Came]) -> State {
        let followers = Followers::default();
        let follower = followers.add(Followed::Log(query.parse().unwrap()));
        follower.set(State::Waiting(position(10)));
        let (after, frontier) = (position(9), position(frontier));
        followers.tell_log(Part { after, frontier, came: Some(events) });
        *follower.lock()
    }

    #[test]
    fn who_follows_a_query_is_called_for_what_matches_and_told_how_far_nothing_did() {
        let events = [came(10, "a:1"), came(11, "b:1"), came(12, "a:1\nb:2")];

        assert_eq!(told("tag:a:1", 11, &events), State::Passed(position(11)));
        assert_eq!(told("tag:a:1", 12, &events), State::Busy);
        assert_eq!(told("tag:b:2 type:Placed", 12, &events), State::Busy);
        assert_eq!(told("tag:b:2 type:Other", 12, &events), State::Passed(position(12)));
        assert_eq!(told("category:order", 12, &events), State::Busy);
        assert_eq!(told("tag:a:1", 10, &events), State::Waiting(position(10)), "nothing is new");
    }

    #[test]
    fn who_waits_further_back_than_was_looked_at_has_to_look() {
        let followers = Followers::default();
        let follower = followers.add(Followed::Log("tag:a:1".parse().unwrap()));
        follower.set(State::Waiting(position(3)));

        let (after, frontier) = (position(4), position(5));
        followers.tell_log(Part { after, frontier, came: Some(&[]) });

        assert_eq!(*follower.lock(), State::Busy);
    }

    #[test]
    fn who_follows_a_query_has_to_look_where_it_is_not_known_what_came() {
        let followers = Followers::default();
        let follower = followers.add(Followed::Log("tag:a:1".parse().unwrap()));
        follower.set(State::Waiting(position(4)));

        followers.tell_log(Part { after: position(4), frontier: position(5), came: None });

        assert_eq!(*follower.lock(), State::Busy);
    }

    #[test]
    fn who_is_gone_is_not_looked_after() {
        let followers = Followers::default();
        let stream = || Followed::Stream(StreamName::new("order-1").unwrap());
        let (one, two) = (followers.add(stream()), followers.add(stream()));
        followers.remove(&one);
        assert!(followers.want_names());

        followers.remove(&two);

        assert!(!followers.want_names());
    }
}
