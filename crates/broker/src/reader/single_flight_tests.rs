//! Tests of `single_flight`: what is kept, what goes, and what those leave who hang up.

use super::*;

fn of(bytes_max: usize) -> Arc<SingleFlight<u32, u32>> {
    SingleFlight::new(bytes_max)
}

/// Loads an entry; whether it had to be.
async fn load(flights: &Arc<SingleFlight<u32, u32>>, key: u32, bytes: usize) -> bool {
    let entered = flights.enter(key, bytes);
    let mut loaded = false;
    let load = async {
        loaded = true;
        key
    };
    assert_eq!(*entered.loading.cell.get_or_init(|| load).await, key);
    loaded
}

#[tokio::test]
async fn what_is_there_is_not_loaded_again_until_it_goes() {
    let flights = of(2 * charge(10));
    assert!(load(&flights, 1, 10).await && !load(&flights, 1, 10).await);
    assert!(load(&flights, 2, 10).await && load(&flights, 3, 10).await);
    assert_eq!(flights.counts(), (2, 2, 2 * charge(10), 0));
    assert!(flights.peek(&1).is_none() && flights.peek(&2) == Some(2), "the oldest went");
    flights.forget(&2);
    assert_eq!(flights.counts(), (1, 1, charge(10), 0));
}

#[tokio::test]
async fn those_who_want_it_at_the_same_time_share_one_load() {
    let flights = of(1 << 20);
    let loads = std::sync::atomic::AtomicU32::new(0);
    let load = || async {
        tokio::task::yield_now().await;
        loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        7
    };
    let wanted = (0..10).map(|_| async {
        let entered = flights.enter(1, 10);
        *entered.loading.cell.get_or_init(load).await
    });
    assert_eq!(futures::future::join_all(wanted).await, [7; 10]);
    assert_eq!(loads.into_inner(), 1);
}

#[tokio::test]
async fn what_is_being_loaded_does_not_go() {
    let flights = of(charge(10));
    let loading = flights.enter(1, 10).loading;
    load(&flights, 2, 10).await;
    load(&flights, 3, 10).await;
    assert!(flights.contains(&1) && !flights.contains(&2));
    loading.cell.set(1).expect("the first");
    drop(loading);
    load(&flights, 4, 10).await;
    assert!(!flights.contains(&1));
}

#[tokio::test]
async fn the_last_one_to_hang_up_takes_the_empty_entry_out() {
    let flights = of(1 << 20);
    let (first, second) = (flights.enter(1, 10), flights.enter(1, 10));
    drop(first);
    assert_eq!(flights.counts().0, 1, "somebody waits for it");
    drop(second);
    assert_eq!(flights.counts(), (0, 0, 0, 0));
    let old = flights.enter(1, 10);
    flights.state.lock().remove(&1);
    let new = flights.enter(1, 10);
    drop(old);
    assert_eq!(flights.counts().0, 1, "another load of the same key is not its own");
    drop(new);
}

#[tokio::test]
async fn what_is_read_ahead_is_bounded_until_it_is_wanted() {
    let flights = of(1 << 20);
    let loading = flights.enter_ahead(&1, 60, 100).expect("begins").loading;
    assert_eq!(flights.enter_ahead(&1, 60, 100).err(), Some(Ahead::IsThere));
    assert_eq!(flights.enter_ahead(&2, 60, 100).err(), Some(Ahead::IsFull));
    loading.cell.set(1).expect("the first");
    assert_eq!((flights.enter(1, 60).was_ahead, flights.enter(1, 60).was_ahead), (60, 0), "used once");
    assert!(flights.enter_ahead(&2, 60, 100).is_ok());
    assert_eq!(flights.counts().3, 0, "given up");
}

#[tokio::test]
async fn what_goes_says_how_many_wanted_it() {
    let flights = of(charge(10));
    let loading = flights.enter_ahead(&1, 10, 100).expect("begins").loading;
    loading.cell.set(1).expect("the first");
    let entered = flights.enter(2, 10);
    assert_eq!(entered.evicted.iter().map(|gone| (gone.bytes, gone.uses)).collect::<Vec<_>>(), [(10, 0)]);
    entered.loading.cell.set(2).expect("the first");
    flights.enter(2, 10);
    assert_eq!(flights.enter(3, 10).evicted[0].uses, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_stays_while_anything_else_can_go_and_not_for_ever() {
    let flights = of(3 * charge(10));
    for key in [1, 2] {
        flights.enter_ahead(&key, 10, 20).expect("begins").loading.cell.set(key).expect("the first");
    }
    for key in 10..20 {
        load(&flights, key, 10).await;
    }
    assert!(flights.contains(&1) && flights.contains(&2));
    assert_eq!(flights.enter_ahead(&3, 10, 20).err(), Some(Ahead::IsFull));
    assert!(!load(&flights, 2, 10).await, "it was there");
    flights.enter_ahead(&4, 10, 20).expect("begins").loading.cell.set(4).expect("the first");
    tokio::time::sleep(AHEAD_MAX).await;
    let entered = flights.enter_ahead(&5, 10, 20).expect("begins");
    assert_eq!(entered.evicted.iter().map(|gone| gone.uses).collect::<Vec<_>>(), [0], "nobody came");
}

#[tokio::test]
async fn what_is_renewed_outlives_what_was_wanted_since() {
    let flights = of(2 * charge(10));
    load(&flights, 1, 10).await;
    load(&flights, 2, 10).await;
    flights.renew(&1);
    flights.renew(&7);
    load(&flights, 3, 10).await;
    assert!(flights.contains(&1) && !flights.contains(&2));
}

#[tokio::test]
async fn what_is_being_loaded_does_not_crowd_out_what_is_there_if_only_that_counts() {
    let flights: Arc<SingleFlight<u32, u32>> = SingleFlight::of_loaded(2 * charge(10));
    let enter = |key| flights.enter(key, 10).loading;
    let loading: Vec<_> = (0..5).map(enter).collect();
    assert_eq!(flights.counts(), (5, 5, 0, 0));
    for (key, loading) in (0..).zip(&loading) {
        loading.cell.set(key).expect("the first");
        loading.loaded();
        loading.loaded();
    }
    assert_eq!(flights.counts(), (2, 2, 2 * charge(10), 0));
    drop(enter(7));
    assert_eq!(flights.counts(), (2, 2, 2 * charge(10), 0), "it was not loaded");
}

#[test]
fn two_that_give_up_at_the_same_time_leave_nothing() {
    let flights = of(1 << 20);
    let together = std::sync::Barrier::new(2);
    for key in 0..20_000 {
        let (one, other) = (flights.enter(key, 10).loading, flights.enter(key, 10).loading);
        std::thread::scope(|scope| {
            for loading in [one, other] {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    drop(loading);
                });
            }
        });
        assert!(!flights.contains(&key), "nobody loads {key}, and all would wait for it");
    }
}
