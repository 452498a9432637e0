//! Loaded once for all who want it at the same time, and kept for a while: what was wanted first goes first, by bytes.
//!
//! What is being loaded is never evicted, so that nobody loads it again beside. What was loaded ahead of its reader is counted
//! until somebody wants it, and bounded; it stays while anything else can go, but not for ever: its reader may have gone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 256;
/// What was loaded ahead makes room for others after this long.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct SingleFlight<K, T> {
    bytes_max: usize,
    /// Whether what is being loaded counts; else somebody else bounds it, and [`Loading::loaded`] counts it.
    from_start: bool,
    state: Mutex<State<K, T>>,
    /// Told whenever a load ends, however it does.
    pub(super) settled: Notify,
}

struct State<K, T> {
    entries: HashMap<K, Entry<T>>,
    /// What was wanted, in the order of it.
    order: VecDeque<K>,
    used: usize,
    /// What was loaded ahead and nobody wanted yet, and when that began.
    order_ahead: VecDeque<(K, Instant)>,
    ahead: usize,
}

struct Entry<T> {
    cell: Arc<OnceCell<T>>,
    bytes: usize,
    /// In `used`.
    counted: bool,
    /// Loaded ahead, and not wanted yet.
    ahead: bool,
    uses: u32,
    /// [`Loading`]s of it that live.
    wanting: usize,
}

/// What happened while an entry was entered.
pub(super) struct Entered<K: Clone + Eq + Hash, T> {
    pub(super) loading: Loading<K, T>,
    /// Bytes of it that were loaded ahead; this is their first use.
    pub(super) was_ahead: usize,
    /// Whether others had it before.
    pub(super) is_shared: bool,
    pub(super) evicted: Vec<Evicted>,
}

/// An entry that is gone.
pub(super) struct Evicted {
    pub(super) bytes: usize,
    /// How many wanted it; 0: it was loaded ahead, in vain.
    pub(super) uses: u32,
}

impl<K: Clone + Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// What is being loaded counts.
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Self::with(bytes_max, true)
    }

    /// Only what is loaded counts: those who load have a bound of their own.
    pub(super) fn of_loaded(bytes_max: usize) -> Arc<Self> {
        Self::with(bytes_max, false)
    }

    fn with(bytes_max: usize, from_start: bool) -> Arc<Self> {
        let (order, order_ahead) = (VecDeque::new(), VecDeque::new());
        let state = State { entries: HashMap::new(), order, used: 0, order_ahead, ahead: 0 };
        Arc::new(Self { bytes_max, from_start, state: Mutex::new(state), settled: Notify::new() })
    }

    pub(super) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Joins those who want `key`.
    pub(super) fn enter(self: &Arc<Self>, key: K, bytes: usize) -> Entered<K, T> {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(&key) {
            let was_ahead = if std::mem::take(&mut entry.ahead) { entry.bytes } else { 0 };
            let is_shared = entry.uses > 0;
            entry.uses += 1;
            entry.wanting += 1;
            let cell = Arc::clone(&entry.cell);
            if was_ahead > 0 {
                state.ahead -= was_ahead;
                state.order_ahead.retain(|(known, _)| *known != key);
                state.order.push_back(key.clone());
            }
            let loading = Loading { of: Arc::clone(self), key, cell };
            return Entered { loading, was_ahead, is_shared, evicted: Vec::new() };
        }
        let (cell, evicted) = state.insert(key.clone(), bytes, false, self);
        let loading = Loading { of: Arc::clone(self), key, cell };
        Entered { loading, was_ahead: 0, is_shared: false, evicted }
    }

    /// An entry to be loaded before anybody wants it, unless it is there, or `ahead_max` bytes are ahead.
    pub(super) fn enter_ahead(
        self: &Arc<Self>,
        key: &K,
        bytes: usize,
        ahead_max: usize,
    ) -> Result<Entered<K, T>, Ahead> {
        let mut state = self.state.lock();
        if state.entries.contains_key(key) {
            return Err(Ahead::IsThere);
        }
        let (has_room, mut stale) = state.room_ahead(bytes, ahead_max);
        if !has_room {
            return Err(Ahead::IsFull);
        }
        let (cell, mut evicted) = state.insert(key.clone(), bytes, true, self);
        evicted.append(&mut stale);
        let loading = Loading { of: Arc::clone(self), key: key.clone(), cell };
        Ok(Entered { loading, was_ahead: 0, is_shared: false, evicted })
    }

    /// Whether so many bytes can be loaded ahead now, and what went for them.
    pub(super) fn room_ahead(&self, bytes: usize, ahead_max: usize) -> (bool, Vec<Evicted>) {
        self.state.lock().room_ahead(bytes, ahead_max)
    }

    /// What is there, loaded; not a use of it.
    pub(super) fn peek(&self, key: &K) -> Option<T> {
        self.state.lock().entries.get(key)?.cell.get().cloned()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.state.lock().entries.contains_key(key)
    }

    /// Whether it is loaded; `None`: nobody loads it.
    pub(super) fn state(&self, key: &K) -> Option<bool> {
        self.state.lock().entries.get(key).map(|entry| entry.cell.initialized())
    }

    /// It will be wanted again soon: what was wanted since goes before it.
    pub(super) fn renew(&self, key: &K) {
        let mut state = self.state.lock();
        if let Some(at) = state.order.iter().rposition(|known| known == key)
            && let Some(key) = state.order.remove(at)
        {
            state.order.push_back(key);
        }
    }

    /// Forgets what was loaded.
    pub(super) fn forget(&self, key: &K) {
        let mut state = self.state.lock();
        if state.entries.get(key).is_some_and(|entry| entry.cell.initialized()) {
            state.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize, usize, usize) {
        let state = self.state.lock();
        (state.entries.len(), state.order.len() + state.order_ahead.len(), state.used, state.ahead)
    }
}

/// Why nothing is loaded ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    IsThere,
    IsFull,
}

/// One of those who want an entry. The last one that ends without it (an error, or the client hung up) takes the empty entry
/// out, so that it uses up nothing.
pub(super) struct Loading<K: Clone + Eq + Hash, T> {
    of: Arc<SingleFlight<K, T>>,
    key: K,
    pub(super) cell: Arc<OnceCell<T>>,
}

impl<K: Clone + Eq + Hash, T: Clone> Loading<K, T> {
    /// It is loaded: it counts from now on, and what is older makes room.
    pub(super) fn loaded(&self) {
        let mut state = self.of.state.lock();
        let Some(entry) = state.entries.get_mut(&self.key) else { return };
        if !std::mem::replace(&mut entry.counted, true) {
            let bytes = charge(entry.bytes);
            state.used = state.used.saturating_add(bytes);
            state.evict(self.of.bytes_max);
        }
    }
}

impl<K: Clone + Eq + Hash, T> Drop for Loading<K, T> {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        let ours = state.entries.get_mut(&self.key).filter(|entry| Arc::ptr_eq(&entry.cell, &self.cell));
        // Counted under the lock: of two that give up at the same time one is the last.
        let is_last = ours.is_some_and(|entry| {
            entry.wanting -= 1;
            entry.wanting == 0
        });
        if is_last && !self.cell.initialized() {
            state.remove(&self.key);
        }
        drop(state);
        self.of.settled.notify_waiters();
    }
}

impl<K: Clone + Eq + Hash, T> State<K, T> {
    fn insert(
        &mut self,
        key: K,
        bytes: usize,
        ahead: bool,
        of: &SingleFlight<K, T>,
    ) -> (Arc<OnceCell<T>>, Vec<Evicted>) {
        let counted = of.from_start;
        self.used = self.used.saturating_add(if counted { charge(bytes) } else { 0 });
        let evicted = self.evict(of.bytes_max);
        let cell = Arc::new(OnceCell::new());
        self.ahead += if ahead { bytes } else { 0 };
        match ahead {
            true => self.order_ahead.push_back((key.clone(), Instant::now())),
            false => self.order.push_back(key.clone()),
        }
        let entry = Entry { cell: Arc::clone(&cell), bytes, counted, ahead, uses: u32::from(!ahead), wanting: 1 };
        self.entries.insert(key, entry);
        (cell, evicted)
    }

    /// Passes over what is being loaded.
    fn evict(&mut self, bytes_max: usize) -> Vec<Evicted> {
        let (mut evicted, mut at) = (Vec::new(), 0);
        while self.used > bytes_max && at < self.order.len() {
            let is_loaded = |key: &K| self.entries.get(key).is_none_or(|entry| entry.cell.initialized());
            if !self.order.get(at).is_some_and(is_loaded) {
                at += 1;
                continue;
            }
            let Some(key) = self.order.remove(at) else { break };
            if let Some(entry) = self.take(&key) {
                evicted.push(Evicted { bytes: entry.bytes, uses: entry.uses });
            }
        }
        while self.used > bytes_max {
            match self.pop_ahead() {
                Some(oldest) => evicted.push(oldest),
                None => break,
            }
        }
        evicted
    }

    /// What was loaded ahead too long ago makes room.
    fn room_ahead(&mut self, bytes: usize, ahead_max: usize) -> (bool, Vec<Evicted>) {
        let mut stale = Vec::new();
        while self.ahead.saturating_add(bytes) > ahead_max {
            let is_old = self.order_ahead.front().is_some_and(|(_, begun)| begun.elapsed() >= AHEAD_MAX);
            let Some(oldest) = is_old.then(|| self.pop_ahead()).flatten() else { return (false, stale) };
            stale.push(oldest);
        }
        (true, stale)
    }

    /// Takes out what was loaded ahead first, if it is loaded.
    fn pop_ahead(&mut self) -> Option<Evicted> {
        let (key, _) = self.order_ahead.front()?;
        self.entries.get(key).filter(|entry| entry.cell.initialized())?;
        let (key, _) = self.order_ahead.pop_front()?;
        let entry = self.take(&key)?;
        Some(Evicted { bytes: entry.bytes, uses: entry.uses })
    }

    fn take(&mut self, key: &K) -> Option<Entry<T>> {
        let entry = self.entries.remove(key)?;
        self.used = self.used.saturating_sub(if entry.counted { charge(entry.bytes) } else { 0 });
        self.ahead -= if entry.ahead { entry.bytes } else { 0 };
        Some(entry)
    }

    fn remove(&mut self, key: &K) {
        match self.take(key) {
            Some(entry) if entry.ahead => self.order_ahead.retain(|(known, _)| known != key),
            Some(_) => self.order.retain(|known| known != key),
            None => {}
        }
    }
}

const fn charge(bytes: usize) -> usize {
    bytes.saturating_add(ENTRY_BYTES)
}

#[cfg(test)]
#[path = "single_flight_tests.rs"]
mod tests;
