//! The tables of docs/cost.md, computed from the prices and compared with what the page says.
//!
//! `cargo test --workspace --test cost_document -- --ignored` writes them anew after a price or an assumption changed.
#![expect(clippy::expect_used, reason = "the page and its marks are there")]

use std::fmt::Write as _;
use std::fs;

use broker::costs::{GIB, Operation, PriceTable};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cost.md");
const MIB: f64 = GIB / 1024.0;
/// Hours and seconds of a month, as clouds count.
const MONTH_HOURS: f64 = 730.0;
const MONTH_S: f64 = MONTH_HOURS * 3600.0;
const ZONES: f64 = 3.0;
const RETENTION_S: f64 = 7.0 * 86_400.0;
/// An agent notes its progress so often a month.
const NOTES: f64 = MONTH_S / 60.0;

/// Dollars an hour.
const M7G_LARGE: f64 = 0.0816;
const M7G_XLARGE: f64 = 0.1632;
const M7G_2XLARGE: f64 = 0.3264;
const DB_T4G_MEDIUM: f64 = 0.130;
#[expect(clippy::approx_constant, reason = "a price")]
const DB_M6G_LARGE: f64 = 0.318;
const DB_R6G_XLARGE: f64 = 0.900;
/// Dollars for a GiB a month: RDS gp3 in two zones, EBS gp3.
const DB_STORAGE: f64 = 0.23;
const EBS: f64 = 0.08;
/// Dollars for a MiB/s of an EBS gp3 volume a month, beyond those that are included.
const EBS_MIB_S: f64 = 0.04;
const EBS_MIB_S_FREE: f64 = 125.0;
/// How full Kafka's volumes may be.
const EBS_FILL: f64 = 0.75;
const DB_GIB: f64 = 100.0;

/// A load and what it runs on.
#[derive(Clone, Copy)]
struct Plan {
    mib_s: f64,
    machines: f64,
    machine: f64,
    database: f64,
    /// Machines of Kafka's controllers, where they are not its brokers.
    controllers: f64,
}

const PLANS: [Plan; 3] = [
    Plan { mib_s: 1.0, machines: 3.0, machine: M7G_LARGE, database: DB_T4G_MEDIUM, controllers: 0.0 },
    Plan { mib_s: 100.0, machines: 3.0, machine: M7G_XLARGE, database: DB_M6G_LARGE, controllers: 3.0 },
    Plan { mib_s: 1000.0, machines: 12.0, machine: M7G_2XLARGE, database: DB_R6G_XLARGE, controllers: 3.0 },
];

/// What an agent is set to, and what is done with it.
#[derive(Clone, Copy)]
struct Settings {
    prices: PriceTable,
    flush_interval_s: f64,
    flush_mib: f64,
    zones: f64,
    groups: f64,
    /// Consumers read in their zone (KIP-392).
    zone_reads: bool,
    /// Partitions whose ranges are read one by one; none: objects are read whole.
    partitions: Option<f64>,
    /// Size of rewritten segments.
    rewrite_mib: Option<f64>,
    garbage_interval_s: f64,
}

fn defaults() -> Settings {
    Settings {
        prices: PriceTable::preset("s3-standard").expect("a preset"),
        flush_interval_s: 0.1,
        flush_mib: 8.0,
        zones: ZONES,
        groups: 1.0,
        zone_reads: true,
        partitions: None,
        rewrite_mib: None,
        garbage_interval_s: 3600.0,
    }
}

/// Lines of a bill.
type Bill = Vec<(&'static str, f64)>;

fn total(bill: &Bill) -> f64 {
    bill.iter().map(|(_, dollars)| dollars).sum()
}

fn gib_per_month(plan: &Plan) -> f64 {
    plan.mib_s * MONTH_S / 1024.0
}

fn stored_gib(plan: &Plan) -> f64 {
    plan.mib_s * RETENTION_S / 1024.0
}

/// Flushes of all agents a second: by the interval, or by size where that comes first.
fn flushes(plan: &Plan, settings: &Settings) -> f64 {
    plan.machines * (1.0 / settings.flush_interval_s).max(plan.mib_s / plan.machines / settings.flush_mib)
}

fn streamhouse(plan: &Plan, settings: &Settings) -> Bill {
    let Settings { prices, zones, groups, .. } = *settings;
    let gib = gib_per_month(plan);
    let elsewhere = (zones - 1.0) / zones;
    let puts = flushes(plan, settings) * MONTH_S + plan.machines * NOTES;
    // Whole: each object once for each other zone. Range by range: each range that a consumer of another zone wants.
    let objects_read = flushes(plan, settings) * MONTH_S * (zones - 1.0);
    let gets = match settings.partitions {
        _ if !settings.zone_reads => 0.0,
        None => objects_read,
        Some(partitions) => flushes(plan, settings) / plan.machines * partitions * elsewhere * groups * MONTH_S,
    };
    let (rewritten, reread, kept) = match settings.rewrite_mib {
        None => (0.0, 0.0, flushes(plan, settings) * RETENTION_S),
        Some(size) => (plan.mib_s / size * MONTH_S, flushes(plan, settings) * MONTH_S, plan.mib_s / size * RETENTION_S),
    };
    let lists = kept / 1000.0 * MONTH_S / settings.garbage_interval_s;
    let bytes = gib * GIB;
    let crossing = |reads: f64| prices.transfer(bytes * reads * elsewhere);
    let read_bytes = if settings.zone_reads { bytes * (zones - 1.0) } else { 0.0 };
    let rewritten_bytes = if settings.rewrite_mib.is_some() { bytes } else { 0.0 };
    vec![
        ("PUT: flushes and notes", prices.requests(Operation::Put, puts, bytes)),
        ("GET: other zones' reads", prices.requests(Operation::Get, gets, read_bytes)),
        (
            "PUT and GET: rewriting",
            prices.requests(Operation::Put, rewritten, rewritten_bytes)
                + prices.requests(Operation::Get, reread, rewritten_bytes),
        ),
        ("LIST: garbage collection", prices.requests(Operation::List, lists, 0.0)),
        ("storage, 7 days", stored_gib(plan) * prices.storage),
        ("metadata database", plan.database * MONTH_HOURS + DB_GIB * DB_STORAGE),
        ("agents", plan.machines * plan.machine * MONTH_HOURS),
        ("between zones: producers", crossing(1.0)),
        ("between zones: consumers", if settings.zone_reads { 0.0 } else { crossing(groups) }),
    ]
}

fn kafka(plan: &Plan, zone_reads: bool) -> Bill {
    let prices = PriceTable::preset("s3-standard").expect("a preset");
    let bytes = gib_per_month(plan) * GIB;
    let elsewhere = (ZONES - 1.0) / ZONES;
    let written_mib_s = 3.0 * plan.mib_s / plan.machines;
    let throughput = (written_mib_s - EBS_MIB_S_FREE).max(0.0) * plan.machines * EBS_MIB_S;
    vec![
        ("EBS, 3 replicas, 7 days", stored_gib(plan) * 3.0 / EBS_FILL * EBS + throughput),
        ("brokers and controllers", (plan.machines * plan.machine + plan.controllers * M7G_LARGE) * MONTH_HOURS),
        ("between zones: replication", prices.transfer(bytes * (ZONES - 1.0))),
        ("between zones: producers", prices.transfer(bytes * elsewhere)),
        ("between zones: consumers", if zone_reads { 0.0 } else { prices.transfer(bytes * elsewhere) }),
    ]
}

/// Dollars as people write them.
fn dollars(amount: f64) -> String {
    let is_small = (0.005..9.995).contains(&amount);
    if is_small { format!("${amount:.2}") } else { format!("${}", grouped(amount)) }
}

/// A whole number in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bills side by side, and what a GiB of records costs.
fn bills(columns: &[(Bill, Plan)]) -> String {
    let heads: Vec<_> = columns.iter().map(|(_, plan)| format!("{} MiB/s", grouped(plan.mib_s))).collect();
    let mut table = format!("| a month | {} |\n|---{}|\n", heads.join(" | "), "|---:".repeat(columns.len()));
    for (line, (name, _)) in columns[0].0.iter().enumerate() {
        if columns.iter().all(|(bill, _)| bill[line].1 == 0.0) {
            continue;
        }
        let values: Vec<_> = columns.iter().map(|(bill, _)| dollars(bill[line].1)).collect();
        writeln!(table, "| {name} | {} |", values.join(" | ")).expect("a string");
    }
    let totals: Vec<_> = columns.iter().map(|(bill, _)| format!("**{}**", dollars(total(bill)))).collect();
    writeln!(table, "| **together** | {} |", totals.join(" | ")).expect("a string");
    let per_gib = columns.iter().map(|(bill, plan)| format!("${:.3}", total(bill) / gib_per_month(plan)));
    writeln!(table, "| for a GiB | {} |", per_gib.collect::<Vec<_>>().join(" | ")).expect("a string");
    table
}

fn prices() -> String {
    let preset = |name| PriceTable::preset(name).expect("a preset");
    let (standard, express) = (preset("s3-standard"), preset("s3-express"));
    let names = [
        "1,000 PUT, and parts of uploads",
        "1,000 GET, HEAD",
        "1,000 LIST",
        "GiB written",
        "GiB read",
        "GiB kept for a month",
        "GiB between zones ($0.01 on each side)",
    ];
    let mut table = "| | `s3-standard` | `s3-express` |\n|---|---:|---:|\n".to_owned();
    for ((name, (_, left)), (_, right)) in names.iter().zip(standard.entries()).zip(express.entries()) {
        writeln!(table, "| {name} | ${left} | ${right} |").expect("a string");
    }
    table
}

fn machines() -> String {
    let rows = [
        ("m7g.large, hour", M7G_LARGE),
        ("m7g.xlarge, hour", M7G_XLARGE),
        ("m7g.2xlarge, hour", M7G_2XLARGE),
        ("RDS PostgreSQL in two zones, hour: db.t4g.medium", DB_T4G_MEDIUM),
        ("the same: db.m6g.large", DB_M6G_LARGE),
        ("the same: db.r6g.xlarge", DB_R6G_XLARGE),
        ("its storage (gp3, two zones), GiB for a month", DB_STORAGE),
        ("EBS gp3, GiB for a month", EBS),
        ("the same, MiB/s above 125 for a month", EBS_MIB_S),
    ];
    let mut table = "| | dollars |\n|---|---:|\n".to_owned();
    for (name, price) in rows {
        writeln!(table, "| {name} | ${price} |").expect("a string");
    }
    table
}

/// What each setting does to the bill of 100 MiB/s.
fn settings() -> String {
    let (plan, usual) = (PLANS[1], defaults());
    let one_zone = Plan { machines: 1.0, ..plan };
    let rows: [(&str, Plan, Settings); 13] = [
        ("as above", plan, usual),
        ("`FLUSH_INTERVAL_MS=50`", plan, Settings { flush_interval_s: 0.05, ..usual }),
        ("`FLUSH_INTERVAL_MS=250`", plan, Settings { flush_interval_s: 0.25, ..usual }),
        (
            "`FLUSH_INTERVAL_MS=500`, `FLUSH_BYTES=32MiB`",
            plan,
            Settings { flush_interval_s: 0.5, flush_mib: 32.0, ..usual },
        ),
        ("`GARBAGE_INTERVAL=86400`", plan, Settings { garbage_interval_s: 86_400.0, ..usual }),
        ("consumers without `client.rack`", plan, Settings { zone_reads: false, ..usual }),
        ("three groups of consumers, with it", plan, Settings { groups: 3.0, ..usual }),
        ("three groups, without it", plan, Settings { zone_reads: false, groups: 3.0, ..usual }),
        ("1,000 partitions, read range by range", plan, Settings { partitions: Some(1000.0), ..usual }),
        ("rewritten into segments of 64 MiB", plan, Settings { rewrite_mib: Some(64.0), ..usual }),
        ("all in one zone, one agent", one_zone, Settings { zones: 1.0, ..usual }),
        ("S3 Express, `FLUSH_INTERVAL_MS=100`", plan, Settings { prices: express(), ..usual }),
        ("S3 Express, `FLUSH_INTERVAL_MS=10`", plan, Settings { prices: express(), flush_interval_s: 0.01, ..usual }),
    ];
    let mut table = "| 100 MiB/s | requests | storage | between zones | machines | together |\n".to_owned();
    table.push_str("|---|---:|---:|---:|---:|---:|\n");
    for (name, plan, settings) in rows {
        let bill = streamhouse(&plan, &settings);
        let of = |words: &[&str]| {
            let those = bill.iter().filter(|(line, _)| words.iter().any(|word| line.contains(word)));
            dollars(those.map(|(_, dollars)| dollars).sum())
        };
        let (requests, storage) = (of(&["PUT", "GET", "LIST"]), of(&["storage"]));
        let (zones, machines) = (of(&["between zones"]), of(&["database", "agents"]));
        writeln!(table, "| {name} | {requests} | {storage} | {zones} | {machines} | {} |", dollars(total(&bill)))
            .expect("a string");
    }
    table
}

fn express() -> PriceTable {
    PriceTable::preset("s3-express").expect("a preset")
}

/// All tables by the names of their marks.
fn tables() -> Vec<(&'static str, String)> {
    let of = |bill: fn(&Plan) -> Bill| bills(&PLANS.map(|plan| (bill(&plan), plan)));
    vec![
        ("prices", prices()),
        ("machines", machines()),
        ("streamhouse", of(|plan| streamhouse(plan, &defaults()))),
        ("streamhouse-without-racks", of(|plan| streamhouse(plan, &Settings { zone_reads: false, ..defaults() }))),
        ("kafka", of(|plan| kafka(plan, false))),
        ("kafka-with-racks", of(|plan| kafka(plan, true))),
        ("settings", settings()),
    ]
}

/// The page with these tables between their marks.
fn written(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, table) in tables() {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = page.find(&begin).expect(name) + begin.len();
        let to = page.find(&end).expect(name);
        page.replace_range(from..to, &format!("\n{table}\n"));
    }
    page
}

#[test]
fn the_page_says_what_the_prices_come_to() {
    let page = fs::read_to_string(PAGE).expect("docs/cost.md");
    let computed = written(&page);
    let differs = page.lines().zip(computed.lines()).find(|(said, is)| said != is);
    assert_eq!(differs, None, "left: docs/cost.md, right: computed");
    assert_eq!(page, computed);
}

#[test]
#[ignore = "writes docs/cost.md"]
fn write_the_page() {
    let page = fs::read_to_string(PAGE).expect("docs/cost.md");
    fs::write(PAGE, written(&page)).expect("docs/cost.md");
}

#[test]
fn sums_that_were_done_by_hand() {
    let bill = streamhouse(&PLANS[0], &defaults());
    // 3 agents × 10 PUT/s × 2,628,000 s, and a note a minute, at $5 a million.
    assert!((bill[0].1 - (78.84 + 0.1314) * 5.0).abs() < 1e-6, "{bill:?}");
    // 604,800 MiB of a week at $0.023 a GiB.
    assert!((bill[4].1 - 590.625 * 0.023).abs() < 1e-9, "{bill:?}");
    let kafka = kafka(&PLANS[0], false);
    assert!((kafka[2].1 - 2.0 * MIB * MONTH_S / GIB * 0.02).abs() < 1e-9, "{kafka:?}");
    assert_eq!([0.0, 0.664, 9.996, 1234.4, 1_234_567.6].map(dollars), ["$0", "$0.66", "$10", "$1,234", "$1,234,568"]);
}
