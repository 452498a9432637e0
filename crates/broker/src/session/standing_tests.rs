//! Tests of `standing`.

use metadata::Registration;

use super::*;

const LEASE: Duration = Duration::from_secs(30);

fn agent(session: i64, stuck: bool, proofs: i64) -> AgentRow {
    let registration = Registration {
        agent_id: session.to_string(),
        group: "g".to_owned(),
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
        renewals: 0,
        suspected: false,
        lane: LaneReport { stuck, proofs },
    }
}

fn out(mut agent: AgentRow) -> AgentRow {
    agent.registration.accepts_leases = false;
    agent
}

/// Agent 1's decisions on a clock of seconds.
struct Scene {
    start: Instant,
    standing: Standing,
}

impl Scene {
    fn new() -> Self {
        Self { start: Instant::now(), standing: Standing::new(SessionId(1), "g".to_owned(), LEASE) }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// Looks at `second`, with a lane that stands since another one.
    fn look(&mut self, second: u64, stands_since: Option<u64>, agents: &[AgentRow]) -> Option<Turn> {
        let stands_since = stands_since.map(|since| self.at(since));
        self.standing.observe(self.at(second), Seen { agents, stands_since, has_to_give: false })
    }

    fn begins_probe(&mut self, second: u64, agents: &[AgentRow]) -> bool {
        self.standing.begin_probe(self.at(second), agents)
    }

    fn probed(&mut self, second: u64, succeeded: bool) -> Option<Turn> {
        self.standing.probed(self.at(second), succeeded)
    }

    /// Stuck since second 0, and the registry says so at second 10.
    fn stuck(peers: &[AgentRow]) -> Self {
        let mut scene = Self::new();
        assert_eq!(scene.look(9, Some(0), &[]), None, "not yet");
        assert_eq!(scene.look(10, Some(0), &[]), Some(Turn::Stuck));
        assert!(scene.standing.report().stuck);
        let agents: Vec<_> = std::iter::once(agent(1, true, 0)).chain(peers.iter().cloned()).collect();
        assert_eq!(scene.look(10, Some(0), &agents), None);
        scene
    }

    /// Gave up at `second` and handed over: out of placement from then on.
    fn gives_up(&mut self, second: u64) {
        let since = Some(second.saturating_sub(10));
        assert_eq!(self.look(second, since, &[]), Some(Turn::Stuck));
        assert_eq!(self.look(second, since, &[agent(1, true, 0), agent(2, false, 5)]), None);
        let proved = [agent(1, true, 0), agent(2, false, 6)];
        assert_eq!(self.look(second, since, &proved), None);
        assert!(self.begins_probe(second, &proved));
        assert_eq!(self.probed(second, false), Some(Turn::GaveUp));
        assert_eq!(self.look(second, since, &[out(agent(1, false, 0)), agent(2, false, 6)]), Some(Turn::Left));
    }

    /// Probes every second from `from` on, all good; when it returns.
    fn returns(&mut self, from: u64, agents: &[AgentRow]) -> u64 {
        let returns = (from..from + 10_000).find(|second| {
            if self.begins_probe(*second, agents) {
                assert_eq!(self.probed(*second, true), None);
            }
            self.look(*second, None, agents) == Some(Turn::Returned)
        });
        returns.expect("it comes back")
    }
}

#[test]
fn one_that_commits_is_not_stuck() {
    let mut scene = Scene::new();
    for second in 0..100 {
        assert_eq!(scene.look(second, second.checked_sub(9), &[agent(1, false, 0), agent(2, false, 7)]), None);
    }
    assert_eq!((scene.standing.report(), scene.standing.trouble()), (LaneReport::default(), None));
}

#[test]
fn one_that_is_stuck_gives_up_once_a_peer_can_and_its_own_probe_fails() {
    let mut scene = Scene::stuck(&[agent(2, false, 5)]);
    let silent = [agent(1, true, 0), agent(2, false, 5)];
    assert_eq!(scene.look(11, Some(0), &silent), None, "what was proved before it asked says nothing");
    assert!(!scene.begins_probe(11, &silent));
    let proved = [agent(1, true, 0), agent(2, false, 6)];
    assert_eq!(scene.look(12, Some(0), &proved), None);
    assert!(scene.begins_probe(12, &proved));
    assert_eq!(scene.probed(13, false), Some(Turn::GaveUp));
    assert_eq!(scene.probed(13, false), None, "nobody asked");
    let giving = scene.at(14);
    let seen = |agents, has_to_give| Seen { agents, stands_since: None, has_to_give };
    let (still_in, now_out) = ([agent(1, false, 0), agent(2, false, 6)], [out(agent(1, false, 0)), agent(2, false, 6)]);
    assert_eq!(scene.standing.observe(giving, seen(&still_in, false)), None, "the registry does not say so yet");
    assert_eq!(scene.standing.observe(giving, seen(&now_out, true)), None, "not all is handed over");
    assert_eq!(scene.standing.observe(giving, seen(&now_out, false)), Some(Turn::Left));
    assert!(!scene.standing.report().stuck, "peers need not prove any more");
}

#[test]
fn without_a_peer_that_could_take_over_nobody_gives_up() {
    let peers: [&[AgentRow]; 5] = [
        &[],
        &[agent(2, false, 5)],
        &[agent(2, true, 9)],
        &[out(agent(2, false, 9))],
        &[{
            let mut other = agent(2, false, 9);
            other.registration.group = "another".to_owned();
            other
        }],
    ];
    for peers in peers {
        let mut scene = Scene::stuck(&[agent(2, false, 5)]);
        let agents: Vec<_> = std::iter::once(agent(1, true, 0)).chain(peers.iter().cloned()).collect();
        for second in 11..1_000 {
            assert_eq!(scene.look(second, Some(0), &agents), None, "{peers:?}");
            assert!(!scene.begins_probe(second, &agents), "{peers:?}");
        }
    }
}

#[test]
fn the_end_of_an_outage_is_no_reason_to_give_up() {
    let mut scene = Scene::stuck(&[agent(2, false, 5)]);
    // An hour later the store is back, and a peer noticed first.
    let proved = [agent(1, true, 0), agent(2, false, 6)];
    assert_eq!(scene.look(3_600, Some(0), &proved), None);
    assert!(scene.begins_probe(3_600, &proved));
    assert_eq!(scene.probed(3_601, true), None, "it is back here too");
    assert_eq!(scene.look(3_602, Some(0), &proved), None);
    assert!(!scene.begins_probe(3_610, &proved), "asked anew: the peer is to prove it again");
    assert_eq!(scene.look(3_612, None, &proved), Some(Turn::Recovered));
    assert_eq!(scene.standing.trouble(), None);
}

#[test]
fn a_lane_that_stands_although_the_stores_answer_is_given_up_after_a_lease() {
    let mut scene = Scene::stuck(&[agent(2, false, 0)]);
    let gave_up = (11..1_000).find(|second| {
        let agents = [agent(1, true, 0), agent(2, false, i64::try_from(*second / 5).expect("small"))];
        let turn = scene.look(*second, Some(0), &agents);
        if scene.begins_probe(*second, &agents) {
            assert_eq!(scene.probed(*second, true), None);
        }
        turn == Some(Turn::GaveUp)
    });
    let gave_up = gave_up.expect("it gives up");
    assert!((40..60).contains(&gave_up), "{gave_up}");
}

#[test]
fn one_that_works_proves_it_while_another_is_stuck_and_only_then() {
    let mut scene = Scene::new();
    let (calm, asked) = ([agent(1, false, 0), agent(2, false, 0)], [agent(1, false, 0), agent(2, true, 0)]);
    assert!(!scene.begins_probe(0, &calm));
    assert!(scene.begins_probe(1, &asked), "at once");
    assert_eq!(scene.probed(1, true), Some(Turn::Proved));
    assert_eq!(scene.standing.report(), LaneReport { stuck: false, proofs: 1 });
    assert!(!scene.begins_probe(5, &asked), "not all the time");
    assert!(scene.begins_probe(6, &asked));
    assert_eq!(scene.probed(7, false), None);
    assert_eq!(scene.standing.report().proofs, 1, "a failure proves nothing");
}

#[test]
fn a_probe_that_began_before_it_was_stuck_does_not_decide() {
    let mut scene = Scene::new();
    assert!(scene.begins_probe(0, &[agent(1, false, 0), agent(3, true, 0)]));
    assert_eq!(scene.look(10, Some(0), &[]), Some(Turn::Stuck));
    assert_eq!(scene.look(10, Some(0), &[agent(1, true, 0), agent(2, false, 5)]), None);
    assert_eq!(scene.look(10, Some(0), &[agent(1, true, 0), agent(2, false, 6)]), None);
    assert_eq!(scene.probed(10, false), None);
}

#[test]
fn it_returns_after_a_lease_and_three_good_probes_in_a_row() {
    let mut scene = Scene::new();
    scene.gives_up(10);
    let agents = [out(agent(1, false, 0)), agent(2, false, 6)];
    for second in [11, 16, 21, 26, 31, 36] {
        assert!(scene.begins_probe(second, &agents));
        assert_eq!(scene.probed(second, second != 36), None, "the last one fails");
        assert_eq!(scene.look(second, None, &agents), None);
    }
    assert_eq!(scene.returns(41, &agents), 51);
    assert_eq!(scene.standing.trouble(), None);
}

#[test]
fn one_that_relapses_stays_away_longer_each_time() {
    let mut scene = Scene::new();
    let agents = [out(agent(1, false, 0)), agent(2, false, 6)];
    let mut stays = Vec::new();
    let mut now = 10;
    for _ in 0..7 {
        scene.gives_up(now);
        let returned = scene.returns(now, &agents);
        stays.push(returned - now);
        now = returned + 10;
    }
    assert_eq!(stays, [30, 60, 120, 240, 480, 480, 480]);
    now += 20 * 30;
    scene.gives_up(now);
    assert_eq!(scene.returns(now, &agents) - now, 30, "long after, it begins anew");
}

#[test]
fn while_nobody_else_takes_leases_one_good_probe_is_enough() {
    let mut scene = Scene::new();
    scene.gives_up(10);
    let agents = [out(agent(1, false, 0)), out(agent(2, false, 6))];
    assert_eq!(scene.look(11, None, &agents), None, "none yet");
    assert_eq!(scene.returns(11, &agents), 11);
}
