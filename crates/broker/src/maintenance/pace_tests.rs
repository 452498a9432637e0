//! Tests of `pace`: as many bytes a second as were asked for, after a pause too.

use super::*;

#[tokio::test(start_paused = true)]
async fn bytes_pass_at_the_rate_whatever_their_portions() {
    for portion in [1_000, 1 << 20] {
        let mut pace = Pace::new(Arc::new(WriterPool::new(1 << 20, Duration::ZERO)), 1 << 20, Duration::ZERO);
        let started = Instant::now();
        let mut passed = 0;
        while passed < 10 << 20 {
            pace.pass(portion).await;
            passed += portion;
        }
        let took = started.elapsed().as_secs_f64();
        assert!((9.8..=11.1).contains(&took), "10 MiB at 1 MiB/s took {took} s");
        tokio::time::sleep(Duration::from_secs(100)).await;
        let started = Instant::now();
        pace.pass(1 << 20).await;
        assert!(started.elapsed() >= Duration::from_millis(850), "a pause does not save up");
    }
}
