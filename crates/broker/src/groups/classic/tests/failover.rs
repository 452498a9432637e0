//! What goes on after the group was loaded elsewhere.

use super::super::OffsetExpiry;
use super::*;
use crate::groups::rows::RowError;

fn reloaded(rig: &Rig) -> Result<ClassicGroup, RowError> {
    let row = rig.rows.last().cloned().flatten().expect("a row");
    ClassicGroup::load("group".into(), Arc::new(GroupSettings::default()), rig.now, &row)
}

#[test]
fn members_go_on_in_their_generation_without_a_rebalance() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), static_consumer("one")]);
    let described = rig.group.describe();
    rig.pass(secs(9));
    rig.group = reloaded(&rig).expect("a good row");
    assert_eq!(rig.group.describe(), described);
    rig.pass(secs(9)); // sessions began again
    for member in &members {
        assert_eq!(rig.heartbeat(&member.member_id, 1), Ok(()));
        assert_eq!(rig.commit(&member.member_id, 1), Ok(()));
    }
    let follower = rig.join(again(consumer("a"), &members[1]));
    assert_eq!(rig.joined(follower).generation_id, 1);
}

#[test]
fn members_that_died_meanwhile_are_gone_after_a_session() {
    let (mut rig, _) = Rig::stable(vec![consumer("a")]);
    rig.group = reloaded(&rig).expect("a good row");
    rig.pass(secs(10));
    assert_eq!(rig.group.state(), GroupState::Empty);
}

#[test]
fn an_empty_group_stays_empty_and_keeps_its_age_and_generation() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    rig.leave(&[(&members[0].member_id, None)]);
    let expiry = rig.group.offset_expiry();
    assert!(matches!(expiry, OffsetExpiry::SinceEmpty(_)));
    rig.pass(secs(100));
    rig.group = reloaded(&rig).expect("a good row");
    assert_eq!(rig.group.state(), GroupState::Empty);
    assert_eq!(rig.group.offset_expiry(), expiry);
    assert!(!rig.group.is_unused());
    let ticket = rig.join(consumer("b"));
    rig.pass(secs(3));
    assert_eq!(rig.joined(ticket).generation_id, 3);
}

#[test]
fn rows_of_version_0_stay_readable() {
    let golden = "00 00000001 00000008 636f6e73756d6572 00000005 72616e6765 0000000b 612d31323334353637 3839
        00000000000f4240 00000001 0000000b 612d3132333435363738 39 ffffffff 00000001 61 0000000a 2f3132372e302e302e31
        0000ea60 00002710 00000002 0102 00000001 00000005 72616e6765 00000003 000100";
    let row = from_hex(golden);
    let now = Now { instant: Instant::now(), timestamp: 0 };
    let group = ClassicGroup::load("group".into(), Arc::new(GroupSettings::default()), now, &row).expect("readable");
    assert_eq!(group.to_row(false), row, "and it is what is written");
    let described = group.describe();
    assert_eq!((described.state, described.protocol_type.as_str()), (GroupState::Stable, "consumer"));
    assert_eq!(described.members[0].member_id, "a-123456789");
    assert_eq!(described.members[0].member_assignment, Bytes::from_static(&[1, 2]));
}

#[test]
fn what_contradicts_itself_is_not_loaded() {
    let (rig, _) = Rig::stable(vec![consumer("a"), static_consumer("one")]);
    let row = rig.rows.last().cloned().flatten().expect("a row");
    let load = |bytes: &[u8]| {
        ClassicGroup::load("group".into(), Arc::new(GroupSettings::default()), rig.now, bytes).map(|_| ())
    };
    assert_eq!(load(&row), Ok(()));
    assert_eq!(load(&[]), Err(RowError::Length));
    assert_eq!(load(&[&[2], &row[1..]].concat()), Err(RowError::Version(2)));
    assert_eq!(load(&[&row[..], &[0]].concat()), Err(RowError::Length));
    for end in 1..row.len() {
        assert!(load(&row[..end]).is_err());
    }
    // Any other byte anywhere: an error or another group, but no panic.
    for position in 0..row.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = row.to_vec();
            changed[position] ^= flip;
            let _ = load(&changed);
        }
    }
}

fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    digits.chunks(2).map(byte).collect::<Vec<u8>>().into()
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let now = Now { instant: Instant::now(), timestamp: 0 };
        let versioned = [&[0], &bytes[..]].concat();
        let settings = Arc::new(GroupSettings::default());
        let _ = ClassicGroup::load(String::new(), settings.clone(), now, &bytes);
        let _ = ClassicGroup::load(String::new(), settings, now, &versioned);
        let _ = crate::groups::embedded::topics(&bytes);
    }
}
