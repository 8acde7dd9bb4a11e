//! The one task of a group: between the log, the machine, the members and the operators.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    ComponentKey, ComponentRequest, ComponentState, ComponentStatus, EventStore, LeaseError,
    PARKED_ITEMS_MAX, Position, RegistryError, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::backing::{Backing, Fetched, Pulled, Replay};
use super::machine::{Dispatch, GroupMachine, Note};
use super::member::{Command, Group, GroupEnd, GroupInfo, Joined, Joining, MemberInfo, Which};
use super::roster::MemberId;
use super::settings::GroupSettings;
use crate::ownership::Ownership;
use crate::places::KeepError;
use crate::runner::describe;

/// Dispatches are numbered behind their owner's epoch, so that numbers rise from one owner to the
/// next.
const EPOCH_SHIFT: u32 = 40;
/// How many commands wait before those who send them do.
const COMMAND_COUNT_MAX: usize = 1_024;
/// How many commands are taken before anything else is looked at.
const COMMANDS_AT_ONCE: usize = 256;
/// How many messages wait for one member before it is stalled.
const MESSAGE_COUNT_MAX: usize = 64;
/// How long to wait before the log, or what is kept, is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// How often to report, to look for requests and to let stalled members try again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A group that has nothing new to say says so every so often.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Whose a group is, and how it ends.
#[derive(Clone)]
pub struct Hosting {
    /// The store in which the group is owned and reported.
    pub store: Arc<dyn EventStore>,
    /// What it is in the registry. Its lease is named after it.
    pub key: ComponentKey,
    /// Who runs it, for people.
    pub owner: String,
    /// How long nobody runs it after a crash.
    pub lease_ttl: Duration,
    /// How long it stays without members.
    pub idle_timeout: Duration,
}

impl std::fmt::Debug for Hosting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosting").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Hosting {
    /// What the lease is called.
    pub fn lease_name(&self) -> String {
        format!("{}/{}/v{}", self.key.kind.as_str(), self.key.name, self.key.version)
    }
}

/// Runs a group in a task of the present tokio runtime, until it is over.
///
/// It waits for the lease if another owner holds it, for as long as a lease lasts: so long one that
/// crashed counts as being there.
pub fn spawn<B: Backing>(
    backing: Arc<B>,
    settings: GroupSettings,
    hosting: Hosting,
) -> Group<B::Event> {
    let (commands, taken) = mpsc::channel(COMMAND_COUNT_MAX);
    let (leaves, leaving) = mpsc::unbounded_channel();
    let (end, ended) = watch::channel(None);
    tokio::spawn(async move {
        let reason = run(backing, settings, &hosting, (taken, leaving)).await;
        end.send_replace(Some(reason));
    });
    Group { commands, leaves, ended }
}

/// What members say: commands, and that they leave.
type Words<E> = (mpsc::Receiver<Command<E>>, mpsc::UnboundedReceiver<MemberId>);

/// Runs until the group is over. Commands that nobody takes any more are dropped behind the reason.
async fn run<B: Backing>(
    backing: Arc<B>,
    settings: GroupSettings,
    hosting: &Hosting,
    words: Words<B::Event>,
) -> GroupEnd {
    let owned = match acquire(hosting).await {
        Ok(owned) => owned,
        Err(end) => return end,
    };
    let lost = owned.lost();
    let own = async {
        let machine = claim(&*backing, settings, owned.epoch()).await?;
        let drive = Drive::new(backing, settings, hosting, owned.epoch(), machine, words);
        Err::<(), _>(drive.run().await)
    };
    let end = tokio::select! {
        Err(end) = own => end,
        () = lost => return GroupEnd::Lost,
    };
    owned.release().await;
    end
}

async fn acquire(hosting: &Hosting) -> Result<Ownership, GroupEnd> {
    let (name, ttl) = (hosting.lease_name(), hosting.lease_ttl);
    let patience = Instant::now() + ttl + PAUSE * 2;
    loop {
        let store = Arc::clone(&hosting.store);
        match Ownership::acquire(store, &name, &hosting.owner, ttl).await {
            Ok(owned) => return Ok(owned),
            Err(LeaseError::Held { owner, .. }) if Instant::now() > patience => {
                return Err(GroupEnd::Elsewhere { owner });
            }
            Err(LeaseError::Held { .. } | LeaseError::Storage(_)) => sleep(PAUSE / 3).await,
            Err(other) => return Err(GroupEnd::Failed { cause: describe(&other) }),
        }
    }
}

async fn claim<B: Backing>(
    backing: &B,
    settings: GroupSettings,
    epoch: u64,
) -> Result<GroupMachine<B::Event>, GroupEnd> {
    loop {
        match backing.claim(epoch).await {
            Ok(kept) => {
                let number = epoch << EPOCH_SHIFT;
                let seed = number ^ u64::from(std::process::id());
                let (checkpoint, parked) = (kept.checkpoint, kept.parked);
                return Ok(GroupMachine::new(settings, checkpoint, parked, number, seed));
            }
            Err(KeepError::Fenced) => return Err(GroupEnd::Lost),
            Err(KeepError::Moved | KeepError::Unavailable(_)) => sleep(PAUSE).await,
            Err(refused @ KeepError::Refused(_)) => {
                return Err(GroupEnd::Failed { cause: describe(&refused) });
            }
        }
    }
}

/// What came of something that was asked of the backing.
enum Done<E> {
    Kept(Result<(), KeepError>),
    Fetched(Result<Fetched<E>, KeepError>, Option<oneshot::Sender<Result<usize, String>>>),
    Lag(u64),
}

/// What is left of two replays, each of which brought back all before its first place.
fn both(one: Option<Replay>, other: Option<Replay>) -> Option<Replay> {
    match (one, other) {
        (
            Some(Replay::Range { from, before }),
            Some(Replay::Range { from: other_from, before: other_before }),
        ) => Some(Replay::Range { from: from.max(other_from), before: before.max(other_before) }),
        (one, other) => other.or(one),
    }
}

/// A replay that was asked for, and who waits for how many events come back.
type AskedReplay = (Which, oneshot::Sender<Result<usize, String>>);

/// What happened.
enum Happened<E> {
    Command(Option<Command<E>>),
    Left(MemberId),
    Done(Done<E>),
    Pulled(Option<Pulled<E>>),
    Wake,
}

/// How members look from here.
struct Seat<E> {
    joining: Joining,
    dispatches: mpsc::Sender<Vec<Dispatch<E>>>,
    total_before: u64,
    last_second: u64,
}

struct Drive<'a, B: Backing> {
    backing: Arc<B>,
    hosting: &'a Hosting,
    settings: GroupSettings,
    epoch: u64,
    machine: GroupMachine<B::Event>,
    commands: mpsc::Receiver<Command<B::Event>>,
    leaves: mpsc::UnboundedReceiver<MemberId>,
    seats: BTreeMap<MemberId, Seat<B::Event>>,
    /// Reads the log ahead, by little: what it has is waiting in a channel.
    feed: Option<Feed<B::Event>>,
    works: JoinSet<Done<B::Event>>,
    /// Replays that wait for what is on its way to being parked: it is meant too.
    replays: Vec<AskedReplay>,
    /// What is left of a replay that was too much for one time. It goes on when what it brought back
    /// is settled.
    rest: Option<Replay>,
    is_paused: bool,
    /// The checkpoint was put elsewhere: what the machine knows does not count any more.
    is_reset: bool,
    is_caught_up: bool,
    lag: u64,
    settled_before: u64,
    settled_last_second: u64,
    told: Option<ComponentStatus>,
    told_at: Instant,
    started: Instant,
    look_at: Instant,
    /// Since when there are no members.
    empty_since: Option<Instant>,
}

/// A task that reads the log.
struct Feed<E> {
    pulled: mpsc::Receiver<Pulled<E>>,
    task: JoinHandle<()>,
}

impl<E> Drop for Feed<E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<'a, B: Backing> Drive<'a, B> {
    fn new(
        backing: Arc<B>,
        settings: GroupSettings,
        hosting: &'a Hosting,
        epoch: u64,
        machine: GroupMachine<B::Event>,
        (commands, leaves): Words<B::Event>,
    ) -> Self {
        let now = Instant::now();
        Self {
            backing,
            hosting,
            settings,
            epoch,
            machine,
            commands,
            leaves,
            seats: BTreeMap::new(),
            feed: None,
            works: JoinSet::new(),
            replays: Vec::new(),
            rest: None,
            is_paused: false,
            is_reset: false,
            is_caught_up: false,
            lag: 0,
            settled_before: 0,
            settled_last_second: 0,
            told: None,
            told_at: now,
            started: now,
            look_at: now,
            empty_since: Some(now),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn run(mut self) -> GroupEnd {
        let end = self.go_on().await;
        // What others may own by now is not touched any more.
        if end != GroupEnd::Lost {
            self.finish(&end).await;
        }
        end
    }

    async fn go_on(&mut self) -> GroupEnd {
        loop {
            if Instant::now() >= self.look_at
                && let Some(end) = self.look_up().await
            {
                return end;
            }
            self.machine.tick(self.now());
            self.hand_out();
            self.begin_note();
            self.begin_replays();
            let end = match self.wait().await {
                Happened::Command(command) => self.take_commands(command),
                Happened::Left(member) => {
                    self.leave(member);
                    None
                }
                Happened::Done(done) => self.take_done(done),
                Happened::Pulled(pulled) => {
                    self.take_pulled(pulled);
                    None
                }
                Happened::Wake => None,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn wait(&mut self) -> Happened<B::Event> {
        let wants_more = self.machine.has_room() && !self.is_paused;
        if wants_more && self.feed.is_none() {
            self.feed = Some(self.read());
        }
        let mut wake = self.look_at;
        if let Some(at) = self.machine.next_wake() {
            wake = wake.min(self.started + at);
        }
        let feed = self.feed.as_mut().filter(|_| wants_more);
        let pulled = async {
            match feed {
                Some(feed) => feed.pulled.recv().await,
                None => std::future::pending().await,
            }
        };
        // Answers come first: they make room.
        tokio::select! {
            biased;
            command = self.commands.recv() => Happened::Command(command),
            Some(member) = self.leaves.recv() => Happened::Left(member),
            Some(Ok(done)) = self.works.join_next() => Happened::Done(done),
            pulled = pulled => Happened::Pulled(pulled),
            () = sleep_until(wake) => Happened::Wake,
        }
    }

    fn read(&self) -> Feed<B::Event> {
        let (tell, pulled) = mpsc::channel(1);
        let (backing, place) = (Arc::clone(&self.backing), self.machine.read_to());
        let task = tokio::spawn(async move {
            let mut source = loop {
                match backing.read_after(place).await {
                    Ok(source) => break source,
                    Err(_) => sleep(PAUSE).await,
                }
            };
            while let Ok(next) = source.next().await {
                if tell.send(next).await.is_err() {
                    return;
                }
            }
            sleep(PAUSE).await;
        });
        Feed { pulled, task }
    }

    fn take_pulled(&mut self, pulled: Option<Pulled<B::Event>>) {
        match pulled {
            Some(Pulled::Items(items, place)) => {
                for item in items {
                    self.machine.offer(item);
                }
                self.machine.reached(place);
            }
            Some(Pulled::CaughtUp) => self.is_caught_up = true,
            Some(Pulled::FellBehind) => self.is_caught_up = false,
            // The log could not be read: it is read again behind what was.
            None => {
                self.feed = None;
                self.is_caught_up = false;
            }
        }
    }

    /// Hands out what may leave, a message for each member.
    fn hand_out(&mut self) {
        if self.is_paused {
            return;
        }
        let now = self.now();
        let mut messages: BTreeMap<MemberId, Vec<Dispatch<B::Event>>> = BTreeMap::new();
        while let Some(dispatch) = self.machine.dispatch(now) {
            messages.entry(dispatch.member).or_default().push(dispatch);
        }
        for (member, dispatches) in messages {
            let Some(seat) = self.seats.get(&member) else { continue };
            match seat.dispatches.try_send(dispatches) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(dispatches)) => {
                    for dispatch in dispatches {
                        self.machine.stall(member, dispatch.number);
                    }
                }
                Err(mpsc::error::TrySendError::Closed(_)) => self.leave(member),
            }
        }
    }

    fn begin_note(&mut self) {
        if let Some(note) = self.machine.next_note(self.now()) {
            self.works.spawn(self.keep(note));
        }
    }

    /// Keeps a note, for as long as it takes.
    fn keep(&self, note: Note<B::Event>) -> Pin<Box<dyn Future<Output = Done<B::Event>> + Send>> {
        let (backing, epoch) = (Arc::clone(&self.backing), self.epoch);
        Box::pin(async move {
            loop {
                match backing.keep(epoch, &note).await {
                    Err(KeepError::Unavailable(_)) => sleep(PAUSE).await,
                    kept => return Done::Kept(kept),
                }
            }
        })
    }

    fn take_done(&mut self, done: Done<B::Event>) -> Option<GroupEnd> {
        match done {
            Done::Kept(Ok(())) => self.machine.finish_note(),
            Done::Kept(Err(KeepError::Refused(cause))) => {
                return Some(GroupEnd::Failed { cause: describe(&*cause) });
            }
            Done::Kept(Err(_)) => return Some(GroupEnd::Lost),
            Done::Fetched(fetched, answer) => {
                let count = fetched.map(|Fetched { items, rest }| {
                    let count = items.len();
                    self.machine.replay(items);
                    self.rest = both(self.rest.take(), rest);
                    count
                });
                // Who asked may not wait for the answer.
                if let Some(answer) = answer {
                    answer.send(count.map_err(|error| describe(&error))).ok();
                }
            }
            Done::Lag(lag) => self.lag = lag,
        }
        None
    }

    fn take_commands(&mut self, first: Option<Command<B::Event>>) -> Option<GroupEnd> {
        // Without a handle to it nobody can join any more.
        let mut next = Some(first.unwrap_or(Command::End(GroupEnd::Stopped)));
        for _ in 0..COMMANDS_AT_ONCE {
            let Some(command) = next.take() else { break };
            if let Some(end) = self.take_command(command) {
                return Some(end);
            }
            next = self.commands.try_recv().ok();
        }
        match next {
            Some(command) => self.take_command(command),
            None => None,
        }
    }

    fn take_command(&mut self, command: Command<B::Event>) -> Option<GroupEnd> {
        let now = self.now();
        match command {
            Command::Join(joining, answer) => self.join(joining, answer),
            Command::Ack(member, numbers, answer) => {
                let known = numbers.into_iter().filter(|number| self.machine.ack(member, *number));
                count_to(answer, known);
            }
            Command::Nack(member, numbers, nack, cause, answer) => {
                let machine = &mut self.machine;
                let nack = |number: &u64| machine.nack(member, *number, nack, &cause, now);
                count_to(answer, numbers.into_iter().filter(nack));
            }
            Command::SetCapacity(member, capacity) => self.machine.set_capacity(member, capacity),
            Command::Info(answer) => {
                answer.send(self.info()).ok();
            }
            Command::Parked(answer) => {
                answer.send(self.machine.parked().cloned().collect()).ok();
            }
            Command::Replay(_, answer) if self.replays.len() >= COMMAND_COUNT_MAX => {
                answer.send(Err("too many replays wait to begin".to_owned())).ok();
            }
            Command::Replay(which, answer) => self.replays.push((which, answer)),
            Command::Drop(which, answer) => {
                answer.send(self.machine.drop_parked(which)).ok();
            }
            Command::End(reason) => return Some(reason),
        }
        None
    }

    fn join(
        &mut self,
        joining: Joining,
        answer: oneshot::Sender<Result<Joined<B::Event>, GroupEnd>>,
    ) {
        let count_max = joining.member_count_max;
        if count_max > 0 && self.seats.len() >= count_max {
            answer.send(Err(GroupEnd::Full { count_max })).ok();
            return;
        }
        let (dispatches, receiver) = mpsc::channel(MESSAGE_COUNT_MAX);
        let id = self.machine.join(joining.capacity);
        let seat = Seat { joining, dispatches, total_before: 0, last_second: 0 };
        self.seats.insert(id, seat);
        self.empty_since = None;
        if answer.send(Ok(Joined { id, dispatches: receiver })).is_err() {
            self.leave(id);
        }
    }

    fn leave(&mut self, member: MemberId) {
        self.machine.leave(member);
        self.seats.remove(&member);
        if self.seats.is_empty() {
            self.empty_since = Some(Instant::now());
        }
    }

    fn begin_replays(&mut self) {
        if !self.machine.is_parking() {
            for (which, answer) in std::mem::take(&mut self.replays) {
                self.replay(which, answer);
            }
            if self.machine.replaying_count() == 0
                && let Some(rest) = self.rest.take()
            {
                self.fetch(rest, None);
            }
        }
    }

    fn replay(&mut self, which: Which, answer: oneshot::Sender<Result<usize, String>>) {
        let replay = match which {
            Which::Before(place) => Replay::Range { from: 0, before: Some(place) },
            Which::All if self.settings.parked_max.is_none() => {
                Replay::Range { from: 0, before: None }
            }
            Which::All => Replay::Items(self.machine.replayable(None)),
            Which::At(place) => Replay::Items(self.machine.replayable(Some(place))),
        };
        self.fetch(replay, Some(answer));
    }

    fn fetch(&mut self, replay: Replay, answer: Option<oneshot::Sender<Result<usize, String>>>) {
        let (backing, epoch) = (Arc::clone(&self.backing), self.epoch);
        self.works.spawn(async move {
            loop {
                match backing.read_parked(epoch, replay.clone()).await {
                    // What goes on by itself, nobody would ask for again.
                    Err(KeepError::Unavailable(_)) if answer.is_none() => sleep(PAUSE).await,
                    fetched => return Done::Fetched(fetched, answer),
                }
            }
        });
    }

    fn state(&self) -> ComponentState {
        if self.is_paused {
            ComponentState::Paused
        } else if self.machine.counts().waiting > 0 {
            ComponentState::Retrying
        } else if self.is_caught_up {
            ComponentState::Live
        } else {
            ComponentState::CatchingUp
        }
    }

    fn info(&self) -> GroupInfo {
        let statuses = self.machine.members();
        let members = statuses.into_iter().filter_map(|status| {
            let seat = self.seats.get(&status.id)?;
            Some(MemberInfo {
                id: status.id,
                name: seat.joining.name.clone(),
                principal: seat.joining.principal.clone(),
                peer: seat.joining.peer.clone(),
                capacity: status.capacity,
                in_flight: status.in_flight,
                total: status.total,
                last_second: seat.last_second,
            })
        });
        GroupInfo {
            state: self.state(),
            epoch: self.epoch,
            checkpoint: self.machine.saved(),
            position: self.machine.position(),
            read_to: self.machine.read_to(),
            lag: self.lag,
            counts: self.machine.counts(),
            settled_total: self.machine.settled_total(),
            settled_last_second: self.settled_last_second,
            last_error: self.machine.last_error().map(str::to_owned),
            members: members.collect(),
        }
    }

    /// Once a second: measures, reports, and takes what operators ask for.
    async fn look_up(&mut self) -> Option<GroupEnd> {
        self.look_at = Instant::now() + LOOK_INTERVAL;
        self.measure();
        if self.empty_since.is_some_and(|since| since.elapsed() >= self.hosting.idle_timeout) {
            return Some(GroupEnd::Stopped);
        }
        if self.report().await.is_err() {
            return Some(GroupEnd::Lost);
        }
        let requests = self.hosting.store.registry().take_requests(&self.hosting.key).await;
        for request in requests.unwrap_or_default() {
            if let Some(end) = self.carry_out(request).await {
                return Some(end);
            }
        }
        None
    }

    fn measure(&mut self) {
        let settled = self.machine.settled_total();
        self.settled_last_second = settled - std::mem::replace(&mut self.settled_before, settled);
        for status in self.machine.members() {
            self.machine.unstall(status.id);
            if let Some(seat) = self.seats.get_mut(&status.id) {
                let before = std::mem::replace(&mut seat.total_before, status.total);
                seat.last_second = status.total - before;
            }
        }
        let (backing, place) = (Arc::clone(&self.backing), self.machine.position());
        self.works.spawn(async move { Done::Lag(backing.lag(place).await) });
    }

    async fn report(&mut self) -> Result<(), KeepError> {
        let parked: Vec<_> = self.machine.parked().take(PARKED_ITEMS_MAX).cloned().collect();
        let status = ComponentStatus {
            key: self.hosting.key.clone(),
            owner: self.hosting.owner.clone(),
            epoch: self.epoch,
            state: self.state(),
            position: self.machine.position(),
            lag: self.lag,
            last_error: self.machine.last_error().map(str::to_owned),
            parked_count: self.machine.counts().parked as u64,
            parked,
            reported_at: Timestamp::from_micros(0),
        };
        if self.told.as_ref() == Some(&status) && self.told_at.elapsed() < SILENCE_MAX {
            return Ok(());
        }
        let report = ComponentStatus { reported_at: Timestamp::now(), ..status.clone() };
        match self.hosting.store.registry().report(report).await {
            Ok(()) => {
                self.told = Some(status);
                self.told_at = Instant::now();
                Ok(())
            }
            Err(RegistryError::StaleEpoch { .. }) => Err(KeepError::Fenced),
            // The work does not depend on the report: it is made again at the next look.
            Err(_) => Ok(()),
        }
    }

    async fn carry_out(&mut self, request: ComponentRequest) -> Option<GroupEnd> {
        match request {
            ComponentRequest::Pause => self.is_paused = true,
            ComponentRequest::Resume => self.is_paused = false,
            ComponentRequest::Retry(which) => {
                let (answer, _) = oneshot::channel();
                self.replay(which.map_or(Which::All, Which::At), answer);
            }
            ComponentRequest::Drop(which) => {
                self.machine.drop_parked(which);
            }
            ComponentRequest::ReplayFrom(place) => {
                return Some(match self.reset(place).await {
                    Ok(()) => GroupEnd::Renewed,
                    Err(KeepError::Fenced | KeepError::Moved) => GroupEnd::Lost,
                    Err(error) => GroupEnd::Failed { cause: describe(&error) },
                });
            }
            // There is one version of a group.
            ComponentRequest::Promote => {}
        }
        None
    }

    /// Puts the group at rest, and its checkpoint there.
    async fn reset(&mut self, place: Position) -> Result<(), KeepError> {
        self.is_reset = true;
        while let Some(done) = self.works.join_next().await {
            if let Ok(Done::Kept(kept)) = done {
                kept?;
                self.machine.finish_note();
            }
        }
        self.backing.reset(self.epoch, place).await
    }

    /// Saves what is to be saved, and reports for the last time.
    async fn finish(&mut self, end: &GroupEnd) {
        let saves = !self.is_reset && *end != GroupEnd::Deleted;
        self.feed = None;
        self.seats.clear();
        let mut patience = Box::pin(sleep(self.hosting.lease_ttl));
        loop {
            if self.works.is_empty() {
                let now = self.now();
                match self.machine.last_note(now).filter(|_| saves) {
                    Some(note) => self.works.spawn(self.keep(note)),
                    None => break,
                };
            }
            tokio::select! {
                Some(done) = self.works.join_next() => match done {
                    Ok(Done::Kept(Ok(()))) => self.machine.finish_note(),
                    Ok(Done::Kept(Err(_))) | Err(_) => break,
                    Ok(_) => {}
                },
                () = &mut patience => break,
            }
        }
        if *end != GroupEnd::Deleted {
            // The group ends whether or not anybody hears of it.
            self.report().await.ok();
        }
    }
}

/// Counts as it goes, and tells whoever asked.
fn count_to(answer: Option<oneshot::Sender<usize>>, counted: impl Iterator<Item = u64>) {
    let count = counted.count();
    if let Some(answer) = answer {
        // Who asked may be gone.
        answer.send(count).ok();
    }
}
