//! The counts: requests and bytes by operation, purpose and organization, and what they come to in dollars.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use segment::{OrganizationId, TopicId};
use tokio::time::Instant;

use super::account::{Account, Operation, Purpose};
use super::prices::{GIB, PriceTable};
use super::topics::{Count, Topics};
use crate::catalog::Catalog;
use crate::limits::COST_ORGANIZATIONS_MAX;

/// Least time between two samples of the window, and their number: rates are those of about the last hour.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);
const SAMPLES_MAX: usize = 60;
/// Hours of a month, as clouds count.
const MONTH_HOURS: f64 = 730.0;

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Payer {
    /// Nobody in particular.
    Cluster,
    /// A tenant.
    Organization(OrganizationId),
    /// Tenants beyond [`COST_ORGANIZATIONS_MAX`].
    Other,
}

/// What was spent and taken until a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    requests_dollars: f64,
    transfer_dollars: f64,
    flushed_bytes: f64,
}

/// What it comes to, over the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) seconds: f64,
    pub(super) requests_per_month: f64,
    pub(super) transfer_per_month: f64,
    pub(super) storage_per_month: f64,
    /// Requests and transfer for a GiB of records taken; `None`: none was.
    pub(super) per_gib: Option<f64>,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    pub(super) prices: PriceTable,
    counts: Mutex<BTreeMap<(Payer, Operation, Purpose), Count>>,
    pub(super) topics: Mutex<Topics>,
    /// Bytes of flushes that succeeded.
    flushed_bytes: AtomicU64,
    other_zone_bytes: AtomicU64,
    /// What the last look at the whole store found.
    stored_bytes: AtomicU64,
    window: Mutex<VecDeque<(Instant, Totals)>>,
    catalog: Mutex<Option<Arc<Catalog>>>,
}

impl Ledger {
    /// Counts from now on.
    #[must_use]
    pub fn new(prices: PriceTable) -> Arc<Self> {
        Arc::new(Self {
            prices,
            counts: Mutex::default(),
            topics: Mutex::default(),
            flushed_bytes: AtomicU64::new(0),
            other_zone_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            window: Mutex::new(VecDeque::from([(Instant::now(), Totals::default())])),
            catalog: Mutex::default(),
        })
    }

    /// A request begins; it is billed however it ends. `bytes` are those sent with it.
    pub fn request(&self, account: &Account, operation: Operation, bytes: u64) {
        self.add(account, operation, 1.0, bytes);
    }

    /// Bytes of an answer arrived.
    pub fn received(&self, account: &Account, operation: Operation, bytes: u64) {
        self.add(account, operation, 0.0, bytes);
    }

    /// A write succeeded.
    pub fn written(&self, account: &Account, bytes: u64) {
        if account.purpose == Purpose::Flush {
            self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A listing of the whole store ended: it holds so much.
    pub fn stored(&self, bytes: u64) {
        self.stored_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes went to a consumer that named another zone.
    pub(crate) fn crossed_zones(&self, bytes: u64) {
        self.other_zone_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Where topics have their names from.
    pub(crate) fn name_topics(&self, catalog: &Arc<Catalog>) {
        *self.catalog.lock() = Some(Arc::clone(catalog));
    }

    fn add(&self, account: &Account, operation: Operation, requests: f64, bytes: u64) {
        let bytes = to_float(bytes);
        let mut counts = self.counts.lock();
        let payer = payer(&counts, account.organization);
        counts.entry((payer, operation, account.purpose)).or_default().add(requests, bytes);
        drop(counts);
        if !account.topics.is_empty() {
            self.topics.lock().add(account, operation, requests, bytes);
        }
    }

    pub(super) fn counts(&self) -> BTreeMap<(Payer, Operation, Purpose), Count> {
        self.counts.lock().clone()
    }

    pub(super) fn other_zone_bytes(&self) -> u64 {
        self.other_zone_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }

    /// The name of a topic; its id once it is deleted.
    pub(super) fn topic_name(&self, organization: Option<OrganizationId>, topic_id: TopicId) -> String {
        let catalog = self.catalog.lock();
        let found = catalog.as_ref().zip(organization).and_then(|(catalog, owner)| catalog.by_id(owner, topic_id));
        found.map_or_else(|| topic_id.0.to_string(), |found| found.topic.name.clone())
    }

    /// Dollars by operation and purpose since the start.
    pub(super) fn dollars(&self) -> BTreeMap<(Operation, Purpose), f64> {
        let mut dollars = BTreeMap::new();
        for ((_, operation, purpose), count) in self.counts() {
            *dollars.entry((operation, purpose)).or_default() +=
                self.prices.requests(operation, count.requests, count.bytes);
        }
        dollars
    }

    fn totals(&self) -> Totals {
        Totals {
            requests_dollars: self.dollars().values().sum(),
            transfer_dollars: self.prices.transfer(to_float(self.other_zone_bytes())),
            flushed_bytes: to_float(self.flushed_bytes.load(Ordering::Relaxed)),
        }
    }

    /// What it comes to now: over the last hour, or since the start, as far as somebody asked in between.
    pub(super) fn rates(&self) -> Rates {
        let (now, totals) = (Instant::now(), self.totals());
        let mut window = self.window.lock();
        if window.back().is_some_and(|(last, _)| now - *last >= SAMPLE_INTERVAL) {
            window.push_back((now, totals));
            if window.len() > SAMPLES_MAX {
                window.pop_front();
            }
        }
        let Some((since, before)) = window.front().copied() else { return Rates::default() };
        let seconds = (now - since).as_secs_f64();
        let per_month = |dollars: f64| if seconds > 0.0 { dollars / seconds * MONTH_HOURS * 3600.0 } else { 0.0 };
        let requests = totals.requests_dollars - before.requests_dollars;
        let transfer = totals.transfer_dollars - before.transfer_dollars;
        let gib = (totals.flushed_bytes - before.flushed_bytes) / GIB;
        Rates {
            seconds,
            requests_per_month: per_month(requests),
            transfer_per_month: per_month(transfer),
            storage_per_month: to_float(self.stored_bytes()) / GIB * self.prices.storage,
            per_gib: (gib > 0.0).then(|| (requests + transfer) / gib),
        }
    }
}

/// Tenants have series of their own up to a bound.
fn payer(counts: &BTreeMap<(Payer, Operation, Purpose), Count>, organization: Option<OrganizationId>) -> Payer {
    let Some(organization) = organization else { return Payer::Cluster };
    let payer = Payer::Organization(organization);
    let from = (payer, Operation::Put, Purpose::Flush)..;
    if counts.range(from).next().is_some_and(|((known, ..), _)| *known == payer) {
        return payer;
    }
    let known: BTreeSet<_> = counts.keys().map(|(payer, ..)| *payer).collect();
    if known.len() < COST_ORGANIZATIONS_MAX { payer } else { Payer::Other }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 bytes, and then good enough")]
fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
