//! Tests of `view`: whom clients are told of.

use metadata::{LaneReport, Registration};
use tokio::time::advance;

use super::*;

fn row(node_id: i32, session: i64, accepts_leases: bool) -> AgentRow {
    AgentRow {
        session: SessionId(session),
        node_id,
        registration: Registration {
            agent_id: node_id.to_string(),
            group: "default".to_owned(),
            zone: String::new(),
            managed_topics: String::new(),
            kafka_address: format!("agent-{node_id}:9092"),
            grpc_address: String::new(),
            accepts_leases,
        },
        renewals: 0,
        suspected: false,
        lane: LaneReport::default(),
    }
}

fn listed(view: &ClusterView) -> Vec<i32> {
    view.cluster().listed(Instant::now()).map(|agent| agent.node_id).collect()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_goes_without_a_word_is_listed_for_a_while() {
    let view = ClusterView::new(Uuid::nil(), 1);
    view.set_agents(vec![row(1, 1, true), row(2, 2, true), row(3, 3, true)]);
    assert_eq!(listed(&view), [1, 2, 3]);

    view.set_agents(vec![row(1, 1, true), row(3, 3, true)]);
    assert_eq!(listed(&view), [1, 3, 2]);
    assert_eq!(view.cluster().agents.len(), 2, "it takes part in nothing else");
    advance(Duration::from_secs(40)).await;
    view.set_agents(vec![row(1, 1, true)]);
    assert_eq!(listed(&view), [1, 2, 3]);
    advance(Duration::from_secs(21)).await;
    assert_eq!(listed(&view), [1, 3]);

    view.set_agents(vec![row(1, 1, true), row(3, 4, true)]);
    assert_eq!(listed(&view), [1, 3], "it is back, as another session");
    assert!(view.cluster().departed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_leaves_is_not_listed_any_more() {
    let view = ClusterView::new(Uuid::nil(), 1);
    view.set_agents(vec![row(1, 1, true), row(2, 2, true)]);
    view.set_agents(vec![row(1, 1, true), row(2, 2, false)]);
    assert_eq!(listed(&view), [1, 2]);
    view.set_agents(vec![row(1, 1, true)]);
    assert_eq!(listed(&view), [1]);
}
