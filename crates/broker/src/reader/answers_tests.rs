//! Tests of `answers`: who holds how much, and for how long.

use super::*;

const WHOLE: usize = 24 << 20;

/// An answer that fills its share.
fn filled(share: &Share) -> Bytes {
    share.charge(Bytes::from(vec![0; share.bytes]), share.bytes)
}

async fn share(answers: &Answers, last: Option<&Pace>) -> Option<Share> {
    answers.share(usize::MAX, last).await
}

fn free(answers: &Answers) -> usize {
    answers.common.available() + answers.quick.available()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_its_answers_at_once_gets_larger_ones_and_one_that_does_not_smaller_ones() {
    let answers = Answers::new(WHOLE);
    let (mut pace, mut sizes) = (None, Vec::new());
    for takes in [0, 500, 0, 0, 0, 1500, 2000, 9000, 9000, 9000, 9000, 9000, 0] {
        let share = share(&answers, pace.as_deref()).await.expect("alone");
        sizes.push(share.bytes >> 10);
        pace = Some(share.pace());
        let answer = filled(&share);
        drop(share);
        tokio::time::sleep(Duration::from_millis(takes)).await;
        drop(answer);
        assert_eq!(free(&answers), WHOLE);
    }
    assert_eq!(sizes, [1024, 2048, 4096, 8192, 8192, 8192, 4096, 2048, 1024, 512, 256, 256, 256]);
}

#[tokio::test]
async fn what_a_fetch_does_not_need_and_what_is_written_is_given_back() {
    let answers = Answers::new(WHOLE);
    let share = share(&answers, None).await.expect("alone");
    let pieces = [100, 50].map(|len| share.charge(Bytes::from(vec![0; 1000]), len));
    drop(share);
    assert_eq!(free(&answers), WHOLE - 150);
    let [first, second] = pieces;
    let part = first.slice(10..20);
    drop(first);
    assert_eq!(free(&answers), WHOLE - 150, "some of it is wanted");
    drop(part);
    assert_eq!(free(&answers), WHOLE - 50);
    drop(second);
    assert_eq!(free(&answers), WHOLE);
}

#[tokio::test(start_paused = true)]
async fn those_who_take_nothing_hold_up_nobody_who_does() {
    let answers = Answers::new(WHOLE);
    let honest = share(&answers, None).await.expect("alone").pace();
    let mut stuck = Vec::new();
    while let Ok(Some(share)) = timeout(Duration::from_millis(1), share(&answers, None)).await {
        stuck.push((filled(&share), share.pace()));
        assert!(stuck.len() < 1000);
    }
    assert!(stuck.len() > 16 && answers.is_short());
    let mut pace = honest;
    for _ in 0..100 {
        let began = Instant::now();
        let share = share(&answers, Some(&pace)).await.expect("its own part");
        assert!(began.elapsed().is_zero() && share.bytes >= 1 << 20, "{} bytes", share.bytes);
        pace = share.pace();
        drop(filled(&share));
    }
    // One that is new waits for a moment, and is known then.
    let began = Instant::now();
    let new = share(&answers, None).await.expect("a little");
    assert_eq!((began.elapsed(), new.bytes), (SHARE_WITHIN, SHARE_BYTES_MIN));
    let pace = new.pace();
    drop(new);
    assert!(share(&answers, Some(&pace)).await.expect("its own part").bytes > SHARE_BYTES_MIN);
    // Who is stuck gets nothing of it, nor does another one at the same place.
    let on_its_way = share(&answers, Some(&pace)).await.expect("its own part");
    let answer = filled(&on_its_way);
    assert_eq!(on_its_way.pace().next(), (FIRST_BYTES, false));
    drop(answer);
    tokio::time::sleep(2 * AT_ONCE).await;
    let (_, pace) = &stuck[0];
    assert!(!pace.next().1);
}

#[tokio::test(start_paused = true)]
async fn a_little_memory_is_shared_too() {
    let answers = Answers::new(96 << 10);
    let first = share(&answers, None).await.expect("alone");
    let second = share(&answers, None).await.expect("half of what is left");
    assert_eq!((first.bytes, second.bytes), (32 << 10, 16 << 10));
}
