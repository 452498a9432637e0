//! A member of a classic group, and what it is waiting for.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::groups::api::{JoinGroup, Protocol};
use crate::groups::effects::Ticket;

/// A member. It has a deadline ([`Member::expires`]), or it waits in JoinGroup or SyncGroup, which have one of the group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    /// In the order of its preference; at least one.
    pub(super) protocols: Vec<Protocol>,
    /// Of this generation.
    pub(super) assignment: Bytes,
    /// It joined and was not answered yet: it does not know its id, so it is gone when its deadline passes, waiting or not.
    pub(super) is_new: bool,
    /// Waits in JoinGroup.
    pub(super) joining: Option<Ticket>,
    /// Waits in SyncGroup.
    pub(super) syncing: Option<Ticket>,
    /// Was answered to its JoinGroup and has not asked with SyncGroup yet.
    pub(super) owes_sync: bool,
    /// When it is gone without another sign. `None`: it waits, which is sign enough.
    pub(super) expires: Option<Instant>,
}

impl Member {
    pub(super) fn new(request: JoinGroup, ticket: Ticket) -> Self {
        Self {
            group_instance_id: request.group_instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: owned(&request.protocols),
            assignment: Bytes::new(),
            is_new: true,
            joining: Some(ticket),
            syncing: None,
            owes_sync: false,
            expires: None,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// Whether it needs no heartbeat now.
    pub(super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub(super) fn has_protocol(&self, name: &str) -> bool {
        self.protocols.iter().any(|protocol| protocol.name == name)
    }

    /// What it said with that protocol; nothing if it does not have it.
    pub(super) fn metadata(&self, name: &str) -> Bytes {
        let found = self.protocols.iter().find(|protocol| protocol.name == name);
        found.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// Its favourite of these.
    pub(super) fn vote<'a>(&self, candidates: &BTreeSet<&'a str>) -> Option<&'a str> {
        self.protocols.iter().find_map(|protocol| candidates.get(protocol.name.as_str()).copied())
    }

    pub(super) fn bytes(&self) -> usize {
        let names =
            self.client_id.len() + self.client_host.len() + self.group_instance_id.as_ref().map_or(0, String::len);
        names + protocols_bytes(&self.protocols)
    }
}

pub(crate) fn protocols_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

/// Copied: slices would keep the whole request in memory.
pub(crate) fn owned(protocols: &[Protocol]) -> Vec<Protocol> {
    let copy = |protocol: &Protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    protocols.iter().map(copy).collect()
}
