//! What the words of a URL come to.

use super::*;

/// The modes that are tried for these parameters.
fn attempts(parameters: &str) -> Vec<String> {
    let parsed = parse(&format!("postgres://u@h/d{parameters}")).expect("a URL");
    parsed.iter().map(|options| format!("{:?}", options.get_ssl_mode())).collect()
}

#[test]
fn tls_modes_are_tried_in_the_order_of_libpq() {
    assert_eq!(attempts(""), ["Require", "Disable"], "prefer is the default");
    assert_eq!(attempts("?sslmode=disable"), ["Disable"]);
    assert_eq!(attempts("?sslmode=allow"), ["Disable", "Require"]);
    assert_eq!(attempts("?sslmode=prefer"), ["Require", "Disable"]);
    assert_eq!(attempts("?sslmode=require"), ["Require"]);
    assert_eq!(attempts("?sslmode=require&sslrootcert=/ca"), ["VerifyCa"], "a named root is checked");
    assert_eq!(attempts("?sslmode=verify-ca&sslrootcert=/ca"), ["VerifyCa"]);
    assert_eq!(attempts("?sslmode=verify-full"), ["VerifyFull"]);
    assert!(parse("postgres://h/d?sslmode=maybe").is_err());
}

#[test]
fn a_server_of_its_own_is_told_every_setting() {
    let options = parse("postgres://u@h/d?options=-c%20search_path%3Ds").expect("a URL");
    let own = Connector::own(&options[0], Uuid::from_u128(5));
    let said = own.options().get_options().expect("options").to_owned();
    for (setting, _) in SETTINGS {
        assert!(said.contains(setting), "{said}");
    }
    assert!(said.contains("search_path=s") && said.contains("streamhouse.connection=0000"), "{said}");
}
