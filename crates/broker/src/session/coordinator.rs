//! The task through which everything that other agents do reaches this one: topics, sessions, leases.
//!
//! A round reads what changed since the last one, takes it over, fences sessions that look dead, and then makes this
//! agent's leases what placement says: acquires what nobody holds, takes up what was handed over to it, hands over
//! what another should lead. Rounds follow each other, so catalogue, view and pool have one writer. A round begins at
//! a hint from the metadata store, at a short poll (the hint may be lost), or when somebody here asks for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metadata::{Changes, LeaseRow, MetadataStore, StoreError};
use segment::{PartitionKey, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::SessionStatus;
use super::deaths::Deaths;
use super::hand_over::HandOver;
use super::view::ClusterView;
use crate::append::AppendError;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::limits::LEASES_PER_ACQUISITION_MAX;
use crate::metrics::Metrics;
use crate::topics::Topic;
use crate::writer::pool::WriterPool;

/// How often an agent looks for changes it was not told of.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Pause after a round that wanted something and did not get it.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Asks for a round that begins later than the request; answered when it ended.
pub(crate) type RoundRequest = oneshot::Sender<()>;

/// See the module.
pub(crate) struct Coordinator {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) view: Arc<ClusterView>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) requests: mpsc::Receiver<RoundRequest>,
    pub(crate) deaths: Deaths,
    /// Version of the changes that were taken over.
    pub(crate) version: i64,
    /// Whether leases are to be looked at although nothing changed: kept until a round came to it.
    pub(crate) unsettled: bool,
    pub(crate) hand_over: Option<JoinHandle<()>>,
}

/// What placement says should happen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    acquire: Vec<PartitionKey>,
    take_up: Vec<PartitionKey>,
    let_go: Vec<PartitionKey>,
    hand_over: BTreeMap<SessionId, Vec<PartitionKey>>,
}

impl Coordinator {
    /// Runs until the session is fenced or the task is aborted.
    pub(crate) async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.status.is_fenced() {
            let mut asked = Vec::new();
            // Only waiting is raced here.
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                request = self.requests.recv() => asked.extend(request),
                () = self.status.leases_wanted() => self.unsettled = true,
                () = self.metadata.change_hint(self.version) => {}
                _ = poll.tick() => {}
            }
            while let Ok(request) = self.requests.try_recv() {
                asked.push(request);
            }
            if let Err(error) = self.round().await {
                self.status.failed("changes", &error);
                // Not at once again: requests may come quickly, and the store is away.
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            for request in asked {
                let _ = request.send(());
            }
        }
    }

    /// One round.
    ///
    /// # Errors
    /// Changes could not be read; nothing happened.
    pub(crate) async fn round(&mut self) -> Result<(), StoreError> {
        let changes = self.metadata.changes_since(self.version).await?;
        self.status.metadata_answered();
        let own = self.status.session();
        let Some(row) = changes.agents.iter().find(|agent| agent.session == own) else {
            return Err(StoreError::Fenced);
        };
        if row.suspected {
            self.status.request_renewal();
        }
        let dead = self.deaths.observe(self.clock.monotonic(), own, &changes.agents);
        self.unsettled |= changes.version != self.version;
        self.take_over(changes);
        if std::mem::take(&mut self.unsettled) {
            self.place().await;
        }
        self.view.announce();
        for (session, renewals) in dead {
            self.fence(session, renewals).await;
        }
        Ok(())
    }

    async fn fence(&self, session: SessionId, renewals: i64) {
        tracing::warn!(session = session.0, "a session did not renew for its lease; fencing it");
        match self.metadata.fence_session(self.status.session(), session, renewals).await {
            Ok(fenced) => tracing::info!(session = session.0, fenced, "outcome of the fence"),
            Err(error) => self.status.failed("fence", &error),
        }
        // The change is read by the round that follows.
        self.status.request_acquisition();
    }

    fn take_over(&mut self, changes: Changes) {
        for topic in changes.topics {
            self.catalog.put(topic);
        }
        for (_, topic_id) in changes.deleted {
            self.catalog.remove(topic_id);
            self.view.forget_topic(topic_id);
            self.pool.abandon_topic(topic_id, &AppendError::UnknownTopic);
        }
        self.view.set_agents(changes.agents);
        self.view.put_leases(&changes.leases);
        self.version = changes.version;
    }

    /// Lets go of partitions that are led here while their rows name another session: a hand-over of ours whose reply was
    /// lost. What is in line is for the lane to decide: its commit is refused, or its upload fails. True if nothing is left.
    fn let_go(&self, lost: &[PartitionKey]) -> bool {
        let busy = lost.iter().filter(|key| !self.pool.abandon_idle(**key, &AppendError::NotLeader));
        busy.count() == 0
    }

    /// Makes leases what placement says, as far as it goes now.
    async fn place(&mut self) {
        let plan = self.plan();
        if !self.let_go(&plan.let_go) {
            self.try_again_later();
        }
        let took_up = self.take_up(&plan.take_up).await;
        let acquired = self.acquire(&plan.acquire).await;
        if let Err(error) = took_up.and(acquired) {
            self.status.failed("leases", &error);
            self.try_again_later();
        }
        self.start_hand_over(plan.hand_over);
        self.metrics.partitions_led(i64::try_from(self.pool.partitions().len()).unwrap_or(i64::MAX));
    }

    fn try_again_later(&self) {
        let status = Arc::clone(&self.status);
        tokio::spawn(async move {
            tokio::time::sleep(RETRY_PAUSE).await;
            status.request_acquisition();
        });
    }

    fn plan(&self) -> Plan {
        let own = self.status.session();
        let mut plan = Plan::default();
        for topic in self.catalog.topics() {
            for (partition, owner) in (0..).zip(self.view.owners(&topic)) {
                self.plan_partition(&topic, partition, owner, own, &mut plan);
            }
        }
        plan
    }

    fn plan_partition(&self, topic: &Topic, partition: i32, owner: Option<SessionId>, own: SessionId, plan: &mut Plan) {
        let key = PartitionKey { organization: topic.organization, topic_id: topic.topic_id, partition };
        let lease = self.view.lease(topic.topic_id, partition);
        if let Some(led) = self.pool.partition(topic.topic_id, partition) {
            let leader_epoch = led.state.lock().leader_epoch();
            if lease.session != Some(own) && lease.leader_epoch > leader_epoch {
                plan.let_go.push(key);
            } else if let Some(other) = owner.filter(|owner| *owner != own) {
                plan.hand_over.entry(other).or_default().push(key);
            }
        } else if lease.session == Some(own) {
            // Given to this session and not begun yet, or dropped here after trouble: then only under a new epoch.
            let is_new = lease.leader_epoch > lease.led_epoch;
            if is_new { plan.take_up.push(key) } else { plan.acquire.push(key) }
        } else if owner == Some(own) && !lease.session.is_some_and(|holder| self.view.is_active(holder)) {
            plan.acquire.push(key);
        }
    }

    async fn take_up(&self, keys: &[PartitionKey]) -> Result<(), StoreError> {
        for keys in keys.chunks(LEASES_PER_ACQUISITION_MAX) {
            let leases = self.metadata.held_leases(self.status.session(), keys).await?;
            self.lead(&leases);
        }
        Ok(())
    }

    async fn acquire(&self, keys: &[PartitionKey]) -> Result<(), StoreError> {
        for keys in keys.chunks(LEASES_PER_ACQUISITION_MAX) {
            let leases = self.metadata.acquire_leases(self.status.session(), keys).await?;
            self.lead(&leases);
        }
        Ok(())
    }

    fn lead(&self, leases: &[LeaseRow]) {
        for lease in leases {
            self.view.led(lease.key, self.status.session(), lease.leader_epoch);
        }
        self.pool.lead(leases);
    }

    /// Begins to hand over, unless that is under way; what comes up meanwhile is found by the round after it.
    fn start_hand_over(&mut self, partitions: BTreeMap<SessionId, Vec<PartitionKey>>) {
        let is_running = self.hand_over.as_ref().is_some_and(|running| !running.is_finished());
        if partitions.is_empty() || is_running {
            return;
        }
        let hand_over = HandOver {
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            view: Arc::clone(&self.view),
            pool: Arc::clone(&self.pool),
        };
        self.hand_over = Some(tokio::spawn(hand_over.run(partitions)));
    }
}
