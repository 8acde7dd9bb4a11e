//! Courses and students: their events, the two models, and what may be asked for.

use std::collections::BTreeSet;

use quipu::{Command, Ctx, DecisionModel, Event, EventSet, Events, Evolve, TagValue, events};
use serde::{Deserialize, Serialize};

/// The most courses of a student.
pub(crate) const COURSES_MAX: usize = 3;

#[derive(TagValue, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CourseId(pub(crate) String);

#[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StudentId(pub(crate) String);

#[derive(Event, Serialize, Deserialize)]
#[event(type = "school.course-defined")]
pub(crate) struct CourseDefined {
    #[tag]
    pub(crate) course: CourseId,
    pub(crate) capacity: usize,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "school.capacity-changed")]
pub(crate) struct CapacityChanged {
    #[tag]
    pub(crate) course: CourseId,
    pub(crate) capacity: usize,
}

/// Has two tags: it is about a course, and about a student.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "school.student-subscribed")]
pub(crate) struct Subscribed {
    #[tag]
    pub(crate) course: CourseId,
    #[tag]
    pub(crate) student: StudentId,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "school.student-unsubscribed")]
pub(crate) struct Unsubscribed {
    #[tag]
    pub(crate) course: CourseId,
    #[tag]
    pub(crate) student: StudentId,
}

#[derive(EventSet)]
pub(crate) enum SeatsEvent {
    Defined(CourseDefined),
    Changed(CapacityChanged),
    Subscribed(Subscribed),
    Unsubscribed(Unsubscribed),
}

/// How many places a course has, and how many are taken.
#[derive(DecisionModel, Clone, Debug)]
#[model(events = SeatsEvent)]
pub(crate) struct Seats {
    #[key]
    pub(crate) course: CourseId,
    pub(crate) capacity: Option<usize>,
    pub(crate) taken: usize,
}

impl Evolve for Seats {
    fn evolve(&mut self, event: &SeatsEvent) {
        match event {
            SeatsEvent::Defined(defined) => self.capacity = Some(defined.capacity),
            SeatsEvent::Changed(changed) => self.capacity = Some(changed.capacity),
            SeatsEvent::Subscribed(_) => self.taken += 1,
            SeatsEvent::Unsubscribed(_) => self.taken -= 1,
        }
    }
}

#[derive(EventSet)]
pub(crate) enum CourseLoadEvent {
    Subscribed(Subscribed),
    Unsubscribed(Unsubscribed),
}

/// The courses of a student.
#[derive(DecisionModel, Clone, Debug)]
#[model(events = CourseLoadEvent)]
pub(crate) struct CourseLoad {
    #[key]
    pub(crate) student: StudentId,
    pub(crate) courses: BTreeSet<CourseId>,
}

impl Evolve for CourseLoad {
    fn evolve(&mut self, event: &CourseLoadEvent) {
        match event {
            CourseLoadEvent::Subscribed(own) => self.courses.insert(own.course.clone()),
            CourseLoadEvent::Unsubscribed(own) => self.courses.remove(&own.course),
        };
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the course is defined already")]
    Defined,
    #[error("there is no course {}", .0.0)]
    NotDefined(CourseId),
    #[error("all {capacity} places are taken")]
    Full { capacity: usize },
    #[error("{taken} places are taken already")]
    Taken { taken: usize },
    #[error("nobody has more than {COURSES_MAX} courses")]
    TooManyCourses,
    #[error("the student is in the course already")]
    Subscribed,
    #[error("the student is not in the course")]
    NotSubscribed,
}

impl Seats {
    fn capacity(&self) -> Result<usize, Refusal> {
        self.capacity.ok_or_else(|| Refusal::NotDefined(self.course.clone()))
    }
}

pub(crate) struct DefineCourse {
    pub(crate) course: CourseId,
    pub(crate) capacity: usize,
}

impl Command for DefineCourse {
    type Model = Seats;
    type Error = Refusal;

    fn model(&self) -> Seats {
        Seats::of(self.course.clone())
    }

    fn decide(&self, seats: &Seats, _ctx: &Ctx) -> Result<Events, Refusal> {
        if seats.capacity.is_some() {
            return Err(Refusal::Defined);
        }
        Ok(events![CourseDefined { course: self.course.clone(), capacity: self.capacity }])
    }
}

pub(crate) struct ChangeCapacity {
    pub(crate) course: CourseId,
    pub(crate) capacity: usize,
}

impl Command for ChangeCapacity {
    type Model = Seats;
    type Error = Refusal;

    fn model(&self) -> Seats {
        Seats::of(self.course.clone())
    }

    fn decide(&self, seats: &Seats, _ctx: &Ctx) -> Result<Events, Refusal> {
        seats.capacity()?;
        if seats.taken > self.capacity {
            return Err(Refusal::Taken { taken: seats.taken });
        }
        Ok(events![CapacityChanged { course: self.course.clone(), capacity: self.capacity }])
    }
}

/// Rests on a course and on a student, and is appended only if neither has changed meanwhile. What
/// happens to other courses and other students is not in its way.
pub(crate) struct Subscribe {
    pub(crate) course: CourseId,
    pub(crate) student: StudentId,
}

impl Command for Subscribe {
    type Model = (Seats, CourseLoad);
    type Error = Refusal;

    fn model(&self) -> (Seats, CourseLoad) {
        (Seats::of(self.course.clone()), CourseLoad::of(self.student.clone()))
    }

    fn decide(&self, (seats, load): &(Seats, CourseLoad), _ctx: &Ctx) -> Result<Events, Refusal> {
        let capacity = seats.capacity()?;
        if load.courses.contains(&self.course) {
            return Err(Refusal::Subscribed);
        }
        if seats.taken >= capacity {
            return Err(Refusal::Full { capacity });
        }
        if load.courses.len() >= COURSES_MAX {
            return Err(Refusal::TooManyCourses);
        }
        Ok(events![Subscribed { course: self.course.clone(), student: self.student.clone() }])
    }
}

/// Rests on the student alone: a place that becomes free breaks no rule of the course.
pub(crate) struct Unsubscribe {
    pub(crate) course: CourseId,
    pub(crate) student: StudentId,
}

impl Command for Unsubscribe {
    type Model = CourseLoad;
    type Error = Refusal;

    fn model(&self) -> CourseLoad {
        CourseLoad::of(self.student.clone())
    }

    fn decide(&self, load: &CourseLoad, _ctx: &Ctx) -> Result<Events, Refusal> {
        if !load.courses.contains(&self.course) {
            return Err(Refusal::NotSubscribed);
        }
        Ok(events![Unsubscribed { course: self.course.clone(), student: self.student.clone() }])
    }
}
