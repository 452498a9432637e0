//! Fetch sessions (KIP-227): what a consumer wants of which partitions is remembered, so that a request names only what
//! changed, and the answer only partitions with news.
//!
//! A session belongs to no connection; its id and the epoch, which counts its requests, are all that a client shows. Whatever
//! it may have missed, it starts over with a full request: an unknown id is FETCH_SESSION_ID_NOT_FOUND, another epoch than
//! the next INVALID_FETCH_SESSION_EPOCH. So sessions are kept in memory only, and as many as there are slots: a new one takes
//! the place of one that nobody used for [`EVICTION`], or of a smaller one that is as old as that; else there is none, and its
//! client goes on with full requests. These are Apache Kafka's rules; that partitions are bounded too is ours.
//!
//! Pure state: nothing here awaits, and `now` is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use broker::limits;
use kafka_protocol::messages::TopicName;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error_code::Code;
use crate::fetch_response::PartitionResponse;

/// Epoch of a request that wants a session.
const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that wants none, and closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// The id that means "no session".
const NO_SESSION: i32 = 0;
/// How long a session is safe from larger ones, and from new ones without use.
const EVICTION: Duration = Duration::from_secs(120);

/// A partition as requests name it: its topic by name, or from version 13 on by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PartitionName {
    pub(crate) topic: TopicName,
    pub(crate) id: Uuid,
    pub(crate) partition: i32,
}

/// What a client wants of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: PartitionName,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What a request says of sessions.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    /// Whether it names topics by id.
    pub(crate) uses_ids: bool,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<PartitionName>,
}

/// One request's turn: what is to be read for it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) wanted: Vec<Wanted>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    Full { uses_ids: bool },
    Incremental { id: i32, epoch: i32, session: Arc<Mutex<Session>> },
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) error: Option<Code>,
    pub(crate) session_id: i32,
    pub(crate) answers: Vec<(PartitionName, PartitionResponse)>,
}

/// All sessions of an agent.
#[derive(Clone, Debug, Default)]
pub struct FetchSessions(Arc<Mutex<Slots>>);

/// Sessions, and in what order they make room. Locked before a session is, if both are.
#[derive(Debug)]
struct Slots {
    by_id: HashMap<i32, Slot>,
    /// When it was used last, and its id.
    by_use: BTreeSet<(Instant, i32)>,
    /// Partitions and id of those that are older than [`EVICTION`].
    old: BTreeSet<(usize, i32)>,
    /// Partitions of all.
    partitions: usize,
    slots_max: usize,
    partitions_max: usize,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    created: Instant,
    used: Instant,
    partitions: usize,
}

/// One session's partitions, in the order in which bytes are given out.
#[derive(Debug)]
struct Session {
    /// Of the request that is expected next.
    epoch: i32,
    uses_ids: bool,
    by_place: BTreeMap<u64, Cached>,
    places: HashMap<PartitionName, u64>,
    next_place: u64,
}

/// A partition, and what the client knows of it.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

impl FetchSessions {
    /// Finds out what a request wants.
    ///
    /// # Errors
    /// The code of the whole answer, if its session is not as the client thinks.
    pub(crate) fn begin(&self, now: Instant, asked: Asked) -> Result<Turn, Code> {
        let Asked { session_id, epoch, uses_ids, wanted, forgotten } = asked;
        if matches!(epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.0.lock().remove(session_id);
            let kind = match epoch {
                INITIAL_EPOCH if !wanted.is_empty() => Kind::Full { uses_ids },
                _ => Kind::Sessionless,
            };
            return Ok(Turn { wanted, kind });
        }
        let found = self.0.lock().by_id.get(&session_id).map(|slot| Arc::clone(&slot.session));
        let found = found.ok_or(Code::FetchSessionIdNotFound)?;
        let mut session = found.lock();
        if session.epoch != epoch {
            return Err(Code::InvalidFetchSessionEpoch);
        }
        if session.uses_ids != uses_ids {
            return Err(Code::FetchSessionTopicIdError);
        }
        wanted.into_iter().for_each(|wanted| session.want(wanted));
        forgotten.iter().for_each(|name| session.forget(name));
        session.epoch = next_epoch(epoch);
        let (epoch, partitions) = (session.epoch, session.by_place.len());
        let wanted = session.by_place.values().map(|cached| cached.wanted.clone()).collect();
        drop(session);
        let mut slots = self.0.lock();
        if partitions == 0 {
            slots.remove(session_id);
            return Ok(Turn { wanted, kind: Kind::Sessionless });
        }
        slots.touch(session_id, now, partitions);
        drop(slots);
        Ok(Turn { wanted, kind: Kind::Incremental { id: session_id, epoch, session: found } })
    }

    /// Remembers what was read, in the order wanted, and says what of it is answered. `new_id` gives random numbers above 0.
    pub(crate) fn end(
        &self,
        now: Instant,
        turn: Turn,
        read: Vec<PartitionResponse>,
        new_id: impl FnMut() -> i32,
    ) -> Ended {
        let names = turn.wanted.iter().map(|wanted| wanted.name.clone());
        let answers: Vec<(PartitionName, PartitionResponse)> = names.zip(read).collect();
        match turn.kind {
            Kind::Sessionless => Ended { error: None, session_id: NO_SESSION, answers },
            Kind::Full { uses_ids } => {
                let create = || Session::new(uses_ids, turn.wanted, &answers);
                let session_id = self.0.lock().create(now, answers.len(), new_id, create);
                Ended { error: None, session_id: session_id.unwrap_or(NO_SESSION), answers }
            }
            Kind::Incremental { id, epoch, session } => {
                let mut session = session.lock();
                if session.epoch != epoch {
                    // Another request of this session came meanwhile.
                    return Ended { error: Some(Code::InvalidFetchSessionEpoch), session_id: id, answers: Vec::new() };
                }
                Ended { error: None, session_id: id, answers: session.news(answers) }
            }
        }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(limits::FETCH_SESSIONS_MAX, limits::FETCH_SESSION_PARTITIONS_MAX)
    }
}

impl Slots {
    fn new(slots_max: usize, partitions_max: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            by_use: BTreeSet::new(),
            old: BTreeSet::new(),
            partitions: 0,
            slots_max,
            partitions_max,
        }
    }

    fn remove(&mut self, id: i32) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        self.by_use.remove(&(slot.used, id));
        self.old.remove(&(slot.partitions, id));
        self.partitions -= slot.partitions;
    }

    /// The session was used, and has so many partitions now.
    fn touch(&mut self, id: i32, now: Instant, partitions: usize) {
        let Some(slot) = self.by_id.get_mut(&id) else { return };
        self.by_use.remove(&(slot.used, id));
        self.old.remove(&(slot.partitions, id));
        self.partitions = self.partitions - slot.partitions + partitions;
        (slot.used, slot.partitions) = (now, partitions);
        self.by_use.insert((now, id));
        if now - slot.created > EVICTION {
            self.old.insert((partitions, id));
        }
        if self.partitions > self.partitions_max {
            self.remove(id); // its client starts over
        }
    }

    /// Keeps a new session, if there is room or it can be made; says under which id.
    fn create(
        &mut self,
        now: Instant,
        partitions: usize,
        mut new_id: impl FnMut() -> i32,
        create: impl FnOnce() -> Session,
    ) -> Option<i32> {
        while self.by_id.len() >= self.slots_max || self.partitions + partitions > self.partitions_max {
            let least = self.least_needed(now, partitions)?;
            self.remove(least);
        }
        let id = std::iter::repeat_with(&mut new_id).take(100).find(|id| !self.by_id.contains_key(id))?;
        let session = Arc::new(Mutex::new(create()));
        self.by_id.insert(id, Slot { session, created: now, used: now, partitions });
        self.by_use.insert((now, id));
        self.partitions += partitions;
        Some(id)
    }

    /// One that a new session of so many partitions may take the place of.
    fn least_needed(&self, now: Instant, partitions: usize) -> Option<i32> {
        let (used, unused) = self.by_use.first()?;
        if now - *used > EVICTION {
            return Some(*unused);
        }
        let (size, smallest) = self.old.first()?;
        (*size < partitions).then_some(*smallest)
    }
}

impl Session {
    fn new(uses_ids: bool, wanted: Vec<Wanted>, answers: &[(PartitionName, PartitionResponse)]) -> Self {
        let (by_place, places) = (BTreeMap::new(), HashMap::with_capacity(wanted.len()));
        let mut session = Self { epoch: next_epoch(INITIAL_EPOCH), uses_ids, by_place, places, next_place: 0 };
        for (wanted, (name, answer)) in wanted.into_iter().zip(answers) {
            session.want(wanted);
            if let Some(cached) = session.places.get(name).and_then(|place| session.by_place.get_mut(place)) {
                cached.has_news(answer);
            }
        }
        session
    }

    fn want(&mut self, wanted: Wanted) {
        match self.places.get(&wanted.name).and_then(|place| self.by_place.get_mut(place)) {
            Some(cached) => cached.wanted = wanted,
            None => self.append(Cached { wanted, high_watermark: -1, log_start_offset: -1 }),
        }
    }

    fn append(&mut self, cached: Cached) {
        self.places.insert(cached.wanted.name.clone(), self.next_place);
        self.by_place.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, name: &PartitionName) {
        if let Some(place) = self.places.remove(name) {
            self.by_place.remove(&place);
        }
    }

    /// Those of all partitions' answers, in their order, that say something new. Who got records goes to the end of the line.
    fn news(&mut self, answers: Vec<(PartitionName, PartitionResponse)>) -> Vec<(PartitionName, PartitionResponse)> {
        let mut news = Vec::new();
        let mut served = Vec::new();
        for ((place, cached), (name, answer)) in self.by_place.iter_mut().zip(answers) {
            if cached.has_news(&answer) {
                if !answer.records.is_empty() {
                    served.push(*place);
                }
                news.push((name, answer));
            }
        }
        for place in served {
            if let Some(cached) = self.by_place.remove(&place) {
                self.append(cached);
            }
        }
        news
    }
}

impl Cached {
    /// Whether the client does not know this yet. It does then.
    fn has_news(&mut self, answer: &PartitionResponse) -> bool {
        let has_news = !answer.records.is_empty()
            || answer.error_code != 0
            || answer.diverging.is_some()
            || answer.preferred_read_replica.is_some()
            || self.high_watermark != answer.high_watermark
            || self.log_start_offset != answer.log_start_offset;
        // After an error the partition is answered once more, to say that it is over.
        let is_over = answer.error_code == 0 && answer.diverging.is_none();
        self.high_watermark = if is_over { answer.high_watermark } else { -1 };
        self.log_start_offset = answer.log_start_offset;
        has_news
    }
}

/// Epochs count from 1 to 2^31-1, and over again.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
#[path = "fetch_sessions_tests.rs"]
mod tests;
