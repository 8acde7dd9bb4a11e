//! Consumer groups over the network.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ParkedItem, Position};
use quipu_groups::group::{GroupConfig, GroupError, GroupStatus, Nack};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Response, Status, Streaming};

use super::calls::{MESSAGE_SIZE_MAX, Transport, within};
use super::{Client, not_valid};
use crate::from_proto::{self, Dispatched, Malformed};
use crate::proto::groups_client::GroupsClient;
use crate::proto::{self, consume_request, consume_response};
use crate::status::{ContractError, from_status};
use crate::to_proto;

/// How many words of a member wait before it does.
const WORD_COUNT_MAX: usize = 1_024;
/// How long a member that leaves waits until it was heard.
const FAREWELL: Duration = Duration::from_secs(10);

/// The consumer groups of a server's log.
///
/// ```no_run
/// use quipu_core::Query;
/// use quipu_wire::{Client, ClientOptions};
/// use quipu_groups::group::GroupConfig;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("http://127.0.0.1:2113", ClientOptions::default()).await?;
/// let groups = client.groups();
/// groups.create(&GroupConfig::new("billing", "category:order".parse::<Query>()?)).await?;
///
/// let mut member = groups.join("billing", "worker-1", 100).await?;
/// loop {
///     for dispatched in member.next().await? {
///         println!("{}", dispatched.event.event_type);
///         member.ack([dispatched.number]).await?;
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Groups {
    client: Client,
}

impl Client {
    /// The consumer groups of the log.
    pub fn groups(&self) -> Groups {
        Groups { client: self.clone() }
    }

    fn groups_over(&self, channel: &tonic::transport::Channel) -> GroupsClient<Transport> {
        let transport = InterceptedService::new(channel.clone(), self.inner.credentials.clone());
        GroupsClient::new(transport).max_decoding_message_size(MESSAGE_SIZE_MAX)
    }
}

fn valid<T>(parsed: Result<T, Malformed>) -> Result<T, GroupError> {
    parsed.map_err(|error| GroupError::storage(not_valid(error)))
}

impl Groups {
    /// Creates a group. On `Ok` it is durable.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn create(&self, config: &GroupConfig) -> Result<(), GroupError> {
        self.create_as(config, false).await
    }

    /// Creates a group that begins at the end of the log.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn create_from_end(&self, config: &GroupConfig) -> Result<(), GroupError> {
        self.create_as(config, true).await
    }

    async fn create_as(&self, config: &GroupConfig, from_end: bool) -> Result<(), GroupError> {
        let config = Some(to_proto::group_config(config));
        let request = proto::CreateGroupRequest { config, from_end };
        self.call(async |mut it| it.create_group(request).await).await.map(drop)
    }

    /// Changes a group's settings, but for its query and where it begins. Its members join again.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn update(&self, config: &GroupConfig) -> Result<(), GroupError> {
        let request = proto::UpdateGroupRequest { config: Some(to_proto::group_config(config)) };
        self.call(async |mut it| it.update_group(request).await).await.map(drop)
    }

    /// Deletes a group.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn delete(&self, name: &str) -> Result<(), GroupError> {
        let request = proto::DeleteGroupRequest { name: name.to_owned() };
        self.call(async |mut it| it.delete_group(request).await).await.map(drop)
    }

    /// All groups, in the order of their names.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn list(&self) -> Result<Vec<GroupConfig>, GroupError> {
        let request = proto::ListGroupsRequest {};
        let mut messages = self.call(async |mut it| it.list_groups(request).await).await?;
        let mut groups = Vec::new();
        while let Some(message) = messages.message().await.map_err(from_status::<GroupError>)? {
            groups.push(valid(from_proto::group_config(message.config))?);
        }
        Ok(groups)
    }

    /// How a group is.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn status(&self, name: &str) -> Result<GroupStatus, GroupError> {
        let request = proto::GetGroupRequest { name: name.to_owned() };
        let answer = self.call(async |mut it| it.get_group(request).await).await?;
        valid(from_proto::group_status(answer))
    }

    /// What a group parked, in the order of the log.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn parked(&self, name: &str) -> Result<Vec<ParkedItem>, GroupError> {
        let request = proto::ListParkedRequest { group: name.to_owned() };
        let mut messages = self.call(async |mut it| it.list_parked(request).await).await?;
        let mut parked = Vec::new();
        while let Some(message) = messages.message().await.map_err(from_status::<GroupError>)? {
            parked.extend(message.item.map(from_proto::parked_item));
        }
        Ok(parked)
    }

    /// Tries parked events again: the one at this place with the others of its key, or all. How many.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn replay(&self, name: &str, which: Option<Position>) -> Result<u64, GroupError> {
        let position = which.map(Position::get);
        let request = proto::ReplayParkedRequest { group: name.to_owned(), position };
        Ok(self.call(async |mut it| it.replay_parked(request).await).await?.count)
    }

    /// Forgets parked events: the one at this place, or all. How many.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn drop_parked(
        &self,
        name: &str,
        which: Option<Position>,
    ) -> Result<u64, GroupError> {
        let position = which.map(Position::get);
        let request = proto::DropParkedRequest { group: name.to_owned(), position };
        Ok(self.call(async |mut it| it.drop_parked(request).await).await?.count)
    }

    /// Joins a group as a member that people call `member`, with which at most `capacity` events, 1
    /// to 10,000, are at a time.
    ///
    /// # Errors
    ///
    /// See [`GroupError`]; of those that come later, [`Member::next`].
    pub async fn join(
        &self,
        name: &str,
        member: &str,
        capacity: usize,
    ) -> Result<Member, GroupError> {
        let (words, said) = mpsc::channel(WORD_COUNT_MAX);
        let join = proto::JoinGroup {
            group: name.to_owned(),
            capacity: capacity as u64,
            name: member.to_owned(),
        };
        let words = Arc::new(words);
        say(&words, consume_request::Message::Join(join)).await.ok();
        let mut groups = self.client.groups_over(&self.client.inner.subscriptions);
        let answer = groups.consume(ReceiverStream::new(said)).await;
        let mut messages = answer.map_err(from_status::<GroupError>)?.into_inner();
        let first = messages.message().await.map_err(from_status::<GroupError>)?;
        match first.and_then(|first| first.message) {
            Some(consume_response::Message::Joined(_)) => {
                Ok(Member { words, messages: Some(messages) })
            }
            _ => Err(GroupError::storage(quipu_core::StorageError::new(
                "the server did not say that the member joined",
            ))),
        }
    }

    /// Makes a call once: what changes a group may not be the same twice.
    async fn call<A>(
        &self,
        call: impl AsyncFnOnce(GroupsClient<Transport>) -> Result<Response<A>, Status>,
    ) -> Result<A, GroupError> {
        let groups = self.client.groups_over(&self.client.inner.calls);
        let answer = within(self.client.inner.options.request_timeout, call(groups)).await;
        answer.map(Response::into_inner).map_err(from_status)
    }
}

async fn say(
    words: &mpsc::Sender<proto::ConsumeRequest>,
    message: consume_request::Message,
) -> Result<(), mpsc::error::SendError<proto::ConsumeRequest>> {
    words.send(proto::ConsumeRequest { message: Some(message) }).await
}

/// A member of a group. Dropping it leaves: what is with it goes to others. Within a runtime of tokio
/// that goes on, what it said before is heard first; elsewhere its last words may be lost, and those
/// events come again. Before a process ends, [`leave`](Self::leave).
#[derive(Debug)]
pub struct Member {
    words: Arc<mpsc::Sender<proto::ConsumeRequest>>,
    /// There until the member leaves.
    messages: Option<Streaming<proto::ConsumeResponse>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if let Some(farewell) = self.farewell() {
            runtime.spawn(farewell);
        }
    }
}

impl Member {
    /// What is left to do when a member says no more: ending the call at once would take back what is
    /// still on its way to the server.
    fn farewell(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut messages = self.messages.take()?;
        Some(async move {
            // The server ends its side when it has heard everything. What still comes goes to others.
            let heard = async { while let Ok(Some(_)) = messages.message().await {} };
            let _in_time = tokio::time::timeout(FAREWELL, heard).await;
        })
    }

    /// Leaves, and waits until the server heard what was said before, for at most ten seconds. What
    /// is still with the member goes to others. Answers that were given out end it only once they
    /// are dropped.
    pub async fn leave(mut self) {
        let farewell = self.farewell();
        drop(self);
        if let Some(farewell) = farewell {
            farewell.await;
        }
    }

    /// Waits for the next events, at least one. Dropping the future before it is done loses nothing.
    ///
    /// # Errors
    ///
    /// [`GroupError::Ended`] when the group does not go on there: join again, unless it was deleted.
    /// See [`GroupError`] for the others.
    pub async fn next(&mut self) -> Result<Vec<Dispatched>, GroupError> {
        loop {
            let stopped = || quipu_groups::group::GroupEnd::Stopped;
            let messages = self.messages.as_mut().ok_or_else(stopped)?;
            let message = messages.message().await.map_err(from_status::<GroupError>)?;
            let message = message.ok_or_else(stopped)?;
            if let Some(consume_response::Message::Events(events)) = message.message {
                return valid(from_proto::dispatches(events));
            }
        }
    }

    /// These were handled. What is not with the member any more is passed over: another one has it.
    ///
    /// # Errors
    ///
    /// [`GroupError::Ended`] if the group does not go on there; [`next`](Self::next) says why.
    pub async fn ack(&self, numbers: impl IntoIterator<Item = u64>) -> Result<(), GroupError> {
        self.answers().ack(numbers).await
    }

    /// These were not handled.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub async fn nack(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        nack: Nack,
        cause: &str,
    ) -> Result<(), GroupError> {
        self.answers().nack(numbers, nack, cause).await
    }

    /// A way to answer from elsewhere. The member stays for as long as it is there itself.
    pub fn answers(&self) -> Answers {
        Answers { words: Arc::clone(&self.words) }
    }
}

/// A member's way to answer.
#[derive(Clone, Debug)]
pub struct Answers {
    words: Arc<mpsc::Sender<proto::ConsumeRequest>>,
}

impl Answers {
    /// As [`Member::ack`].
    ///
    /// # Errors
    ///
    /// As [`Member::ack`].
    pub async fn ack(&self, numbers: impl IntoIterator<Item = u64>) -> Result<(), GroupError> {
        let numbers = numbers.into_iter().collect();
        self.say(consume_request::Message::Ack(proto::AckEvents { numbers })).await
    }

    /// As [`Member::nack`].
    ///
    /// # Errors
    ///
    /// As [`Member::ack`].
    pub async fn nack(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        nack: Nack,
        cause: &str,
    ) -> Result<(), GroupError> {
        let numbers = numbers.into_iter().collect();
        let (action, cause) = (to_proto::nack(nack).into(), cause.to_owned());
        let nack = proto::NackEvents { numbers, action, cause };
        self.say(consume_request::Message::Nack(nack)).await
    }

    /// Sets the most events that are with the member at a time. 0 pauses it.
    ///
    /// # Errors
    ///
    /// As [`Member::ack`].
    pub async fn set_capacity(&self, capacity: u64) -> Result<(), GroupError> {
        self.say(consume_request::Message::Capacity(capacity)).await
    }

    async fn say(&self, message: consume_request::Message) -> Result<(), GroupError> {
        let said = say(&self.words, message).await;
        said.map_err(|_| quipu_groups::group::GroupEnd::Stopped.into())
    }
}
