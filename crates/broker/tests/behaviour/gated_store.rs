//! An object store whose segment writes (and probes) and reads a test holds up, lets through one by one, or breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign, RpRead,
    RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Result};
use tokio::sync::Semaphore;

/// The test's hand on the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate(Arc<State>);

struct State {
    /// One permit for each segment write that may end.
    writes: Semaphore,
    failing_writes: AtomicUsize,
    /// Segment writes that are applied although they answer with an error.
    lying_writes: AtomicUsize,
    /// Segment writes that never end.
    hanging_writes: AtomicUsize,
    failing_reads: AtomicUsize,
    written: AtomicUsize,
    /// Segment reads that were answered, their bytes, and how long each takes in ms.
    reads: AtomicUsize,
    read_bytes: AtomicUsize,
    read_ms: AtomicUsize,
    /// The same for each 20th.
    long_read_ms: AtomicUsize,
    reads_begun: AtomicUsize,
}

impl Gate {
    /// An open gate.
    pub(crate) fn open() -> Self {
        Self(Arc::new(State {
            writes: Semaphore::new(OPEN),
            failing_writes: AtomicUsize::new(0),
            lying_writes: AtomicUsize::new(0),
            hanging_writes: AtomicUsize::new(0),
            failing_reads: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            read_bytes: AtomicUsize::new(0),
            read_ms: AtomicUsize::new(0),
            long_read_ms: AtomicUsize::new(0),
            reads_begun: AtomicUsize::new(0),
        }))
    }

    /// From now on segment writes wait.
    pub(crate) fn hold_writes(&self) {
        self.0.writes.forget_permits(OPEN);
    }

    /// Lets so many segment writes through.
    pub(crate) fn let_through(&self, writes: usize) {
        self.0.writes.add_permits(writes);
    }

    /// Opens the gate again.
    pub(crate) fn open_wide(&self) {
        self.0.writes.add_permits(OPEN / 2);
    }

    /// Breaks the next segment writes: they are not applied.
    pub(crate) fn fail_writes(&self, writes: usize) {
        self.0.failing_writes.store(writes, Ordering::SeqCst);
    }

    /// Breaks the answers of the next segment writes: they are applied.
    pub(crate) fn lose_replies(&self, writes: usize) {
        self.0.lying_writes.store(writes, Ordering::SeqCst);
    }

    /// Lets the next segment writes hang for ever.
    pub(crate) fn hang_writes(&self, writes: usize) {
        self.0.hanging_writes.store(writes, Ordering::SeqCst);
    }

    /// Breaks the next segment reads.
    pub(crate) fn fail_reads(&self, reads: usize) {
        self.0.failing_reads.store(reads, Ordering::SeqCst);
    }

    /// Lets each segment read take so long from now on.
    pub(crate) fn slow_reads(&self, each: std::time::Duration) {
        self.uneven_reads(each, each);
    }

    /// The same, and each 20th so `long`.
    pub(crate) fn uneven_reads(&self, each: std::time::Duration, long: std::time::Duration) {
        let ms = |time: std::time::Duration| usize::try_from(time.as_millis()).expect("small");
        self.0.read_ms.store(ms(each), Ordering::SeqCst);
        self.0.long_read_ms.store(ms(long), Ordering::SeqCst);
    }

    /// Segment reads that were answered since the last call, and their bytes.
    pub(crate) fn take_reads(&self) -> (usize, usize) {
        (self.0.reads.swap(0, Ordering::SeqCst), self.0.read_bytes.swap(0, Ordering::SeqCst))
    }

    /// Segment writes that were applied.
    pub(crate) fn written(&self) -> usize {
        self.0.written.load(Ordering::SeqCst)
    }
}

/// More writes than any test makes.
const OPEN: usize = 1 << 30;

fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn broken(why: &'static str) -> Error {
    Error::new(ErrorKind::Unexpected, why)
}

fn is_segment(path: &str) -> bool {
    path.starts_with("org-")
}

fn is_gated(path: &str) -> bool {
    is_segment(path) || path.starts_with("probes/")
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Layer for Gate {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(GatedStore { inner, gate: self.clone() })
    }
}

#[derive(Debug)]
struct GatedStore {
    inner: Servicer,
    gate: Gate,
}

impl Service for GatedStore {
    type Reader = GatedReader;
    type Writer = GatedWriter;
    type Lister = oio::Lister;
    type Deleter = oio::Deleter;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn create_dir(&self, context: &OperationContext, path: &str, arguments: OpCreateDir) -> Result<RpCreateDir> {
        self.inner.create_dir(context, path, arguments).await
    }

    async fn stat(&self, context: &OperationContext, path: &str, arguments: OpStat) -> Result<RpStat> {
        self.inner.stat(context, path, arguments).await
    }

    fn read(&self, context: &OperationContext, path: &str, arguments: OpRead) -> Result<Self::Reader> {
        if is_segment(path) && take_one(&self.gate.0.failing_reads) {
            return Err(broken("simulated: not read"));
        }
        let inner = self.inner.read(context, path, arguments)?;
        Ok(GatedReader { inner, gate: self.gate.clone(), is_segment: is_segment(path) })
    }

    fn write(&self, context: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        let inner = self.inner.write(context, path, arguments)?;
        Ok(GatedWriter { inner, gate: self.gate.clone(), is_gated: is_gated(path) })
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        self.inner.delete(context)
    }

    fn list(&self, context: &OperationContext, path: &str, arguments: OpList) -> Result<Self::Lister> {
        self.inner.list(context, path, arguments)
    }

    fn copy(&self, context: &OperationContext, from: &str, to: &str, arguments: OpCopy) -> Result<Self::Copier> {
        self.inner.copy(context, from, to, arguments)
    }

    async fn rename(&self, context: &OperationContext, from: &str, to: &str, arguments: OpRename) -> Result<RpRename> {
        self.inner.rename(context, from, to, arguments).await
    }

    async fn presign(&self, context: &OperationContext, path: &str, arguments: OpPresign) -> Result<RpPresign> {
        self.inner.presign(context, path, arguments).await
    }
}

struct GatedReader {
    inner: oio::Reader,
    gate: Gate,
    is_segment: bool,
}

impl oio::Read for GatedReader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        self.count(range).await;
        self.inner.open(range).await
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.count(range).await;
        self.inner.read(range).await
    }
}

impl GatedReader {
    async fn count(&self, range: BytesRange) {
        let state = &self.gate.0;
        if self.is_segment {
            let is_long = state.reads_begun.fetch_add(1, Ordering::SeqCst) % 20 == 19;
            let takes = if is_long { &state.long_read_ms } else { &state.read_ms };
            let takes = takes.load(Ordering::SeqCst) as u64;
            tokio::time::sleep(std::time::Duration::from_millis(takes)).await;
            let bytes = range.size().and_then(|size| usize::try_from(size).ok()).expect("a range with an end");
            state.reads.fetch_add(1, Ordering::SeqCst);
            state.read_bytes.fetch_add(bytes, Ordering::SeqCst);
        }
    }
}

struct GatedWriter {
    inner: oio::Writer,
    gate: Gate,
    is_gated: bool,
}

impl oio::Write for GatedWriter {
    async fn write(&mut self, buffer: Buffer) -> Result<()> {
        self.inner.write(buffer).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        if !self.is_gated {
            return self.inner.close().await;
        }
        let state = &self.gate.0;
        state.writes.acquire().await.expect("the gate is never destroyed").forget();
        if take_one(&state.hanging_writes) {
            std::future::pending::<()>().await;
        }
        if take_one(&state.failing_writes) {
            return Err(broken("simulated: not written"));
        }
        let metadata = self.inner.close().await?;
        state.written.fetch_add(1, Ordering::SeqCst);
        if take_one(&state.lying_writes) {
            return Err(broken("simulated: written, reply lost"));
        }
        Ok(metadata)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
