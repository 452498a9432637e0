//! Configs of one group (Kafka's resource type GROUP): what there is, what it may be, what holds.
//!
//! They are kept among the configs of the coordinators' topic (ADR 0021), under `group/<group id>/<name>`: any agent may change
//! them, every agent hears of it, and the group need not exist. The topic's own configs know nothing of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::consumer::ConsumerSettings;
use crate::settings::{ConsumerBounds, GroupSettings};
use crate::topic_config::{ConfigChange, ConfigChanges};
use crate::topics::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigType};

/// Begins the names of what belongs to groups.
const PREFIX: &str = "group/";
/// Configs of all groups of a tenant: each is in every agent's memory.
const CONFIGS_MAX: usize = 10_000;

const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

/// Kafka's names, and what they mean here.
const GROUP_CONFIGS: [(&str, &str); 2] = [
    (HEARTBEAT_INTERVAL, "How often members of this KIP-848 group send heartbeats when it is settled."),
    (SESSION_TIMEOUT, "A member of this KIP-848 group without a heartbeat for so long is out."),
];

type Configs = BTreeMap<String, String>;

/// What a topic has of its own, and what it keeps for groups.
pub(crate) fn split(configs: &Configs) -> (Configs, Configs) {
    configs.iter().map(|(name, value)| (name.clone(), value.clone())).partition(|(name, _)| !name.starts_with(PREFIX))
}

/// The ids of the groups that have configs, of the configs of the coordinators' topic.
pub(crate) fn groups(configs: &Configs) -> Vec<String> {
    let names = configs.keys().filter_map(|name| name.strip_prefix(PREFIX)?.rsplit_once('/'));
    let mut groups: Vec<String> = names.map(|(group_id, _)| group_id.to_owned()).collect();
    groups.dedup();
    groups
}

fn key(group_id: &str, name: &str) -> String {
    format!("{PREFIX}{group_id}/{name}")
}

fn own(configs: &Configs, group_id: &str) -> Configs {
    let own = GROUP_CONFIGS
        .iter()
        .filter_map(|(name, _)| configs.get(&key(group_id, name)).map(|value| ((*name).to_owned(), value.clone())));
    own.collect()
}

/// What holds for a group, of the configs of the coordinators' topic. Bounds that came later hold too.
pub(crate) fn settings_of(configs: &Configs, group_id: &str, settings: &GroupSettings) -> ConsumerSettings {
    let mut effective = settings.consumer;
    // Most tenants have none.
    if configs.range(PREFIX.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(PREFIX)) {
        let bounds = &settings.consumer_bounds;
        let own = own(configs, group_id);
        let value =
            |name| own.get(name).and_then(|value: &String| value.trim().parse().ok()).map(Duration::from_millis);
        if let Some(interval) = value(HEARTBEAT_INTERVAL) {
            effective.heartbeat_interval = interval.clamp(bounds.heartbeat_interval_min, bounds.heartbeat_interval_max);
        }
        if let Some(timeout) = value(SESSION_TIMEOUT) {
            effective.session_timeout = timeout.clamp(bounds.session_timeout_min, bounds.session_timeout_max);
        }
    }
    effective
}

/// The configs of the coordinators' topic after those of a group changed.
///
/// # Errors
/// What is wrong, in Kafka's words.
pub(crate) fn alter(
    configs: &Configs,
    group_id: &str,
    changes: &ConfigChanges,
    settings: &GroupSettings,
) -> Result<Configs, String> {
    let changed = match changes {
        ConfigChanges::Replace(configs) => configs.iter().cloned().collect(),
        ConfigChanges::Each(changes) => {
            let mut own = own(configs, group_id);
            changes.iter().try_for_each(|(name, change)| apply(name, change, &mut own))?;
            own
        }
    };
    check(&changed, settings)?;
    let mut altered = configs.clone();
    for (name, _) in GROUP_CONFIGS {
        altered.remove(&key(group_id, name));
    }
    altered.extend(changed.into_iter().map(|(name, value)| (key(group_id, &name), value)));
    let (_, of_groups) = split(&altered);
    if of_groups.len() > CONFIGS_MAX && altered.len() > configs.len() {
        return Err(format!("There are {CONFIGS_MAX} configs of groups already."));
    }
    Ok(altered)
}

fn apply(name: &str, change: &ConfigChange, own: &mut Configs) -> Result<(), String> {
    let operation = match change {
        ConfigChange::Set(value) => {
            own.insert(name.to_owned(), value.clone());
            return Ok(());
        }
        ConfigChange::Delete => {
            own.remove(name);
            return Ok(());
        }
        ConfigChange::Append(_) => "APPEND",
        ConfigChange::Subtract(_) => "SUBTRACT",
    };
    Err(format!("Can't {operation} to key {name} because its type is not LIST."))
}

fn check(configs: &Configs, settings: &GroupSettings) -> Result<(), String> {
    if let Some(unknown) = configs.keys().find(|name| !GROUP_CONFIGS.iter().any(|(known, _)| known == name)) {
        return Err(format!("Unknown group config name: {unknown}"));
    }
    let value = |name: &str, default: Duration| match configs.get(name) {
        None => Ok(default),
        Some(value) => {
            let invalid = |why| format!("Invalid value {value} for configuration {name}: {why}");
            let number: i32 = value.trim().parse().map_err(|_| invalid("Not a number of type INT"))?;
            match u64::try_from(number) {
                Ok(1..) => Ok(Duration::from_millis(number.unsigned_abs().into())),
                _ => Err(invalid("Value must be at least 1")),
            }
        }
    };
    let interval = value(HEARTBEAT_INTERVAL, settings.consumer.heartbeat_interval)?;
    let timeout = value(SESSION_TIMEOUT, settings.consumer.session_timeout)?;
    check_bounds(interval, timeout, &settings.consumer_bounds)
}

fn check_bounds(interval: Duration, timeout: Duration, bounds: &ConsumerBounds) -> Result<(), String> {
    let rule = |ok: bool, name: &str, rule: &str| if ok { Ok(()) } else { Err(format!("{name} must be {rule}")) };
    let at_least = |bound: &str| format!("greater than or equal to group.consumer.min.{bound}");
    let at_most = |bound: &str| format!("less than or equal to group.consumer.max.{bound}");
    let bound = "heartbeat.interval.ms";
    rule(interval >= bounds.heartbeat_interval_min, HEARTBEAT_INTERVAL, &at_least(bound))?;
    rule(interval <= bounds.heartbeat_interval_max, HEARTBEAT_INTERVAL, &at_most(bound))?;
    let bound = "session.timeout.ms";
    rule(timeout >= bounds.session_timeout_min, SESSION_TIMEOUT, &at_least(bound))?;
    rule(timeout <= bounds.session_timeout_max, SESSION_TIMEOUT, &at_most(bound))?;
    rule(timeout > interval, SESSION_TIMEOUT, &format!("greater than {HEARTBEAT_INTERVAL}"))
}

/// All configs of a group, by name: its own values where it has them, else the agent's.
pub(crate) fn describe(configs: &Configs, group_id: &str, settings: &GroupSettings) -> Vec<ConfigEntry> {
    let own = own(configs, group_id);
    let entries = GROUP_CONFIGS.iter().map(|(name, documentation)| {
        let default = if *name == SESSION_TIMEOUT {
            settings.consumer.session_timeout
        } else {
            settings.consumer.heartbeat_interval
        };
        let (value, source) = match own.get(*name) {
            Some(value) => (value.clone(), ConfigSource::GroupConfig),
            None => (default.as_millis().to_string(), ConfigSource::Default),
        };
        let synonym = ConfigSynonym { name: (*name).to_owned(), value: Some(value.clone()), source };
        ConfigEntry {
            name: (*name).to_owned(),
            value: Some(value),
            source,
            config_type: ConfigType::Int,
            read_only: false,
            sensitive: false,
            documentation: (*documentation).to_owned(),
            synonyms: vec![synonym],
        }
    });
    entries.collect()
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;
