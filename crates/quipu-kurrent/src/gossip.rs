//! Who is in the cluster: this server alone, and it leads.

use std::sync::LazyLock;

use quipu_core::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::caller::caller_of;
use crate::convert::IdForm;
use crate::proto::event_store::client::gossip::gossip_server::Gossip;
use crate::proto::event_store::client::gossip::member_info::VNodeState;
use crate::proto::event_store::client::gossip::{ClusterInfo, EndPoint, MemberInfo};

/// The id of this process among the members.
pub static INSTANCE: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);

/// Answers calls.
#[derive(Debug)]
pub(crate) struct Handler;

#[tonic::async_trait]
impl Gossip for Handler {
    async fn read(&self, request: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        // Where the client has come in, it comes in again.
        let address = caller_of(&request)?.address();
        let member = MemberInfo {
            instance_id: Some(IdForm::Structured.to_proto(*INSTANCE)),
            time_stamp: Timestamp::now().as_micros().saturating_mul(10),
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: address.ip().to_string(),
                port: u32::from(address.port()),
            }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}
