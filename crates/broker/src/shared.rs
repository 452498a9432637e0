//! What the broker's tasks and its callers share, and the making of each task from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize};

use metadata::{MetadataStore, OpenedSession, Registration};
use opendal::Operator;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::cache::DiskCache;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::maintenance::{Compactor, Pace, Retainer, Rewriter, Workbench};
use crate::metrics::Metrics;
use crate::reader::cold::{ColdMemory, ColdReader};
use crate::reader::tail::TailBudget;
use crate::replica::Replicas;
use crate::seeded_bugs::SeededBug;
use crate::session::coordinator::{Coordinator, RoundRequest};
use crate::session::deaths::Deaths;
use crate::session::garbage::Collector;
use crate::session::self_check::SelfCheck;
use crate::session::standing;
use crate::session::view::ClusterView;
use crate::session::{Keeper, SessionStatus};
use crate::settings::{BrokerSettings, StopPoint};
use crate::writer::flush::Lane;
use crate::writer::pool::WriterPool;
use crate::writer::progress::LaneProgress;

/// See the module.
pub(crate) struct Shared {
    pub(crate) settings: BrokerSettings,
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) cache: DiskCache,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) view: Arc<ClusterView>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) status: Arc<SessionStatus>,
    /// Highest committed lane sequence, -1 before the first.
    pub(crate) committed_through: Arc<AtomicI64>,
    pub(crate) progress: Arc<LaneProgress>,
    pub(crate) seeded_bug: Option<SeededBug>,
}

/// What rewrite and compaction share.
struct Background {
    pace: Arc<tokio::sync::Mutex<Pace>>,
    next_sequence: Arc<AtomicI64>,
}

impl Shared {
    pub(crate) fn new(
        settings: BrokerSettings,
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        cache: DiskCache,
        metrics: Arc<Metrics>,
        cluster_id: Uuid,
        opened: &OpenedSession,
    ) -> Self {
        let clock = Arc::new(Clock::new(settings.time_source, opened.database_time));
        let status = SessionStatus::new(opened.session, registration(&settings));
        let catalog = Arc::default();
        metrics.name_topics(&catalog);
        Self {
            catalog,
            view: Arc::new(ClusterView::new(cluster_id, opened.node_id)),
            pool: Arc::new(WriterPool::new(settings.flush_bytes, settings.flush_interval)),
            replicas: Arc::new(Replicas::new()),
            clock,
            status: Arc::new(status),
            committed_through: Arc::new(AtomicI64::new(-1)),
            progress: Arc::new(LaneProgress::new(standing::patience(settings.lease_duration) / 2)),
            settings,
            metadata,
            store,
            cache,
            metrics,
            seeded_bug: None,
        }
    }

    /// The lane of segments.
    pub(crate) fn lane(&self) -> Arc<Lane> {
        Arc::new(Lane {
            pool: Arc::clone(&self.pool),
            metadata: Arc::clone(&self.metadata),
            store: self.store.clone(),
            cache: self.cache.clone(),
            tail: Arc::new(TailBudget::new(self.settings.memory_bytes / 8, Arc::clone(&self.metrics))),
            status: Arc::clone(&self.status),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            settings: self.settings.clone(),
            uploads_in_flight: AtomicUsize::new(0),
            committed_through: Arc::clone(&self.committed_through),
            progress: Arc::clone(&self.progress),
            stop_passes: AtomicUsize::new(0),
            seeded_bug: self.seeded_bug,
        })
    }

    /// Renewals and housekeeping.
    pub(crate) fn keeper(&self, older_notes: Vec<String>) -> Keeper {
        Keeper {
            metadata: Arc::clone(&self.metadata),
            store: self.store.clone(),
            status: Arc::clone(&self.status),
            pool: Arc::clone(&self.pool),
            clock: Arc::clone(&self.clock),
            lease_duration: self.settings.lease_duration,
            heartbeat_interval: self.settings.heartbeat_interval,
            older_notes,
            committed_through: Arc::clone(&self.committed_through),
        }
    }

    /// What other agents do, and who should lead what.
    pub(crate) fn coordinator(&self, requests: mpsc::Receiver<RoundRequest>) -> Coordinator {
        Coordinator {
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            catalog: Arc::clone(&self.catalog),
            view: Arc::clone(&self.view),
            pool: Arc::clone(&self.pool),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            requests,
            deaths: Deaths::new(self.settings.lease_duration),
            version: 0,
            unsettled: true,
            hand_over: None,
        }
    }

    /// Garbage collection.
    pub(crate) fn collector(&self) -> Collector {
        Collector {
            metadata: Arc::clone(&self.metadata),
            store: self.store.clone(),
            status: Arc::clone(&self.status),
            view: Arc::clone(&self.view),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            interval: self.settings.garbage_interval,
            grace: self.settings.garbage_grace,
            delete_delay: self.settings.file_delete_delay.min(self.settings.garbage_grace),
        }
    }

    /// Retention.
    pub(crate) fn retainer(&self) -> Retainer {
        Retainer {
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            catalog: Arc::clone(&self.catalog),
            pool: Arc::clone(&self.pool),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            interval: self.settings.retention_interval,
        }
    }

    /// What rewrite and compaction have each of their own, and what they share.
    fn workbench(&self, cold: &Arc<ColdReader>, background: &Background, rng: StdRng) -> Workbench {
        let stop_at = self.settings.stop_at;
        Workbench {
            metadata: Arc::clone(&self.metadata),
            store: self.store.clone(),
            cold: Arc::clone(cold),
            status: Arc::clone(&self.status),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            cluster_id: self.view.cluster().cluster_id,
            pace: Arc::clone(&background.pace),
            rng,
            next_sequence: Arc::clone(&background.next_sequence),
            stop_after: stop_at.filter(|(point, _)| *point == StopPoint::AfterRewrite).map(|(_, times)| times),
        }
    }

    /// Rewrite and compaction.
    pub(crate) fn rewriting(&self, cold: &Arc<ColdReader>, rng: &mut StdRng) -> (Rewriter, Compactor) {
        let settings = &self.settings;
        let pace = Pace::new(Arc::clone(&self.pool), settings.rewrite_bytes_per_second, settings.flush_interval);
        let background =
            Background { pace: Arc::new(tokio::sync::Mutex::new(pace)), next_sequence: Arc::new(AtomicI64::new(0)) };
        let rewriter = Rewriter {
            workbench: self.workbench(cold, &background, StdRng::from_rng(rng)),
            pool: Arc::clone(&self.pool),
            bytes_min: settings.rewrite_bytes,
            shared_bytes: settings.memory_bytes as u64 / 8,
            age: settings.rewrite_age,
        };
        let compactor = Compactor {
            // What is drawn after it is what it was before there was compaction.
            workbench: self.workbench(cold, &background, rewriter.workbench.rng.clone()),
            catalog: Arc::clone(&self.catalog),
            pool: Arc::clone(&self.pool),
            interval: settings.compaction_interval,
            keys_bytes: settings.memory_bytes / 16,
            seeded_bug: self.seeded_bug,
        };
        (rewriter, compactor)
    }

    /// Whether this agent can still commit.
    pub(crate) fn self_check(&self) -> SelfCheck {
        SelfCheck {
            metadata: Arc::clone(&self.metadata),
            store: self.store.clone(),
            status: Arc::clone(&self.status),
            catalog: Arc::clone(&self.catalog),
            view: Arc::clone(&self.view),
            pool: Arc::clone(&self.pool),
            progress: Arc::clone(&self.progress),
            metrics: Arc::clone(&self.metrics),
            group: self.settings.group.clone(),
            lease_duration: self.settings.lease_duration,
        }
    }

    /// The reader of what is not in memory.
    pub(crate) fn cold_reader(&self) -> Arc<ColdReader> {
        let bytes = self.settings.memory_bytes;
        let memory = ColdMemory { ranges: bytes / 16 * 5, blocks: bytes / 16, answers: bytes / 32 * 3 };
        let (metadata, metrics) = (Arc::clone(&self.metadata), Arc::clone(&self.metrics));
        Arc::new(ColdReader::new(metadata, self.store.clone(), self.cache.clone(), metrics, memory))
    }
}

/// What the registry says of this agent from its start on.
pub(crate) fn registration(settings: &BrokerSettings) -> Registration {
    Registration {
        agent_id: settings.agent_id.clone(),
        group: settings.group.clone(),
        zone: settings.zone.clone(),
        managed_topics: settings.managed_topics.clone(),
        kafka_address: settings.kafka_address.clone(),
        grpc_address: settings.grpc_address.clone(),
        accepts_leases: true,
    }
}
