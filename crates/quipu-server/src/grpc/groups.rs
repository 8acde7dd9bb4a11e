//! The service `Groups`: consumer groups, and their members.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{StreamExt, stream};
use quipu_core::Position;
use quipu_groups::group::{
    Answers as MemberAnswers, GroupConfig, GroupError, GroupEvent, Membership, Nack, Which,
};
use quipu_wire::proto::groups_server::Groups;
use quipu_wire::proto::{
    ConsumeRequest, ConsumeResponse, CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest,
    DeleteGroupResponse, DropParkedRequest, DropParkedResponse, GetGroupRequest, GetGroupResponse,
    JoinedGroup, ListGroupsRequest, ListGroupsResponse, ListParkedRequest, ListParkedResponse,
    ReplayParkedRequest, ReplayParkedResponse, UpdateGroupRequest, UpdateGroupResponse,
    consume_request, consume_response,
};
use quipu_wire::status::Failure;
use quipu_wire::{from_proto, to_proto};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};

use super::answering::{Answers, access, check, failed, refused};
use crate::security::Access;
use crate::server::Peer;
use crate::slots::Slot;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(super) struct Handler;

/// Fails unless the caller may read all that a group is about.
async fn readable(access: &Access, name: &str) -> Result<(), Status> {
    let config = access.service().groups().config(name).await.map_err(failed)?;
    access.may_query(&config.query).map_err(|denied| failed(refused(&denied)))
}

#[tonic::async_trait]
impl Groups for Handler {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let access = access(&request)?;
        let it = request.into_inner();
        let mut config = from_proto::group_config(it.config).map_err(failed)?;
        access.may_query(&config.query).map_err(|denied| failed(refused(&denied)))?;
        if it.from_end {
            config.after = access.store().frontier().await.map_err(failed)?;
        }
        access.service().groups().create(config).await.map_err(failed)?;
        Ok(Response::new(CreateGroupResponse {}))
    }

    async fn update_group(
        &self,
        request: Request<UpdateGroupRequest>,
    ) -> Result<Response<UpdateGroupResponse>, Status> {
        let access = access(&request)?;
        let config = from_proto::group_config(request.into_inner().config).map_err(failed)?;
        readable(&access, &config.name).await?;
        access.service().groups().update(config).await.map_err(failed)?;
        Ok(Response::new(UpdateGroupResponse {}))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let access = access(&request)?;
        let name = request.into_inner().name;
        readable(&access, &name).await?;
        access.service().groups().delete(&name).await.map_err(failed)?;
        Ok(Response::new(DeleteGroupResponse {}))
    }

    type ListGroupsStream = Answers<ListGroupsResponse>;

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<Self::ListGroupsStream>, Status> {
        let access = access(&request)?;
        let mut groups = access.service().groups().list().await.map_err(failed)?;
        groups.retain(|config| access.may_query(&config.query).is_ok());
        let message = |config: Arc<GroupConfig>| {
            Ok(ListGroupsResponse { config: Some(to_proto::group_config(&config)) })
        };
        Ok(Response::new(stream::iter(groups.into_iter().map(message)).boxed()))
    }

    async fn get_group(
        &self,
        request: Request<GetGroupRequest>,
    ) -> Result<Response<GetGroupResponse>, Status> {
        let access = access(&request)?;
        let name = request.into_inner().name;
        readable(&access, &name).await?;
        let status = access.service().groups().status(&name).await.map_err(failed)?;
        Ok(Response::new(to_proto::group_status(&status)))
    }

    type ConsumeStream = Answers<ConsumeResponse>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let access = access(&request)?;
        let peer = request.extensions().get::<Peer>();
        let peer = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
        Ok(Response::new(consume(access, peer, request.into_inner()).await?))
    }

    type ListParkedStream = Answers<ListParkedResponse>;

    async fn list_parked(
        &self,
        request: Request<ListParkedRequest>,
    ) -> Result<Response<Self::ListParkedStream>, Status> {
        let access = access(&request)?;
        let group = request.into_inner().group;
        readable(&access, &group).await?;
        let parked = access.service().groups().parked(&group).await.map_err(failed)?;
        let message = |item| Ok(ListParkedResponse { item: Some(to_proto::parked_item(item)) });
        Ok(Response::new(stream::iter(parked.into_iter().map(message)).boxed()))
    }

    async fn replay_parked(
        &self,
        request: Request<ReplayParkedRequest>,
    ) -> Result<Response<ReplayParkedResponse>, Status> {
        let access = access(&request)?;
        let it = request.into_inner();
        readable(&access, &it.group).await?;
        let which = it.position.map_or(Which::All, |place| Which::At(Position::new(place)));
        let count = access.service().groups().replay(&it.group, which).await.map_err(failed)?;
        Ok(Response::new(ReplayParkedResponse { count: count as u64 }))
    }

    async fn drop_parked(
        &self,
        request: Request<DropParkedRequest>,
    ) -> Result<Response<DropParkedResponse>, Status> {
        let access = access(&request)?;
        let it = request.into_inner();
        readable(&access, &it.group).await?;
        let which = it.position.map(Position::new);
        let count = access.service().groups().drop_parked(&it.group, which).await;
        Ok(Response::new(DropParkedResponse { count: count.map_err(failed)? as u64 }))
    }
}

/// A member at the other end of a call.
struct Seat {
    access: Access,
    group: String,
    /// There until the seat is dropped.
    membership: Option<Membership<GroupEvent>>,
    /// What the member says is taken apart from what it gets, so that neither waits for the other.
    /// It ends with an error, or once the member says no more. There until the seat is dropped.
    listening: Option<JoinHandle<Result<(), Status>>>,
    stopping: stream::Boxed<()>,
    ready: VecDeque<consume_response::Message>,
    is_over: bool,
    _slot: Slot,
}

impl Drop for Seat {
    /// What a member said before it went still counts, so that it leaves once that was heard.
    fn drop(&mut self) {
        if let (Some(membership), Some(mut listening)) =
            (self.membership.take(), self.listening.take())
            && !listening.is_finished()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if tokio::time::timeout(FAREWELL, &mut listening).await.is_err() {
                    listening.abort();
                }
                drop(membership);
            });
        }
    }
}

/// How long what a member said before it went is still listened to.
const FAREWELL: Duration = Duration::from_secs(1);

async fn consume(
    access: Access,
    peer: String,
    mut words: Streaming<ConsumeRequest>,
) -> Result<Answers<ConsumeResponse>, Status> {
    let first = words.message().await?.and_then(|first| first.message);
    let Some(consume_request::Message::Join(join)) = first else {
        return Err(failed(from_proto::Malformed::new("message", "the first one is `join`")));
    };
    let (group, mut joining) = from_proto::join_group(join).map_err(failed)?;
    readable(&access, &group).await?;
    access.principal().clone_into(&mut joining.principal);
    joining.peer = peer;
    let slot = access.service().subscription_slot(access.principal());
    let slot = slot.ok_or_else(|| {
        failed(Failure::TooManySubscriptions {
            principal: access.principal().to_owned(),
            count_max: access.service().limits().subscription_count_max,
        })
    })?;
    let membership = access.service().groups().join(&group, joining).await.map_err(failed)?;
    let joined = JoinedGroup { member: membership.id().get() };
    let service = access.service().clone();
    let seat = Seat {
        listening: Some(tokio::spawn(listen(membership.answers(), words))),
        stopping: Box::pin(stream::once_future(async move { service.stopping().await })),
        ready: [consume_response::Message::Joined(joined)].into(),
        is_over: false,
        _slot: slot,
        access,
        group,
        membership: Some(membership),
    };
    Ok(Box::pin(stream::unfold(seat, |mut seat| async move {
        let answer = seat.next().await?;
        Some((answer, seat))
    })))
}

/// Takes what a member says, until it says no more.
async fn listen(
    answers: MemberAnswers<GroupEvent>,
    mut words: Streaming<ConsumeRequest>,
) -> Result<(), Status> {
    while let Some(word) = words.message().await? {
        let told = match word.message {
            Some(consume_request::Message::Ack(ack)) => answers.ack(ack.numbers).await,
            Some(consume_request::Message::Nack(nack)) => {
                let action: Nack = from_proto::nack(nack.action).map_err(failed)?;
                let end = nack.cause.floor_char_boundary(CAUSE_SIZE_MAX);
                let cause = nack.cause.get(..end).unwrap_or_default();
                answers.nack(nack.numbers, action, cause).await
            }
            Some(consume_request::Message::Capacity(capacity)) => {
                let capacity = capacity.min(from_proto::CAPACITY_MAX);
                answers.set_capacity(usize::try_from(capacity).unwrap_or(usize::MAX)).await
            }
            Some(consume_request::Message::Join(_)) => {
                let text = "the member joined already: make another call";
                return Err(failed(from_proto::Malformed::new("join", text)));
            }
            // Of a later version of the protocol.
            None => Ok(()),
        };
        // Why the group ended is told with what comes.
        if told.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The most bytes of a cause that are kept.
const CAUSE_SIZE_MAX: usize = 2_000;

impl Seat {
    async fn next(&mut self) -> Option<Result<ConsumeResponse, Status>> {
        if self.is_over {
            return None;
        }
        let message = self.pull().await;
        self.is_over = !matches!(message, Ok(Some(_)));
        let message = message.transpose()?;
        Some(message.map(|message| ConsumeResponse { message: Some(message) }))
    }

    /// The next message; `None` once the member said that it leaves.
    async fn pull(&mut self) -> Result<Option<consume_response::Message>, Status> {
        loop {
            check(&self.access)?;
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let (Some(membership), Some(listening)) = (&mut self.membership, &mut self.listening)
            else {
                return Ok(None);
            };
            let dispatches = tokio::select! {
                biased;
                Some(()) = self.stopping.next() => {
                    return Err(failed(Failure::Stopping { resume_after: None }));
                }
                said = &mut *listening => {
                    // A task that panicked or was stopped said nothing of its own.
                    return said.unwrap_or(Ok(())).map(|()| None);
                }
                next = membership.next() => next,
            };
            let dispatches = dispatches.map_err(|end| failed(GroupError::from(end)))?;
            // The rules may have changed since the member joined.
            readable(&self.access, &self.group).await?;
            let size_max = self.access.service().limits().page_size_max;
            let pages = to_proto::dispatches(&dispatches, size_max);
            self.ready.extend(pages.into_iter().map(consume_response::Message::Events));
        }
    }
}
