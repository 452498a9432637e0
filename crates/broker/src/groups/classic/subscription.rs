//! The one thing that a coordinator reads in what members say: the topics of protocol type `consumer`.
//!
//! Offsets of topics that somebody is subscribed to are neither expired nor deleted. Every version of the subscription
//! begins as version 0 does: the version, then an array of topic names.

use std::collections::BTreeSet;

use bytes::Buf;

/// Protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// The topics of a subscription; `None` for bytes that are none.
pub(super) fn topics(mut metadata: &[u8]) -> Option<BTreeSet<String>> {
    let version = metadata.try_get_i16().ok()?;
    let count = metadata.try_get_i32().ok()?;
    if version < 0 {
        return None;
    }
    // A count that is a lie ends at the end of the bytes.
    (0..count.max(0)).map(|_| topic(&mut metadata)).collect()
}

fn topic(metadata: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
    let (name, rest) = metadata.split_at_checked(length)?;
    *metadata = rest;
    std::str::from_utf8(name).ok().map(str::to_owned)
}
