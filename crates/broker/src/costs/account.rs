//! Whom a request to the object store is charged to.
//!
//! Whoever knows more than the key says wraps its call into [`charge`]. What is not wrapped is told by its key alone, so a
//! new call is counted without being touched. The account is read when an operation is begun, in the task that begins it.

use std::future::Future;
#[cfg(feature = "metrics")]
use std::sync::Arc;

#[cfg(feature = "metrics")]
use segment::OrganizationId;
use segment::TopicId;

/// Operations as object stores bill them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A write of a whole object; also the request that begins an upload in parts, and the one that ends it.
    Put,
    /// A part of such an upload; billed as a write.
    Part,
    /// A read of an object or of a range of it.
    Get,
    /// A look at an object's existence; billed as a read.
    Head,
    /// A page of up to 1,000 names.
    List,
    /// An object deleted; not billed.
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Put, Self::Part, Self::Get, Self::Head, Self::List, Self::Delete];

    /// As labels say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Part => "part",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Records of producers.
    Flush,
    /// Records that a consumer waits for.
    Fetch,
    /// Records that are read ahead of a consumer, or to fill a cache.
    CacheFill,
    /// Records written anew in another order, and what is read for it.
    Rewrite,
    /// Garbage collection.
    Garbage,
    /// The notes in the bucket of how far a session had committed.
    LaneNote,
    /// Whether the store answers.
    Probe,
    /// The cluster's mark in the bucket.
    Marker,
    /// Anything else.
    Other,
}

impl Purpose {
    /// As labels say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Fetch => "fetch",
            Self::CacheFill => "cache_fill",
            Self::Rewrite => "rewrite",
            Self::Garbage => "garbage",
            Self::LaneNote => "lane_note",
            Self::Probe => "probe",
            Self::Marker => "marker",
            Self::Other => "other",
        }
    }
}

/// Charges what `requests` asks of the object store to a purpose, and to topics in proportion of their bytes (none: to no topic).
/// A task that it spawns has to say it anew.
#[cfg(feature = "metrics")]
pub async fn charge<F: Future>(purpose: Purpose, topics: &[(TopicId, u64)], requests: F) -> F::Output {
    said::SAID.scope(said::Said { purpose, topics: topics.into() }, requests).await
}

/// Without the feature `metrics` nobody counts.
#[cfg(not(feature = "metrics"))]
pub async fn charge<F: Future>(_: Purpose, _: &[(TopicId, u64)], requests: F) -> F::Output {
    requests.await
}

#[cfg(feature = "metrics")]
mod said {
    use super::{Arc, Purpose, TopicId};

    /// What a call said about itself.
    #[derive(Clone)]
    pub(super) struct Said {
        pub(super) purpose: Purpose,
        pub(super) topics: Arc<[(TopicId, u64)]>,
    }

    tokio::task_local! {
        pub(super) static SAID: Said;
    }
}

/// Whom one operation is charged to.
#[cfg(feature = "metrics")]
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) purpose: Purpose,
    /// Whose object it is; `None`: the cluster's.
    pub(super) organization: Option<OrganizationId>,
    pub(super) topics: Arc<[(TopicId, u64)]>,
}

#[cfg(feature = "metrics")]
impl Account {
    /// The account of an operation that begins now, in this task, on an object of that key.
    #[must_use]
    pub fn open(operation: Operation, key: &str) -> Self {
        let (organization, folder) = owner(key).unzip();
        let by_key = || (purpose_of(operation, key, folder), Arc::default());
        // Marks and notes are what they are, whoever reads them.
        let said = organization.and_then(|_| said::SAID.try_with(Clone::clone).ok());
        let (purpose, topics) = said.map_or_else(by_key, |said| (said.purpose, said.topics));
        Self { purpose, organization, topics }
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
}

#[cfg(feature = "metrics")]
fn purpose_of(operation: Operation, key: &str, folder: Option<&str>) -> Purpose {
    let is_written = matches!(operation, Operation::Put | Operation::Part);
    match folder {
        Some(_) if operation == Operation::Delete => Purpose::Garbage,
        Some("flush") if is_written => Purpose::Flush,
        Some("data") if is_written => Purpose::Rewrite,
        Some(_) if matches!(operation, Operation::Get | Operation::Head) => Purpose::Fetch,
        Some(_) => Purpose::Other,
        None if key.starts_with("lanes/") => Purpose::LaneNote,
        None if key.starts_with("probe") => Purpose::Probe,
        None if key == "cluster.json" => Purpose::Marker,
        None if operation == Operation::List => Purpose::Garbage,
        None => Purpose::Other,
    }
}

/// `org-{id}/{folder}/…`
#[cfg(feature = "metrics")]
fn owner(key: &str) -> Option<(OrganizationId, &str)> {
    let (id, rest) = key.strip_prefix("org-")?.split_once('/')?;
    let folder = rest.split_once('/').map_or(rest, |(folder, _)| folder);
    Some((OrganizationId(id.parse().ok()?), folder))
}

#[cfg(test)]
#[cfg(feature = "metrics")]
#[path = "account_tests.rs"]
mod tests;
