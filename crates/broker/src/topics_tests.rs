//! Tests of `topics`.

use super::*;

#[test]
fn names_are_what_kafka_allows() {
    for name in ["a", "A-Z_0.9", "...", "__consumer_offsets", &"x".repeat(249)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", "a\n", "a:b", &"x".repeat(250)] {
        assert!(matches!(check_name(name), Err(TopicError::InvalidName(_))), "{name}");
    }
}
