//! Decisions that rest on a query: the examples that dynamic consistency boundaries are known by.
//!
//! Each decision reads what it rests on, decides, and appends if that is still so.

use crate::append::{Append, AppendError, Appended};
use crate::event::RecordedEvent;
use crate::place::Position;
use crate::query::{Query, QueryItem};
use crate::read::ReadAll;

use super::subject::{Subject, item, name, query, tagged};

cases!(
    "decisions",
    a_course_takes_students_up_to_its_capacity,
    a_student_takes_a_limited_number_of_courses,
    two_subscriptions_to_the_last_place_of_a_course_conflict,
    subscriptions_to_different_courses_do_not_conflict,
    a_renamed_course_does_not_disturb_subscriptions,
    a_changed_capacity_disturbs_subscriptions,
    a_username_is_claimed_once,
    a_released_username_can_be_claimed_again,
    two_claims_of_one_username_conflict,
    claims_of_different_usernames_do_not_conflict,
    invoice_numbers_have_no_gap,
    two_invoices_with_one_number_conflict,
    an_opt_in_token_is_used_once,
    an_opt_in_token_of_another_address_is_not_found,
    a_price_that_was_shown_is_honoured,
    a_price_that_changed_meanwhile_is_a_conflict,
    a_change_of_another_products_price_is_no_conflict,
    a_double_submission_is_found_by_its_token,
);

/// What a decision rests on.
struct Known {
    query: Query,
    frontier: Position,
    events: Vec<RecordedEvent>,
}

fn look(subject: &Subject<'_>, query: Query) -> Known {
    let (frontier, events) = subject.read_all_with_frontier(ReadAll::new(query.clone()));
    Known { query, frontier, events }
}

impl Known {
    fn count(&self, text: &str) -> usize {
        let wanted = item(text);
        self.events.iter().filter(|event| wanted.matches_recorded(event)).count()
    }

    /// Appends an event if nothing that the decision rests on has changed.
    fn record(
        &self,
        subject: &Subject<'_>,
        stream: &str,
        event_type: &str,
        tags: &[&str],
    ) -> Result<Appended, AppendError> {
        let append = Append::new()
            .event(name(stream), tagged(event_type, tags))
            .fail_if(self.query.clone(), Some(self.frontier));
        subject.try_append(append)
    }
}

fn is_conflict(answer: &Result<Appended, AppendError>) -> bool {
    matches!(answer, Err(AppendError::Conflict { .. }))
}

fn any_of<const N: usize>(items: [QueryItem; N]) -> Query {
    Query { items: items.into() }
}

/// What a subscription of a student to a course rests on: the course, and the student's courses.
fn look_at_subscription(subject: &Subject<'_>, course: &str, student: &str) -> Known {
    let of_course = item(&format!("type:CourseDefined,CapacityChanged,Subscribed tag:{course}"));
    let of_student = item(&format!("type:Subscribed tag:{student}"));
    look(subject, any_of([of_course, of_student]))
}

/// Subscribes a student to a course that takes two, as one of at most two courses.
fn subscribe(subject: &Subject<'_>, course: &str, student: &str) -> bool {
    let known = look_at_subscription(subject, course, student);
    let taken = known.count(&format!("type:Subscribed tag:{course}"));
    let own = known.count(&format!("type:Subscribed tag:{student}"));
    let is_open = known.count(&format!("type:CourseDefined tag:{course}")) == 1;
    if !is_open || taken >= 2 || own >= 2 {
        return false;
    }
    known.record(subject, "enrolment-1", "Subscribed", &[course, student]).is_ok()
}

fn define_course(subject: &Subject<'_>, course: &str) {
    subject.add_tagged("courses", "CourseDefined", &[course]);
}

fn a_course_takes_students_up_to_its_capacity(subject: &Subject<'_>) {
    define_course(subject, "course:c1");

    let outcomes: Vec<bool> = ["student:s1", "student:s2", "student:s3"]
        .iter()
        .map(|student| subscribe(subject, "course:c1", student))
        .collect();

    assert_eq!(outcomes, [true, true, false]);
    assert!(!subscribe(subject, "course:unknown", "student:s1"));
}

fn a_student_takes_a_limited_number_of_courses(subject: &Subject<'_>) {
    let courses = ["course:c1", "course:c2", "course:c3"];
    for course in courses {
        define_course(subject, course);
    }

    let outcomes: Vec<bool> =
        courses.iter().map(|course| subscribe(subject, course, "student:s1")).collect();

    assert_eq!(outcomes, [true, true, false]);
}

fn two_subscriptions_to_the_last_place_of_a_course_conflict(subject: &Subject<'_>) {
    define_course(subject, "course:c1");
    let first = look_at_subscription(subject, "course:c1", "student:s1");
    let second = look_at_subscription(subject, "course:c1", "student:s2");

    let first = first.record(subject, "enrolment-1", "Subscribed", &["course:c1", "student:s1"]);
    let second = second.record(subject, "enrolment-2", "Subscribed", &["course:c1", "student:s2"]);

    assert!(first.is_ok());
    assert!(is_conflict(&second), "{second:?}");
}

fn subscriptions_to_different_courses_do_not_conflict(subject: &Subject<'_>) {
    define_course(subject, "course:c1");
    define_course(subject, "course:c2");
    let first = look_at_subscription(subject, "course:c1", "student:s1");
    let second = look_at_subscription(subject, "course:c2", "student:s2");

    let first = first.record(subject, "enrolment-1", "Subscribed", &["course:c1", "student:s1"]);
    let second = second.record(subject, "enrolment-1", "Subscribed", &["course:c2", "student:s2"]);

    assert!(first.is_ok());
    assert!(second.is_ok(), "one stream is no boundary: {second:?}");
}

fn a_renamed_course_does_not_disturb_subscriptions(subject: &Subject<'_>) {
    define_course(subject, "course:c1");
    let known = look_at_subscription(subject, "course:c1", "student:s1");
    subject.add_tagged("courses", "CourseRenamed", &["course:c1"]);

    let answer = known.record(subject, "enrolment-1", "Subscribed", &["course:c1", "student:s1"]);

    assert!(answer.is_ok(), "{answer:?}");
}

fn a_changed_capacity_disturbs_subscriptions(subject: &Subject<'_>) {
    define_course(subject, "course:c1");
    let known = look_at_subscription(subject, "course:c1", "student:s1");
    subject.add_tagged("courses", "CapacityChanged", &["course:c1"]);

    let answer = known.record(subject, "enrolment-1", "Subscribed", &["course:c1", "student:s1"]);

    assert!(is_conflict(&answer), "{answer:?}");
}

fn look_at_username(subject: &Subject<'_>, username: &str) -> Known {
    look(subject, query(&format!("type:Claimed,Released tag:{username}")))
}

fn claim(subject: &Subject<'_>, user: &str, username: &str) -> bool {
    let known = look_at_username(subject, username);
    let is_free = known.count("type:Claimed") == known.count("type:Released");
    is_free && known.record(subject, user, "Claimed", &[username]).is_ok()
}

fn a_username_is_claimed_once(subject: &Subject<'_>) {
    assert!(claim(subject, "user-1", "username:ada"));
    assert!(!claim(subject, "user-2", "username:ada"));
}

fn a_released_username_can_be_claimed_again(subject: &Subject<'_>) {
    assert!(claim(subject, "user-1", "username:ada"));
    subject.add_tagged("user-1", "Released", &["username:ada"]);

    assert!(claim(subject, "user-2", "username:ada"));
    assert!(!claim(subject, "user-3", "username:ada"));
}

fn two_claims_of_one_username_conflict(subject: &Subject<'_>) {
    let first = look_at_username(subject, "username:ada");
    let second = look_at_username(subject, "username:ada");

    let first = first.record(subject, "user-1", "Claimed", &["username:ada"]);
    let second = second.record(subject, "user-2", "Claimed", &["username:ada"]);

    assert!(first.is_ok());
    assert!(is_conflict(&second), "{second:?}");
}

fn claims_of_different_usernames_do_not_conflict(subject: &Subject<'_>) {
    let first = look_at_username(subject, "username:ada");
    let second = look_at_username(subject, "username:adam");

    assert!(first.record(subject, "user-1", "Claimed", &["username:ada"]).is_ok());
    assert!(second.record(subject, "user-2", "Claimed", &["username:adam"]).is_ok());
}

/// The number of the next invoice, which is behind the last one's.
fn look_at_invoices(subject: &Subject<'_>) -> (usize, Known) {
    let known = look(subject, query("type:InvoiceCreated"));
    (known.events.len() + 1, known)
}

fn invoice_numbers_have_no_gap(subject: &Subject<'_>) {
    for expected in 1..=5 {
        let (number, known) = look_at_invoices(subject);
        assert_eq!(number, expected);
        let invoice = format!("invoice-{number}");
        known.record(subject, &invoice, "InvoiceCreated", &[]).expect("nobody is in between");
    }
}

fn two_invoices_with_one_number_conflict(subject: &Subject<'_>) {
    let (first_number, first) = look_at_invoices(subject);
    let (second_number, second) = look_at_invoices(subject);
    assert_eq!(first_number, second_number);

    let first = first.record(subject, "invoice-1", "InvoiceCreated", &[]);
    let second = second.record(subject, "invoice-one", "InvoiceCreated", &[]);

    assert!(first.is_ok());
    assert!(is_conflict(&second), "{second:?}");
    assert_eq!(look_at_invoices(subject).0, 2);
}

/// Confirms a sign-up, if its token is of that address and was not used.
fn confirm(subject: &Subject<'_>, address: &str, token: &str) -> bool {
    let known = look(subject, query(&format!("tag:{address} tag:{token}")));
    let may_confirm =
        known.count("type:SignUpInitiated") == 1 && known.count("type:SignUpConfirmed") == 0;
    may_confirm && known.record(subject, "sign-up", "SignUpConfirmed", &[address, token]).is_ok()
}

fn an_opt_in_token_is_used_once(subject: &Subject<'_>) {
    subject.add_tagged("sign-up", "SignUpInitiated", &["address:ada", "token:111"]);

    assert!(confirm(subject, "address:ada", "token:111"));
    assert!(!confirm(subject, "address:ada", "token:111"));
}

fn an_opt_in_token_of_another_address_is_not_found(subject: &Subject<'_>) {
    subject.add_tagged("sign-up", "SignUpInitiated", &["address:ada", "token:111"]);
    subject.add_tagged("sign-up", "SignUpInitiated", &["address:bob", "token:222"]);

    assert!(!confirm(subject, "address:ada", "token:222"));
    assert!(confirm(subject, "address:bob", "token:222"));
}

fn look_at_prices(subject: &Subject<'_>, products: &[&str]) -> Known {
    let items =
        products.iter().map(|product| item(&format!("type:Defined,PriceChanged tag:{product}")));
    look(subject, Query { items: items.collect() })
}

fn define_products(subject: &Subject<'_>) {
    for product in ["product:p1", "product:p2", "product:p3"] {
        subject.add_tagged("catalogue", "Defined", &[product]);
    }
}

fn a_price_that_was_shown_is_honoured(subject: &Subject<'_>) {
    define_products(subject);
    let cart = look_at_prices(subject, &["product:p1", "product:p2"]);
    assert_eq!(cart.events.len(), 2);

    let answer = cart.record(subject, "cart-1", "Ordered", &["product:p1", "product:p2"]);

    assert!(answer.is_ok(), "{answer:?}");
}

fn a_price_that_changed_meanwhile_is_a_conflict(subject: &Subject<'_>) {
    define_products(subject);
    let cart = look_at_prices(subject, &["product:p1", "product:p2"]);
    subject.add_tagged("catalogue", "PriceChanged", &["product:p2"]);

    let answer = cart.record(subject, "cart-1", "Ordered", &["product:p1", "product:p2"]);

    assert!(is_conflict(&answer), "{answer:?}");
}

fn a_change_of_another_products_price_is_no_conflict(subject: &Subject<'_>) {
    define_products(subject);
    let cart = look_at_prices(subject, &["product:p1", "product:p2"]);
    subject.add_tagged("catalogue", "PriceChanged", &["product:p3"]);

    let answer = cart.record(subject, "cart-1", "Ordered", &["product:p1", "product:p2"]);

    assert!(answer.is_ok(), "{answer:?}");
}

fn a_double_submission_is_found_by_its_token(subject: &Subject<'_>) {
    let submit = |token: &str| {
        let order = Append::new()
            .event(name("order-1"), tagged("Ordered", &[token]))
            .fail_if(query(&format!("type:Ordered tag:{token}")), None);
        subject.try_append(order)
    };

    assert!(submit("submission:1").is_ok());
    assert!(is_conflict(&submit("submission:1")));
    assert!(submit("submission:2").is_ok());
}
