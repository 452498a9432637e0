//! What members are told, step by step, and every refusal.

use std::time::Duration;

use super::super::rig::{Rig, beat, join, join_static, owning, partitions};
use super::super::{LEAVE_EPOCH, STATIC_LEAVE_EPOCH};
use super::*;
use crate::groups::api_consumer::ConsumerHeartbeat;

#[test]
fn a_member_alone_gets_everything_at_once() {
    let mut rig = Rig::new(&[(1, 2)]);
    assert_eq!(rig.told(&join("a", &["t1"])), (1, Some(partitions(&[(1, 0), (1, 1)]))));
    assert_eq!(rig.group.state(), GroupState::Stable);
    assert_eq!(rig.told(&beat("a", 1)), (1, None), "nothing new");
}

#[test]
fn a_partition_is_given_only_when_its_former_owner_let_go() {
    let mut rig = Rig::new(&[(1, 4)]);
    rig.told(&join("a", &["t1"]));
    let kept = partitions(&[(1, 0), (1, 1)]);
    assert_eq!(rig.told(&join("b", &["t1"])), (2, Some(Assignment::default())), "nothing is free yet");
    assert_eq!(rig.group.state(), GroupState::Reconciling);
    assert_eq!(rig.told(&beat("a", 1)), (1, Some(kept.clone())), "has to give up two, in its old epoch");
    assert_eq!(rig.told(&beat("b", 2)), (2, None));
    assert_eq!(rig.told(&beat("a", 1)), (1, None), "did not say that it let go");
    assert_eq!(rig.told(&owning("a", 1, &[(1, 0), (1, 1), (1, 2)])), (1, None), "let go of one");
    assert_eq!(rig.told(&owning("a", 1, &[(1, 0), (1, 1)])), (2, None));
    assert_eq!(rig.told(&beat("b", 2)), (2, Some(partitions(&[(1, 2), (1, 3)]))));
    assert_eq!(rig.group.state(), GroupState::Stable);
}

#[test]
fn members_come_back_sooner_until_everybody_has_what_is_theirs() {
    let mut rig = Rig::new(&[(1, 2)]);
    let mut interval = |request: &ConsumerHeartbeat| rig.send(request).unwrap().heartbeat_interval;
    let (settled, unsettled) = (Duration::from_secs(5), Duration::from_millis(500));
    assert_eq!(interval(&join("a", &["t1"])), settled);
    assert_eq!(interval(&join("b", &["t1"])), unsettled);
    assert_eq!(interval(&beat("a", 1)), unsettled);
    assert_eq!(interval(&owning("a", 1, &[(1, 0)])), unsettled, "b does not know yet");
    assert_eq!(interval(&beat("b", 2)), settled);
    assert_eq!(interval(&beat("a", 2)), settled);
}

#[test]
fn a_member_that_leaves_frees_what_it_had() {
    let mut rig = Rig::new(&[(1, 2)]);
    rig.told(&join("a", &["t1"]));
    rig.told(&join("b", &["t1"]));
    let left = rig.send(&beat("a", LEAVE_EPOCH)).unwrap();
    assert_eq!((left.member_id.as_str(), left.member_epoch, left.assignment), ("a", LEAVE_EPOCH, None));
    assert_eq!(rig.group.state(), GroupState::Assigning);
    assert_eq!(rig.told(&beat("b", 2)), (3, Some(partitions(&[(1, 0), (1, 1)]))));
    rig.told(&beat("b", LEAVE_EPOCH));
    assert_eq!(rig.group.state(), GroupState::Empty);
    assert_eq!(rig.rows.len(), 1, "only the epochs stay");
}

#[test]
fn a_member_that_is_not_heard_of_is_out() {
    let mut rig = Rig::new(&[(1, 1)]);
    rig.told(&join("a", &["t1"]));
    rig.pass(Duration::from_secs(44));
    rig.told(&beat("a", 1));
    rig.pass(Duration::from_secs(44));
    assert!(!rig.group.is_empty());
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.refusal(&beat("a", 1)), GroupError::UnknownMemberId);
    assert_eq!(rig.group.next_deadline(), None);
}

#[test]
fn a_member_that_does_not_let_go_in_its_time_is_out() {
    let mut rig = Rig::new(&[(1, 2)]);
    rig.told(&ConsumerHeartbeat { rebalance_timeout: Some(Duration::from_secs(10)), ..join("a", &["t1"]) });
    rig.told(&join("b", &["t1"]));
    rig.told(&beat("a", 1));
    rig.pass(Duration::from_secs(9));
    rig.told(&beat("a", 1));
    assert_eq!(rig.told(&beat("b", 2)), (2, None));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.refusal(&beat("a", 1)), GroupError::UnknownMemberId);
    assert_eq!(rig.told(&beat("b", 2)), (3, Some(partitions(&[(1, 0), (1, 1)]))));
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut rig = Rig::new(&[(1, 2)]);
    let first = rig.told(&join("a", &["t1"]));
    assert_eq!(rig.told(&join("a", &["t1"])), first, "joins again");
    rig.told(&join("b", &["t1"]));
    rig.told(&beat("a", 1));
    rig.told(&owning("a", 1, &[(1, 0)]));
    // Now in epoch 2, which it was not told.
    assert_eq!(rig.told(&owning("a", 1, &[(1, 0)])), (2, None));
    let full = ConsumerHeartbeat { member_epoch: 1, owned: Some(partitions(&[(1, 0)])), ..join("a", &["t1"]) };
    assert_eq!(rig.told(&full), (2, Some(partitions(&[(1, 0)]))), "a whole request gets a whole answer");
}

#[test]
fn an_epoch_that_is_not_the_members_is_fenced() {
    let mut rig = Rig::new(&[(1, 2)]);
    rig.told(&join("a", &["t1"]));
    rig.told(&join("b", &["t1"]));
    rig.told(&beat("a", 1));
    rig.told(&owning("a", 1, &[(1, 0)]));
    for (epoch, owned) in [(3, None), (1, None), (1, Some(partitions(&[(1, 1)]))), (0, Some(Assignment::default()))] {
        let request = ConsumerHeartbeat { member_epoch: epoch, owned, ..join("a", &["t1"]) };
        assert_eq!(rig.refusal(&request), GroupError::FencedMemberEpoch, "{request:?}");
    }
    let refused = rig.send(&beat("b", 9)).unwrap_err();
    assert!(refused.message.starts_with("The consumer group member has a greater member epoch (9)"), "{refused}");
}

#[test]
fn who_is_not_a_member_is_unknown() {
    let mut rig = Rig::new(&[(1, 2)]);
    assert_eq!(rig.refusal(&beat("a", 1)), GroupError::UnknownMemberId);
    assert_eq!(rig.refusal(&beat("a", LEAVE_EPOCH)), GroupError::UnknownMemberId);
    assert!(rig.group.is_unused());
    let unknown = ConsumerHeartbeat { member_epoch: 1, ..join_static("a", "i", &["t1"]) };
    assert_eq!(rig.refusal(&unknown), GroupError::UnknownMemberId);
}

#[test]
fn a_group_has_room_for_so_many() {
    let mut rig = Rig::new(&[(1, 2)]);
    for member in ["a", "b", "c", "d"] {
        rig.told(&join(member, &["t1"]));
    }
    assert_eq!(rig.refusal(&join("e", &["t1"])), GroupError::GroupMaxSizeReached);
    rig.told(&join("d", &["t1"]));
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut rig = Rig::new(&[(1, 4)]);
    rig.told(&join_static("a", "i", &["t1"]));
    rig.told(&join_static("b", "j", &["t1"]));
    rig.told(&ConsumerHeartbeat { member_epoch: 1, ..join_static("a", "i", &["t1"]) });
    let own = partitions(&[(1, 0), (1, 1)]);
    let released = ConsumerHeartbeat { member_epoch: 1, owned: Some(own.clone()), ..join_static("a", "i", &["t1"]) };
    assert_eq!(rig.told(&released), (2, Some(own.clone())));

    let leaves = ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("a", STATIC_LEAVE_EPOCH) };
    assert_eq!(rig.told(&leaves), (STATIC_LEAVE_EPOCH, None));
    rig.restore();
    let b = ConsumerHeartbeat { instance_id: Some("j".to_owned()), ..beat("b", 2) };
    assert_eq!(rig.told(&b), (2, Some(partitions(&[(1, 2), (1, 3)]))), "what was let go, not what waits for its owner");
    assert_eq!(rig.told(&join_static("a2", "i", &["t1"])), (2, Some(own)), "without another assignment");
    assert_eq!(rig.told(&b), (2, None));
    let old = ConsumerHeartbeat { member_epoch: 2, ..join_static("a", "i", &["t1"]) };
    assert_eq!(rig.refusal(&old), GroupError::FencedInstanceId);
    rig.restore();
    assert_eq!(rig.group.state(), GroupState::Stable);
}

#[test]
fn a_static_member_that_does_not_come_back_is_out() {
    let mut rig = Rig::new(&[(1, 2)]);
    rig.told(&join_static("a", "i", &["t1"]));
    rig.told(&ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("a", STATIC_LEAVE_EPOCH) });
    rig.pass(Duration::from_secs(45));
    assert!(rig.group.is_empty());
    rig.told(&join_static("a", "i", &["t1"]));
    rig.told(&ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("a", LEAVE_EPOCH) });
    assert!(rig.group.is_empty());
}

#[test]
fn an_instance_id_is_one_members() {
    let mut rig = Rig::new(&[(1, 2)]);
    rig.told(&join_static("a", "i", &["t1"]));
    assert_eq!(rig.refusal(&join_static("b", "i", &["t1"])), GroupError::UnreleasedInstanceId);
    rig.told(&join_static("a", "i", &["t1"])); // its first answer was lost
    let leave = |epoch| ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..beat("b", epoch) };
    for epoch in [LEAVE_EPOCH, STATIC_LEAVE_EPOCH, 1] {
        assert_eq!(rig.refusal(&leave(epoch)), GroupError::FencedInstanceId);
    }
}

#[test]
fn what_is_not_said_stays() {
    let mut rig = Rig::new(&[(1, 2), (2, 2)]);
    rig.told(&ConsumerHeartbeat { rack_id: Some("r".to_owned()), ..join("a", &["t1"]) });
    rig.told(&beat("a", 1));
    let changed = ConsumerHeartbeat { subscribed_topic_names: Some(vec!["t2".to_owned()]), ..beat("a", 1) };
    assert_eq!(rig.told(&changed), (1, Some(Assignment::default())), "gives up the one before it gets the other");
    assert_eq!(rig.told(&owning("a", 1, &[])), (2, Some(partitions(&[(2, 0), (2, 1)]))));
    let described = rig.group.describe(&rig.topics);
    assert_eq!((described.state, described.group_epoch, described.assignment_epoch), (GroupState::Stable, 2, 2));
    let member = &described.members[0];
    assert_eq!((member.rack_id.as_deref(), member.member_epoch), (Some("r"), 2));
    assert_eq!(member.subscribed_topic_names, ["t2"]);
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(member.assignment[0].name, "t2");
}

#[test]
fn topics_that_change_are_assigned_anew() {
    let mut rig = Rig::new(&[(1, 1)]);
    rig.told(&join("a", &["t1", "t2"]));
    rig.set_topic(2, Some(1));
    assert_eq!(rig.told(&beat("a", 1)), (2, Some(partitions(&[(1, 0), (2, 0)]))), "a topic was created");
    rig.set_topic(1, Some(2));
    assert_eq!(rig.told(&beat("a", 2)), (3, Some(partitions(&[(1, 0), (1, 1), (2, 0)]))), "a topic grew");
    rig.set_topic(3, Some(1));
    assert_eq!(rig.told(&beat("a", 3)), (3, None), "another's topic");
    rig.restore();
    assert_eq!(rig.told(&beat("a", 3)), (3, None), "nothing happened over the fail-over");
    rig.set_topic(2, None);
    rig.restore();
    assert_eq!(rig.told(&beat("a", 3)), (3, Some(partitions(&[(1, 0), (1, 1)]))), "a topic went meanwhile");
    assert_eq!(rig.told(&owning("a", 3, &[(1, 0), (1, 1)])), (4, None));
}

#[test]
fn an_expression_follows_the_topics() {
    let mut rig = Rig::new(&[(1, 1), (20, 1)]);
    let regex = |pattern: &str| ConsumerHeartbeat {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(pattern.to_owned()),
        ..join("a", &[])
    };
    assert_eq!(rig.refusal(&regex("t(")), GroupError::InvalidRegularExpression);
    assert!(rig.group.is_unused());
    assert_eq!(rig.told(&regex("t.")), (1, Some(partitions(&[(1, 0)]))));
    let (t1, t20) = (super::super::rig::topic(1), super::super::rig::topic(20));
    assert!(rig.group.is_subscribed_to(t1, "t1") && !rig.group.is_subscribed_to(t20, "t20"));
    rig.set_topic(2, Some(1));
    assert_eq!(rig.told(&beat("a", 1)), (2, Some(partitions(&[(1, 0), (2, 0)]))));
    rig.restore();
    rig.set_topic(3, Some(1));
    assert_eq!(rig.told(&beat("a", 2)), (3, Some(partitions(&[(1, 0), (2, 0), (3, 0)]))));
    let none = ConsumerHeartbeat { subscribed_topic_regex: Some(String::new()), ..beat("a", 3) };
    assert_eq!(rig.told(&none), (3, Some(Assignment::default())));
}

#[test]
fn the_assignor_is_what_most_members_want() {
    let mut rig = Rig::new(&[(1, 2), (2, 2)]);
    let wants = |member: &str, assignor: &str| ConsumerHeartbeat {
        server_assignor: Some(assignor.to_owned()),
        ..join(member, &["t1", "t2"])
    };
    rig.told(&join("a", &["t1", "t2"]));
    assert_eq!(rig.group.assignor(), Assignor::Uniform);
    rig.told(&wants("b", "range"));
    assert_eq!(rig.group.assignor(), Assignor::Range);
    rig.told(&wants("c", "uniform"));
    assert_eq!(rig.group.assignor(), Assignor::Uniform, "the default of two");
}

#[test]
fn offsets_are_for_members_in_their_epoch() {
    let mut rig = Rig::new(&[(1, 2)]);
    assert_eq!(rig.group.check_commit("", -1, true), Ok(()), "nobody is in the group");
    rig.told(&join("a", &["t1"]));
    assert_eq!(rig.group.check_commit("", -1, true), Err(GroupError::UnknownMemberId));
    assert_eq!(rig.group.check_commit("a", 1, true), Ok(()));
    assert_eq!(rig.group.check_commit("a", 0, true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(rig.group.check_commit("a", 1, false), Err(GroupError::UnsupportedVersion));
    assert_eq!(rig.group.check_fetch(None, -1), Ok(()));
    assert_eq!(rig.group.check_fetch(None, 1), Err(GroupError::UnknownMemberId));
    assert_eq!(rig.group.check_fetch(Some("a"), 1), Ok(()));
    assert_eq!(rig.group.check_fetch(Some("a"), 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(rig.group.check_fetch(Some("b"), 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_group_without_subscriptions_is_a_group() {
    let mut rig = Rig::new(&[(1, 2)]);
    assert_eq!(rig.told(&join("a", &[])), (1, Some(Assignment::default())));
    assert_eq!(rig.told(&join("b", &["t9"])), (2, Some(Assignment::default())));
    let mut changes = Vec::new();
    rig.group.delete(&mut changes);
    let deleted: BTreeSet<_> =
        changes.into_iter().filter(|change| change.value.is_none()).map(|change| change.key).collect();
    assert!(rig.rows.keys().all(|key| deleted.contains(key)));
}
