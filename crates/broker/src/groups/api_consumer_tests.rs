//! What a heartbeat must look like, as Kafka says.

use super::*;

fn join() -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: "g".to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout: Some(Duration::from_secs(1)),
        subscribed_topic_names: Some(Vec::new()),
        owned: Some(Assignment::default()),
        ..ConsumerHeartbeat::default()
    }
}

#[test]
fn what_is_no_heartbeat_is_refused() {
    type Change = fn(&mut ConsumerHeartbeat);
    let cases: [(&str, Change); 13] = [
        ("MemberId can't be empty.", |request| request.member_id.clear()),
        ("GroupId can't be empty.", |request| request.group_id = " ".to_owned()),
        ("InstanceId can't be empty.", |request| request.instance_id = Some(String::new())),
        ("RackId can't be empty.", |request| request.rack_id = Some(String::new())),
        ("RebalanceTimeoutMs must be provided in first request.", |request| request.rebalance_timeout = None),
        ("TopicPartitions must be empty when (re-)joining.", |request| request.owned = None),
        ("TopicPartitions must be empty when (re-)joining.", |request| {
            request.owned = Some([(TopicId(uuid::Uuid::from_u128(1)), 0)].into_iter().collect());
        }),
        ("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.", |request| {
            request.subscribed_topic_names = None;
        }),
        ("InstanceId can't be null.", |request| request.member_epoch = STATIC_LEAVE_EPOCH),
        ("MemberEpoch is invalid.", |request| request.member_epoch = -3),
        ("MemberEpoch is invalid.", |request| request.member_epoch = i32::MIN),
        ("An id has more than 512 bytes.", |request| request.member_id = "m".repeat(513)),
        ("More than 10000 topics are subscribed to by name.", |request| {
            request.subscribed_topic_names = Some(vec!["t".to_owned(); 10_001]);
        }),
    ];
    for (message, change) in cases {
        let mut request = join();
        change(&mut request);
        let refused = request.check(true).unwrap_err();
        assert_eq!((refused.error, refused.message.as_str()), (GroupError::InvalidRequest, message));
    }
    let assignor = ConsumerHeartbeat { server_assignor: Some("sticky".to_owned()), ..join() };
    let refused = assignor.check(true).unwrap_err();
    assert_eq!(refused.error, GroupError::UnsupportedAssignor);
    assert_eq!(refused.message, "ServerAssignor sticky is not supported. Supported assignors: uniform, range.");
}

#[test]
fn what_is_a_heartbeat_passes() {
    assert_eq!(join().check(true), Ok(()));
    let regex = Some("t.*".to_owned());
    assert_eq!(
        ConsumerHeartbeat { subscribed_topic_names: None, subscribed_topic_regex: regex, ..join() }.check(true),
        Ok(())
    );
    let nameless = ConsumerHeartbeat { member_id: String::new(), ..join() };
    assert_eq!(nameless.check(false), Ok(()), "version 0");
    for member_epoch in [1, LEAVE_EPOCH] {
        let beat = ConsumerHeartbeat { member_epoch, ..nameless.clone() };
        assert!(beat.check(false).is_err());
        let beat = ConsumerHeartbeat {
            member_epoch,
            member_id: "m".to_owned(),
            group_id: "g".to_owned(),
            ..Default::default()
        };
        assert_eq!(beat.check(true), Ok(()));
    }
}
