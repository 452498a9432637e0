//! What IncrementalAlterConfigs and AlterConfigs make of a topic's configs: decisions only, in Kafka's words.

use std::collections::BTreeMap;

use super::table::{TOPIC_CONFIGS, Values};
use super::validate;
use crate::groups::configs;

/// What to do with a topic's configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChanges {
    /// AlterConfigs: these are all it has then.
    Replace(Vec<(String, String)>),
    /// IncrementalAlterConfigs: the others stay.
    Each(Vec<(String, ConfigChange)>),
}

/// What to do with one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Its value is this.
    Set(String),
    /// It has no value of its own any more; nothing if it had none.
    Delete,
    /// These items are added to its list, those it has not got.
    Append(String),
    /// These items are taken out of its list.
    Subtract(String),
}

impl ConfigChanges {
    /// The configs of a topic that had `current`, checked as those of a new topic are.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub(crate) fn apply(&self, current: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        let (own, of_groups) = configs::split(current);
        let changed = match self {
            Self::Replace(configs) => configs.iter().cloned().collect(),
            Self::Each(changes) => {
                let mut configs = own;
                changes.iter().try_for_each(|(name, change)| change.apply(name, &mut configs))?;
                configs
            }
        };
        let mut altered = validate(&changed.into_iter().map(|(name, value)| (name, Some(value))).collect::<Vec<_>>())?;
        altered.extend(of_groups);
        Ok(altered)
    }
}

impl ConfigChange {
    fn apply(&self, name: &str, configs: &mut BTreeMap<String, String>) -> Result<(), String> {
        let value = match self {
            Self::Set(value) => value.clone(),
            Self::Delete => {
                configs.remove(name);
                return Ok(());
            }
            Self::Append(items) => {
                let mut list = list_of(name, "APPEND", configs)?;
                for item in items.split(',') {
                    if !list.iter().any(|known| known == item) {
                        list.push(item.to_owned());
                    }
                }
                list.join(",")
            }
            Self::Subtract(items) => {
                let mut list = list_of(name, "SUBTRACT", configs)?;
                list.retain(|known| !items.split(',').any(|item| item == known));
                list.join(",")
            }
        };
        configs.insert(name.to_owned(), value);
        Ok(())
    }
}

/// The items of a config whose type is a list: its own, else the default's.
fn list_of(name: &str, operation: &str, configs: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let is_list = |values| matches!(values, Values::ListOf(_) | Values::ThrottledReplicas);
    let config = TOPIC_CONFIGS.iter().find(|config| config.name == name && is_list(config.values));
    let config = config.ok_or(format!("Can't {operation} to key {name} because its type is not LIST."))?;
    let value = configs.get(name).map_or(config.default, String::as_str);
    Ok(value.split(',').filter(|item| !item.is_empty()).map(ToOwned::to_owned).collect())
}

#[cfg(test)]
#[path = "topic_config_changes_tests.rs"]
mod tests;
