//! Checkpoints beside the log: moved by comparison, under an epoch, in one life of one log.

use crate::checkpoint::{Checkpoint, CheckpointError, SwapCheckpoint};
use crate::place::Position;
use crate::store::{Incarnation, LogId, LogIdentity};

use super::subject::Subject;

cases!(
    "checkpoints",
    an_unknown_checkpoint_is_nowhere,
    a_checkpoint_is_got_as_it_was_moved,
    a_checkpoint_moves_from_where_it_is_believed,
    a_checkpoint_that_is_elsewhere_does_not_move,
    a_checkpoint_that_is_there_is_not_nowhere,
    a_checkpoint_may_move_back,
    a_checkpoint_may_be_before_everything,
    a_stale_epoch_is_refused,
    a_stale_epoch_is_refused_though_the_place_is_right,
    a_higher_epoch_takes_over,
    an_epoch_may_be_used_again,
    epochs_are_of_each_checkpoint,
    another_logs_checkpoint_is_refused,
    a_checkpoint_of_a_life_to_come_is_refused,
    a_checkpoint_beyond_the_frontier_is_refused,
    an_earlier_lifes_checkpoint_is_accepted_up_to_its_end,
    an_earlier_lifes_checkpoint_is_refused_behind_its_end,
    a_stored_checkpoint_of_an_earlier_life_is_read,
    the_lowest_end_of_the_lives_between_counts,
    names_are_listed_in_order,
    a_name_has_a_size,
    checkpoints_are_not_in_the_log,
);

fn identity(subject: &Subject<'_>) -> LogIdentity {
    subject.store().identity()
}

fn get(subject: &Subject<'_>, name: &str) -> Result<Option<Checkpoint>, CheckpointError> {
    let store = subject.store();
    subject.wait(store.checkpoints().get(name))
}

fn position(subject: &Subject<'_>, name: &str) -> Option<Position> {
    get(subject, name).expect("the store answers").map(|it| it.position)
}

fn swap_to(
    subject: &Subject<'_>,
    name: &str,
    epoch: u64,
    old: Option<Position>,
    new: Checkpoint,
) -> Result<(), CheckpointError> {
    let store = subject.store();
    let swap = SwapCheckpoint { name: name.to_owned(), epoch, old, new };
    subject.wait(store.checkpoints().swap(swap))
}

fn swap(
    subject: &Subject<'_>,
    name: &str,
    epoch: u64,
    old: Option<Position>,
    new: Position,
) -> Result<(), CheckpointError> {
    swap_to(subject, name, epoch, old, Checkpoint::new(new, &identity(subject)))
}

/// The places of three events.
fn places(subject: &Subject<'_>) -> [Position; 3] {
    ["A", "B", "C"].map(|it| subject.add("a-1", &[it]).last.expect("it has a place"))
}

fn an_unknown_checkpoint_is_nowhere(subject: &Subject<'_>) {
    assert_eq!(position(subject, "consumer"), None);
}

fn a_checkpoint_is_got_as_it_was_moved(subject: &Subject<'_>) {
    let [first, ..] = places(subject);
    let new = Checkpoint::new(first, &identity(subject));

    swap_to(subject, "consumer", 0, None, new).expect("it moves");

    assert_eq!(get(subject, "consumer").expect("the store answers"), Some(new));
}

fn a_checkpoint_moves_from_where_it_is_believed(subject: &Subject<'_>) {
    let [first, second, third] = places(subject);

    swap(subject, "consumer", 0, None, first).expect("it moves");
    swap(subject, "consumer", 0, Some(first), second).expect("it moves");
    swap(subject, "consumer", 0, Some(second), third).expect("it moves");

    assert_eq!(position(subject, "consumer"), Some(third));
}

fn assert_moved(answer: Result<(), CheckpointError>, expected: Option<Position>) {
    match answer {
        Err(CheckpointError::Moved { actual, .. }) => assert_eq!(actual, expected),
        other => panic!("a checkpoint that moved was expected, got {other:?}"),
    }
}

fn a_checkpoint_that_is_elsewhere_does_not_move(subject: &Subject<'_>) {
    let [first, second, third] = places(subject);
    assert_moved(swap(subject, "consumer", 0, Some(first), second), None);
    swap(subject, "consumer", 0, None, second).expect("it moves");

    assert_moved(swap(subject, "consumer", 0, Some(first), third), Some(second));
    assert_moved(swap(subject, "consumer", 0, Some(third), third), Some(second));

    assert_eq!(position(subject, "consumer"), Some(second));
}

fn a_checkpoint_that_is_there_is_not_nowhere(subject: &Subject<'_>) {
    let [first, second, _] = places(subject);
    swap(subject, "consumer", 0, None, first).expect("it moves");

    assert_moved(swap(subject, "consumer", 0, None, second), Some(first));
}

fn a_checkpoint_may_move_back(subject: &Subject<'_>) {
    let [first, _, third] = places(subject);
    swap(subject, "consumer", 0, None, third).expect("it moves");

    swap(subject, "consumer", 0, Some(third), first).expect("it moves back");

    assert_eq!(position(subject, "consumer"), Some(first));
}

fn a_checkpoint_may_be_before_everything(subject: &Subject<'_>) {
    swap(subject, "consumer", 0, None, Position::START).expect("it moves");

    assert_eq!(position(subject, "consumer"), Some(Position::START));
}

fn assert_stale(answer: Result<(), CheckpointError>, stale: u64, holding: u64) {
    match answer {
        Err(CheckpointError::StaleEpoch { epoch, current, .. }) => {
            assert_eq!((epoch, current), (stale, holding));
        }
        other => panic!("a stale epoch was expected, got {other:?}"),
    }
}

fn a_stale_epoch_is_refused(subject: &Subject<'_>) {
    let [first, second, third] = places(subject);
    swap(subject, "consumer", 3, None, first).expect("it moves");
    swap(subject, "consumer", 4, Some(first), second).expect("it moves");

    assert_stale(swap(subject, "consumer", 3, Some(first), third), 3, 4);

    assert_eq!(position(subject, "consumer"), Some(second));
}

fn a_stale_epoch_is_refused_though_the_place_is_right(subject: &Subject<'_>) {
    let [first, second, _] = places(subject);
    swap(subject, "consumer", 4, None, first).expect("it moves");

    assert_stale(swap(subject, "consumer", 3, Some(first), second), 3, 4);
    assert_stale(swap(subject, "consumer", 0, Some(first), second), 0, 4);

    assert_eq!(position(subject, "consumer"), Some(first));
}

fn a_higher_epoch_takes_over(subject: &Subject<'_>) {
    let [first, second, third] = places(subject);
    swap(subject, "consumer", 1, None, first).expect("it moves");

    swap(subject, "consumer", 9, Some(first), second).expect("it moves");

    assert_stale(swap(subject, "consumer", 1, Some(second), third), 1, 9);
}

fn an_epoch_may_be_used_again(subject: &Subject<'_>) {
    let [first, second, third] = places(subject);

    swap(subject, "consumer", 5, None, first).expect("it moves");
    swap(subject, "consumer", 5, Some(first), second).expect("it moves");
    swap(subject, "consumer", 5, Some(second), third).expect("it moves");

    assert_eq!(position(subject, "consumer"), Some(third));
}

fn epochs_are_of_each_checkpoint(subject: &Subject<'_>) {
    let [first, ..] = places(subject);
    swap(subject, "one", 7, None, first).expect("it moves");

    swap(subject, "two", 1, None, first).expect("it moves");

    assert_eq!(position(subject, "two"), Some(first));
}

fn another_logs_checkpoint_is_refused(subject: &Subject<'_>) {
    let [first, ..] = places(subject);
    let own = identity(subject);
    let found = LogId::generate();
    let foreign = Checkpoint { log: found, ..Checkpoint::new(first, &own) };

    let answer = swap_to(subject, "consumer", 0, None, foreign);

    assert!(
        matches!(answer, Err(CheckpointError::OtherLog { found: f, own: o })
            if f == found && o == own.log),
        "{answer:?}"
    );
    assert_eq!(position(subject, "consumer"), None);
}

fn a_checkpoint_of_a_life_to_come_is_refused(subject: &Subject<'_>) {
    let [first, ..] = places(subject);
    let own = identity(subject);

    for number in [own.incarnation.get() + 1, u64::MAX, 0] {
        let incarnation = Incarnation::new(number);
        let foreign = Checkpoint { incarnation, ..Checkpoint::new(first, &own) };
        let answer = swap_to(subject, "consumer", 0, None, foreign);
        assert!(matches!(answer, Err(CheckpointError::OtherLife { .. })), "{answer:?}");
    }
    assert_eq!(position(subject, "consumer"), None);
}

fn a_checkpoint_beyond_the_frontier_is_refused(subject: &Subject<'_>) {
    places(subject);

    for beyond in [subject.frontier().next(), Position::MAX] {
        let answer = swap(subject, "consumer", 0, None, beyond);
        assert!(
            matches!(answer, Err(CheckpointError::BeyondEnd { position, .. })
                if position == beyond),
            "{answer:?}"
        );
    }
    swap(subject, "consumer", 0, None, subject.frontier()).expect("it moves");
}

fn an_earlier_lifes_checkpoint_is_accepted_up_to_its_end(subject: &Subject<'_>) {
    let [.., last] = places(subject);
    let earlier = Checkpoint::new(last, &identity(subject));
    subject.begin_life();
    places(subject);

    let now = identity(subject);
    swap_to(subject, "consumer", 0, None, earlier).expect("both lives have it");

    assert_eq!(now.log, earlier.log);
    assert!(now.incarnation > earlier.incarnation);
    assert_eq!(position(subject, "consumer"), Some(last));
}

fn an_earlier_lifes_checkpoint_is_refused_behind_its_end(subject: &Subject<'_>) {
    let [.., last] = places(subject);
    let before = identity(subject);
    subject.begin_life();
    let [later, ..] = places(subject);

    let answer = swap_to(subject, "consumer", 0, None, Checkpoint::new(later, &before));

    match answer {
        Err(CheckpointError::OtherLife { position, found, began_at }) => {
            assert_eq!((position, found), (later, before.incarnation));
            assert!(began_at >= Some(last));
            assert!(began_at < Some(later));
        }
        other => panic!("another life was expected, got {other:?}"),
    }
}

fn a_stored_checkpoint_of_an_earlier_life_is_read(subject: &Subject<'_>) {
    let [first, second, _] = places(subject);
    swap(subject, "consumer", 0, None, first).expect("it moves");

    subject.begin_life();

    assert_eq!(position(subject, "consumer"), Some(first));
    swap(subject, "consumer", 0, Some(first), second).expect("it moves on");
}

fn the_lowest_end_of_the_lives_between_counts(subject: &Subject<'_>) {
    let before = identity(subject);
    let [.., last] = places(subject);
    subject.begin_life();
    let [.., last_of_second] = places(subject);
    let second = identity(subject);
    subject.begin_life();
    let [third, ..] = places(subject);

    let accepted = [
        Checkpoint::new(last, &before),
        Checkpoint::new(last_of_second, &second),
        Checkpoint::new(third, &identity(subject)),
    ];
    let refused = [Checkpoint::new(last_of_second, &before), Checkpoint::new(third, &second)];

    for (number, checkpoint) in accepted.into_iter().enumerate() {
        let name = format!("consumer {number}");
        swap_to(subject, &name, 0, None, checkpoint).expect("its life reaches there");
    }
    for checkpoint in refused {
        let answer = swap_to(subject, "another", 0, None, checkpoint);
        assert!(matches!(answer, Err(CheckpointError::OtherLife { .. })), "{answer:?}");
    }
}

fn names_are_listed_in_order(subject: &Subject<'_>) {
    for name in ["b", "a", "ü", "B"] {
        swap(subject, name, 0, None, Position::START).expect("it moves");
    }
    let store = subject.store();

    let names = subject.wait(store.checkpoints().list()).expect("the store answers");

    assert_eq!(names, ["B", "a", "b", "ü"]);
}

fn a_name_has_a_size(subject: &Subject<'_>) {
    for name in [String::new(), "n".repeat(256)] {
        let answer = swap(subject, &name, 0, None, Position::START);
        assert!(matches!(answer, Err(CheckpointError::InvalidName)), "{answer:?}");
    }
    let longest = "n".repeat(255);

    swap(subject, &longest, 0, None, Position::START).expect("it is a name");

    assert_eq!(position(subject, &longest), Some(Position::START));
}

fn checkpoints_are_not_in_the_log(subject: &Subject<'_>) {
    swap(subject, "consumer", 0, None, Position::START).expect("it moves");

    assert!(subject.log().is_empty());
}
