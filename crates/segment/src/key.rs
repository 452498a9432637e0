//! Names of segments in the bucket: `org-{id}/flush/{session}/{lane sequence}-{unique}`.
//!
//! Numbers are zero-padded to the width of their type, so that a listing sorts as the numbers do. A key has exactly one
//! spelling: what does not print back the same is not parsed, so a foreign object is never taken for a segment.

use std::fmt;

use crate::{LaneSequence, OrganizationId, SessionId};

/// Name of a segment that a flush wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Owner of everything in it.
    pub organization: OrganizationId,
    /// Who wrote it; only this session may commit it.
    pub session: SessionId,
    /// Its number within the session.
    pub lane_sequence: LaneSequence,
    /// Random: no two attempts share a key.
    pub unique: u64,
}

/// A string that is not the key of a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the key of a segment")]
pub struct KeyError(pub String);

impl ObjectKey {
    /// What the keys of an organization's flushed segments begin with.
    #[must_use]
    pub fn flush_prefix(organization: OrganizationId) -> String {
        format!("org-{}/flush/", organization.0)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Anything that [`ObjectKey`]'s `Display` would not print.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        Self::read(key).filter(|parsed| parsed.to_string() == key).ok_or_else(|| KeyError(key.to_owned()))
    }

    fn read(key: &str) -> Option<Self> {
        let (organization, rest) = key.strip_prefix("org-")?.split_once("/flush/")?;
        let (session, rest) = rest.split_once('/')?;
        let (lane_sequence, unique) = rest.split_once('-')?;
        let number = |digits: &str| digits.parse::<i64>().ok().filter(|number| *number >= 0);
        Some(Self {
            organization: OrganizationId(number(organization)?),
            session: SessionId(number(session)?),
            lane_sequence: number(lane_sequence)?,
            unique: u64::from_str_radix(unique, 16).ok()?,
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organization, session, lane_sequence, unique } = self;
        write!(f, "org-{}/flush/{:019}/{lane_sequence:019}-{unique:016x}", organization.0, session.0)
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(key: &str) -> Result<Self, KeyError> {
        Self::parse(key)
    }
}
