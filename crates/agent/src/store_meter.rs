//! Counts what the object store is asked for, as it is billed: an OpenDAL layer below the retries, so that each of them counts.
//!
//! A request counts when it begins, since it is billed however it ends. Not seen here: retries inside a service (parts of an
//! upload), and how a service groups deletes, which cost nothing. On a folder the same is counted, and costs what
//! `COST_PRICES` says.

use std::sync::Arc;

use broker::costs::{Account, Ledger, Operation, Purpose};
use opendal::raw::oio;
use opendal::raw::{
    Layer, OpCompose, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir,
    RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, Servicer,
};
use opendal::{Buffer, BytesRange, Capability, Metadata, OperationContext, Result};

/// Names on one page of a listing.
const NAMES_PER_PAGE: u64 = 1_000;

/// The layer; to be laid directly over a service.
#[derive(Clone, Debug)]
pub(crate) struct StoreMeter(pub(crate) Arc<Ledger>);

impl Layer for StoreMeter {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(MeteredStore { inner, ledger: Arc::clone(&self.0) })
    }
}

#[derive(Debug)]
struct MeteredStore {
    inner: Servicer,
    ledger: Arc<Ledger>,
}

impl Service for MeteredStore {
    type Reader = MeteredReader;
    type Writer = MeteredWriter;
    type Lister = MeteredLister;
    type Deleter = MeteredDeleter;
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
        self.ledger.request(&Account::open(Operation::Head, path), Operation::Head, 0);
        self.inner.stat(context, path, arguments).await
    }

    fn read(&self, context: &OperationContext, path: &str, arguments: OpRead) -> Result<Self::Reader> {
        let inner = self.inner.read(context, path, arguments)?;
        Ok(MeteredReader { inner, ledger: Arc::clone(&self.ledger), account: Account::open(Operation::Get, path) })
    }

    fn write(&self, context: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        let inner = self.inner.write(context, path, arguments)?;
        let (ledger, account) = (Arc::clone(&self.ledger), Account::open(Operation::Put, path));
        Ok(MeteredWriter { inner, ledger, account, pieces: 0, held: 0, bytes: 0 })
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(MeteredDeleter { inner: self.inner.delete(context)?, ledger: Arc::clone(&self.ledger) })
    }

    fn list(&self, context: &OperationContext, path: &str, arguments: OpList) -> Result<Self::Lister> {
        let account = Account::open(Operation::List, path);
        let is_everything = account.purpose() == Purpose::Garbage && arguments.recursive();
        let inner = self.inner.list(context, path, arguments)?;
        Ok(MeteredLister { inner, ledger: Arc::clone(&self.ledger), account, is_everything, names: 0, bytes: 0 })
    }

    fn copy(&self, context: &OperationContext, from: &str, to: &str, arguments: OpCopy) -> Result<Self::Copier> {
        self.ledger.request(&Account::open(Operation::Put, to), Operation::Put, 0);
        self.inner.copy(context, from, to, arguments)
    }

    fn compose(&self, context: &OperationContext, to: &str, arguments: OpCompose) -> Result<Self::Composer> {
        self.inner.compose(context, to, arguments)
    }

    async fn rename(&self, context: &OperationContext, from: &str, to: &str, arguments: OpRename) -> Result<RpRename> {
        self.inner.rename(context, from, to, arguments).await
    }

    async fn presign(&self, context: &OperationContext, path: &str, arguments: OpPresign) -> Result<RpPresign> {
        self.inner.presign(context, path, arguments).await
    }
}

struct MeteredReader {
    inner: oio::Reader,
    ledger: Arc<Ledger>,
    account: Account,
}

impl oio::Read for MeteredReader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        self.ledger.request(&self.account, Operation::Get, 0);
        let (reply, inner) = self.inner.open(range).await?;
        let (ledger, account) = (Arc::clone(&self.ledger), self.account.clone());
        Ok((reply, Box::new(MeteredStream { inner, ledger, account })))
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.ledger.request(&self.account, Operation::Get, 0);
        let (reply, buffer) = self.inner.read(range).await?;
        self.ledger.received(&self.account, Operation::Get, buffer.len() as u64);
        Ok((reply, buffer))
    }
}

struct MeteredStream {
    inner: Box<dyn oio::ReadStreamDyn>,
    ledger: Arc<Ledger>,
    account: Account,
}

impl oio::ReadStream for MeteredStream {
    async fn read(&mut self) -> Result<Buffer> {
        let buffer = self.inner.read().await?;
        self.ledger.received(&self.account, Operation::Get, buffer.len() as u64);
        Ok(buffer)
    }
}

/// Services hold the first piece back: alone it is a PUT with the end of the writing; with a second one all are parts,
/// between a request that begins the upload and one that completes it.
struct MeteredWriter {
    inner: oio::Writer,
    ledger: Arc<Ledger>,
    account: Account,
    pieces: u64,
    /// Bytes of the last piece.
    held: u64,
    /// Bytes of all.
    bytes: u64,
}

impl MeteredWriter {
    fn request(&self, operation: Operation, bytes: u64) {
        self.ledger.request(&self.account, operation, bytes);
    }
}

impl oio::Write for MeteredWriter {
    async fn write(&mut self, buffer: Buffer) -> Result<()> {
        let bytes = buffer.len() as u64;
        if self.pieces == 1 {
            self.request(Operation::Put, 0);
        }
        if self.pieces > 0 {
            self.request(Operation::Part, self.held);
        }
        (self.pieces, self.held, self.bytes) = (self.pieces + 1, bytes, self.bytes + bytes);
        self.inner.write(buffer).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        match self.pieces {
            0 | 1 => self.request(Operation::Put, self.held),
            _ => {
                self.request(Operation::Part, self.held);
                self.request(Operation::Put, 0);
            }
        }
        let closed = self.inner.close().await?;
        self.ledger.written(&self.account, self.bytes);
        Ok(closed)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

struct MeteredLister {
    inner: oio::Lister,
    ledger: Arc<Ledger>,
    account: Account,
    /// Whether what is listed is all there is.
    is_everything: bool,
    names: u64,
    bytes: u64,
}

impl oio::List for MeteredLister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        if self.names.is_multiple_of(NAMES_PER_PAGE) {
            self.ledger.request(&self.account, Operation::List, 0);
        }
        let entry = self.inner.next().await?;
        match &entry {
            Some(entry) => {
                self.names += 1;
                self.bytes += entry.metadata().content_length();
            }
            None if self.is_everything => self.ledger.stored(self.bytes),
            None => {}
        }
        Ok(entry)
    }
}

struct MeteredDeleter {
    inner: oio::Deleter,
    ledger: Arc<Ledger>,
}

impl oio::Delete for MeteredDeleter {
    async fn delete(&mut self, path: &str, arguments: OpDelete) -> Result<()> {
        self.ledger.request(&Account::open(Operation::Delete, path), Operation::Delete, 0);
        self.inner.delete(path, arguments).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

#[cfg(test)]
#[path = "store_meter_tests.rs"]
mod tests;
