//! The report says what the metrics say.

use super::*;

const METRICS: &str = r#"# HELP streamhouse_cost_window_seconds x
# TYPE streamhouse_cost_window_seconds gauge
streamhouse_cost_window_seconds 600
streamhouse_cost_price_dollars{of="put"} 0.005
streamhouse_cost_price_dollars{of="storage"} 0.023
streamhouse_store_requests_total{operation="put",organization="default",purpose="flush"} 6000
streamhouse_store_requests_total{operation="put",organization="7",purpose="flush"} 12
streamhouse_store_bytes_total{operation="put",organization="default",purpose="flush"} 10485760
streamhouse_cost_dollars_total{operation="put",purpose="flush"} 0.03006
streamhouse_topic_store_requests_total{operation="put",organization="default",topic="orders"} 6000.5
streamhouse_topic_store_bytes_total{operation="put",organization="default",topic="orders"} 10485760
streamhouse_cost_dollars_per_month{item="requests"} 131.4
streamhouse_cost_dollars_per_month{item="transfer"} 0
streamhouse_cost_dollars_per_month{item="storage"} 2.3
streamhouse_cost_dollars_per_gib 0.0657
"#;

fn words(report: &str, begins: &str) -> Vec<String> {
    let line = report.lines().find(|line| line.trim_start().starts_with(begins));
    line.unwrap_or_else(|| panic!("{begins} is not in\n{report}")).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn requests_and_dollars_are_summed_over_organizations() {
    let report = report(METRICS, 7.0).unwrap();
    assert_eq!(words(&report, "flush"), ["flush", "put", "6012", "10.0", "0.030060"]);
    assert_eq!(words(&report, "default"), ["default", "orders", "6000.5", "10.0"]);
    assert_eq!(words(&report, "together")[1], "133.70");
    assert!(report.contains("A month like the last 10 min"));
    // 2,000 GiB a month, of which a week's are 460.
    assert_eq!(words(&report, "storage of")[4..6], ["10.59", "460.3"]);
}

#[test]
fn anything_else_is_refused() {
    assert!(report("<html>streamhouse_ 5</html>", 7.0).is_err());
    assert!(report("streamhouse_append_bytes_total 5\n", 7.0).is_err());
}
