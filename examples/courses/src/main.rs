//! Courses: `cargo run -p courses` lets students race for places, and shows who gets in.
//! `--store` names the store to use.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod course;
mod race;
#[cfg(test)]
mod tests;

use std::error::Error;

use course::{
    COURSES_MAX, ChangeCapacity, CourseId, CourseLoad, DefineCourse, Seats, StudentId, Subscribe,
    Unsubscribe,
};
use quipu::Quipu;
use race::{Race, race};

fn course(text: impl Into<String>) -> CourseId {
    CourseId(text.into())
}

fn student(text: impl Into<String>) -> StudentId {
    StudentId(text.into())
}

fn subscribe(course_name: impl Into<String>, student_name: impl Into<String>) -> Subscribe {
    Subscribe { course: course(course_name), student: student(student_name) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let app = example_store::open(directory.path()).await?;
    run(&app).await
}

async fn run(app: &Quipu) -> Result<(), Box<dyn Error>> {
    println!("Courses in the log {}", app.store().identity().log);

    last_places(app).await?;
    one_student(app).await?;
    nothing_in_common(app).await
}

async fn last_places(app: &Quipu) -> Result<(), Box<dyn Error>> {
    app.execute(DefineCourse { course: course("maths"), capacity: 10 }).await?;
    println!("\n60 students want the 10 places in maths, all at once:");
    show(&race(app, (1..=60).map(|number| subscribe("maths", format!("s{number}")))).await?);

    println!("\nMaths gets 2 more places, and 20 more students want them:");
    app.execute(ChangeCapacity { course: course("maths"), capacity: 12 }).await?;
    show(&race(app, (61..=80).map(|number| subscribe("maths", format!("s{number}")))).await?);

    match app.execute(ChangeCapacity { course: course("maths"), capacity: 5 }).await {
        Ok(_) => println!("Maths has fewer places than students"),
        Err(error) => match error.rejection() {
            Some(refusal) => println!("\nMaths cannot have only 5 places: {refusal}"),
            None => return Err(error.into()),
        },
    }
    let seats = app.load(Seats::of(course("maths"))).await?;
    println!("Maths has {} of {} places taken", seats.taken, seats.capacity.unwrap_or(0));
    Ok(())
}

async fn one_student(app: &Quipu) -> Result<(), Box<dyn Error>> {
    let names = ["art", "biology", "chemistry", "drama", "english", "french"];
    for name in names {
        app.execute(DefineCourse { course: course(name), capacity: 30 }).await?;
    }
    println!("\nAna wants 6 courses at once, and nobody has more than {COURSES_MAX}:");
    show(&race(app, names.map(|name| subscribe(name, "ana"))).await?);

    let load = app.load(CourseLoad::of(student("ana"))).await?;
    if let Some(left) = load.courses.first() {
        app.execute(Unsubscribe { course: left.clone(), student: student("ana") }).await?;
        println!("Ana leaves {}, and can take another one", left.0);
    }
    Ok(())
}

async fn nothing_in_common(app: &Quipu) -> Result<(), Box<dyn Error>> {
    for number in 1..=30 {
        let course = course(format!("seminar{number}"));
        app.execute(DefineCourse { course, capacity: 1 }).await?;
    }
    println!("\n30 students each want a course of their own, all at once:");
    let pairs = (1..=30).map(|n| subscribe(format!("seminar{n}"), format!("guest{n}")));
    let race = race(app, pairs).await?;
    show(&race);
    if race.attempts.iter().all(|attempts| *attempts == 1) {
        println!("No two of them rest on the same events, so none was in the way of another");
    }
    Ok(())
}

fn show(race: &Race) {
    let Race { attempts, refusals } = race;
    println!("  {} got in, {} did not", attempts.len(), refusals.len());
    if let Some(refusal) = refusals.first() {
        println!("  refused: {refusal}");
    }
    let again = attempts.iter().filter(|attempts| **attempts > 1).count();
    let most = attempts.iter().max().unwrap_or(&0);
    println!("  decided more than once: {again} of those who got in; at most {most} times");
}
