//! From a projection to a runner of it.

use std::any::type_name;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentKind, NameError, Tag};
use quipu_groups::{OnError, Runner};

use super::Projection;
use super::books::ReadModel;
use super::database::Connection;
use super::generation::is_identifier;
use super::handler::{ProjectionHandler, Watch};
use super::running::{Known, RunningProjection, Tending};
use crate::app::Quipu;
use crate::view::View;

/// The longest name of a projection: a table's name has room for a version behind it.
const NAME_SIZE_MAX: usize = 40;

/// A projection that is about to be given a database.
#[must_use = "say where it goes, with `into`"]
pub struct Project<P> {
    app: Quipu,
    projection: P,
}

impl<P: Projection> Project<P> {
    pub(crate) fn new(app: Quipu, projection: P) -> Self {
        Self { app, projection }
    }

    /// The database in which the read model is.
    ///
    /// The projection takes one connection for each partition that works, and gives it back.
    pub fn into(self, pool: <P::Conn as Connection>::Pool) -> ProjectInto<P> {
        let store = Arc::clone(self.app.store());
        ProjectInto {
            model: Arc::new(ReadModel::new(self.projection, store, pool)),
            app: self.app,
            owner: None,
            tag: None,
            partitions: NonZeroU16::MIN,
            batch: 500,
            on_error: OnError::default(),
            parked_max: None,
            lease_ttl: None,
            request_interval: None,
            tending: Tending { promote_below: None, grace: Duration::from_mins(10) },
            watch: None,
        }
    }
}

/// How a projection is to run. [`spawn`](Self::spawn) starts it, [`view`](Self::view) only reads.
#[must_use = "a projection runs when it is spawned"]
pub struct ProjectInto<P: Projection> {
    app: Quipu,
    model: Arc<ReadModel<P>>,
    owner: Option<String>,
    tag: Option<String>,
    partitions: NonZeroU16,
    batch: usize,
    on_error: OnError,
    parked_max: Option<usize>,
    lease_ttl: Option<Duration>,
    request_interval: Option<Duration>,
    tending: Tending,
    watch: Option<Watch>,
}

impl<P: Projection> ProjectInto<P> {
    /// Applies that many events at a time, one unless told otherwise. Events of one key stay in order;
    /// the number may be another one at each start.
    pub fn partitions(mut self, count: NonZeroU16) -> Self {
        self.partitions = count;
        self
    }

    /// Keeps the order of events that have the same value of this tag, `account`, instead of those of
    /// one stream. Events without such a tag go by their stream; of several values the first counts.
    pub fn by_tag(mut self, name: &str) -> Self {
        self.tag = Some(name.to_owned());
        self
    }

    /// Applies at most that many events in one transaction, 500 unless told otherwise.
    pub fn batch(mut self, count: usize) -> Self {
        self.batch = count;
        self
    }

    /// What to do with an event that cannot be applied. Unless told otherwise it is tried again five
    /// times, and then stops its partition.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Parks at most that many events, 10,000 unless told otherwise. One more stops its partition.
    pub fn parked_max(mut self, count: usize) -> Self {
        self.parked_max = Some(count);
        self
    }

    /// The name under which people see who runs it; the process's id unless told otherwise.
    pub fn owner(mut self, owner: &str) -> Self {
        self.owner = Some(owner.to_owned());
        self
    }

    /// How long another instance waits after this one crashed: 10 s unless told otherwise.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = Some(ttl);
        self
    }

    /// How often to look what operators ask for: every 500 ms unless told otherwise.
    pub fn request_interval(mut self, interval: Duration) -> Self {
        self.request_interval = Some(interval);
        self
    }

    /// Lets this version serve as soon as it is at most that many positions behind the log. Without
    /// it, somebody [promotes](RunningProjection::promote) it.
    pub fn auto_promote(mut self, lag: u64) -> Self {
        self.tending.promote_below = Some(lag);
        self
    }

    /// How long the tables of a version are kept once another serves: ten minutes unless told
    /// otherwise. So long one can go back to it; it follows the log only while something runs it.
    pub fn keep_retired(mut self, grace: Duration) -> Self {
        self.tending.grace = grace;
        self
    }

    /// Lets a test look on, or crash it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn watch(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Reads the read model, without running the projection here. The application knows it from then
    /// on: [`Quipu::view`] and [`Quipu::wait_for`] find it.
    ///
    /// # Errors
    ///
    /// See [`ProjectError`].
    pub fn view(self) -> Result<View<P>, ProjectError> {
        check::<P>(None)?;
        let known = Arc::new(Known { model: self.model, status: None });
        self.app.know(&known);
        Ok(View::new(known))
    }

    /// Starts to run it, in tasks of the present tokio runtime. The application knows it from then on:
    /// [`Quipu::view`] and [`Quipu::wait_for`] find it.
    ///
    /// It returns at once: where another instance runs, or the database is not there, it is waited
    /// for.
    ///
    /// # Errors
    ///
    /// See [`ProjectError`].
    #[expect(clippy::unused_async, reason = "other stores may have to be asked")]
    pub async fn spawn(self) -> Result<RunningProjection<P>, ProjectError> {
        check::<P>(self.tag.as_deref())?;
        let query = self.app.query_of::<P::Event>();
        let handler = ProjectionHandler {
            model: Arc::clone(&self.model),
            upcasters: self.app.shared_upcasters(),
            query: query.clone(),
            tag_prefix: self.tag.map(|tag| format!("{tag}:")),
            watch: self.watch,
        };
        let store = Arc::clone(self.app.store());
        let mut runner = Runner::new(store, ComponentKind::Projection, P::NAME, Arc::new(handler))
            .version(P::VERSION)
            .query(query)
            .partitions(self.partitions)
            .batch(self.batch)
            .on_error(self.on_error);
        if let Some(owner) = &self.owner {
            runner = runner.owner(owner);
        }
        if let Some(count) = self.parked_max {
            runner = runner.parked_max(count);
        }
        if let Some(ttl) = self.lease_ttl {
            runner = runner.lease_ttl(ttl);
        }
        if let Some(interval) = self.request_interval {
            runner = runner.request_interval(interval);
        }
        let running = runner.spawn();
        let known = Arc::new(Known { model: self.model, status: Some(running.watch()) });
        self.app.know(&known);
        Ok(RunningProjection::new(self.app, known, running, self.tending))
    }
}

fn check<P: Projection>(tag: Option<&str>) -> Result<(), ProjectError> {
    if P::NAME.len() > NAME_SIZE_MAX || !is_identifier(P::NAME) {
        return Err(ProjectError::Name { projection: type_name::<P>(), name: P::NAME });
    }
    match tag {
        Some(tag) => Tag::new(format!("{tag}:0")).map(drop).map_err(ProjectError::Tag),
        None => Ok(()),
    }
}

impl<P: Projection> fmt::Debug for Project<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("name", &P::NAME).finish_non_exhaustive()
    }
}

impl<P: Projection> fmt::Debug for ProjectInto<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectInto").field("model", &self.model).finish_non_exhaustive()
    }
}

/// Why a projection cannot be run or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// Its name cannot be part of the names of tables. Give it another.
    #[error(
        "the name \"{name}\" of {projection} is not one: it has at most 40 lower-case letters, \
         digits and underscores, and begins with none of the digits"
    )]
    Name {
        /// The projection's type.
        projection: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// The tag's name cannot be part of a tag.
    #[error("the tag that orders the events has no valid name")]
    Tag(#[source] NameError),
}
