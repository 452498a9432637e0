//! What a run consists of: three agents with their ways to one database and one bucket, those that were replaced and do not know
//! it yet, the topics, and the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker::{
    Broker, BrokerSettings, CreateTopic, Feed, GroupSettings, Metrics, OrganizationId, SessionId, Topic, TopicId,
};
use metadata::{MemoryStore, Sessions};
use opendal::Operator;
use opendal::services::Memory;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::faulty_store::Faults;
use crate::history::{History, Key, Moment, Op, Process};
use crate::seeds::Bug;

pub(crate) const ORG: OrganizationId = OrganizationId::DEFAULT;
/// Short, so that an agent that is cut off gives up, or is fenced, while the others are still busy.
const LEASE: Duration = Duration::from_secs(3);
/// Names and zones.
pub(crate) const AGENTS: [(&str, &str); 3] = [("a", "x"), ("b", "y"), ("c", "y")];
/// The database's clock when a run begins, in ms.
const EPOCH: i64 = 1_700_000_000_000;
/// Nobody deletes anything of it.
pub(crate) const KEPT: (u8, &str, i32) = (0, "kept", 4);
/// Retention and DeleteRecords shorten it.
pub(crate) const SHORT: (u8, &str, i32) = (1, "short", 2);
/// It is compacted all the time.
pub(crate) const COMPACTED: (u8, &str, i32) = (2, "compacted", 2);
/// The topics that stay.
pub(crate) const LASTING: [(u8, &str, i32); 3] = [KEPT, SHORT, COMPACTED];
/// It is deleted and made again all the time.
pub(crate) const FLEETING: &str = "fleeting";
/// What retention leaves of a partition of [`SHORT`] at least.
pub(crate) const RETENTION_BYTES: usize = 4_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Troubled,
    Calm,
    /// Nobody produces any more.
    Draining,
    Over,
}

/// One process of an agent.
pub(crate) struct Agent {
    pub(crate) broker: Broker,
    pub(crate) database: Database,
    pub(crate) way: Faults,
    /// The process is gone: its connections end.
    pub(crate) gone: CancellationToken,
}

impl Agent {
    pub(crate) fn session(&self) -> SessionId {
        self.broker.session()
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) metadata: Arc<MemoryStore>,
    /// Without faults.
    pub(crate) bucket: Operator,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    bug: Option<Bug>,
    starts: AtomicUsize,
    agents: Mutex<Vec<Arc<Agent>>>,
    /// Replaced, and serving whoever still comes.
    zombies: Mutex<Vec<(Instant, Arc<Agent>)>>,
    feeds: Mutex<Vec<(SessionId, SessionId, AbortHandle)>>,
    topics: Mutex<Vec<TopicId>>,
    pub(crate) history: Mutex<History>,
    phase: Mutex<Phase>,
    /// How far each follower came.
    pub(crate) positions: Mutex<BTreeMap<(Process, Key), i64>>,
    /// When each producer had its last ack.
    pub(crate) last_acks: Mutex<BTreeMap<Process, Instant>>,
    pub(crate) fault_windows: AtomicUsize,
}

impl World {
    /// Three agents and the lasting topics.
    pub(crate) async fn begin(seed: u64, bug: Option<Bug>) -> Arc<Self> {
        let began = Instant::now();
        let clock = move || EPOCH + i64::try_from(began.elapsed().as_millis()).expect("short");
        let metadata = MemoryStore::new(uuid::Uuid::from_u128(7), clock);
        let metadata = match bug {
            Some(Bug::OfStore(bug)) => metadata.with_seeded_bug(bug),
            _ => metadata,
        };
        let mut history = History::new();
        history.compacted.insert(COMPACTED.0);
        let world = Arc::new(Self {
            metadata: Arc::new(metadata),
            bucket: Operator::new(Memory::default()).expect("memory store"),
            faults: Faults::new(seed),
            seed,
            bug,
            starts: AtomicUsize::new(0),
            agents: Mutex::default(),
            zombies: Mutex::default(),
            feeds: Mutex::default(),
            topics: Mutex::default(),
            history: Mutex::new(history),
            phase: Mutex::new(Phase::Troubled),
            positions: Mutex::default(),
            last_acks: Mutex::default(),
            fault_windows: AtomicUsize::new(0),
        });
        for number in 0..AGENTS.len() {
            let agent = world.start(number).await;
            world.agents.lock().push(agent);
        }
        world.connect_all();
        for (_, name, partitions) in LASTING {
            let topic = world.create(&world.agent(0).broker, name, partitions).await.expect("created");
            world.topics.lock().push(topic.topic_id);
        }
        world
    }

    async fn start(&self, number: usize) -> Arc<Agent> {
        loop {
            let start = self.starts.fetch_add(1, Ordering::Relaxed) as u64;
            let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ start;
            let (database, way) = (Database::new(Arc::clone(&self.metadata), seed), self.faults.of_another());
            let store = self.bucket.clone().layer(way.clone());
            let bug = match self.bug {
                Some(Bug::OfBroker(bug)) => Some(bug),
                _ => None,
            };
            let (metadata, metrics) = (Arc::new(database.clone()), Arc::new(Metrics::default()));
            match Broker::start_with_seeded_bug(settings(number), metadata, store, metrics, seed, bug).await {
                Ok(broker) => return Arc::new(Agent { broker, database, way, gone: CancellationToken::new() }),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(crate) async fn create(&self, broker: &Broker, name: &str, partitions: i32) -> Option<Arc<Topic>> {
        let config = |name: &str, value: String| (name.to_owned(), Some(value));
        let configs = match name {
            "short" => vec![config("retention.bytes", RETENTION_BYTES.to_string())],
            "compacted" => {
                vec![
                    config("cleanup.policy", "compact".to_owned()),
                    config("min.cleanable.dirty.ratio", "0.01".to_owned()),
                ]
            }
            _ => Vec::new(),
        };
        let request = CreateTopic {
            organization: ORG,
            name: name.to_owned(),
            partition_count: partitions,
            replication_factor: 3,
            configs,
            validate_only: false,
        };
        broker.create_topic(request).await.ok()
    }

    /// The number of a topic, given to it when it is first seen.
    pub(crate) fn number_of(&self, topic_id: TopicId) -> u8 {
        let mut topics = self.topics.lock();
        let known = topics.iter().position(|known| *known == topic_id);
        let number = known.unwrap_or_else(|| {
            topics.push(topic_id);
            topics.len() - 1
        });
        u8::try_from(number).expect("few topics")
    }

    pub(crate) fn topic_id(&self, topic: u8) -> TopicId {
        self.topics.lock()[usize::from(topic)]
    }

    pub(crate) fn agent(&self, number: usize) -> Arc<Agent> {
        Arc::clone(&self.agents.lock()[number])
    }

    pub(crate) fn agents(&self) -> Vec<Arc<Agent>> {
        self.agents.lock().clone()
    }

    /// One that a client may know from earlier.
    pub(crate) fn any_agent(&self, rng: &mut StdRng) -> Arc<Agent> {
        let (agents, zombies) = (self.agents.lock(), self.zombies.lock());
        let all = agents.len() + zombies.len();
        let at = rng.random_range(0..all);
        Arc::clone(agents.get(at).unwrap_or_else(|| &zombies[at - agents.len()].1))
    }

    pub(crate) fn of_session(&self, session: SessionId) -> Option<Arc<Agent>> {
        let (agents, zombies) = (self.agents.lock(), self.zombies.lock());
        let mut all = agents.iter().chain(zombies.iter().map(|(_, agent)| agent));
        all.find(|agent| agent.session() == session).cloned()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock() = phase;
    }

    pub(crate) fn now(&self) -> Moment {
        self.history.lock().now()
    }

    pub(crate) fn record(&self, process: Process, began: Moment, op: Op) {
        self.history.lock().record(process, began, op);
    }
}

/// What happens to agents.
impl World {
    /// A new process in the place of an agent's. The one before goes on for `stays`, as far as it can.
    pub(crate) async fn replace(&self, number: usize, stays: Duration) {
        let successor = self.start(number).await;
        let before = std::mem::replace(&mut self.agents.lock()[number], successor);
        self.zombies.lock().push((Instant::now() + stays, before));
        self.connect_all();
    }

    /// Ends an agent's process, at once; nothing starts in its place.
    pub(crate) fn kill(&self, agent: &Agent) {
        let for_ever = Instant::now() + Duration::from_secs(86_400);
        agent.gone.cancel();
        agent.database.cut(for_ever);
        agent.way.cut(for_ever);
        self.disconnect(agent.session());
    }

    /// Ends those zombies whose time is over, or all.
    pub(crate) fn bury(&self, all: bool) {
        let now = Instant::now();
        let due: Vec<_> = self.zombies.lock().extract_if(.., |(until, _)| all || *until <= now).collect();
        due.iter().for_each(|(_, zombie)| self.kill(zombie));
    }

    /// As the process of an agent does that finds itself fenced: it starts over.
    pub(crate) async fn start_over_who_is_fenced(self: Arc<Self>) {
        loop {
            sleep(Duration::from_millis(250)).await;
            for number in 0..AGENTS.len() {
                let agent = self.agent(number);
                let is_fenced = tokio::select! {
                    biased;
                    () = agent.broker.fenced() => true,
                    () = std::future::ready(()) => false,
                };
                if is_fenced && self.phase() < Phase::Over {
                    self.kill(&agent);
                    self.replace(number, Duration::ZERO).await;
                }
            }
            self.bury(false);
        }
    }

    /// What leaders tell followers, between all that run.
    fn connect_all(&self) {
        let agents = self.agents();
        let mut feeds = self.feeds.lock();
        for leader in &agents {
            for follower in agents.iter().filter(|follower| follower.session() != leader.session()) {
                let ends = (leader.session(), follower.session());
                if !feeds.iter().any(|(from, to, _)| (*from, *to) == ends) {
                    let feed = tokio::spawn(feed(leader.broker.clone(), follower.broker.clone()));
                    feeds.push((ends.0, ends.1, feed.abort_handle()));
                }
            }
        }
    }

    fn disconnect(&self, session: SessionId) {
        let gone = |(from, to, _): &mut (SessionId, SessionId, AbortHandle)| *from == session || *to == session;
        self.feeds.lock().extract_if(.., gone).for_each(|(_, _, feed)| feed.abort());
    }

    /// Ends every process and every session, so that the last word is a fresh agent's: nothing of anybody commits after it has
    /// everything. It has no faults.
    pub(crate) async fn end_all(&self) -> Broker {
        self.enter(Phase::Over);
        self.faults.calm_down();
        self.metadata.set_unavailable(false);
        for agent in self.agents() {
            self.kill(&agent);
        }
        self.bury(true);
        self.agents.lock().clear();
        self.metadata.land_late_commits();
        for agent in self.metadata.list_agents().await.expect("memory answers") {
            self.metadata.close_session(agent.session).await.expect("memory answers");
        }
        let metadata = Arc::clone(&self.metadata) as _;
        let settings = BrokerSettings { rewrite_bytes_per_second: 0, retention_interval: HOUR, ..settings(0) };
        let (metrics, seed) = (Arc::new(Metrics::default()), !self.seed);
        let last = Broker::start(settings, metadata, self.bucket.clone(), metrics, seed).await.expect("starts");
        // What was on its way when its sender ended comes now, and must do nothing.
        self.metadata.land_late_commits();
        last
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn feed(leader: Broker, follower: Broker) {
    let mut feed = Feed::new(leader.clone(), follower.session());
    let mut wanted = follower.replicas_wanted();
    loop {
        feed.follow(follower.followed_of(leader.session()));
        let news = tokio::select! {
            biased;
            news = feed.next() => news,
            () = sleep(Duration::from_secs(1)) => Vec::new(),
            () = wanted.changed() => continue,
        };
        sleep(Duration::from_millis(1)).await;
        follower.take_progress(leader.session(), news);
    }
}

fn settings(number: usize) -> BrokerSettings {
    let (name, zone) = AGENTS[number];
    let groups = GroupSettings {
        offsets_topic_partitions: 3,
        initial_rebalance_delay: Duration::from_millis(300),
        ..GroupSettings::default()
    };
    BrokerSettings {
        zone: zone.to_owned(),
        memory_bytes: 64 * 1024,
        lease_duration: LEASE,
        // Without any grace, and all the time: it claims what is being uploaded.
        garbage_interval: Duration::from_millis(400),
        garbage_grace: Duration::ZERO,
        retention_interval: Duration::from_millis(500),
        rewrite_bytes: 800,
        rewrite_age: Duration::from_millis(200),
        rewrite_bytes_per_second: 1 << 20,
        compaction_interval: Duration::from_millis(300),
        groups,
        ..BrokerSettings::for_tests(name)
    }
}
