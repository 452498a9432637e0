//! DescribeAcls, CreateAcls and DeleteAcls 1–3: SECURITY_DISABLED, as from a broker of Apache Kafka without an authorizer.
//! Tools that list ACLs take that as "there are none".

use std::sync::Arc;

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};

use crate::context::{Context, text};
use crate::error_code::Code;

const WHY: &str = "No Authorizer is configured.";

pub(crate) async fn describe(
    _context: Arc<Context>,
    _version: i16,
    _request: DescribeAclsRequest,
) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(Code::SecurityDisabled.code())
        .with_error_message(Some(text(WHY)))
        .with_resources(Vec::new())
}

pub(crate) async fn create(_context: Arc<Context>, _version: i16, request: CreateAclsRequest) -> CreateAclsResponse {
    let refused =
        AclCreationResult::default().with_error_code(Code::SecurityDisabled.code()).with_error_message(Some(text(WHY)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}

pub(crate) async fn delete(_context: Arc<Context>, _version: i16, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(Code::SecurityDisabled.code())
        .with_error_message(Some(text(WHY)));
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
