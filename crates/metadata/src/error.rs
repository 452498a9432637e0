//! What a metadata transaction can say besides its result.

/// Why a metadata transaction gave no result. Everything but `Unknown` means: it did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The session is no longer active; nothing this agent does can commit any more. Open a new session or stop.
    #[error("the session is fenced")]
    Fenced,
    /// Not committed; the same call may be repeated (busy, serialization failure, store unreachable before COMMIT).
    #[error("metadata store unavailable, not committed: {0}")]
    NotCommitted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// COMMIT was sent and its outcome is open. For a segment commit: stop the lane and call `resolve_commit`.
    #[error("metadata store lost the reply, the outcome is unknown: {0}")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store holds bytes this version cannot read. A person must look.
    #[error("metadata store is damaged: {0}")]
    Damaged(String),
}
