//! Runs a Rust client's checks and prints each as `ok   sentence` or `FAIL sentence: why`.

use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a check gives.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

static NAMES: AtomicU64 = AtomicU64::new(0);

/// Counts failures; runs only the checks whose sentence contains the first argument.
#[derive(Default)]
pub struct Checks {
    failed: u32,
}

impl Checks {
    /// Runs one check and prints what came of it.
    pub async fn check(&mut self, sentence: &str, run: impl Future<Output = Outcome>) {
        if !sentence.contains(&std::env::args().nth(1).unwrap_or_default()) {
            return;
        }
        match run.await {
            Ok(()) => println!("ok   {sentence}"),
            Err(error) => {
                self.failed += 1;
                println!("FAIL {sentence}: {}", error.to_string().replace('\n', " "));
            }
        }
    }

    /// 1 if any failed.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failed > 0))
    }
}

/// Where Kafka listens.
pub fn address() -> String {
    std::env::var("COMPAT_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".into())
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A name that no other check and no earlier run uses.
pub fn fresh_name(purpose: &str) -> String {
    format!("{purpose}-{}-{}-{}", std::process::id(), now_ms(), NAMES.fetch_add(1, Ordering::Relaxed))
}

/// An error with both sides unless they are the same.
pub fn expect<T: PartialEq + Debug>(actual: T, wanted: T, what: &str) -> Outcome {
    if actual == wanted { Ok(()) } else { Err(format!("{what}: {actual:?}, expected {wanted:?}").into()) }
}
