//! Runs seeds, each on a runtime of its own with one thread and paused time, on as many threads as there are cores.

use std::cell::RefCell;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use parking_lot::Mutex;

use crate::checker::Anomaly;
use crate::history::Event;
use crate::run::{Counts, Ran, simulate};

/// A rule that is left out, where it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {
    OfStore(metadata::SeededBug),
    OfBroker(broker::SeededBug),
}

thread_local! {
    /// What panicked in this thread's run, in whichever task; `None` while none runs.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Panics of a run belong to it; others are told as usual.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            let is_noted = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|panics| panics.push(what.to_string())));
            if is_noted.is_none() {
                usual(what);
            }
        }));
    });
}

/// Runs one seed.
pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Ran {
    note_panics();
    PANICS.set(Some(Vec::new()));
    let threads = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&threads);
    let ran = panic::catch_unwind(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).on_thread_start(move || {
            started.fetch_add(1, Ordering::Relaxed);
        });
        builder.build().expect("runtime").block_on(simulate(seed, bug))
    });
    let mut ran = ran.unwrap_or_else(|_| Ran {
        seed,
        hash: 0,
        events: Vec::new(),
        anomalies: Vec::new(),
        counts: Counts::default(),
    });
    let panics = PANICS.take().unwrap_or_default();
    ran.anomalies.extend(panics.into_iter().map(|what| Anomaly { kind: "panic", what }));
    if threads.load(Ordering::Relaxed) > 0 {
        let what = "something was done on another thread, whenever the machine got to it".to_owned();
        ran.anomalies.push(Anomaly { kind: "not-repeatable", what });
    }
    ran
}

/// Runs seeds on all cores; of those that `repeat_every` divides it makes sure that they repeat.
pub(crate) fn run_all(seeds: &[u64], repeat_every: u64) -> Vec<Ran> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut ran = run(*seed, None);
            if seed % repeat_every == 0 {
                let again = run(*seed, None);
                if (ran.hash, ran.counts) != (again.hash, again.counts) {
                    let what = difference(&ran.events, &again.events);
                    ran.anomalies.push(Anomaly { kind: "not-repeatable", what });
                }
            }
            ran.events = Vec::new();
            for Anomaly { kind, what } in ran.anomalies.iter().take(10) {
                eprintln!("failing seed {seed}: {kind}: {what}");
            }
            done.lock().push(ran);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    done.into_inner()
}

/// Where two runs of a seed part.
fn difference(ran: &[Event], again: &[Event]) -> String {
    let at = ran.iter().zip(again).take_while(|(event, other)| event == other).count();
    format!("event {at} of {} and {}: {:?} and {:?}", ran.len(), again.len(), ran.get(at), again.get(at))
}
