//! Counts become dollars, over the last hour.

use super::*;

const FLUSHED: &str = "org-1/flush/x";

fn put(ledger: &Ledger, key: &str, bytes: u64) {
    let account = Account::open(Operation::Put, key);
    ledger.request(&account, Operation::Put, bytes);
    ledger.written(&account, bytes);
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() <= right.abs() * 1e-9
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_flushes_is_worth_so_much_a_month_and_a_gibibyte() {
    let ledger = Ledger::new(PriceTable::preset("s3-standard").unwrap());
    for _ in 0..600 {
        put(&ledger, FLUSHED, 1 << 20);
    }
    let lost = Account::open(Operation::Put, FLUSHED);
    ledger.request(&lost, Operation::Put, 1 << 20); // billed, and brought nothing
    ledger.crossed_zones(1 << 30);
    ledger.stored(100 << 30);
    tokio::time::advance(Duration::from_secs(60)).await;
    let rates = ledger.rates();
    let (puts, transfer) = (601.0 * 0.005 / 1000.0, 0.02);
    assert!(near(rates.seconds, 60.0));
    assert!(near(rates.requests_per_month, puts * 730.0 * 60.0), "{rates:?}");
    assert!(near(rates.transfer_per_month, transfer * 730.0 * 60.0), "{rates:?}");
    assert!(near(rates.storage_per_month, 2.3), "{rates:?}");
    assert!(near(rates.per_gib.unwrap(), (puts + transfer) * 1024.0 / 600.0), "{rates:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_long_ago_counts_no_more() {
    let ledger = Ledger::new(PriceTable::preset("s3-standard").unwrap());
    put(&ledger, FLUSHED, 1);
    for _ in 0..2 * SAMPLES_MAX {
        tokio::time::advance(SAMPLE_INTERVAL).await;
        ledger.rates();
    }
    let rates = ledger.rates();
    assert!(near(rates.seconds, 59.0 * 60.0), "{rates:?}");
    assert_eq!((rates.requests_per_month, rates.per_gib), (0.0, None));
}

#[tokio::test]
async fn tenants_are_told_apart_up_to_a_bound() {
    let ledger = Ledger::new(PriceTable::preset("free").unwrap());
    put(&ledger, "cluster.json", 1);
    for tenant in 1..=COST_ORGANIZATIONS_MAX + 9 {
        put(&ledger, &format!("org-{tenant}/flush/x"), 1);
    }
    put(&ledger, "org-1/flush/y", 1);
    let counts = ledger.counts();
    assert_eq!(counts.len(), COST_ORGANIZATIONS_MAX + 1);
    let requests = |payer| counts[&(payer, Operation::Put, Purpose::Flush)].requests;
    assert_eq!(requests(Payer::Organization(OrganizationId(1))), 2.0);
    assert_eq!(requests(Payer::Other), 10.0);
    assert_eq!(ledger.dollars().values().sum::<f64>(), 0.0);
}
