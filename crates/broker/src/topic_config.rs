//! temporary
use crate::topics::ConfigEntry;
use std::collections::BTreeMap;
#[derive(Debug)]
pub(crate) struct LogConfig {
    pub(crate) max_message_bytes: usize,
    pub(crate) log_append_time: bool,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) timestamp_after_max_ms: i64,
    pub(crate) compacted: bool,
}
impl LogConfig {
    pub(crate) fn from_configs(_: &BTreeMap<String, String>) -> Self {
        Self {
            max_message_bytes: 1048588,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3600000,
            compacted: false,
        }
    }
}
pub(crate) fn validate(configs: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, String> {
    Ok(configs.iter().filter_map(|(k, v)| v.clone().map(|v| (k.clone(), v))).collect())
}
pub(crate) fn describe(_: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    vec![]
}
pub(crate) fn describe_broker(_: &crate::Cluster, _: &crate::BrokerSettings) -> Vec<ConfigEntry> {
    vec![]
}
