//! Tests of `clock`.

use super::*;

#[tokio::test(start_paused = true)]
async fn time_goes_on_from_the_databases_clock() {
    let clock = Clock::new(TimeSource::Runtime, 5_000);
    assert_eq!(clock.now(), 5_000);
    tokio::time::advance(Duration::from_millis(1_500)).await;
    assert_eq!(clock.now(), 6_500);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_sets_the_clock_in_both_directions() {
    let clock = Clock::new(TimeSource::Runtime, 5_000);
    tokio::time::advance(Duration::from_secs(10)).await;
    clock.set(9_000);
    assert_eq!(clock.now(), 9_000, "the database is the truth");
    clock.set(50_000);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(clock.now(), 51_000);
}

#[test]
fn boot_time_never_runs_backwards() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let _entered = runtime.enter();
    let clock = Clock::new(TimeSource::Boottime, 5_000);
    let first = clock.now();
    assert!(first >= 5_000 && clock.now() >= first);
}
