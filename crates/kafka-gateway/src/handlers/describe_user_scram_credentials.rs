//! DescribeUserScramCredentials 0: nobody has any. A user that is asked for by name is RESOURCE_NOT_FOUND, one that is asked for
//! twice DUPLICATE_RESOURCE.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::context::{Context, text};
use crate::error_code::Code;

pub(crate) async fn handle(
    _context: Arc<Context>,
    _version: i16,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.unwrap_or_default();
    let mut times_named: HashMap<&StrBytes, usize> = HashMap::new();
    users.iter().for_each(|user| *times_named.entry(&user.name).or_default() += 1);
    let mut results = Vec::with_capacity(times_named.len());
    for user in &users {
        let name = &user.name;
        let (code, message) = match times_named.remove(name) {
            None => continue, // answered already
            Some(1) => {
                (Code::ResourceNotFound, format!("Attempt to describe a user credential that does not exist: {name}"))
            }
            Some(_) => (
                Code::DuplicateResource,
                format!("Cannot describe SCRAM credentials for the same user twice in a single request: {name}"),
            ),
        };
        results.push(
            DescribeUserScramCredentialsResult::default()
                .with_user(name.clone())
                .with_error_code(code.code())
                .with_error_message(Some(text(message))),
        );
    }
    DescribeUserScramCredentialsResponse::default().with_error_message(None).with_results(results)
}

pub(crate) fn has_error(response: &DescribeUserScramCredentialsResponse) -> bool {
    response.results.iter().any(|result| result.error_code != 0)
}
