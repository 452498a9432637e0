//! The bytes of clients, as Java's write them, and bytes that are none of theirs.

use super::*;

/// Version 3: topics `a` and `b`, user data of one byte, `a-0` and `a-2` owned in generation 7, rack `r`.
const SUBSCRIPTION: &[u8] =
    b"\0\x03\0\0\0\x02\0\x01a\0\x01b\0\0\0\x01x\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07\0\x01r";
/// Version 1: `a-0` and `a-2`, no user data.
const ASSIGNMENT: &[u8] = b"\0\x01\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02\xff\xff\xff\xff";

fn owned() -> NamedPartitions {
    vec![("a".to_owned(), vec![0, 2])]
}

#[test]
fn a_subscription_is_read_in_every_version() {
    let topics = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let expected = |version| Subscription {
        version,
        topics: topics.clone(),
        owned: if version >= 1 { owned() } else { Vec::new() },
        rack_id: (version >= 3).then(|| "r".to_owned()),
    };
    for version in 0..=4_u8 {
        let bytes = [&[0, version], &SUBSCRIPTION[2..]].concat();
        assert_eq!(
            Subscription::parse(&bytes),
            Some(expected(version.into())),
            "what is beyond its version is nobody's"
        );
        assert_eq!(super::topics(&bytes).as_ref(), Some(&topics));
    }
    assert_eq!(Subscription::parse(&[&[0xff], &SUBSCRIPTION[1..]].concat()), None, "a version below 0");
    for end in 0..SUBSCRIPTION.len() {
        assert_eq!(Subscription::parse(&SUBSCRIPTION[..end]), None, "{end} bytes");
    }
}

#[test]
fn an_assignment_is_read_as_it_is_written() {
    assert_eq!(Assigned::write(&owned(), 1), ASSIGNMENT);
    assert_eq!(Assigned::parse(ASSIGNMENT), Some(Assigned { partitions: owned(), has_user_data: false }));
    assert_eq!(Assigned::parse(b""), Some(Assigned::default()), "not assigned yet");
    let with_user_data = [&ASSIGNMENT[..ASSIGNMENT.len() - 4], b"\0\0\0\x01x"].concat();
    assert_eq!(Assigned::parse(&with_user_data), Some(Assigned { partitions: owned(), has_user_data: true }));
    for end in 1..ASSIGNMENT.len() {
        assert_eq!(Assigned::parse(&ASSIGNMENT[..end]), None, "{end} bytes");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
        for bytes in [bytes.clone(), [&[0, 3], &bytes[..]].concat()] {
            let _ = (Subscription::parse(&bytes), Assigned::parse(&bytes), super::topics(&bytes));
        }
    }
}
