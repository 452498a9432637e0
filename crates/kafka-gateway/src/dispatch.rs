//! From a frame to a request in flight: look the API up, walk, decode, hand over to its handler.

use std::sync::Arc;
use std::time::Duration;

use broker::{FrontEnd, MemoryPermit};
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ConsumerGroupHeartbeatResponse, JoinGroupResponse};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::time::{Instant, timeout};

use crate::api::Api;
use crate::connection::InFlight;
use crate::context::Context;
use crate::frame::{FRAME_BYTES_MIN, Frame};
use crate::handlers;
use crate::named_by_id;
use crate::preflight::{self, Malformed};
use crate::reply::{self, Reply};

/// How long a request waits for the memory it will take decoded; its frame is held meanwhile.
const DECODE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a frame is no request of ours. The connection is closed, as Apache Kafka does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// No such API.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    /// Not this version of it.
    #[error("{name} version {version} is not served")]
    UnsupportedVersion {
        /// The API.
        name: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The bytes are not that request.
    #[error("malformed {name} version {version}: {source}")]
    Malformed {
        /// The API.
        name: &'static str,
        /// Its version.
        version: i16,
        /// What is wrong.
        source: Malformed,
    },
    /// The budget had no memory for the decoded request.
    #[error("no memory to decode a request")]
    Memory,
}

/// One request, on its way to its handler and back.
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// What the client calls itself; empty if it does not say.
    client_id: StrBytes,
    api: &'static Api,
    body: Bytes,
    began: Instant,
    /// Memory of the frame and of what was decoded from it: held until the answer is there.
    memory: Arc<MemoryPermit>,
}

/// Starts one request: when this returns, a Produce has its place in the log.
///
/// # Errors
/// As [`Refused`] says; the connection cannot go on.
pub(crate) async fn start(context: &Arc<Context>, frame: Frame) -> Result<InFlight, Refused> {
    let Frame { bytes, permit: mut memory } = frame;
    let Some((&[k0, k1, v0, v1, c0, c1, c2, c3], _)) = bytes.split_first_chunk::<FRAME_BYTES_MIN>() else {
        return Err(Refused::UnknownApi(-1)); // frames are never shorter
    };
    let key = i16::from_be_bytes([k0, k1]);
    let version = i16::from_be_bytes([v0, v1]);
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let api = Api::of_key(key).ok_or(Refused::UnknownApi(key))?;
    let began = Instant::now();
    if !api.serves(version) {
        if api.key == ApiKey::ApiVersions {
            // The one API whose version cannot be negotiated: its refusal is readable by every client.
            let response = handlers::api_versions::unsupported_version();
            let call = Call {
                context: context.clone(),
                version: 0,
                correlation_id,
                client_id: StrBytes::default(),
                api,
                body: bytes,
                began,
                memory: Arc::new(memory),
            };
            return Ok(in_flight(false, async move { call.send(&response, true) }));
        }
        return Err(Refused::UnsupportedVersion { name: api.name, version });
    }
    let walked = preflight::walk(api, version, &bytes).map_err(|source| Refused::Malformed {
        name: api.name,
        version,
        source,
    })?;
    if walked.decoded_bytes > 0 {
        let decoded = timeout(DECODE_WAIT_MAX, context.broker.budget().acquire(walked.decoded_bytes)).await;
        memory.merge(decoded.map_err(|_| Refused::Memory)?);
    }
    let (body, client_id) = (bytes.slice(walked.body_at..), client_id(&bytes));
    let (context, memory) = (context.clone(), Arc::new(memory));
    route(Call { context, version, correlation_id, client_id, api, body, began, memory }).await
}

/// The client id of a frame that was walked.
fn client_id(frame: &Bytes) -> StrBytes {
    let length = frame.get(8..10).and_then(|length| Some(i16::from_be_bytes(length.try_into().ok()?))).unwrap_or(-1);
    let end = usize::try_from(length).map_or(10, |length| 10 + length).min(frame.len());
    StrBytes::try_from(frame.slice(10.min(end)..end)).unwrap_or_default()
}

async fn route(call: Call) -> Result<InFlight, Refused> {
    use handlers as h;
    match call.api.key {
        ApiKey::Produce => {
            let request = call.decode()?;
            let started = h::produce::start(&call.context, call.version, request, &call.memory).await;
            Ok(in_flight(true, async move {
                match started.answered().await {
                    h::produce::Outcome::Answer { response, error } => call.send(&response, error),
                    h::produce::Outcome::Nothing => call.ended(Reply::Nothing, false),
                    h::produce::Outcome::Close(reason) => call.ended(Reply::Close(reason), true),
                }
            }))
        }
        ApiKey::Fetch => {
            let request = call.decode()?;
            Ok(in_flight(false, async move {
                let response = h::fetch::handle(&call.context, call.version, request).await;
                let error = response.has_error();
                match response.encode(call.version, call.correlation_id) {
                    Some(pieces) => call.ended(Reply::Send(pieces), error),
                    None => call.ended(Reply::Close("a fetch answer is larger than a frame"), true),
                }
            }))
        }
        ApiKey::ListOffsets => later(call, false, h::list_offsets::handle, h::list_offsets::has_error),
        ApiKey::Metadata => later(call, true, h::metadata::handle, h::metadata::has_error),
        ApiKey::ApiVersions => later(call, false, h::api_versions::handle, |response| response.error_code != 0),
        ApiKey::CreateTopics => later(call, true, h::create_topics::handle, h::create_topics::has_error),
        ApiKey::DeleteTopics => later(call, true, h::delete_topics::handle, h::delete_topics::has_error),
        ApiKey::DeleteRecords => later(call, true, h::delete_records::handle, h::delete_records::has_error),
        ApiKey::InitProducerId => later(call, true, h::init_producer_id::handle, |response| response.error_code != 0),
        ApiKey::OffsetForLeaderEpoch => {
            later(call, false, h::offset_for_leader_epoch::handle, h::offset_for_leader_epoch::has_error)
        }
        ApiKey::DescribeConfigs => later(call, false, h::describe_configs::handle, h::describe_configs::has_error),
        ApiKey::CreatePartitions => later(call, true, h::create_partitions::handle, h::create_partitions::has_error),
        ApiKey::DescribeCluster => later(call, false, h::describe_cluster::handle, |response| response.error_code != 0),
        ApiKey::DescribeTopicPartitions => {
            later(call, false, h::describe_topic_partitions::handle, h::describe_topic_partitions::has_error)
        }
        _ => route_groups(call),
    }
}

/// The APIs of groups.
fn route_groups(call: Call) -> Result<InFlight, Refused> {
    use handlers as h;
    match call.api.key {
        ApiKey::OffsetCommit if call.version >= named_by_id::BY_ID_SINCE => {
            let request = call.decode_with(named_by_id::offset_commit)?;
            Ok(run(call, true, request, h::offset_commit::handle, h::offset_commit::has_error))
        }
        ApiKey::OffsetCommit => later(call, true, h::offset_commit::handle, h::offset_commit::has_error),
        ApiKey::OffsetFetch if call.version >= named_by_id::BY_ID_SINCE => {
            let request = call.decode_with(named_by_id::offset_fetch)?;
            Ok(run(call, false, request, h::offset_fetch::handle, h::offset_fetch::has_error))
        }
        ApiKey::OffsetFetch => later(call, false, h::offset_fetch::handle, h::offset_fetch::has_error),
        ApiKey::FindCoordinator => later(call, true, h::find_coordinator::handle, h::find_coordinator::has_error),
        ApiKey::JoinGroup => {
            let client_id = call.client_id.to_string();
            let handle = |context, version, request| h::join_group::handle(context, version, client_id, request);
            later(call, false, handle, |response: &JoinGroupResponse| response.error_code != 0)
        }
        ApiKey::Heartbeat => later(call, false, h::heartbeat::handle, |response| response.error_code != 0),
        ApiKey::LeaveGroup => later(call, true, h::leave_group::handle, h::leave_group::has_error),
        ApiKey::SyncGroup => later(call, false, h::sync_group::handle, |response| response.error_code != 0),
        ApiKey::DescribeGroups => later(call, false, h::describe_groups::handle, h::describe_groups::has_error),
        ApiKey::ListGroups => later(call, false, h::list_groups::handle, |response| response.error_code != 0),
        ApiKey::DeleteGroups => later(call, true, h::delete_groups::handle, h::delete_groups::has_error),
        ApiKey::OffsetDelete => later(call, true, h::offset_delete::handle, h::offset_delete::has_error),
        ApiKey::ConsumerGroupHeartbeat => {
            let client_id = call.client_id.to_string();
            let handle =
                |context, version, request| h::consumer_group_heartbeat::handle(context, version, client_id, request);
            later(call, true, handle, |response: &ConsumerGroupHeartbeatResponse| response.error_code != 0)
        }
        ApiKey::ConsumerGroupDescribe => {
            later(call, false, h::consumer_group_describe::handle, h::consumer_group_describe::has_error)
        }
        _ => route_admin(call),
    }
}

/// What administrators ask of a cluster beyond its topics.
fn route_admin(call: Call) -> Result<InFlight, Refused> {
    use handlers as h;
    match call.api.key {
        ApiKey::DescribeAcls => later(call, false, h::acls::describe, |_| true),
        ApiKey::CreateAcls => later(call, false, h::acls::create, |_| true),
        ApiKey::DeleteAcls => later(call, false, h::acls::delete, |_| true),
        ApiKey::AlterConfigs => later(call, true, h::alter_configs::handle, h::alter_configs::has_error),
        ApiKey::AlterReplicaLogDirs => later(call, false, h::log_dirs::alter, h::log_dirs::alter_has_error),
        ApiKey::DescribeLogDirs => later(call, false, h::log_dirs::describe, h::log_dirs::describe_has_error),
        ApiKey::ElectLeaders => later(call, false, h::elect_leaders::handle, h::elect_leaders::has_error),
        ApiKey::IncrementalAlterConfigs => {
            later(call, true, h::alter_configs::handle_incremental, h::alter_configs::incremental_has_error)
        }
        ApiKey::AlterPartitionReassignments => {
            later(call, false, h::partition_reassignments::alter, h::partition_reassignments::alter_has_error)
        }
        ApiKey::ListPartitionReassignments => later(call, false, h::partition_reassignments::list, |_| false),
        ApiKey::DescribeClientQuotas => {
            later(call, false, h::client_quotas::describe, |response| response.error_code != 0)
        }
        ApiKey::AlterClientQuotas => later(call, false, h::client_quotas::alter, h::client_quotas::alter_has_error),
        ApiKey::DescribeUserScramCredentials => {
            let handler = h::describe_user_scram_credentials::handle;
            later(call, false, handler, h::describe_user_scram_credentials::has_error)
        }
        ApiKey::DescribeProducers => {
            later(call, false, h::describe_producers::handle, h::describe_producers::has_error)
        }
        ApiKey::ListTransactions => later(call, false, h::list_transactions::handle, |_| false),
        ApiKey::ListConfigResources => {
            later(call, false, h::list_config_resources::handle, |response| response.error_code != 0)
        }
        key => Err(Refused::UnknownApi(key as i16)), // not in the version table
    }
}

fn in_flight(has_effects: bool, reply: impl Future<Output = Reply> + Send + 'static) -> InFlight {
    InFlight { reply: Box::pin(reply), has_effects }
}

/// A request that runs when its turn to be answered comes.
fn later<R, F, Fut>(
    call: Call,
    has_effects: bool,
    handler: F,
    has_error: fn(&R::Response) -> bool,
) -> Result<InFlight, Refused>
where
    R: Request + Send + 'static,
    R::Response: Send + Sync,
    F: FnOnce(Arc<Context>, i16, R) -> Fut + Send + 'static,
    Fut: Future<Output = R::Response> + Send,
{
    let request = call.decode::<R>()?;
    Ok(run(call, has_effects, request, handler, has_error))
}

/// The same of one that is decoded.
fn run<R, F, Fut>(
    call: Call,
    has_effects: bool,
    request: R,
    handler: F,
    has_error: fn(&R::Response) -> bool,
) -> InFlight
where
    R: Request + Send + 'static,
    R::Response: Send + Sync,
    F: FnOnce(Arc<Context>, i16, R) -> Fut + Send + 'static,
    Fut: Future<Output = R::Response> + Send,
{
    in_flight(has_effects, async move {
        let response = handler(call.context.clone(), call.version, request).await;
        let error = has_error(&response);
        call.send(&response, error)
    })
}

impl Call {
    fn decode<R: Decodable>(&self) -> Result<R, Refused> {
        self.decode_with(|body| R::decode(body, self.version).ok())
    }

    fn decode_with<R>(&self, decode: impl Fn(&mut Bytes) -> Option<R>) -> Result<R, Refused> {
        let (name, version) = (self.api.name, self.version);
        decode(&mut self.body.clone()).ok_or(Refused::Malformed { name, version, source: Malformed::Undecodable })
    }

    fn send<T: Encodable + HeaderVersion>(&self, response: &T, error: bool) -> Reply {
        match reply::encode(self.api.key, self.version, self.correlation_id, response) {
            Ok(piece) => self.ended(Reply::Send(vec![piece]), error),
            Err(bug) => {
                tracing::error!(error = %bug, "a response does not encode");
                self.ended(Reply::Close("internal error"), true)
            }
        }
    }

    fn ended(&self, reply: Reply, error: bool) -> Reply {
        let seconds = self.began.elapsed().as_secs_f64();
        self.context.broker.metrics().request(FrontEnd::Kafka, self.api.name, seconds, error);
        reply
    }
}
