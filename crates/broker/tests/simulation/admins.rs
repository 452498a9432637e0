//! What is done to topics: one is deleted and made again under its name, the beginnings of another's logs are deleted.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::client::Client;
use crate::history::{Op, Process};
use crate::world::{FLEETING, ORG, Phase, SHORT, World};

/// Deletes and makes a topic.
pub(crate) async fn recreate(world: Arc<World>, process: Process) {
    let mut client = Client::new(&world, process);
    while world.phase() < Phase::Draining {
        let agent = world.any_agent(&mut client.rng);
        match agent.broker.topic(ORG, FLEETING) {
            Some(topic) => drop(client.ask(&agent, agent.broker.delete_topic(ORG, topic.topic_id)).await),
            None => drop(client.ask(&agent, world.create(&agent.broker, FLEETING, 1)).await),
        }
        sleep(Duration::from_millis(client.rng.random_range(200..6_000))).await;
    }
}

/// Deletes records.
pub(crate) async fn delete_records(world: Arc<World>, process: Process) {
    let mut client = Client::new(&world, process);
    while world.phase() < Phase::Draining {
        sleep(Duration::from_millis(client.rng.random_range(500..6_000))).await;
        let key = (SHORT.0, client.rng.random_range(0..SHORT.2));
        let agent = client.leader(key);
        let known = world.positions.lock().iter().filter(|((_, of), _)| *of == key).map(|(_, at)| *at).max();
        let offset = client.rng.random_range(0..=known.unwrap_or(0));
        let began = world.now();
        world.record(process, began, Op::Delete { key, offset });
        let deleted = agent.broker.delete_records(ORG, world.topic_id(key.0), key.1, offset);
        if let Some(Ok(start)) = client.ask(&agent, deleted).await {
            world.record(process, began, Op::Start { key, offset: start });
        } else {
            client.forget_leader(key);
        }
    }
}
