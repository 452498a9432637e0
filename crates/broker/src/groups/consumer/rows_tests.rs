//! The bytes of rows, which later releases have to read.

use std::time::Duration;

use super::super::rig::partitions;
use super::*;
use crate::groups::api::Protocol;

fn member() -> MemberMetadata {
    MemberMetadata {
        instance_id: Some("i".to_owned()),
        rack_id: None,
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        rebalance_timeout: Duration::from_millis(258),
        subscribed_topic_names: BTreeSet::from(["t".to_owned()]),
        subscribed_topic_regex: "x".to_owned(),
        server_assignor: Some(Assignor::Range),
        classic: None,
    }
}

/// One that speaks the classic protocol.
fn classic_member() -> MemberMetadata {
    let protocols = vec![Protocol { name: "stick".to_owned(), metadata: Bytes::from_static(&[0, 10]) }];
    let session_timeout = Duration::from_secs(10);
    MemberMetadata { classic: Some(ClassicMetadata { session_timeout, protocols }), ..member() }
}

fn current() -> CurrentAssignment {
    CurrentAssignment {
        epoch: 3,
        previous_epoch: 2,
        state: MemberState::UnreleasedPartitions,
        assigned: partitions(&[(1, 0), (1, 2)]),
        pending_revocation: Assignment::default(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn rows_are_written_as_ever() {
    let epochs = Epochs { group: 7, target: 6, metadata_hash: 0xfedc_ba98_7654_3210 };
    assert_eq!(hex(&epochs.encode()), "000000000700000006fedcba9876543210");
    assert_eq!(
        hex(&member().encode()),
        "000000000169ffffffff0000000163000000022f6800000102000000010000000174000000017800000005\
         72616e6765"
    );
    assert_eq!(
        hex(&classic_member().encode()),
        "010000000169ffffffff0000000163000000022f6800000102000000010000000174000000017800000005\
         72616e6765000027100000000100000005737469636b00000002000a"
    );
    let assigned = "000000010000001000000000000000000000000000000001000000020000000000000002";
    assert_eq!(hex(&current().encode()), format!("00000000030000000200000002{assigned}00000000"));
    assert_eq!(hex(&encode_target(&current().assigned)), format!("00{assigned}"));
}

#[test]
fn what_was_written_is_read() {
    let epochs = Epochs { group: 7, target: 6, metadata_hash: u64::MAX };
    assert_eq!(Epochs::decode(&epochs.encode()), Ok(epochs));
    assert_eq!(MemberMetadata::decode(&member().encode()), Ok(member()));
    assert_eq!(MemberMetadata::decode(&classic_member().encode()), Ok(classic_member()));
    assert_eq!(MemberMetadata::decode(&MemberMetadata::default().encode()), Ok(MemberMetadata::default()));
    assert_eq!(CurrentAssignment::decode(&current().encode()), Ok(current()));
    assert_eq!(decode_target(&encode_target(&current().assigned)), Ok(current().assigned));
}

#[test]
fn what_is_damaged_is_refused() {
    let members = [member().encode(), classic_member().encode()];
    let rows = [Epochs { group: 1, ..Epochs::default() }.encode(), current().encode()];
    for (kind, row) in rows.iter().chain(&members).enumerate() {
        let decodes = |bytes: &[u8]| match kind {
            0 => Epochs::decode(bytes).is_ok(),
            1 => CurrentAssignment::decode(bytes).is_ok(),
            _ => MemberMetadata::decode(bytes).is_ok(),
        };
        for end in 0..row.len() {
            assert!(!decodes(&row[..end]), "{kind}: {end} bytes");
        }
        assert!(!decodes(&[row, &b"x"[..]].concat()));
        assert!(!decodes(&[&[2], &row[1..]].concat()), "a version that is not known");
    }
    assert_eq!(
        Epochs::decode(&Epochs { group: 1, target: 2, metadata_hash: 0 }.encode()),
        Err(RowError::Contradiction)
    );
}
