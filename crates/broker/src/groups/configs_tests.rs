//! Configs of groups: checked in Kafka's words, kept beside the topic's own.

use super::*;

fn set(name: &str, value: &str) -> ConfigChanges {
    ConfigChanges::Each(vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))])
}

fn altered(configs: &Configs, group_id: &str, changes: &ConfigChanges) -> Result<Configs, String> {
    alter(configs, group_id, changes, &GroupSettings::default())
}

#[test]
fn a_group_has_configs_of_its_own_beside_those_of_others_and_of_the_topic() {
    let settings = GroupSettings::default();
    let topic = Configs::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let configs = altered(&topic, "a/b", &set(SESSION_TIMEOUT, "50000")).unwrap();
    let configs = altered(&configs, "c", &set(HEARTBEAT_INTERVAL, " 7000")).unwrap();
    assert_eq!(groups(&configs), ["a/b", "c"]);
    let seconds =
        |settings: ConsumerSettings| (settings.session_timeout.as_secs(), settings.heartbeat_interval.as_secs());
    assert_eq!(seconds(settings_of(&configs, "a/b", &settings)), (50, 5));
    assert_eq!(seconds(settings_of(&configs, "c", &settings)), (45, 7));
    assert_eq!(seconds(settings_of(&configs, "a", &settings)), (45, 5));
    assert_eq!(split(&configs).0, topic);

    let described = describe(&configs, "a/b", &settings);
    let told: Vec<_> = described.iter().map(|entry| (entry.value.as_deref().unwrap_or(""), entry.source)).collect();
    assert_eq!(told, [("5000", ConfigSource::Default), ("50000", ConfigSource::GroupConfig)]);

    // What alters the topic leaves the groups alone.
    let replaced = ConfigChanges::Replace(Vec::new()).apply(&configs).unwrap();
    assert_eq!(groups(&replaced), ["a/b", "c"]);
    assert!(set("retention.ms", "1").apply(&configs).is_ok());
    assert!(set("group/c/x", "1").apply(&configs).is_err(), "nor can it alter them");

    let deleted = ConfigChanges::Each(vec![(SESSION_TIMEOUT.to_owned(), ConfigChange::Delete)]);
    assert_eq!(groups(&altered(&configs, "a/b", &deleted).unwrap()), ["c"]);
    assert_eq!(groups(&altered(&configs, "c", &ConfigChanges::Replace(Vec::new())).unwrap()), ["a/b"]);
}

#[test]
fn what_a_group_may_not_have_is_refused() {
    let none = Configs::new();
    let refused = |name: &str, value: &str| altered(&none, "g", &set(name, value)).unwrap_err();
    assert_eq!(refused("consumer.session", "1"), "Unknown group config name: consumer.session");
    assert!(refused(SESSION_TIMEOUT, "x").ends_with("Not a number of type INT"));
    assert!(refused(SESSION_TIMEOUT, "0").ends_with("Value must be at least 1"));
    let text = "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms";
    assert_eq!(refused(SESSION_TIMEOUT, "44999"), text);
    assert!(refused(SESSION_TIMEOUT, "60001").contains("less than or equal to group.consumer.max.session.timeout.ms"));
    assert!(refused(HEARTBEAT_INTERVAL, "4999").contains("group.consumer.min.heartbeat.interval.ms"));
    assert!(refused(HEARTBEAT_INTERVAL, "15001").contains("group.consumer.max.heartbeat.interval.ms"));
    let append = ConfigChanges::Each(vec![(SESSION_TIMEOUT.to_owned(), ConfigChange::Append("1".to_owned()))]);
    assert!(altered(&none, "g", &append).unwrap_err().contains("its type is not LIST"));
    let wide = ConsumerBounds { session_timeout_min: Duration::from_millis(1), ..ConsumerBounds::default() };
    let settings = GroupSettings { consumer_bounds: wide, ..GroupSettings::default() };
    let refused = alter(&none, "g", &set(SESSION_TIMEOUT, "5000"), &settings).unwrap_err();
    assert_eq!(refused, "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms");
}

#[test]
fn bounds_that_came_later_hold() {
    let configs = altered(&Configs::new(), "g", &set(SESSION_TIMEOUT, "60000")).unwrap();
    let narrow = ConsumerBounds { session_timeout_max: Duration::from_secs(50), ..ConsumerBounds::default() };
    let settings = GroupSettings { consumer_bounds: narrow, ..GroupSettings::default() };
    assert_eq!(settings_of(&configs, "g", &settings).session_timeout, Duration::from_secs(50));
}
