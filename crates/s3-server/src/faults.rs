//! How long answers take and what goes wrong, decided by a seeded generator.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hyper::Method;
use rand::Rng;
use rand::rngs::StdRng;

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874;
/// How long a request stalls unless `stall_s` says so: longer than a client waits.
const STALL: Duration = Duration::from_secs(15);

/// A log-normal distribution by two of its quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Median in milliseconds; 0 is no wait at all.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

impl Latency {
    /// `50/200`: median and 99th percentile in milliseconds.
    ///
    /// # Errors
    /// Not two numbers, or the second below the first.
    pub fn parse(text: &str) -> Result<Self> {
        let (p50, p99) = text.split_once('/').with_context(|| format!("{text:?} is not p50/p99"))?;
        let latency = Self { p50_ms: p50.parse()?, p99_ms: p99.parse()? };
        ensure!(latency.p50_ms >= 0.0 && latency.p99_ms >= latency.p50_ms, "{text:?}: 0 ≤ p50 ≤ p99");
        Ok(latency)
    }

    fn draw(self, rng: &mut StdRng) -> Duration {
        if self.p50_ms <= 0.0 {
            return Duration::ZERO;
        }
        let sigma = (self.p99_ms / self.p50_ms).ln() / NORMAL_P99;
        // Box and Muller's transform; 1 - x is never 0.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        Duration::from_secs_f64(self.p50_ms * (sigma * normal).exp() / 1_000.0)
    }
}

/// A store that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// 503 for everything.
    Refuse,
    /// No answer to anything; nothing is applied.
    Hang,
}

/// What goes wrong, and how long what goes right takes. Rates are between 0 and 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// `put`: writes.
    pub put: Latency,
    /// `get`: everything else.
    pub get: Latency,
    /// `unavailable`: share of requests answered 503, not applied.
    pub unavailable: f64,
    /// `lost`: share of requests that are applied and whose connection is then closed without an answer.
    pub lost: f64,
    /// `stall`: share of requests that are applied later, whether the client is there or not.
    pub stall: f64,
    /// `stall_s`: how much later: at most so many seconds, at least half of that; 0: 15 s.
    pub stall_s: f64,
    /// `reset`: share of reads of objects whose connection is closed in the middle of the body.
    pub reset: f64,
    /// `short`: share of reads of objects whose body lacks its second half, and says nothing of it.
    pub short: f64,
    /// `wrong`: share of reads of objects with one bit of the body turned over.
    pub wrong: f64,
    /// `outage`: `refuse`, `hang` or `none`.
    pub outage: Option<Outage>,
    /// `deny`: a method that is answered 403, e.g. `PUT`; empty for none.
    pub deny: String,
}

/// What becomes of the body of an object that is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Damage {
    Reset,
    Short,
    /// Where the wrong bit is, as a share of the body.
    Wrong(f64),
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Serve,
    Unavailable,
    Denied,
    Lost,
    Stall(Duration),
    Hang,
    /// Served, and damaged if it reads an object.
    Damaged(Damage),
}

impl Faults {
    /// Changes what is named in `name=value&…`.
    ///
    /// # Errors
    /// An unknown name, or a value it cannot have; nothing is changed then.
    pub fn change(&mut self, query: &str) -> Result<()> {
        let mut changed = self.clone();
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').with_context(|| format!("{setting:?} is not name=value"))?;
            match name {
                "put" => changed.put = Latency::parse(value)?,
                "get" => changed.get = Latency::parse(value)?,
                "unavailable" => changed.unavailable = rate(value)?,
                "lost" => changed.lost = rate(value)?,
                "stall" => changed.stall = rate(value)?,
                "stall_s" => changed.stall_s = seconds(value)?,
                "reset" => changed.reset = rate(value)?,
                "short" => changed.short = rate(value)?,
                "wrong" => changed.wrong = rate(value)?,
                "outage" => changed.outage = outage(value)?,
                "deny" => value.clone_into(&mut changed.deny),
                _ => bail!("there is no fault {name:?}"),
            }
        }
        *self = changed;
        Ok(())
    }

    pub(crate) fn decide(&self, method: &Method, rng: &mut StdRng) -> (Duration, Fate) {
        let wait = if method == Method::PUT { self.put } else { self.get }.draw(rng);
        let fate = match self.outage {
            Some(Outage::Refuse) => return (Duration::ZERO, Fate::Unavailable),
            Some(Outage::Hang) => Fate::Hang,
            None if self.deny == method.as_str() => Fate::Denied,
            None => self.draw_fate(rng),
        };
        (wait, fate)
    }

    fn draw_fate(&self, rng: &mut StdRng) -> Fate {
        let (mut draw, part): (f64, f64) = (rng.random(), rng.random());
        let mut falls_to = |share: f64| {
            draw -= share;
            draw < 0.0
        };
        if falls_to(self.unavailable) {
            Fate::Unavailable
        } else if falls_to(self.lost) {
            Fate::Lost
        } else if falls_to(self.stall) {
            let chosen = Duration::from_secs_f64(self.stall_s).mul_f64(0.5 + part / 2.0);
            Fate::Stall(if chosen.is_zero() { STALL } else { chosen })
        } else if falls_to(self.reset) {
            Fate::Damaged(Damage::Reset)
        } else if falls_to(self.short) {
            Fate::Damaged(Damage::Short)
        } else if falls_to(self.wrong) {
            Fate::Damaged(Damage::Wrong(part))
        } else {
            Fate::Serve
        }
    }
}

fn rate(value: &str) -> Result<f64> {
    let rate = value.parse()?;
    ensure!((0.0..=1.0).contains(&rate), "{value:?} is not between 0 and 1");
    Ok(rate)
}

fn seconds(value: &str) -> Result<f64> {
    let seconds = value.parse()?;
    ensure!((0.0..=3_600.0).contains(&seconds), "{value:?} is not between 0 and 3600");
    Ok(seconds)
}

fn outage(value: &str) -> Result<Option<Outage>> {
    match value {
        "none" => Ok(None),
        "refuse" => Ok(Some(Outage::Refuse)),
        "hang" => Ok(Some(Outage::Hang)),
        _ => bail!("{value:?} is not none, refuse or hang"),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn latencies_have_the_quantiles_they_were_given() {
        let (latency, mut rng) = (Latency { p50_ms: 50.0, p99_ms: 200.0 }, StdRng::seed_from_u64(1));
        let mut drawn: Vec<f64> = (0..20_000).map(|_| latency.draw(&mut rng).as_secs_f64() * 1_000.0).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[10_000] - 50.0).abs() < 2.0, "{}", drawn[10_000]);
        assert!((drawn[19_800] - 200.0).abs() < 20.0, "{}", drawn[19_800]);
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        let mut faults = Faults::default();
        for wrong in ["lost=2", "put=5", "put=9/5", "colour=red", "outage=some", "lost", "stall_s=-1", "stall_s=inf"] {
            assert!(faults.change(&format!("stall=0.5&{wrong}")).is_err(), "{wrong}");
        }
        assert_eq!(faults, Faults::default());
        faults.change("unavailable=0.25&put=50/200&outage=hang").expect("understood");
        assert_eq!((faults.unavailable, faults.outage), (0.25, Some(Outage::Hang)));
    }
}
