//! Names of segments in the bucket: `org-{id}/flush/{session}/{lane sequence}-{unique}`, and `org-{id}/data/{session}/{n}-{unique}`
//! of those that a rewrite wrote.
//!
//! Numbers are zero-padded to the width of their type, so that a listing sorts as the numbers do. A key has exactly one
//! spelling: what does not print back the same is not parsed, so a foreign object is never taken for a segment.

use std::fmt;

use crate::{LaneSequence, OrganizationId, SessionId};

/// Sequence numbers of rewrites begin here, so that they never mix with those of lanes: both name slots of one session.
pub const REWRITE_SEQUENCE_BASE: LaneSequence = 1 << 62;

/// What wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectPurpose {
    /// A flush: batches as they came, of many partitions.
    Flush,
    /// A rewrite: what flushes wrote, put together.
    Data,
}

impl ObjectPurpose {
    /// The folder between the organization's and the session's.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Data => "data",
        }
    }

    /// The sequence number that its keys count from.
    fn first_sequence(self) -> LaneSequence {
        match self {
            Self::Flush => 0,
            Self::Data => REWRITE_SEQUENCE_BASE,
        }
    }
}

/// Name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Owner of everything in it.
    pub organization: OrganizationId,
    /// What wrote it.
    pub purpose: ObjectPurpose,
    /// Who wrote it; only this session may commit it.
    pub session: SessionId,
    /// Its number within the session; of a rewrite at least [`REWRITE_SEQUENCE_BASE`], which is left out in print.
    pub lane_sequence: LaneSequence,
    /// Random: no two attempts share a key.
    pub unique: u64,
}

/// A string that is not the key of a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the key of a segment")]
pub struct KeyError(pub String);

impl ObjectKey {
    /// What the keys of an organization's segments of this purpose begin with.
    #[must_use]
    pub fn prefix(organization: OrganizationId, purpose: ObjectPurpose) -> String {
        format!("org-{}/{}/", organization.0, purpose.folder())
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Anything that [`ObjectKey`]'s `Display` would not print.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        Self::read(key).filter(|parsed| parsed.to_string() == key).ok_or_else(|| KeyError(key.to_owned()))
    }

    fn read(key: &str) -> Option<Self> {
        let (organization, rest) = key.strip_prefix("org-")?.split_once('/')?;
        let (folder, rest) = rest.split_once('/')?;
        let purpose = [ObjectPurpose::Flush, ObjectPurpose::Data].into_iter().find(|known| known.folder() == folder)?;
        let (session, rest) = rest.split_once('/')?;
        let (number_of, unique) = rest.split_once('-')?;
        let number = |digits: &str| digits.parse::<i64>().ok().filter(|number| *number >= 0);
        Some(Self {
            organization: OrganizationId(number(organization)?),
            purpose,
            session: SessionId(number(session)?),
            lane_sequence: number(number_of)?.checked_add(purpose.first_sequence())?,
            unique: u64::from_str_radix(unique, 16).ok()?,
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organization, purpose, session, lane_sequence, unique } = self;
        let number = lane_sequence.saturating_sub(purpose.first_sequence());
        write!(f, "org-{}/{}/{:019}/{number:019}-{unique:016x}", organization.0, purpose.folder(), session.0)
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(key: &str) -> Result<Self, KeyError> {
        Self::parse(key)
    }
}
