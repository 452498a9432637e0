//! Consumers without a group: they follow a partition from its beginning, at its leader or where they are sent; and one that asks
//! for the ends of logs.

use std::sync::Arc;
use std::time::Duration;

use broker::{FetchError, ListOffsetsPartition, OffsetSpec};
use rand::Rng;

use crate::client::{Client, records_of};
use crate::history::{Key, Op, Process};
use crate::world::{Agent, LASTING, ORG, Phase, World};

const MAX_WAIT: Duration = Duration::from_millis(500);

/// Follows a partition; with a rack it reads at the agent that the leader names.
pub(crate) async fn follow(world: Arc<World>, process: Process, key: Key, rack: Option<&'static str>) {
    let mut client = Client::new(&world, process);
    let mut sent_to: Option<Arc<Agent>> = None;
    let mut position = 0;
    world.record(process, world.now(), Op::Assign { key, offset: 0 });
    while world.phase() < Phase::Over {
        let agent = sent_to.clone().unwrap_or_else(|| client.leader(key));
        match client.read(&agent, key, &mut position, rack, MAX_WAIT).await {
            Read::Records => {}
            Read::Elsewhere(node_id) => {
                sent_to = world.agents().into_iter().find(|agent| agent.broker.cluster().node_id == node_id);
            }
            Read::Refused => {
                client.forget_leader(key);
                sent_to = None;
                client.rest(60).await;
            }
        }
        world.positions.lock().insert((process, key), position);
    }
}

/// What came of a read.
pub(crate) enum Read {
    /// Perhaps none.
    Records,
    /// To be read at this agent.
    Elsewhere(i32),
    /// Not here, not now.
    Refused,
}

impl Client {
    /// Reads on from `position`, which moves; out of range, it starts at the beginning.
    pub(crate) async fn read(
        &mut self,
        agent: &Agent,
        key: Key,
        position: &mut i64,
        rack: Option<&str>,
        max_wait: Duration,
    ) -> Read {
        let began = self.world.now();
        match self.fetch(agent, key, *position, rack, max_wait).await {
            Some(Ok(fetched)) => {
                if let Some(node_id) = fetched.preferred_read_replica {
                    return Read::Elsewhere(node_id);
                }
                let records = records_of(&fetched);
                if let Some((last, _)) = records.last() {
                    *position = last + 1;
                    self.world.record(self.process, began, Op::Poll { key, records });
                }
                let offset = fetched.high_watermark;
                self.world.record(self.process, began, Op::HighWatermark { key, offset });
                Read::Records
            }
            Some(Err(FetchError::OffsetOutOfRange { log_start_offset })) => {
                self.world.record(self.process, began, Op::OutOfRange { key, offset: *position });
                *position = log_start_offset;
                self.world.record(self.process, began, Op::Assign { key, offset: log_start_offset });
                Read::Refused
            }
            _ => Read::Refused,
        }
    }
}

/// Asks for the ends of logs, again and again, and at any agent.
pub(crate) async fn watch_ends(world: Arc<World>, process: Process) {
    let mut client = Client::new(&world, process);
    while world.phase() < Phase::Over {
        client.rest(120).await;
        let (number, _, partitions) = LASTING[client.rng.random_range(0..LASTING.len())];
        let key = (number, client.rng.random_range(0..partitions));
        let agent = client.leader(key);
        let wanted = |spec| ListOffsetsPartition {
            topic_id: world.topic_id(number),
            partition: key.1,
            current_leader_epoch: None,
            spec,
        };
        let began = world.now();
        let wanted = [OffsetSpec::Latest, OffsetSpec::Earliest].map(wanted).to_vec();
        let Some(listed) = client.ask(&agent, agent.broker.list_offsets(ORG, wanted)).await else { continue };
        let [Ok(end), Ok(start)] = listed.as_slice() else {
            client.forget_leader(key);
            continue;
        };
        world.record(process, began, Op::End { key, offset: end.offset });
        world.record(process, began, Op::Start { key, offset: start.offset });
    }
}
