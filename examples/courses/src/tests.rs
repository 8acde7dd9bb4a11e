//! What the courses promise.

use quipu::testing::given;
use quipu::{Quipu, events};
use quipu_testing::served::Served;

use crate::course::{
    COURSES_MAX, CapacityChanged, ChangeCapacity, CourseDefined, CourseLoad, DefineCourse, Refusal,
    Seats, Subscribed, Unsubscribe, Unsubscribed,
};
use crate::race::race;
use crate::{course, student, subscribe};

fn defined(name: &str, capacity: usize) -> CourseDefined {
    CourseDefined { course: course(name), capacity }
}

fn subscribed(course_name: &str, student_name: &str) -> Subscribed {
    Subscribed { course: course(course_name), student: student(student_name) }
}

#[test]
fn a_course_is_defined_once() {
    let define = || DefineCourse { course: course("maths"), capacity: 2 };

    given(events![]).when(define()).then(events![defined("maths", 2)]);
    given(events![defined("maths", 9)]).when(define()).then_rejected(&Refusal::Defined);
}

#[test]
fn a_full_course_takes_nobody_until_somebody_leaves() {
    let full = || events![defined("maths", 1), subscribed("maths", "ana")];
    let left = Unsubscribed { course: course("maths"), student: student("ana") };

    given(full()).when(subscribe("maths", "ben")).then_rejected(&Refusal::Full { capacity: 1 });
    given(full().and(left))
        .when(subscribe("maths", "ben"))
        .then(events![subscribed("maths", "ben")]);
}

#[test]
fn a_student_has_no_more_courses_than_allowed() {
    let names = ["art", "biology", "chemistry"];
    assert_eq!(names.len(), COURSES_MAX);
    let mut history = events![defined("drama", 9)];
    for name in names {
        history = history.and(defined(name, 9)).and(subscribed(name, "ana"));
    }

    given(history).when(subscribe("drama", "ana")).then_rejected(&Refusal::TooManyCourses);
}

#[test]
fn a_student_subscribes_once_to_a_course_that_there_is() {
    given(events![defined("maths", 9), subscribed("maths", "ana")])
        .when(subscribe("maths", "ana"))
        .then_rejected(&Refusal::Subscribed);
    given(events![])
        .when(subscribe("maths", "ana"))
        .then_rejected(&Refusal::NotDefined(course("maths")));
}

#[test]
fn only_who_is_in_a_course_leaves_it() {
    let leave = || Unsubscribe { course: course("maths"), student: student("ana") };

    given(events![defined("maths", 9), subscribed("maths", "ana")])
        .when(leave())
        .then(events![Unsubscribed { course: course("maths"), student: student("ana") }]);
    given(events![defined("maths", 9), subscribed("maths", "ben")])
        .when(leave())
        .then_rejected(&Refusal::NotSubscribed);
}

#[test]
fn the_capacity_changes_but_not_below_the_places_taken() {
    let change = |capacity| ChangeCapacity { course: course("maths"), capacity };
    let history =
        || events![defined("maths", 9), subscribed("maths", "ana"), subscribed("maths", "ben")];

    given(history())
        .when(change(2))
        .then(events![CapacityChanged { course: course("maths"), capacity: 2 }]);
    given(history()).when(change(1)).then_rejected(&Refusal::Taken { taken: 2 });
    given(events![]).when(change(1)).then_rejected(&Refusal::NotDefined(course("maths")));
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_capacity_gets_in_however_many_want_to() {
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open(directory.path().join("courses.quipu")).await.unwrap();
    app.execute(DefineCourse { course: course("maths"), capacity: 7 }).await.unwrap();

    let students = (0..40).map(|number| subscribe("maths", format!("s{number}")));
    let race = race(&app, students).await.unwrap();

    assert_eq!((race.attempts.len(), race.refusals.len()), (7, 33));
    assert!(race.refusals.iter().all(|refusal| *refusal == Refusal::Full { capacity: 7 }));
    assert_eq!(app.load(Seats::of(course("maths"))).await.unwrap().taken, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_student_is_over_the_limit_however_many_courses_are_asked_for_at_once() {
    let app = Quipu::in_memory();
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    for name in &names {
        app.execute(DefineCourse { course: course(name), capacity: 2 }).await.unwrap();
    }

    // Courses and students at once: 5 students want all of the 10 courses, of 2 places each.
    let students = ["a", "b", "c", "d", "e"];
    let all = students.iter().flat_map(|own| names.iter().map(|name| subscribe(name, *own)));
    let race = race(&app, all).await.unwrap();

    let mut load_sum = 0;
    for own in students {
        let load = app.load(CourseLoad::of(student(own))).await.unwrap();
        assert!(load.courses.len() <= COURSES_MAX, "{own}: {:?}", load.courses);
        load_sum += load.courses.len();
    }
    for name in &names {
        let seats = app.load(Seats::of(course(name))).await.unwrap();
        assert!(seats.taken <= 2, "{name}: {}", seats.taken);
    }
    assert_eq!(race.attempts.len(), load_sum);
    assert_eq!(race.attempts.len() + race.refusals.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_share_neither_course_nor_student_never_conflict() {
    let app = Quipu::in_memory();
    for number in 0..30 {
        let course = course(format!("c{number}"));
        app.execute(DefineCourse { course, capacity: 1 }).await.unwrap();
    }

    let pairs = (0..30).map(|number| subscribe(format!("c{number}"), format!("s{number}")));
    let race = race(&app, pairs).await.unwrap();

    assert_eq!(race.attempts, [1; 30]);
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::run(&app).await.unwrap();
}
