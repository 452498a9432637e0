//! Tests of `deaths`.

use metadata::{LaneReport, Registration};

use super::*;

const LEASE: Duration = Duration::from_secs(30);

fn agent(session: i64, renewals: i64) -> AgentRow {
    let registration = Registration {
        agent_id: session.to_string(),
        group: String::new(),
        zone: String::new(),
        managed_topics: String::new(),
        kafka_address: String::new(),
        grpc_address: String::new(),
        accepts_leases: true,
    };
    AgentRow {
        session: SessionId(session),
        node_id: 1,
        registration,
        renewals,
        suspected: false,
        lane: LaneReport::default(),
    }
}

/// Reads every half second from `from` on; returns when the first one looked dead.
fn first_death(deaths: &mut Deaths, from: u64, until: u64, renewals: impl Fn(u64) -> i64) -> Option<u64> {
    (from * 2..until * 2).find_map(|half| {
        let now = Duration::from_millis(half * 500);
        let dead = deaths.observe(now, SessionId(1), &[agent(1, 0), agent(2, renewals(half / 2))]);
        (!dead.is_empty()).then_some(half / 2)
    })
}

#[test]
fn a_counter_that_stands_still_for_the_lease_is_dead() {
    let mut deaths = Deaths::new(LEASE);
    assert_eq!(first_death(&mut deaths, 0, 100, |_| 5), Some(30));
}

#[test]
fn one_that_renews_late_but_in_time_lives() {
    let mut deaths = Deaths::new(LEASE);
    assert_eq!(first_death(&mut deaths, 0, 300, |second| i64::try_from(second / 29).expect("small")), None);
}

#[test]
fn the_observer_itself_is_never_dead() {
    let mut deaths = Deaths::new(LEASE);
    for second in 0..200 {
        assert!(deaths.observe(Duration::from_secs(second), SessionId(1), &[agent(1, 0)]).is_empty());
    }
}

#[test]
fn an_outage_or_a_suspended_observer_makes_nobody_dead() {
    let mut deaths = Deaths::new(LEASE);
    assert_eq!(first_death(&mut deaths, 0, 5, |_| 5), None);
    // An hour without a read: the other could not renew either, or this machine slept.
    assert_eq!(first_death(&mut deaths, 3_600, 3_620, |_| 5), None, "5 s before, 1 s for the pause, 20 s after");
    assert_eq!(first_death(&mut deaths, 3_620, 3_700, |_| 5), Some(3_624));
}

#[test]
fn a_new_session_starts_from_nothing() {
    let mut deaths = Deaths::new(LEASE);
    assert_eq!(first_death(&mut deaths, 0, 29, |_| 5), None);
    let successor = agent(3, 5);
    assert!(deaths.observe(Duration::from_secs(31), SessionId(1), &[successor]).is_empty());
}
