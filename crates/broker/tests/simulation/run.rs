//! One run: a minute of simulated time with everybody in it, then the audit and the checker.
//!
//! Even seeds are safety runs: trouble all the time. Odd seeds are liveness runs: half of the time, then everything heals, and
//! what should happen must happen in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};

use crate::checker::{Anomaly, check};
use crate::history::{Event, Key, Op, Outcome, Process};
use crate::seeds::Bug;
use crate::trouble::trouble;
use crate::world::{AGENTS, LASTING, Phase, World};
use crate::{admins, audit, consumers, members_classic, members_consumer, producers};

const SAFETY: Duration = Duration::from_secs(60);
const TROUBLED: Duration = Duration::from_secs(30);
/// Until when all is led once everything has healed.
const LED_WITHIN: Duration = Duration::from_secs(20);
/// How long all goes well before producers stop.
const CALM: Duration = Duration::from_secs(25);
/// A producer without an ack for so long, while all goes well, is stuck.
const ACK_WITHIN: Duration = Duration::from_secs(10);
/// How long what was sent may still be on its way to its readers.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Counts of a run, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) simulated_ms: u128,
    pub(crate) events: usize,
    pub(crate) fault_windows: usize,
    pub(crate) acked: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
    pub(crate) reads: usize,
    pub(crate) commits: usize,
    /// Records that compaction took out.
    pub(crate) compacted: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.simulated_ms += other.simulated_ms;
        self.events += other.events;
        self.fault_windows += other.fault_windows;
        self.acked += other.acked;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.commits += other.commits;
        self.compacted += other.compacted;
    }

    fn take(&mut self, event: &Event) {
        self.events += 1;
        match &event.op {
            Op::Send { outcome: Outcome::Ok, .. } => self.acked += 1,
            Op::Send { outcome: Outcome::Fail, .. } => self.failed += 1,
            Op::Send { outcome: Outcome::Info, .. } => self.unknown += 1,
            Op::Poll { records, .. } => self.reads += records.len(),
            Op::Commit { outcome: Outcome::Ok, .. } => self.commits += 1,
            _ => {}
        }
    }
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) seed: u64,
    pub(crate) hash: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) anomalies: Vec<Anomaly>,
    pub(crate) counts: Counts,
}

/// Runs a seed on the runtime that it is called on, which is paused and has one thread.
pub(crate) async fn simulate(seed: u64, bug: Option<Bug>) -> Ran {
    let began = Instant::now();
    let world = World::begin(seed, bug).await;
    let mut crowd = Crowd::gather(&world);
    match seed % 2 {
        0 => {
            let _ = timeout(SAFETY * 2, trouble(Arc::clone(&world), Instant::now() + SAFETY)).await;
        }
        _ => {
            let _ = timeout(SAFETY * 2, trouble(Arc::clone(&world), Instant::now() + TROUBLED)).await;
            live(&world, &mut crowd).await;
        }
    }
    crowd.disperse();
    world.history.lock().end();
    let last = world.end_all().await;
    audit::audit(&world, &last).await;
    let mut history = world.history.lock();
    let mut counts = Counts { simulated_ms: began.elapsed().as_millis(), ..Counts::default() };
    counts.fault_windows = world.fault_windows.load(Ordering::Relaxed);
    history.events.iter().for_each(|event| counts.take(event));
    let compacted = history.logs.iter().filter(|(key, _)| history.compacted.contains(&key.0));
    counts.compacted = compacted.map(|(_, log)| log.holes()).sum();
    let (hash, anomalies) = (history.hash(), check(&history));
    Ran { seed, hash, events: std::mem::take(&mut history.events), anomalies, counts }
}

/// Everybody who takes part.
struct Crowd {
    producers: Vec<JoinHandle<()>>,
    /// Those that must have acks when all goes well.
    steady: Vec<Process>,
    followers: Vec<(Process, Key)>,
    others: Vec<AbortHandle>,
}

impl Crowd {
    fn gather(world: &Arc<World>) -> Self {
        let mut crowd = Self { producers: Vec::new(), steady: Vec::new(), followers: Vec::new(), others: Vec::new() };
        let mut processes = 1..;
        let mut next = || processes.next().expect("many");
        for (topic, _, partitions) in LASTING {
            for key in (0..partitions).map(|partition| (topic, partition)) {
                let (once, pipelined) = (next(), next());
                crowd.producers.push(tokio::spawn(producers::produce_once(Arc::clone(world), once, key)));
                crowd.producers.push(tokio::spawn(producers::produce_pipelined(Arc::clone(world), pipelined, key)));
                crowd.steady.extend([once, pipelined]);
                // Of every zone somebody, and somebody who does not say.
                let rack = [None, Some(AGENTS[0].1), Some(AGENTS[1].1)][usize::try_from(key.1).expect("small") % 3];
                for rack in [None, rack] {
                    let process = next();
                    let follower = consumers::follow(Arc::clone(world), process, key, rack);
                    crowd.others.push(tokio::spawn(follower).abort_handle());
                    crowd.followers.push((process, key));
                }
            }
        }
        crowd.producers.push(tokio::spawn(producers::produce_fleeting(Arc::clone(world), next())));
        for _ in 0..3 {
            crowd.others.push(tokio::spawn(members_classic::take_part(Arc::clone(world), next())).abort_handle());
            crowd.others.push(tokio::spawn(members_consumer::take_part(Arc::clone(world), next())).abort_handle());
        }
        crowd.others.push(tokio::spawn(consumers::watch_ends(Arc::clone(world), next())).abort_handle());
        crowd.others.push(tokio::spawn(admins::recreate(Arc::clone(world), next())).abort_handle());
        crowd.others.push(tokio::spawn(admins::delete_records(Arc::clone(world), next())).abort_handle());
        crowd.others.push(tokio::spawn(Arc::clone(world).start_over_who_is_fenced()).abort_handle());
        crowd
    }

    fn disperse(self) {
        self.producers.iter().for_each(JoinHandle::abort);
        self.others.iter().for_each(AbortHandle::abort);
    }
}

/// Everything heals. What should happen then, and in time: all is led, acks flow, everything is seen, groups come to the end.
async fn live(world: &Arc<World>, crowd: &mut Crowd) {
    world.heal();
    if let Err(why) = within(LED_WITHIN, || all_led(world)).await {
        world.history.lock().note("not-led", why);
    }
    sleep(CALM).await;
    for process in &crowd.steady {
        let last = world.last_acks.lock().get(process).copied();
        if last.is_none_or(|last| last.elapsed() > ACK_WITHIN) {
            world
                .history
                .lock()
                .note("no-acks", format!("producer {process}: last {:?} ago", last.map(|last| last.elapsed())));
        }
    }
    world.enter(Phase::Draining);
    for producer in &mut crowd.producers {
        let _ = timeout(ACK_WITHIN, producer).await;
    }
    if let Err(why) = within(SEEN_WITHIN, || all_seen(world, &crowd.followers)).await {
        world.history.lock().note("unseen", why);
    }
    if let Err(why) = within(SEEN_WITHIN, || groups_done(world)).await {
        world.history.lock().note("group-unsettled", why);
    }
}

async fn within(time: Duration, is_so: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + time;
    loop {
        match is_so() {
            Err(why) if Instant::now() >= deadline => return Err(why),
            Err(_) => sleep(Duration::from_millis(100)).await,
            Ok(()) => return Ok(()),
        }
    }
}

fn all_led(world: &World) -> Result<(), String> {
    let agents = world.agents();
    for (topic, name, partitions) in LASTING {
        for partition in 0..partitions {
            let leads = |agent: &Arc<crate::world::Agent>| {
                let leader = agent.broker.partition_leader(world.topic_id(topic), partition);
                leader.is_some_and(|(leader, _)| leader.session == agent.session())
            };
            if !agents.iter().any(leads) {
                return Err(format!("partition {partition} of {name}"));
            }
        }
    }
    Ok(())
}

/// The first offset after everything that was acked.
fn acked_end(world: &World, key: Key) -> i64 {
    let history = world.history.lock();
    let ends = history.events.iter().filter_map(|event| match event.op {
        Op::Send { key: of, outcome: Outcome::Ok, offset, .. } if of == key => Some(offset + 1),
        _ => None,
    });
    ends.max().unwrap_or(0)
}

fn all_seen(world: &World, followers: &[(Process, Key)]) -> Result<(), String> {
    for (process, key) in followers {
        let (end, at) = (acked_end(world, *key), world.positions.lock().get(&(*process, *key)).copied());
        if at.unwrap_or(0) < end {
            return Err(format!("consumer {process} of {key:?} is at {at:?} of {end}"));
        }
    }
    Ok(())
}

fn groups_done(world: &World) -> Result<(), String> {
    for group in [members_classic::GROUP, members_consumer::GROUP] {
        for key in crate::members::kept_keys() {
            let end = acked_end(world, key);
            let history = world.history.lock();
            let committed = history.events.iter().filter_map(|event| match event.op {
                Op::Commit { group: of, key: at, offset, outcome: Outcome::Ok } if (of, at) == (group, key) => {
                    Some(offset)
                }
                _ => None,
            });
            let committed = committed.max();
            if committed.unwrap_or(0) < end {
                return Err(format!("{group} has committed {committed:?} of {end} in {key:?}"));
            }
        }
    }
    Ok(())
}

impl World {
    /// Nothing goes wrong any more.
    fn heal(&self) {
        self.faults.calm_down();
        self.metadata.set_unavailable(false);
        self.metadata.land_late_commits();
        self.bury(true);
        for agent in self.agents() {
            agent.database.heal();
            agent.way.cut(Instant::now());
        }
        self.enter(Phase::Calm);
    }
}
