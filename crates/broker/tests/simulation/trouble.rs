//! What goes wrong: transactions fail, lose their reply or happen late, agents are killed, fenced while they live, suspected, told to
//! leave, cut off from the database or from the bucket, and the database is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metadata::{FailPoint, Sessions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{AGENTS, World};

/// Makes trouble until `end`. Bounded in its pace: faults that come faster than retries would be an outage without end.
pub(crate) async fn trouble(world: Arc<World>, end: Instant) {
    let mut rng = StdRng::seed_from_u64(world.seed ^ 0xfa);
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(20..700))).await;
        if rng.random_bool(0.25) {
            sleep(Duration::from_millis(rng.random_range(0..2_000))).await; // a quiet while
        }
        world.fault_windows.fetch_add(1, Ordering::Relaxed);
        let number = rng.random_range(0..AGENTS.len());
        match rng.random_range(0..100) {
            0..45 => fail_transactions(&world, &mut rng),
            45..53 => {
                // Often the restart meets a commit whose outcome is open: nobody may answer it, a retry finds out.
                world.metadata.fail_next(FailPoint::CommittedReplyLost);
                sleep(Duration::from_millis(rng.random_range(0..25))).await;
                world.replace(number, Duration::from_millis(rng.random_range(100..8_000))).await;
            }
            53..59 => {
                world.kill(&world.agent(number));
                sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
                world.replace(number, Duration::ZERO).await;
            }
            59..65 => fence(&world, number).await,
            65..72 => leave(&world, number, &mut rng).await,
            72..77 => {
                // A doubt that the living answer.
                let (doubting, doubted) = (world.agent((number + 1) % AGENTS.len()), world.agent(number).session());
                let _ = timeout(Duration::from_secs(5), doubting.broker.peer_vanished(doubted)).await;
            }
            77..86 => world.agent(number).way.cut(Instant::now() + Duration::from_millis(rng.random_range(500..6_000))),
            86..96 => {
                world.agent(number).database.cut(Instant::now() + Duration::from_millis(rng.random_range(200..7_000)))
            }
            _ => {
                world.metadata.set_unavailable(true);
                sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
                world.metadata.set_unavailable(false);
            }
        }
    }
}

fn fail_transactions(world: &Arc<World>, rng: &mut StdRng) {
    const POINTS: [FailPoint; 4] =
        [FailPoint::NotCommitted, FailPoint::CommittedReplyLost, FailPoint::DroppedReplyLost, FailPoint::LandsLate];
    for _ in 0..rng.random_range(1..4) {
        world.metadata.fail_next(POINTS[rng.random_range(0..POINTS.len())]);
    }
    let (world, later) = (Arc::clone(world), Duration::from_millis(rng.random_range(1..400)));
    tokio::spawn(async move {
        sleep(later).await;
        world.metadata.land_late_commits();
    });
}

/// Fences an agent as a peer would that saw no renewal; the fence itself may fail or lose its reply. It goes on until it finds out.
async fn fence(world: &World, number: usize) {
    let (by, target) = (world.agent((number + 1) % AGENTS.len()).session(), world.agent(number).session());
    let Ok(agents) = world.metadata.list_agents().await else { return };
    if let Some(row) = agents.iter().find(|agent| agent.session == target) {
        let _ = world.metadata.fence_session(by, target, row.renewals).await;
    }
}

/// An agent hands over, drains and ends; then it starts again.
async fn leave(world: &World, number: usize, rng: &mut StdRng) {
    let leaving = world.agent(number);
    leaving.broker.hand_over(Instant::now() + Duration::from_secs(2)).await;
    let _ = timeout(Duration::from_secs(5), leaving.broker.drain()).await;
    sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
    world.replace(number, Duration::ZERO).await;
}
