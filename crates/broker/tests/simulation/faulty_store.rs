//! An object store with seeded faults: latency, reads that fail, writes that fail before they are applied, and writes that are
//! applied although their answer is an error; and for one agent at a time, a way that is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign, RpRead,
    RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Result};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

/// Lays the faults over a service. A clone is the same agent's.
#[derive(Clone)]
pub(crate) struct Faults {
    rng: Arc<Mutex<StdRng>>,
    /// Until when nothing that is written comes through.
    cut_until: Arc<Mutex<Option<Instant>>>,
    /// Nothing fails any more, on anybody's way.
    calm: Arc<AtomicBool>,
}

/// Pause between two looks at whether a way is still cut.
const CUT_POLL: Duration = Duration::from_millis(20);

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))), cut_until: Arc::default(), calm: Arc::default() }
    }

    /// The same faults on the way of another agent.
    pub(crate) fn of_another(&self) -> Self {
        Self { rng: Arc::clone(&self.rng), cut_until: Arc::default(), calm: Arc::clone(&self.calm) }
    }

    /// From now on nothing fails, on no way of this seed.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// How long a request takes, and a number from 0 to 99 that says how it ends.
    fn roll(&self) -> (Duration, u32) {
        let mut rng = self.rng.lock();
        let (latency, fate) = (Duration::from_micros(rng.random_range(100..30_000)), rng.random_range(0..100));
        (latency, if self.calm.load(Ordering::SeqCst) { 99 } else { fate })
    }

    /// Cuts this agent off from the store.
    pub(crate) fn cut(&self, until: Instant) {
        *self.cut_until.lock() = Some(until);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut_until.lock().is_some_and(|until| Instant::now() < until)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faults")
    }
}

impl Layer for Faults {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(FaultyStore { inner, faults: self.clone() })
    }
}

#[derive(Debug)]
struct FaultyStore {
    inner: Servicer,
    faults: Faults,
}

impl Service for FaultyStore {
    type Reader = FaultyReader;
    type Writer = FaultyWriter;
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
        let inner = self.inner.read(context, path, arguments)?;
        Ok(FaultyReader { inner, faults: self.faults.clone(), is_faulty: path.starts_with("org-") })
    }

    fn write(&self, context: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        let inner = self.inner.write(context, path, arguments)?;
        let is_faulty = path.starts_with("org-") || path.starts_with("probes/");
        Ok(FaultyWriter { inner, faults: self.faults.clone(), is_faulty })
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

struct FaultyReader {
    inner: oio::Reader,
    faults: Faults,
    is_faulty: bool,
}

impl FaultyReader {
    async fn may_fail(&self) -> Result<()> {
        if !self.is_faulty {
            return Ok(());
        }
        let (latency, fate) = self.faults.roll();
        tokio::time::sleep(latency / 4).await;
        let is_cut = self.faults.is_cut();
        while self.faults.is_cut() {
            tokio::time::sleep(CUT_POLL).await;
        }
        match is_cut || fate < 2 {
            true => Err(Error::new(ErrorKind::Unexpected, "simulated: not read")),
            false => Ok(()),
        }
    }
}

impl oio::Read for FaultyReader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        self.may_fail().await?;
        self.inner.open(range).await
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.may_fail().await?;
        self.inner.read(range).await
    }
}

struct FaultyWriter {
    inner: oio::Writer,
    faults: Faults,
    is_faulty: bool,
}

impl FaultyWriter {
    /// The way is cut: what was sent may have arrived, and its answer is an error at once or when the way is there again.
    async fn lose(&mut self) -> Result<Metadata> {
        let (arrives, hangs) = {
            let mut rng = self.faults.rng.lock();
            (rng.random_bool(0.3), rng.random_bool(0.7))
        };
        if arrives {
            oio::Write::close(&mut self.inner).await?;
        }
        while hangs && self.faults.is_cut() {
            tokio::time::sleep(CUT_POLL).await;
        }
        Err(Error::new(ErrorKind::Unexpected, "simulated: cut off"))
    }
}

impl oio::Write for FaultyWriter {
    async fn write(&mut self, buffer: Buffer) -> Result<()> {
        self.inner.write(buffer).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        if !self.is_faulty {
            return self.inner.close().await;
        }
        let (latency, fate) = self.faults.roll();
        tokio::time::sleep(latency).await;
        if self.faults.is_cut() {
            return self.lose().await;
        }
        match fate {
            0..3 => Err(Error::new(ErrorKind::Unexpected, "simulated: not applied")),
            3..6 => {
                self.inner.close().await?;
                Err(Error::new(ErrorKind::Unexpected, "simulated: applied, reply lost"))
            }
            _ => self.inner.close().await,
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
