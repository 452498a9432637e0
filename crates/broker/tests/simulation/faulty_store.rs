//! An object store with seeded faults: latency, writes that fail before they are applied, and writes that are applied
//! although their answer is an error.

use std::sync::Arc;
use std::time::Duration;

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign, RpRename,
    RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, Capability, Error, ErrorKind, Metadata, OperationContext, Result};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Lays the faults over a service.
#[derive(Clone)]
pub(crate) struct Faults {
    rng: Arc<Mutex<StdRng>>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
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
    type Reader = oio::Reader;
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
        self.inner.read(context, path, arguments)
    }

    fn write(&self, context: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        let is_segment = path.starts_with("org-");
        Ok(FaultyWriter { inner: self.inner.write(context, path, arguments)?, faults: self.faults.clone(), is_segment })
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

struct FaultyWriter {
    inner: oio::Writer,
    faults: Faults,
    is_segment: bool,
}

impl oio::Write for FaultyWriter {
    async fn write(&mut self, buffer: Buffer) -> Result<()> {
        self.inner.write(buffer).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        if !self.is_segment {
            return self.inner.close().await;
        }
        let (latency, fate) = {
            let mut rng = self.faults.rng.lock();
            (Duration::from_micros(rng.random_range(100..30_000)), rng.random_range(0..100))
        };
        tokio::time::sleep(latency).await;
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
