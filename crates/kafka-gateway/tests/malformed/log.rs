//! What the log says, counted: a subscriber for warnings and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Lines at WARN and above so far, of all threads.
#[derive(Clone, Default)]
pub(crate) struct Log {
    lines: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

impl Log {
    /// From now on.
    pub(crate) fn install() -> Self {
        let log = Self::default();
        tracing::subscriber::set_global_default(log.clone()).unwrap();
        log
    }

    pub(crate) fn said(&self) -> usize {
        self.lines.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> String {
        self.last.lock().clone()
    }
}

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        self.lines.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock();
        last.clear();
        event.record(&mut Words(&mut last));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
