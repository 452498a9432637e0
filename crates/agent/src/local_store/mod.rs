//! Makes the `file` object store durable: an OpenDAL layer over its `fs` service that does the writes itself.
//!
//! OpenDAL's `fs` never syncs a directory, syncs files on a runtime worker, and its `atomic_write_dir` is not atomic
//! under `if_not_exists`. Here a write is one blocking task, and when it returns `Ok`, object and name survive a power loss:
//! segments of up to 2 MiB are entries of pack files (`packs.rs`), all else is a file (`folder.rs`).
//!
//! All but segments are whole at every moment. What a crash or an error (ENOSPC, EIO) leaves: a file of a segment with part of its
//! bytes, which nothing refers to, since it is named in metadata only after its write returned; an entry that is not whole, which
//! is not found; and files in `.tmp`, removed at the next start. `.tmp` and `.packs` are not listed.
//!
//! Lists and large reads of files are those of `fs`; ranges are read by `file_read.rs`. Deletes are not synced: an object that comes
//! back after a power loss is deleted again by whoever wanted it gone, and nothing refers to it meanwhile. Copy, rename and append
//! are refused, as nothing here would make them durable. A segment's key is written once, or again with the same bytes.

mod direct;
mod file_read;
mod folder;
mod pack;
mod pack_format;
mod packed;
mod packs;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign, RpRename,
    RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Capability, Error, ErrorKind, OperationContext, Result};

use folder::Folder;
use packed::{AnyDeleter, AnyLister, AnyReader};
use writer::LocalWriter;

/// Opens (and creates) the folder of a store and makes writes to it durable; to be laid directly over `fs`.
#[derive(Clone, Debug)]
pub(crate) struct DurableWrites {
    folder: Arc<Folder>,
}

impl DurableWrites {
    /// Creates `root` if needed, proves that it can be written, and removes what an earlier process left half-written.
    /// `alone`: no other process writes or reads there.
    ///
    /// # Errors
    /// The folder cannot be created, read or written. Blocks; called once at start.
    pub(crate) fn open(root: &Path, alone: bool) -> io::Result<Self> {
        Ok(Self { folder: Arc::new(Folder::open(root, alone)?) })
    }

    /// The folder, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.folder.root
    }
}

impl Layer for DurableWrites {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(LocalStore { inner, folder: Arc::clone(&self.folder) })
    }
}

/// The `fs` service with writes of our own.
#[derive(Debug)]
struct LocalStore {
    inner: Servicer,
    folder: Arc<Folder>,
}

fn not_durable_here() -> Error {
    Error::new(ErrorKind::Unsupported, "the local store makes whole-object writes durable, nothing else")
}

impl Service for LocalStore {
    type Reader = AnyReader;
    type Writer = LocalWriter;
    type Lister = AnyLister;
    type Deleter = AnyDeleter;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        Capability {
            create_dir: false,
            copy: false,
            rename: false,
            write_can_append: false,
            write_with_user_metadata: false,
            delete_with_recursive: false,
            ..self.inner.capability()
        }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        Err(not_durable_here())
    }

    async fn stat(&self, context: &OperationContext, path: &str, arguments: OpStat) -> Result<RpStat> {
        if let Some(packs) = &self.folder.packs
            && let Some(entry) = packed::stat(packs, path).await?
        {
            return Ok(RpStat::new(entry));
        }
        self.inner.stat(context, path, arguments).await
    }

    fn read(&self, context: &OperationContext, path: &str, arguments: OpRead) -> Result<Self::Reader> {
        let inner = self.inner.read(context, path, arguments)?;
        let file = self.folder.path_of(path).ok();
        Ok(AnyReader { inner, packs: self.folder.packs.clone(), key: path.to_owned(), file })
    }

    fn write(&self, _: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        if arguments.append() {
            return Err(not_durable_here());
        }
        Ok(LocalWriter::new(Arc::clone(&self.folder), path, arguments.if_not_exists()))
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(AnyDeleter(Arc::clone(&self.folder)))
    }

    fn list(&self, context: &OperationContext, path: &str, arguments: OpList) -> Result<Self::Lister> {
        let is_recursive = arguments.recursive();
        let inner = self.inner.list(context, path, arguments)?;
        Ok(AnyLister::new(inner, self.folder.packs.clone(), path, is_recursive))
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        Err(not_durable_here())
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        Err(not_durable_here())
    }

    async fn presign(&self, context: &OperationContext, path: &str, arguments: OpPresign) -> Result<RpPresign> {
        self.inner.presign(context, path, arguments).await
    }
}

#[cfg(test)]
#[path = "local_store_tests.rs"]
mod tests;
