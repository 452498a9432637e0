//! `agent cost-report`: what a running agent's requests to the object store cost, as a table for people.
//!
//! Everything is in that agent's `/metrics`; nothing is opened here. Each agent counts its own requests, so a cluster's bill is
//! the sum of its agents' reports (but for storage, which one of them knows).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::remote_store::http_client_builder;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Larger answers are not metrics of an agent.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const MIB: f64 = (1_u64 << 20) as f64;
/// Days of a month, as clouds count.
const MONTH_DAYS: f64 = 730.0 / 24.0;
/// Topics shown.
const TOPICS_SHOWN: usize = 20;

/// The command line of the report.
#[derive(Debug, Args)]
pub(crate) struct CostReport {
    /// Where the agent's METRICS_PORT is.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,

    /// How long records are kept, in days, for what storage will cost if all goes on like this.
    #[arg(long, default_value = "7")]
    retention_days: f64,
}

impl CostReport {
    /// The report, ready to be printed.
    ///
    /// # Errors
    /// The agent does not answer, or not with its metrics.
    pub(crate) async fn run(&self) -> Result<String> {
        let url = format!("{}/metrics", self.url.trim_end_matches('/'));
        let client = http_client_builder().timeout(TIMEOUT).build()?;
        let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.with_context(|| format!("cost-report: {url} does not answer"))?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_BYTES_MAX {
                bail!("cost-report: {url} answers with more than {ANSWER_BYTES_MAX} bytes");
            }
        }
        report(&String::from_utf8_lossy(&text), self.retention_days)
    }
}

/// A line of the Prometheus text format.
struct Series<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    value: f64,
}

impl<'a> Series<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, quoted)| (label, quoted.trim_matches('"'))).collect();
        Some(Self { name: name.strip_prefix("streamhouse_")?, labels, value: value.parse().ok()? })
    }

    fn label(&self, label: &str) -> &'a str {
        self.labels.get(label).copied().unwrap_or_default()
    }
}

/// All series.
struct Metrics<'a>(Vec<Series<'a>>);

impl<'a> Metrics<'a> {
    fn of(&self, name: &str) -> impl Iterator<Item = &Series<'a>> {
        self.0.iter().filter(move |series| series.name == name)
    }

    /// The only series of that name, or the one with this label.
    fn value(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let is_it = |series: &&Series<'_>| label.is_none_or(|(label, value)| series.label(label) == value);
        self.of(name).filter(is_it).map(|series| series.value).sum()
    }

    /// Sums by the values of two labels.
    fn by(&self, name: &str, labels: [&str; 2]) -> BTreeMap<[&'a str; 2], f64> {
        let mut sums = BTreeMap::new();
        for series in self.of(name) {
            *sums.entry(labels.map(|label| series.label(label))).or_default() += series.value;
        }
        sums
    }
}

fn report(text: &str, retention_days: f64) -> Result<String> {
    let metrics = Metrics(text.lines().filter_map(Series::parse).collect());
    if metrics.of("cost_window_seconds").next().is_none() {
        bail!("cost-report: these are not the metrics of an agent that counts costs");
    }
    let mut out = String::new();
    prices(&metrics, &mut out)?;
    requests(&metrics, &mut out)?;
    topics(&metrics, &mut out)?;
    month(&metrics, retention_days, &mut out)?;
    Ok(out)
}

fn prices(metrics: &Metrics<'_>, out: &mut String) -> std::fmt::Result {
    let price = |of| metrics.value("cost_price_dollars", Some(("of", of)));
    writeln!(out, "Prices (COST_PRICES), in dollars")?;
    writeln!(out, "  1,000 requests   put {}   get {}   list {}", price("put"), price("get"), price("list"))?;
    writeln!(out, "  GiB              written {}   read {}", price("write"), price("read"))?;
    writeln!(out, "                   kept a month {}   between zones {}", price("storage"), price("transfer"))
}

fn requests(metrics: &Metrics<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\nRequests since the agent's start")?;
    writeln!(out, "  {:<12}{:<10}{:>14}{:>14}{:>14}", "purpose", "operation", "requests", "MiB", "dollars")?;
    let labels = ["purpose", "operation"];
    let (bytes, dollars) = (metrics.by("store_bytes_total", labels), metrics.by("cost_dollars_total", labels));
    for (key, requests) in metrics.by("store_requests_total", labels) {
        let [purpose, operation] = key;
        let value = |of: &BTreeMap<_, f64>| of.get(&key).copied().unwrap_or(0.0);
        let mebibytes = value(&bytes) / MIB;
        writeln!(out, "  {purpose:<12}{operation:<10}{requests:>14.0}{mebibytes:>14.1}{:>14.6}", value(&dollars))?;
    }
    Ok(())
}

fn topics(metrics: &Metrics<'_>, out: &mut String) -> std::fmt::Result {
    let labels = ["organization", "topic"];
    let requests = metrics.by("topic_store_requests_total", labels);
    let mut topics: Vec<_> = metrics.by("topic_store_bytes_total", labels).into_iter().collect();
    if topics.is_empty() {
        return Ok(());
    }
    topics.sort_by(|a, b| b.1.total_cmp(&a.1));
    writeln!(out, "\nTopics, by bytes to and from the store")?;
    writeln!(out, "  {:<14}{:<40}{:>14}{:>14}", "organization", "topic", "requests", "MiB")?;
    for (key, bytes) in topics.iter().take(TOPICS_SHOWN) {
        let [organization, topic] = key;
        let requests = requests.get(key).copied().unwrap_or(0.0);
        writeln!(out, "  {organization:<14}{topic:<40}{requests:>14.1}{:>14.1}", bytes / MIB)?;
    }
    match topics.len().saturating_sub(TOPICS_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn month(metrics: &Metrics<'_>, retention_days: f64, out: &mut String) -> std::fmt::Result {
    let item = |item| metrics.value("cost_dollars_per_month", Some(("item", item)));
    let (requests, transfer, storage) = (item("requests"), item("transfer"), item("storage"));
    let per_gib = metrics.value("cost_dollars_per_gib", None);
    let seconds = metrics.value("cost_window_seconds", None);
    writeln!(out, "\nA month like the last {:.0} min, in dollars", seconds / 60.0)?;
    writeln!(out, "  requests         {requests:>14.2}")?;
    writeln!(
        out,
        "  between zones    {transfer:>14.2}   to consumers that name another zone; producers' side is not seen"
    )?;
    writeln!(out, "  storage          {storage:>14.2}   of what garbage collection counted last")?;
    writeln!(out, "  together         {:>14.2}", requests + transfer + storage)?;
    writeln!(out, "  for a GiB of records {per_gib:>10.4}   without storage")?;
    if per_gib > 0.0 {
        let gib = (requests + transfer) / per_gib * retention_days / MONTH_DAYS;
        let price = metrics.value("cost_price_dollars", Some(("of", "storage")));
        writeln!(out, "  storage of {retention_days} days {:>12.2}   {gib:.1} GiB, once so much is kept", gib * price)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "cost_report_tests.rs"]
mod tests;
