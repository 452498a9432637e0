//! What each operation makes of a topic's configs.

use std::collections::BTreeMap;

use super::{ConfigChange, ConfigChanges};

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn each(name: &str, change: ConfigChange) -> ConfigChanges {
    ConfigChanges::Each(vec![(name.to_owned(), change)])
}

#[test]
fn each_operation_changes_its_config_and_no_other() {
    use ConfigChange::{Append, Delete, Set, Subtract};
    let text = |text: &str| text.to_owned();
    let current = configs(&[("cleanup.policy", "compact"), ("retention.ms", "5")]);
    let rows = [
        ("retention.ms", Set(text("7")), configs(&[("cleanup.policy", "compact"), ("retention.ms", "7")])),
        ("retention.ms", Delete, configs(&[("cleanup.policy", "compact")])),
        ("segment.ms", Delete, current.clone()),
        ("no.such.config", Delete, current.clone()), // as in Apache Kafka: nothing is left of it
        (
            "cleanup.policy",
            Append(text("delete,compact")),
            configs(&[("cleanup.policy", "compact,delete"), ("retention.ms", "5")]),
        ),
        (
            "follower.replication.throttled.replicas",
            Append(text("0:1,1:1")),
            configs(&[
                ("cleanup.policy", "compact"),
                ("follower.replication.throttled.replicas", "0:1,1:1"),
                ("retention.ms", "5"),
            ]),
        ),
        (
            "follower.replication.throttled.replicas",
            Subtract(text("0:1")),
            configs(&[
                ("cleanup.policy", "compact"),
                ("follower.replication.throttled.replicas", ""),
                ("retention.ms", "5"),
            ]),
        ),
    ];
    for (name, change, expected) in rows {
        assert_eq!(each(name, change.clone()).apply(&current), Ok(expected), "{name} {change:?}");
    }
    let defaults = BTreeMap::new();
    let appended = each("cleanup.policy", ConfigChange::Append("compact".to_owned())).apply(&defaults);
    assert_eq!(appended, Ok(configs(&[("cleanup.policy", "delete,compact")])), "a list begins as its default");
}

#[test]
fn what_cannot_be_says_why_in_kafkas_words() {
    use ConfigChange::{Append, Set, Subtract};
    let text = |text: &str| text.to_owned();
    let current = configs(&[("cleanup.policy", "compact"), ("max.compaction.lag.ms", "50")]);
    let rows = [
        ("no.such.config", Set(text("7")), "Unknown topic config name: no.such.config"),
        ("retention.ms", Set(text("x")), "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", Append(text("1")), "Can't APPEND to key retention.ms because its type is not LIST."),
        ("no.such", Subtract(text("1")), "Can't SUBTRACT to key no.such because its type is not LIST."),
        ("cleanup.policy", Subtract(text("compact")), "Invalid value  for configuration cleanup.policy: "),
        ("min.compaction.lag.ms", Set(text("60")), "conflict topic config setting"),
    ];
    for (name, change, expected) in rows {
        let refused = each(name, change).apply(&current).unwrap_err();
        assert!(refused.starts_with(expected), "{name}: {refused}");
    }
}

#[test]
fn a_replacement_leaves_nothing_of_before() {
    let current = configs(&[("cleanup.policy", "compact")]);
    let replace = ConfigChanges::Replace(vec![("retention.ms".to_owned(), "9".to_owned())]);
    assert_eq!(replace.apply(&current), Ok(configs(&[("retention.ms", "9")])));
    assert_eq!(ConfigChanges::Replace(Vec::new()).apply(&current), Ok(BTreeMap::new()));
}
