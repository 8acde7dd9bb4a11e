//! An instance of a process: its state, and what it waits for. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use quipu_core::{EventId, Timestamp};

use super::effects::{Due, Effect, Effects, ErasedCommand};
use super::record::{InputRef, ScheduledTimer};
use super::{Begin, Input, Process};
use crate::recorded::Recorded;

/// An input that an instance has or may take.
pub(crate) enum Taken<P: Process> {
    Event(Box<Recorded<P::Event>>),
    Timer { timer: String, scheduled: EventId, value: P::Timer },
    Rejected { step: String, reason: String },
}

impl<P: Process> Taken<P> {
    fn as_input(&self) -> Input<'_, P::Event, P::Timer> {
        match self {
            Self::Event(event) => Input::Event(event),
            Self::Timer { value, .. } => Input::Timer(value),
            Self::Rejected { step, reason } => Input::Rejected { step, reason },
        }
    }
}

/// An input whose effects are not done yet.
pub(crate) struct Pending<P: Process> {
    pub(crate) at: InputRef,
    /// None where its data was erased or an upcaster drops it.
    pub(crate) taken: Option<Arc<Taken<P>>>,
    pub(crate) effects: Vec<String>,
}

/// What is to be done about an input.
pub(crate) struct Planned<T> {
    /// All of it, as it is recorded.
    pub(crate) effects: Vec<String>,
    pub(crate) commands: Vec<(String, Box<dyn ErasedCommand>)>,
    pub(crate) timers: Vec<TimerChange<T>>,
    pub(crate) completes: bool,
}

/// What happens to a timer.
pub(crate) enum TimerChange<T> {
    Schedule { timer: String, due: Timestamp, value: T },
    Cancel { timer: String },
}

/// Two effects of one input have the same step.
#[derive(Debug, thiserror::Error)]
#[error("two commands of one input have the step \"{step}\": give each a step of its own")]
pub(crate) struct SameStep {
    step: String,
}

/// One instance of a process.
pub(crate) struct Instance<P: Process> {
    state: P,
    has_begun: bool,
    is_completed: bool,
    /// Of the event that it began with.
    pub(crate) correlation: Option<String>,
    pub(crate) tenant: Option<String>,
    seen: HashSet<(EventId, u32)>,
    timers: BTreeMap<String, ScheduledTimer>,
    /// The steps that were executed, and not undone.
    executed: Vec<String>,
    /// The steps of the pending input that were refused.
    refused: HashSet<String>,
    pub(crate) pending: Option<Pending<P>>,
}

impl<P: Process> Default for Instance<P> {
    fn default() -> Self {
        Self {
            state: P::default(),
            has_begun: false,
            is_completed: false,
            correlation: None,
            tenant: None,
            seen: HashSet::new(),
            timers: BTreeMap::new(),
            executed: Vec::new(),
            refused: HashSet::new(),
            pending: None,
        }
    }
}

impl<P: Process> Instance<P> {
    /// Whether an input means something to the instance as it is.
    pub(crate) fn accepts(&self, at: &InputRef, taken: &Taken<P>, begin: Begin) -> bool {
        if self.is_completed || self.seen.contains(&(at.id, at.part)) {
            return false;
        }
        let has_begun = self.has_begun || begin == Begin::Allowed;
        match taken {
            // One that was taken back or replaced, when it was firing already, is none.
            Taken::Timer { timer, scheduled, .. } => {
                self.timers.get(timer).is_some_and(|own| own.id == *scheduled)
            }
            Taken::Event(_) | Taken::Rejected { .. } => has_begun,
        }
    }

    /// Takes an input into the state.
    pub(crate) fn take(&mut self, at: &InputRef, taken: &Taken<P>) {
        match taken {
            Taken::Event(event) if !self.has_begun => {
                let correlation = event.correlation().map(str::to_owned);
                self.correlation = Some(correlation.unwrap_or_else(|| at.text()));
                self.tenant = event.tenant().map(str::to_owned);
            }
            Taken::Timer { timer, .. } => {
                self.timers.remove(timer);
            }
            Taken::Event(_) | Taken::Rejected { .. } => {}
        }
        self.pass(at);
        self.state.evolve(&taken.as_input());
    }

    /// Remembers an input that has nothing left to take into the state.
    pub(crate) fn pass(&mut self, at: &InputRef) {
        self.has_begun = true;
        self.seen.insert((at.id, at.part));
    }

    /// What is to be done about an input that the state has taken in.
    pub(crate) fn plan(
        &self,
        at: &InputRef,
        taken: &Taken<P>,
    ) -> Result<Planned<P::Timer>, SameStep> {
        let mut effects = Effects::new();
        self.state.react(&taken.as_input(), &mut effects);
        let mut planned = Planned {
            effects: Vec::new(),
            commands: Vec::new(),
            timers: Vec::new(),
            completes: false,
        };
        for effect in effects.into_list() {
            planned.effects.push(effect.describe());
            if let Effect::Compensate = effect {
                for step in self.executed.iter().rev() {
                    let mut undoing = Effects::new();
                    self.state.undo(step, &mut undoing);
                    for effect in undoing.into_list() {
                        planned.effects.push(format!("undo: {}", effect.describe()));
                        planned.add(at, effect)?;
                    }
                }
            } else {
                planned.add(at, effect)?;
            }
        }
        Ok(planned)
    }

    /// An input was recorded: nothing further is taken before it is done.
    pub(crate) fn begin_effects(&mut self, pending: Pending<P>) {
        self.refused.clear();
        self.pending = Some(pending);
    }

    /// The effects of the pending input are done.
    pub(crate) fn end_effects(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        if pending.effects.iter().any(|effect| effect == "compensate") {
            self.executed.clear();
        }
        let steps = pending.effects.iter().filter_map(|effect| effect.strip_prefix("execute "));
        let executed = steps.filter(|step| !self.refused.contains(*step)).map(str::to_owned);
        self.executed.extend(executed);
        self.refused.clear();
    }

    pub(crate) fn refuse(&mut self, step: &str) {
        self.refused.insert(step.to_owned());
    }

    pub(crate) fn is_refused(&self, step: &str) -> bool {
        self.refused.contains(step)
    }

    /// Takes it back that a step was executed: a test says so afterwards.
    pub(crate) fn revoke(&mut self, step: &str) {
        if let Some(index) = self.executed.iter().rposition(|own| own == step) {
            self.executed.remove(index);
        }
    }

    pub(crate) fn set_timer(&mut self, timer: &str, scheduled: ScheduledTimer) {
        self.timers.insert(timer.to_owned(), scheduled);
    }

    pub(crate) fn unset_timer(&mut self, scheduled: EventId) {
        self.timers.retain(|_, own| own.id != scheduled);
    }

    /// The timer of that name that is set.
    pub(crate) fn timer(&self, timer: &str) -> Option<&ScheduledTimer> {
        self.timers.get(timer)
    }

    pub(crate) fn timers(&self) -> &BTreeMap<String, ScheduledTimer> {
        &self.timers
    }

    pub(crate) fn complete(&mut self) {
        self.is_completed = true;
        self.timers.clear();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.is_completed
    }
}

impl<T> Planned<T> {
    fn add(&mut self, at: &InputRef, effect: Effect<T>) -> Result<(), SameStep> {
        match effect {
            Effect::Execute { step, .. } if self.commands.iter().any(|(own, _)| *own == step) => {
                return Err(SameStep { step });
            }
            Effect::Execute { step, command } => self.commands.push((step, command)),
            Effect::Schedule { timer, due, value } => {
                let due = match due {
                    Due::After(duration) => at.recorded_at.plus(duration),
                    Due::At(moment) => moment,
                };
                self.timers.push(TimerChange::Schedule { timer, due, value });
            }
            Effect::Cancel { timer } => self.timers.push(TimerChange::Cancel { timer }),
            // What undoes a step is not undone in turn.
            Effect::Compensate => {}
            Effect::Complete => self.completes = true,
        }
        Ok(())
    }
}
