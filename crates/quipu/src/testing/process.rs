//! The test kit of processes: what has happened, what time it is, what is done about it.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quipu_core::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use uuid::Uuid;

use super::world::record;
use crate::command::{Command, Events};
use crate::decode::decode_recorded;
use crate::process::{
    Begin, ErasedCommand, InputRef, Instance, Pending, Planned, Process, ScheduledTimer, Taken,
    TimerChange,
};
use crate::upcast::Upcasters;

/// Begins a test of a process, at 1970-01-01. Nothing has happened yet.
///
/// Events go through the codec and the upcasters, to the instances that they are routed to, as they
/// would in production. Commands are not executed: they count as such, until
/// [`rejects`](ProcessTest::rejects) says otherwise, and decide nothing. See [`Process`] for an
/// example.
pub fn process<P: Process>() -> ProcessTest<P> {
    ProcessTest {
        upcasters: Upcasters::new(),
        now: Timestamp::from_micros(0),
        count: 0,
        instances: BTreeMap::new(),
        timers: BTreeMap::new(),
        executed: Vec::new(),
        unrouted: Vec::new(),
    }
}

/// A process in a test.
pub struct ProcessTest<P: Process> {
    upcasters: Upcasters,
    now: Timestamp,
    /// How many inputs and timers there were: their positions and ids.
    count: u64,
    instances: BTreeMap<String, Instance<P>>,
    timers: BTreeMap<(Timestamp, EventId), Timer<P>>,
    executed: Vec<Executed>,
    /// Events that no instance took.
    unrouted: Vec<String>,
}

struct Timer<P: Process> {
    instance: String,
    name: String,
    value: P::Timer,
}

/// A command that the process wanted executed.
struct Executed {
    instance: String,
    step: String,
    command: Box<dyn ErasedCommand>,
    is_checked: bool,
}

#[expect(clippy::return_self_not_must_use, reason = "the checks are done")]
impl<P: Process> ProcessTest<P> {
    /// Reads the events through these upcasters.
    ///
    /// # Panics
    ///
    /// If they are refused.
    pub fn upcasters(mut self, upcasters: Upcasters) -> Self {
        if let Err(error) = upcasters.check() {
            panic!("the upcasters are refused: {error}");
        }
        self.upcasters = upcasters;
        self
    }

    /// Lets these events happen, one after the other, at the present time.
    ///
    /// # Panics
    ///
    /// If an event cannot be encoded or read.
    pub fn given(mut self, events: Events) -> Self {
        let (pending, _) = match events.into_parts() {
            Ok(parts) => parts,
            Err(error) => panic!("a given event cannot be appended: {error}"),
        };
        for event in &pending {
            self.count += 1;
            let mut event = record(event, Position::new(self.count), Revision::FIRST);
            event.recorded_at = self.now;
            self.happen(&event);
        }
        self
    }

    /// Lets time pass. Timers that come due on the way fire, each at its time.
    pub fn advance(mut self, duration: Duration) -> Self {
        let target = self.now.plus(duration);
        while let Some(entry) = self.timers.first_entry() {
            let (due, scheduled) = *entry.key();
            if due > target {
                break;
            }
            let Timer { instance, name: timer, value } = entry.remove();
            self.now = self.now.max(due);
            let at = self.place();
            self.take(&instance, &at, &Taken::Timer { timer, scheduled, value }, Begin::NotAllowed);
        }
        self.now = target;
        self
    }

    /// Lets the command of a step have been refused, the last one of that step.
    ///
    /// # Panics
    ///
    /// If there is no such command.
    pub fn rejects(mut self, step: &str, reason: &str) -> Self {
        let Some(executed) = self.executed.iter().rev().find(|own| own.step == step) else {
            panic!("no command of step \"{step}\" can be refused\n{self}");
        };
        let instance = executed.instance.clone();
        if let Some(own) = self.instances.get_mut(&instance) {
            own.revoke(step);
        }
        let at = self.place();
        let taken = Taken::Rejected { step: step.to_owned(), reason: reason.to_owned() };
        self.take(&instance, &at, &taken, Begin::NotAllowed);
        self
    }

    /// Checks that a step executes this command. Each command counts for one check.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn then_executes<C: Command + PartialEq + fmt::Debug>(
        self,
        step: &str,
        expected: &C,
    ) -> Self {
        let text = format!("{expected:?}");
        self.then_executes_where(step, &text, |command: &C| command == expected)
    }

    /// Checks that a step executes a command of which `is_so` is true; `expected` says in words what
    /// that is.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn then_executes_where<C: Command>(
        mut self,
        step: &str,
        expected: &str,
        is_so: impl Fn(&C) -> bool,
    ) -> Self {
        let found = self.executed.iter_mut().find(|own| {
            let command = (*own.command).as_any().downcast_ref::<C>();
            !own.is_checked && own.step == step && command.is_some_and(&is_so)
        });
        match found {
            Some(found) => found.is_checked = true,
            None => panic!(
                "step \"{step}\" does not execute the {} that is expected: {expected}\n{self}",
                type_name::<C>()
            ),
        }
        self
    }

    /// Checks that no command is executed but those that were checked before.
    ///
    /// # Panics
    ///
    /// If one is.
    pub fn then_nothing(self) -> Self {
        assert!(self.executed.iter().all(|own| own.is_checked), "more is executed\n{self}");
        self
    }

    /// Checks that a timer of that name is set, to come due so long from now.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn then_waits(self, timer: &str, duration: Duration) -> Self {
        let due = self.now.plus(duration);
        let is_set = self.timers.iter().any(|((own, _), set)| set.name == timer && *own == due);
        assert!(is_set, "no timer \"{timer}\" is due after {duration:?}\n{self}");
        self
    }

    /// Checks that no timer of that name is set.
    ///
    /// # Panics
    ///
    /// If there is one.
    pub fn then_no_timer(self, timer: &str) -> Self {
        let is_set = self.timers.values().any(|set| set.name == timer);
        assert!(!is_set, "the timer \"{timer}\" is set\n{self}");
        self
    }

    /// Checks that an instance is completed.
    ///
    /// # Panics
    ///
    /// If it is not, or never began.
    pub fn then_completed(self, instance: &str) -> Self {
        let is_completed = self.instances.get(instance).is_some_and(Instance::is_completed);
        assert!(is_completed, "instance \"{instance}\" is not completed\n{self}");
        self
    }

    /// Checks that an instance is not completed, and has begun.
    ///
    /// # Panics
    ///
    /// If it is, or never began.
    pub fn then_goes_on(self, instance: &str) -> Self {
        let goes_on = self.instances.get(instance).is_some_and(|own| !own.is_completed());
        assert!(goes_on, "instance \"{instance}\" is completed or never began\n{self}");
        self
    }

    fn happen(&mut self, event: &RecordedEvent) {
        let parts = match decode_recorded::<P::Event>(event, &self.upcasters) {
            Ok(parts) => parts,
            Err(error) => panic!("{error}: {}", error.problem),
        };
        let mut is_taken = false;
        for own in parts {
            let Ok(own) = own.transpose() else { continue };
            let Some((instance, begin)) = P::route(&own.event).into_instance() else { continue };
            let at = InputRef::new(event, own.part);
            is_taken |= self.take(&instance, &at, &Taken::Event(Box::new(own)), begin);
        }
        if !is_taken {
            self.unrouted.push(format!("{} in {}", event.event_type, event.stream));
        }
    }

    /// Gives an input to an instance; answers whether it took it.
    fn take(&mut self, name: &str, at: &InputRef, taken: &Taken<P>, begin: Begin) -> bool {
        let mut instance = self.instances.remove(name).unwrap_or_default();
        if !instance.accepts(at, taken, begin) {
            if begin == Begin::Allowed || instance.has_begun() {
                self.instances.insert(name.to_owned(), instance);
            }
            return false;
        }
        instance.take(at, taken);
        let Planned { effects, commands, timers, completes } = match instance.plan(at, taken) {
            Ok(planned) => planned,
            Err(error) => panic!("{error}\n{self}"),
        };
        for change in timers {
            self.change_timer(name, &mut instance, change);
        }
        instance.begin_effects(Pending { at: at.clone(), taken: None, effects });
        instance.end_effects();
        if completes {
            self.timers.retain(|_, timer| timer.instance != name);
            instance.complete();
        }
        self.instances.insert(name.to_owned(), instance);
        self.executed.extend(commands.into_iter().map(|(step, command)| Executed {
            instance: name.to_owned(),
            step,
            command,
            is_checked: false,
        }));
        true
    }

    fn change_timer(
        &mut self,
        instance: &str,
        own: &mut Instance<P>,
        change: TimerChange<P::Timer>,
    ) {
        let (TimerChange::Schedule { timer, .. } | TimerChange::Cancel { timer }) = &change;
        if let Some(ScheduledTimer { id, due }) = own.timer(timer).cloned() {
            self.timers.remove(&(due, id));
            own.unset_timer(id);
        }
        if let TimerChange::Schedule { timer: name, due, value } = change {
            let id = self.place().id;
            own.set_timer(&name, ScheduledTimer { id, due });
            let instance = instance.to_owned();
            self.timers.insert((due, id), Timer { instance, name, value });
        }
    }

    /// A place for something that is no event of the test's.
    fn place(&mut self) -> InputRef {
        self.count += 1;
        InputRef {
            id: EventId::from_uuid(Uuid::from_u64_pair(1, self.count)),
            part: 0,
            position: Position::new(self.count),
            stream: StreamName::new("$quipu.test").expect("the name is a valid constant"),
            revision: Revision::FIRST,
            recorded_at: self.now,
        }
    }
}

impl<P: Process> fmt::Display for ProcessTest<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "executed:")?;
        for Executed { instance, step, command, is_checked } in &self.executed {
            let mark = if *is_checked { " (checked)" } else { "" };
            writeln!(f, "  {step} of {instance}: {}{mark}", (**command).name())?;
        }
        writeln!(f, "set timers:")?;
        for ((due, _), Timer { instance, name, .. }) in &self.timers {
            let micros = due.as_micros().saturating_sub(self.now.as_micros());
            let after = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
            writeln!(f, "  {name} of {instance}, due after {after:?}")?;
        }
        writeln!(f, "given, but taken by no instance:")?;
        for event in &self.unrouted {
            writeln!(f, "  {event}")?;
        }
        Ok(())
    }
}

impl<P: Process> fmt::Debug for ProcessTest<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTest").field("name", &P::NAME).finish_non_exhaustive()
    }
}
