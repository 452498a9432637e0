//! The task that asks whether this agent can still commit, and acts on it; [`Standing`] decides.
//!
//! It gives up leases only through what is there anyway: the registration leaves placement, so the next rounds hand over;
//! the lane fails what is not committed, so that there is nothing to wait for. What a crash leaves is what a crash of a hand-over
//! leaves, and one small object, `probes/{node id}`.

use std::sync::Arc;
use std::time::Duration;

use metadata::{AgentRow, MetadataStore};
use opendal::Operator;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::SessionStatus;
use super::hand_over::has_to_give;
use super::standing::{self, Seen, Standing, Turn};
use super::view::ClusterView;
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::writer::pool::WriterPool;
use crate::writer::progress::LaneProgress;

/// Time between two looks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// What a probe writes; only that it can be written matters.
const PROBE_BODY: &[u8] = b"Can this agent write?\n";

/// See the module.
pub(crate) struct SelfCheck {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) view: Arc<ClusterView>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) progress: Arc<LaneProgress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) group: String,
    pub(crate) lease_duration: Duration,
}

impl SelfCheck {
    /// Runs until the session is fenced or the task is aborted.
    pub(crate) async fn run(self) {
        let mut standing = Standing::new(self.status.session(), self.group.clone(), self.lease_duration);
        let mut probe: Option<JoinHandle<bool>> = None;
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.status.is_fenced() {
            checks.tick().await;
            if let Some(ended) = probe.take_if(|probe| probe.is_finished()) {
                let succeeded = ended.await.unwrap_or(false);
                self.metrics.probe(succeeded);
                self.follow(standing.probed(Instant::now(), succeeded), &standing);
            }
            let (now, agents) = (Instant::now(), self.view.agents());
            let seen = Seen {
                agents: &agents,
                stands_since: self.progress.stands_since(now),
                has_to_give: self.status.is_giving_up() && has_to_give(&self.catalog, &self.view, &self.pool),
            };
            self.follow(standing.observe(now, seen), &standing);
            // One at a time: what hangs in the stores is not joined by more.
            if probe.is_none() && standing.begin_probe(now, &agents) {
                probe = Some(self.start_probe());
            }
            self.correct_registration(&agents).await;
        }
    }

    fn follow(&self, turn: Option<Turn>, standing: &Standing) {
        let Some(turn) = turn else { return };
        self.status.set_lane(standing.report(), standing.trouble());
        match turn {
            Turn::Stuck => {
                let seconds = standing::patience(self.lease_duration).as_secs();
                tracing::warn!(seconds, "nothing that waits in line was committed; asking whether other agents can");
            }
            Turn::Recovered => tracing::info!("the lane commits again"),
            Turn::Proved => {}
            Turn::GaveUp => {
                tracing::warn!("this agent cannot commit while another can: it gives its partitions up");
                self.metrics.gave_up();
                self.status.give_up(Instant::now());
            }
            Turn::Left => {
                tracing::info!("partitions given up; out of placement until probes of the stores succeed");
                self.status.stop_giving_up();
            }
            Turn::Returned => {
                tracing::info!("probes of the stores succeed: back in placement");
                self.status.return_to_placement();
            }
        }
        self.status.request_renewal();
    }

    /// Tries the ways that the lane takes: an object is written, then the connection for commits is used. Runs to its end,
    /// whoever still waits for it; too late is no success.
    fn start_probe(&self) -> JoinHandle<bool> {
        let (metadata, store, session) = (Arc::clone(&self.metadata), self.store.clone(), self.status.session());
        let key = format!("probes/{}", self.view.node_id());
        let longest = standing::probe_interval(self.lease_duration);
        tokio::spawn(async move {
            let began = Instant::now();
            let written = timeout(longest, store.write(&key, PROBE_BODY)).await;
            matches!(written, Ok(Ok(_)))
                && metadata.commit_segments(session, &[]).await.is_ok()
                && began.elapsed() <= longest
        })
    }

    /// Says again whether this agent takes leases, until the registry does.
    async fn correct_registration(&self, agents: &[AgentRow]) {
        let registration = self.status.registration();
        let own = agents.iter().find(|agent| agent.session == self.status.session());
        if own.is_some_and(|row| row.registration.accepts_leases != registration.accepts_leases)
            && let Err(error) = self.metadata.update_registration(self.status.session(), &registration).await
        {
            self.status.failed("registration", &error);
        }
    }
}
