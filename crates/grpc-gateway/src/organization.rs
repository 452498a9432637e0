//! Which tenant a call acts for: request metadata `x-organization-id`, absent = the default one.

use broker::{Broker, OrganizationId};
use tonic::metadata::MetadataMap;

use crate::{limits, status::Refusal};

/// Name of the metadata entry.
pub(crate) const ORGANIZATION_METADATA: &str = "x-organization-id";

/// The name the metadata gives, if any.
///
/// # Errors
/// `InvalidArgument` if it is given twice, empty, too long or not visible ASCII: a tenant is never guessed.
pub(crate) fn organization_name(metadata: &MetadataMap) -> Result<Option<&str>, Refusal> {
    let mut values = metadata.get_all(ORGANIZATION_METADATA).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::InvalidArgument(format!("{ORGANIZATION_METADATA} is given more than once")));
    }
    let name = value
        .to_str()
        .map_err(|_| Refusal::InvalidArgument(format!("{ORGANIZATION_METADATA} must be visible ASCII characters")))?;
    check_name(ORGANIZATION_METADATA, name)?;
    Ok(Some(name))
}

/// The organization of a call whose metadata and message may each name one.
///
/// # Errors
/// `InvalidArgument` if a name is malformed or the two differ, `UnknownOrganization` if there is none of that name.
pub(crate) fn organization(
    broker: &Broker,
    metadata: &MetadataMap,
    in_message: Option<&str>,
) -> Result<OrganizationId, Refusal> {
    match agreed_name(organization_name(metadata)?, in_message)? {
        None => Ok(OrganizationId::DEFAULT),
        Some(name) => broker.organization(name).ok_or_else(|| Refusal::UnknownOrganization(name.to_owned())),
    }
}

fn agreed_name<'a>(in_metadata: Option<&'a str>, in_message: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    if let Some(name) = in_message {
        check_name("organization_id", name)?;
    }
    match (in_metadata, in_message) {
        (Some(metadata), Some(message)) if metadata != message => Err(Refusal::InvalidArgument(format!(
            "organization_id is '{message}' but {ORGANIZATION_METADATA} is '{metadata}': they must agree, leave one out"
        ))),
        (metadata, message) => Ok(metadata.or(message)),
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > limits::ORGANIZATION_NAME_BYTES_MAX {
        return Err(Refusal::InvalidArgument(format!(
            "{field} must have 1 to {} characters; leave it out for the default organization",
            limits::ORGANIZATION_NAME_BYTES_MAX
        )));
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::InvalidArgument(format!("{field} must be visible ASCII characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn metadata(values: &[&[u8]]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(ORGANIZATION_METADATA, MetadataValue::try_from(*value).unwrap());
        }
        metadata
    }

    #[test]
    fn absent_metadata_names_nobody() {
        assert_eq!(organization_name(&metadata(&[])), Ok(None));
    }

    #[test]
    fn a_plain_name_is_taken_as_it_is() {
        assert_eq!(organization_name(&metadata(&[b"acme"])), Ok(Some("acme")));
    }

    #[test]
    fn a_tenant_is_never_guessed() {
        let long = [b'a'; 256];
        for values in [&[&b""[..]][..], &[b"a", b"a"], &[b"a b"], &["\u{e9}".as_bytes()], &[&long]] {
            let metadata = metadata(values);
            let refused = organization_name(&metadata);
            assert!(matches!(refused, Err(Refusal::InvalidArgument(_))), "{values:?}: {refused:?}");
        }
    }

    #[test]
    fn message_and_metadata_must_agree() {
        assert_eq!(agreed_name(Some("a"), Some("a")), Ok(Some("a")));
        assert_eq!(agreed_name(None, Some("a")), Ok(Some("a")));
        assert_eq!(agreed_name(Some("a"), None), Ok(Some("a")));
        assert!(agreed_name(Some("a"), Some("b")).is_err());
        assert!(agreed_name(None, Some("")).is_err());
    }
}
