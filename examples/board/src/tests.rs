//! What the board promises.

mod random;

use std::collections::BTreeSet;

use quipu::testing::given;
use quipu::{Quipu, events};
use quipu_testing::served::Served;

use crate::note::{
    Board, BoardId, Dot, NoteAdded, NoteEdited, NoteRemoved, Operation, Refusal, ReplicaId, What,
};
use crate::replica::{Replica, sync};

fn id(text: &str) -> ReplicaId {
    ReplicaId(text.to_owned())
}

fn plans() -> BoardId {
    BoardId("plans".to_owned())
}

fn dot(clock: u64, replica: &str) -> Dot {
    Dot { clock, replica: id(replica) }
}

/// The note "milk", added.
fn added(clock: u64, replica: &str, text: &str) -> NoteAdded {
    let (note, text) = ("milk".to_owned(), text.to_owned());
    NoteAdded { replica: id(replica), board: plans(), note, text, dot: dot(clock, replica) }
}

fn edited(clock: u64, replica: &str, text: &str) -> NoteEdited {
    let (note, text) = ("milk".to_owned(), text.to_owned());
    NoteEdited { replica: id(replica), board: plans(), note, text, dot: dot(clock, replica) }
}

fn removed(replica: &str, dots: impl IntoIterator<Item = Dot>) -> NoteRemoved {
    let dots = dots.into_iter().collect();
    NoteRemoved { replica: id(replica), board: plans(), note: "milk".to_owned(), dots }
}

fn operation(replica: &str, what: What) -> Operation {
    Operation { replica: id(replica), board: plans(), note: "milk".to_owned(), what }
}

fn add(text: &str) -> What {
    What::Add { text: text.to_owned() }
}

fn replica(name: &str) -> Replica {
    Replica::new(name, Quipu::in_memory())
}

#[test]
fn a_note_is_added_where_it_is_not_and_edited_where_it_is() {
    let edit = || What::Edit { text: "2".to_owned() };

    given(events![]).when(operation("a", add("1"))).then(events![added(1, "a", "1")]);
    given(events![added(1, "a", "1")])
        .when(operation("b", add("2")))
        .then_rejected(&Refusal::Present("milk".to_owned()));
    given(events![added(4, "a", "1")])
        .when(operation("b", edit()))
        .then(events![edited(5, "b", "2")]);
    given(events![])
        .when(operation("b", edit()))
        .then_rejected(&Refusal::Absent("milk".to_owned()));
}

#[test]
fn a_removal_names_the_addings_that_it_has_seen() {
    let both = || events![added(1, "a", "1"), added(1, "b", "2")];

    given(both())
        .when(operation("c", What::Remove))
        .then(events![removed("c", [dot(1, "a"), dot(1, "b")])]);
    given(both().and(removed("a", [dot(1, "a")])))
        .when(operation("c", What::Remove))
        .then(events![removed("c", [dot(1, "b")])]);
    given(both().and(removed("a", [dot(1, "a"), dot(1, "b")])))
        .when(operation("c", What::Remove))
        .then_rejected(&Refusal::Absent("milk".to_owned()));
}

#[test]
fn an_adding_that_a_removal_has_not_seen_stays() {
    given(events![added(1, "a", "1"), removed("b", [dot(1, "a")]), added(1, "c", "3")])
        .then_state(Board::of(plans()), |board| board.notes().get("milk") == Some(&"3"));
    // Also where the removal arrives before what it removes.
    given(events![removed("b", [dot(1, "a")]), added(1, "a", "1")])
        .then_state(Board::of(plans()), |board| board.notes().is_empty());
}

#[test]
fn the_last_writer_wins_whatever_arrives_last() {
    let (first, late) = (edited(2, "a", "by a"), edited(2, "b", "by b"));

    for events in [events![first.clone(), late.clone()], events![late, first]] {
        given(events.and(added(1, "c", "at first")))
            .then_state(Board::of(plans()), |board| board.notes().get("milk") == Some(&"by b"));
    }
}

#[tokio::test]
async fn news_that_come_again_change_nothing() {
    let (ana, ben) = (replica("ana"), replica("ben"));
    ana.add("milk", "1").await.unwrap();
    ana.add("bread", "2").await.unwrap();
    let news = ana.news_for(&ben).await.unwrap();

    let first = ben.take(news.clone()).await.unwrap();
    let frontier = ben.app.store().frontier().await.unwrap();
    let second = ben.take(news).await.unwrap();

    assert_eq!((first, second), (2, 0));
    assert_eq!(ben.app.store().frontier().await.unwrap(), frontier);
    assert!(ana.news_for(&ben).await.unwrap().is_empty());
    assert_eq!(sync(&ana, &ben).await.unwrap(), 0);
}

#[tokio::test]
async fn a_replica_passes_on_what_it_got_from_others() {
    let (ana, ben, cleo) = (replica("ana"), replica("ben"), replica("cleo"));
    ana.add("milk", "1").await.unwrap();
    sync(&ana, &ben).await.unwrap();
    ben.remove("milk").await.unwrap();
    ben.add("bread", "2").await.unwrap();

    sync(&ben, &cleo).await.unwrap();

    let board = cleo.board().await.unwrap();
    assert_eq!(board.notes().into_iter().collect::<Vec<_>>(), [("bread", "2")]);
    let replicas: BTreeSet<String> = ["ana", "ben"].map(|name| format!("replica-{name}")).into();
    let list = quipu::core::ListStreams { limit: 9, ..Default::default() };
    let streams = cleo.app.store().list_streams(list).await.unwrap();
    assert_eq!(streams.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), replicas);
}

#[tokio::test]
async fn replicas_that_edit_offline_show_the_same_board_when_they_meet() {
    let directory = tempfile::tempdir().unwrap();
    let mut replicas = Vec::new();
    for name in ["ana", "ben"] {
        let app = Quipu::open(directory.path().join(format!("{name}.quipu"))).await.unwrap();
        replicas.push(Replica::new(name, app));
    }
    let [ana, ben] = &replicas[..] else { unreachable!("there are two") };
    ana.add("milk", "1").await.unwrap();
    sync(ana, ben).await.unwrap();

    ana.remove("milk").await.unwrap();
    ana.add("milk", "2").await.unwrap();
    ben.remove("milk").await.unwrap();
    sync(ana, ben).await.unwrap();

    let (at_ana, at_ben) = (ana.board().await.unwrap(), ben.board().await.unwrap());
    assert_eq!(*at_ana, *at_ben);
    assert_eq!(at_ben.notes().into_iter().collect::<Vec<_>>(), [("milk", "2")]);
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::run(app, directory.path()).await.unwrap();
}
