//! ApiVersions 0–4.
//!
//! Answers the version table. A version above ours gets the exact version-0 error that every client reads: code 35,
//! only the entry of ApiVersions itself, response header 0 (which is the response header of all its versions).
//! Client name and version are checked from version 3 on (KIP-511); what does not match is INVALID_REQUEST, on which
//! librdkafka tries again with version 0.
//!
//! Features are only told where they are there: `group.version` 1, which is KIP-848. In particular no `transaction.version`,
//! which would make Java clients skip AddPartitionsToTxn. Below version 4 no supported feature may have a minimum of 0
//! (KAFKA-17011), so only the finalized ones are told; those, in version 3.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use crate::api::{APIS, Api};
use crate::context::{Context, text};
use crate::error_code::Code;

/// The feature that stands for KIP-848; its version is always the same.
const GROUP_VERSION: &str = "group.version";

pub(crate) async fn handle(_context: Arc<Context>, version: i16, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let names_client = version >= 3;
    if names_client && !(is_name(&request.client_software_name) && is_name(&request.client_software_version)) {
        return ApiVersionsResponse::default().with_error_code(Code::InvalidRequest.code());
    }
    with_features(version, ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect()))
}

fn with_features(version: i16, response: ApiVersionsResponse) -> ApiVersionsResponse {
    let name = || text(GROUP_VERSION);
    let response = if version >= 4 {
        let supported = SupportedFeatureKey::default().with_name(name()).with_min_version(0).with_max_version(1);
        response.with_supported_features(vec![supported])
    } else {
        response
    };
    if version < 3 {
        return response;
    }
    let finalized =
        FinalizedFeatureKey::default().with_name(name()).with_min_version_level(1).with_max_version_level(1);
    response.with_finalized_features_epoch(0).with_finalized_features(vec![finalized])
}

/// The answer, in version 0, to a version that is not served.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let own = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions);
    ApiVersionsResponse::default()
        .with_error_code(Code::UnsupportedVersion.code())
        .with_api_keys(own.map(entry).collect())
}

fn entry(api: &Api) -> ApiVersion {
    ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.advertised_min).with_max_version(api.max)
}

/// Kafka's `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_name_begins_and_ends_with_a_letter_or_digit() {
        for name in ["a", "apache-kafka-java", "2.0.2", "librdkafka"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a b", "a_b", "é"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
