//! The ledger as metrics: read when they are asked for, so that counting costs no more than the count.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use segment::OrganizationId;

use super::account::Operation;
use super::ledger::{Ledger, Payer};
use super::topics::{ByOperation, Count};

/// Makes the instruments of `ledger`; docs/metrics.md has their names.
pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>) {
    counts(meter, ledger);
    topics(meter, ledger);
    dollars(meter, ledger);
}

fn counts(meter: &Meter, ledger: &Arc<Ledger>) {
    let requests = Arc::clone(ledger);
    let _ = meter
        .f64_observable_counter("streamhouse_store_requests_total")
        .with_description("Requests to the object store as they are billed")
        .with_callback(move |observer| {
            observe_counts(&requests, |count, labels| observer.observe(count.requests, labels))
        })
        .build();
    let bytes = Arc::clone(ledger);
    let _ = meter
        .f64_observable_counter("streamhouse_store_bytes_total")
        .with_description("Bytes sent to and received from the object store")
        .with_callback(move |observer| observe_counts(&bytes, |count, labels| observer.observe(count.bytes, labels)))
        .build();
    let crossed = Arc::clone(ledger);
    let _ = meter
        .u64_observable_counter("streamhouse_fetch_other_zone_bytes_total")
        .with_description("Record bytes sent to consumers that named another zone")
        .with_callback(move |observer| observer.observe(crossed.other_zone_bytes(), &[]))
        .build();
    let stored = Arc::clone(ledger);
    let _ = meter
        .u64_observable_gauge("streamhouse_store_stored_bytes")
        .with_description("Bytes in the object store, as of the last look of garbage collection")
        .with_callback(move |observer| observer.observe(stored.stored_bytes(), &[]))
        .build();
}

fn topics(meter: &Meter, ledger: &Arc<Ledger>) {
    let requests = Arc::clone(ledger);
    let _ = meter
        .f64_observable_counter("streamhouse_topic_store_requests_total")
        .with_description("Requests to the object store by topic; those of several topics are shared by bytes")
        .with_callback(move |observer| {
            requests.topics.lock().rank();
            observe_topics(&requests, |count, labels| observer.observe(count.requests, labels));
        })
        .build();
    let bytes = Arc::clone(ledger);
    let _ = meter
        .f64_observable_counter("streamhouse_topic_store_bytes_total")
        .with_description("Bytes of those requests")
        .with_callback(move |observer| observe_topics(&bytes, |count, labels| observer.observe(count.bytes, labels)))
        .build();
}

fn dollars(meter: &Meter, ledger: &Arc<Ledger>) {
    let spent = Arc::clone(ledger);
    let _ = meter
        .f64_observable_counter("streamhouse_cost_dollars_total")
        .with_description("What the requests cost at the prices of COST_PRICES")
        .with_callback(move |observer| {
            for ((operation, purpose), dollars) in spent.dollars() {
                let labels = [KeyValue::new("operation", operation.name()), KeyValue::new("purpose", purpose.name())];
                observer.observe(dollars, &labels);
            }
        })
        .build();
    let monthly = Arc::clone(ledger);
    let _ = meter
        .f64_observable_gauge("streamhouse_cost_dollars_per_month")
        .with_description("What a month costs that goes on as the last hour")
        .with_callback(move |observer| {
            let rates = monthly.rates();
            observer.observe(rates.requests_per_month, &[KeyValue::new("item", "requests")]);
            observer.observe(rates.transfer_per_month, &[KeyValue::new("item", "transfer")]);
            observer.observe(rates.storage_per_month, &[KeyValue::new("item", "storage")]);
        })
        .build();
    let per_gib = Arc::clone(ledger);
    let _ = meter
        .f64_observable_gauge("streamhouse_cost_dollars_per_gib")
        .with_description("Requests and transfer of the last hour for each GiB that it flushed")
        .with_callback(move |observer| observer.observe(per_gib.rates().per_gib.unwrap_or(0.0), &[]))
        .build();
    let window = Arc::clone(ledger);
    let _ = meter
        .f64_observable_gauge("streamhouse_cost_window_seconds")
        .with_description("How long that hour is yet")
        .with_callback(move |observer| observer.observe(window.rates().seconds, &[]))
        .build();
    let prices = ledger.prices;
    let _ = meter
        .f64_observable_gauge("streamhouse_cost_price_dollars")
        .with_description("The prices of COST_PRICES")
        .with_callback(move |observer| {
            for (of, dollars) in prices.entries() {
                observer.observe(dollars, &[KeyValue::new("of", of)]);
            }
        })
        .build();
}

fn observe_counts(ledger: &Ledger, mut observe: impl FnMut(&Count, &[KeyValue])) {
    for ((payer, operation, purpose), count) in ledger.counts() {
        let organization = match payer {
            Payer::Cluster => String::new(),
            Payer::Organization(id) => organization_name(Some(id)),
            Payer::Other => "other".to_owned(),
        };
        let labels = [
            KeyValue::new("operation", operation.name()),
            KeyValue::new("purpose", purpose.name()),
            KeyValue::new("organization", organization),
        ];
        observe(&count, &labels);
    }
}

fn observe_topics(ledger: &Ledger, mut observe: impl FnMut(&Count, &[KeyValue])) {
    let mut observe_series = |organization: String, topic: String, counts: &ByOperation| {
        for (operation, count) in Operation::ALL.iter().zip(counts).filter(|(_, count)| **count != Count::default()) {
            let labels = [
                KeyValue::new("operation", operation.name()),
                KeyValue::new("organization", organization.clone()),
                KeyValue::new("topic", topic.clone()),
            ];
            observe(count, &labels);
        }
    };
    let topics = ledger.topics.lock();
    for (topic_id, organization, counts) in topics.named() {
        let name = ledger.topic_name(organization, topic_id);
        observe_series(organization_name(organization), name, counts);
    }
    observe_series("other".to_owned(), "other".to_owned(), topics.other());
}

fn organization_name(organization: Option<OrganizationId>) -> String {
    match organization {
        None => String::new(),
        Some(OrganizationId::DEFAULT) => "default".to_owned(),
        Some(OrganizationId(id)) => id.to_string(),
    }
}
