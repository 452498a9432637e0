//! Sessions as a client lives them: requests in, answers out, no broker.

use bytes::Bytes;
use tokio::time::Duration;

use super::*;

fn name(partition: i32) -> PartitionName {
    PartitionName { topic: TopicName::default(), id: Uuid::from_u128(1), partition }
}

fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
    Wanted { name: name(partition), fetch_offset, max_bytes: 1, current_leader_epoch: -1, last_fetched_epoch: -1 }
}

fn asked(session_id: i32, epoch: i32, wanted: Vec<Wanted>, forgotten: &[i32]) -> Asked {
    Asked { session_id, epoch, uses_ids: true, wanted, forgotten: forgotten.iter().copied().map(name).collect() }
}

/// Nothing new at `high_watermark`.
fn quiet(partition: i32, high_watermark: i64) -> PartitionResponse {
    PartitionResponse { high_watermark, log_start_offset: 0, ..PartitionResponse::new(partition) }
}

struct Agent {
    sessions: FetchSessions,
    next_id: i32,
    now: Instant,
}

impl Agent {
    fn new(slots: usize, partitions: usize) -> Self {
        let sessions = FetchSessions(Arc::new(Mutex::new(Slots::new(slots, partitions))));
        Self { sessions, next_id: 0, now: Instant::now() }
    }

    /// One request, answered for each partition by `read`: error, session id, partitions in the answer.
    fn fetch(&mut self, asked: Asked, read: impl Fn(&Wanted) -> PartitionResponse) -> (Option<Code>, i32, Vec<i32>) {
        let turn = match self.sessions.begin(self.now, asked) {
            Ok(turn) => turn,
            Err(code) => return (Some(code), NO_SESSION, Vec::new()),
        };
        let answers = turn.wanted.iter().map(read).collect();
        let ended = self.sessions.end(self.now, turn, answers, || {
            self.next_id += 1;
            self.next_id
        });
        (ended.error, ended.session_id, ended.answers.iter().map(|(name, _)| name.partition).collect())
    }

    /// A session of partitions 0 to `partitions`, at high watermark 10.
    fn open(&mut self, partitions: i32) -> i32 {
        let all = (0..partitions).map(|partition| wanted(partition, 10)).collect();
        let (error, id, answered) = self.fetch(asked(0, 0, all, &[]), |wanted| quiet(wanted.name.partition, 10));
        assert_eq!((error, answered), (None, (0..partitions).collect()));
        id
    }

    fn works(&mut self, id: i32, epoch: i32) -> bool {
        self.fetch(asked(id, epoch, vec![], &[]), |wanted| quiet(wanted.name.partition, 10)).0.is_none()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn only_news_is_answered() {
    let mut agent = Agent::new(10, 100);
    let id = agent.open(4);
    let quiet_now = |wanted: &Wanted| quiet(wanted.name.partition, 10);
    assert_eq!(agent.fetch(asked(id, 1, vec![], &[]), quiet_now), (None, id, vec![]));
    let moved = |wanted: &Wanted| quiet(wanted.name.partition, if wanted.name.partition == 2 { 11 } else { 10 });
    assert_eq!(agent.fetch(asked(id, 2, vec![], &[]), moved), (None, id, vec![2]));
    assert_eq!(agent.fetch(asked(id, 3, vec![], &[]), moved), (None, id, vec![]));
    let start_moved = |wanted: &Wanted| PartitionResponse {
        log_start_offset: i64::from(wanted.name.partition == 1),
        ..moved(wanted)
    };
    assert_eq!(agent.fetch(asked(id, 4, vec![], &[]), start_moved), (None, id, vec![1]));
    let broken = |wanted: &Wanted| match wanted.name.partition {
        3 => PartitionResponse { error_code: 6, ..PartitionResponse::new(3) },
        _ => start_moved(wanted),
    };
    assert_eq!(agent.fetch(asked(id, 5, vec![], &[]), broken), (None, id, vec![3]));
    assert_eq!(agent.fetch(asked(id, 6, vec![], &[]), broken), (None, id, vec![3]), "an error is said each time");
    assert_eq!(agent.fetch(asked(id, 7, vec![], &[]), start_moved), (None, id, vec![3]), "and that it is over");
    assert_eq!(agent.fetch(asked(id, 8, vec![], &[]), start_moved), (None, id, vec![]));
    let elsewhere = |wanted: &Wanted| PartitionResponse {
        preferred_read_replica: (wanted.name.partition == 0).then_some(7),
        ..start_moved(wanted)
    };
    assert_eq!(agent.fetch(asked(id, 9, vec![], &[]), elsewhere), (None, id, vec![0]));
}

#[test]
fn who_got_records_goes_to_the_end_of_the_line() {
    let mut agent = Agent::new(10, 100);
    let id = agent.open(4);
    let with_records = |which: &'static [i32]| {
        move |wanted: &Wanted| {
            let partition = wanted.name.partition;
            let records = if which.contains(&partition) { vec![Bytes::from_static(b"r")] } else { Vec::new() };
            PartitionResponse { records, ..quiet(partition, 10) }
        }
    };
    assert_eq!(agent.fetch(asked(id, 1, vec![], &[]), with_records(&[0, 2])), (None, id, vec![0, 2]));
    assert_eq!(agent.fetch(asked(id, 2, vec![], &[]), with_records(&[0, 1, 2, 3])), (None, id, vec![1, 3, 0, 2]));
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let mut agent = Agent::new(10, 100);
    let id = agent.open(3);
    let read = |wanted: &Wanted| quiet(wanted.name.partition, 10);
    assert_eq!(agent.fetch(asked(id, 1, vec![wanted(7, 5)], &[1, 99]), read), (None, id, vec![7]));
    let turn = agent.sessions.begin(agent.now, asked(id, 2, vec![wanted(2, 9)], &[7])).unwrap();
    let now_wanted: Vec<(i32, i64)> =
        turn.wanted.iter().map(|wanted| (wanted.name.partition, wanted.fetch_offset)).collect();
    assert_eq!(now_wanted, [(0, 10), (2, 9)]);
    // Forgotten wins over wanted, as in Apache Kafka; and a session of nothing is none.
    assert_eq!(agent.fetch(asked(id, 3, vec![wanted(4, 0)], &[0, 2, 4]), read), (None, NO_SESSION, vec![]));
    assert_eq!(agent.fetch(asked(id, 4, vec![], &[]), read).0, Some(Code::FetchSessionIdNotFound));
    assert_eq!(agent.sessions.0.lock().partitions, 0);
}

#[test]
fn a_client_that_lost_count_starts_over() {
    let mut agent = Agent::new(10, 100);
    let id = agent.open(2);
    let read = |wanted: &Wanted| quiet(wanted.name.partition, 10);
    for epoch in [2, 7, -5] {
        assert_eq!(agent.fetch(asked(id, epoch, vec![], &[]), read).0, Some(Code::InvalidFetchSessionEpoch));
    }
    assert_eq!(agent.fetch(asked(id + 1, 1, vec![], &[]), read).0, Some(Code::FetchSessionIdNotFound));
    let by_name = Asked { uses_ids: false, ..asked(id, 1, vec![], &[]) };
    assert_eq!(agent.fetch(by_name, read).0, Some(Code::FetchSessionTopicIdError));
    assert!(agent.works(id, 1), "none of that was a turn");
    // Two requests at once: the one whose epoch is past is told so, and its reads change nothing.
    let slow = agent.sessions.begin(agent.now, asked(id, 2, vec![], &[])).unwrap();
    assert!(agent.works(id, 3));
    let ended = agent.sessions.end(agent.now, slow, vec![quiet(0, 99), quiet(1, 99)], || 5);
    assert_eq!((ended.error, ended.session_id), (Some(Code::InvalidFetchSessionEpoch), id));
    assert_eq!(agent.fetch(asked(id, 4, vec![], &[]), read), (None, id, vec![]));
}

#[test]
fn a_full_request_closes_the_session_it_names() {
    let mut agent = Agent::new(10, 100);
    let read = |wanted: &Wanted| quiet(wanted.name.partition, 10);
    let first = agent.open(2);
    let (error, second, answered) = agent.fetch(asked(first, 0, vec![wanted(0, 0)], &[]), read);
    assert_eq!((error, answered), (None, vec![0]));
    assert!(second != first && second != NO_SESSION);
    assert!(!agent.works(first, 1) && agent.works(second, 1));
    assert_eq!(agent.fetch(asked(second, -1, vec![wanted(0, 0)], &[]), read), (None, NO_SESSION, vec![0]));
    assert!(!agent.works(second, 2));
    assert_eq!(agent.fetch(asked(0, -1, vec![], &[]), read), (None, NO_SESSION, vec![]));
}

#[test]
fn epochs_wrap_to_one() {
    let mut agent = Agent::new(10, 100);
    let id = agent.open(1);
    let session = Arc::clone(&agent.sessions.0.lock().by_id[&id].session);
    session.lock().epoch = i32::MAX;
    assert!(agent.works(id, i32::MAX) && agent.works(id, 1));
}

#[test]
fn a_session_makes_room_only_when_unused_or_old_and_smaller() {
    let mut agent = Agent::new(2, 100);
    let (small, large) = (agent.open(2), agent.open(5));
    assert_eq!(agent.open(9), NO_SESSION, "both are young");
    agent.pass(100);
    assert!(agent.works(small, 1) && agent.works(large, 1));
    agent.pass(21);
    assert_eq!(agent.open(9), NO_SESSION, "their age is looked at when they are used");
    assert!(agent.works(small, 2) && agent.works(large, 2));
    assert_eq!(agent.open(2), NO_SESSION, "no smaller one than that");
    let third = agent.open(3);
    assert!(third != NO_SESSION && !agent.works(small, 3) && agent.works(large, 3));
    agent.pass(121);
    assert!(agent.works(large, 4));
    let fourth = agent.open(1);
    assert!(fourth != NO_SESSION && !agent.works(third, 1), "nobody used it for that long");
}

#[test]
fn partitions_of_all_sessions_are_bounded() {
    let mut agent = Agent::new(10, 10);
    let (first, second) = (agent.open(6), agent.open(4));
    assert!(first != NO_SESSION && second != NO_SESSION);
    assert_eq!(agent.open(1), NO_SESSION);
    let more = (10..20).map(|partition| wanted(partition, 0)).collect();
    let (error, ..) = agent.fetch(asked(second, 1, more, &[]), |wanted| quiet(wanted.name.partition, 10));
    assert_eq!(error, None);
    assert!(!agent.works(second, 2) && agent.works(first, 1), "one that outgrew the bound is let go");
    assert!(agent.open(4) != NO_SESSION);
    assert_eq!(agent.sessions.0.lock().partitions, 10);
}
