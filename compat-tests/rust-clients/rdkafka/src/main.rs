//! The checks of rdkafka (librdkafka in Rust): admin, producer, stream consumers in a group of both protocols.

mod client;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checks::{Checks, Outcome, expect, fresh_name, now_ms};
use client::{Member, create_topic, offset_at, produce, read};

const PORTION: usize = 100;

/// Waits up to 45 s for a condition.
async fn until(what: &str, condition: impl Fn() -> bool) -> Outcome {
    for _ in 0..2_250 {
        if condition() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("waited in vain until {what}").into())
}

async fn round_trip(codec: &str) -> Outcome {
    let topic = fresh_name("codec");
    create_topic(&topic, 1).await?;
    produce(&topic, codec, 0..200, None).await?;
    let wanted: Vec<_> =
        (0..200).map(|i| (i as i64, format!("key-{}", i % 17), i.to_string(), format!("header-{i}"))).collect();
    expect(read(&topic, 200).await?, wanted, "records")
}

async fn offsets_by_time() -> Outcome {
    let (topic, began) = (fresh_name("times"), now_ms() - 3_600_000);
    create_topic(&topic, 1).await?;
    for i in 0..3 {
        produce(&topic, "none", i..i + 1, Some(began + i as i64 * 60_000)).await?;
    }
    for (seconds, wanted) in [(-5, 0), (0, 0), (1, 1), (60, 1), (61, 2), (120, 2)] {
        expect(offset_at(&topic, began + seconds * 1_000)?, wanted, &format!("offset at {seconds} s"))?;
    }
    Ok(())
}

/// How often each value came.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<String, u32>>>);

impl Seen {
    fn add(&self, value: String) {
        *self.0.lock().expect("no thread panics with it").entry(value).or_default() += 1;
    }

    fn count(&self) -> usize {
        self.0.lock().expect("no thread panics with it").len()
    }

    fn once_each(&self) -> Outcome {
        let seen = self.0.lock().expect("no thread panics with it");
        let more: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
        expect(more, Vec::new(), "came more than once")
    }
}

/// The whole life of a group: one member, a second that joins and leaves, and one that resumes.
async fn group_of_two(settings: &[(&str, &str)]) -> Outcome {
    let (topic, group, seen) = (fresh_name("group"), fresh_name("members"), Seen::default());
    create_topic(&topic, 4).await?;
    let join = || {
        let seen = seen.clone();
        Member::join(&topic, &group, settings, move |value| seen.add(value))
    };
    let more_arrives = async |step: &str, portion: usize| -> Outcome {
        produce(&topic, "none", portion * PORTION..(portion + 1) * PORTION, None).await?;
        until(&format!("{step}: all records came"), || seen.count() == (portion + 1) * PORTION).await?;
        seen.once_each()
    };
    let first = join()?;
    more_arrives("one member", 0).await?;
    let second = join()?;
    until("both have two partitions", || first.assigned() == 2 && second.assigned() == 2).await?;
    more_arrives("two members", 1).await?;
    second.leave().await;
    until("the first has all partitions again", || first.assigned() == 4).await?;
    more_arrives("one left", 2).await?;
    first.leave().await;
    let third = join()?;
    more_arrives("resumed", 3).await?;
    tokio::time::sleep(Duration::from_millis(500)).await; // a record that comes twice would come now
    third.leave().await;
    seen.once_each()
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut checks = Checks::default();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        checks.check(&format!("keyed {codec} records with headers come back in order"), round_trip(codec)).await;
    }
    checks.check("offsets are found by time", offsets_by_time()).await;
    let sentence = "two members share a topic, one leaves, a third resumes: every record once";
    checks.check(sentence, group_of_two(&[("partition.assignment.strategy", "range")])).await;
    checks
        .check(
            "the same with the cooperative assignor",
            group_of_two(&[("partition.assignment.strategy", "cooperative-sticky")]),
        )
        .await;
    checks.check("the same with KIP-848", group_of_two(&[("group.protocol", "consumer")])).await;
    checks.exit_code()
}
