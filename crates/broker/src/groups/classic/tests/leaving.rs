//! LeaveGroup, and what a group's state says about its offsets.

use super::super::OffsetExpiry;
use super::*;

#[test]
fn a_member_that_leaves_makes_the_others_rebalance() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    assert_eq!(rig.leave(&[(&members[0].member_id, None)]), [None]);
    assert_eq!(rig.heartbeat(&members[1].member_id, 1), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(again(consumer("b"), &members[1]));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, joined.leader), (2, members[1].member_id.clone()));
    assert_eq!(rig.leave(&[(&members[0].member_id, None)]), [Some(GroupError::UnknownMemberId)]);
}

#[test]
fn many_leave_at_once() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b"), static_consumer("one")]);
    let dynamic: Vec<&Joined> = members.iter().filter(|member| !member.member_id.starts_with("one")).collect();
    let left =
        rig.leave(&[(&dynamic[0].member_id, None), ("nobody", None), ("", Some("one")), (&dynamic[1].member_id, None)]);
    assert_eq!(left, [None, Some(GroupError::UnknownMemberId), None, None]);
    assert_eq!(rig.group.state(), GroupState::Empty);
    assert_eq!(rig.rows.len(), 2);
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let mut rig = Rig::new();
    let ticket = rig.join(consumer("a"));
    let member_id = rig.group.describe().members[0].member_id.clone();
    assert_eq!(rig.leave(&[(&member_id, None)]), [None]);
    assert_eq!(rig.refused(ticket).error, GroupError::UnknownMemberId);
    rig.pass(secs(3));
    assert_eq!(rig.group.state(), GroupState::Empty);
}

#[test]
fn an_id_that_is_given_back_does_not_disturb_the_group() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    let ticket = rig.join(JoinGroup { require_known_member_id: true, ..consumer("b") });
    let member_id = rig.refused(ticket).member_id;
    assert_eq!(rig.leave(&[(&member_id, None)]), [None]);
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Ok(()));
}

#[test]
fn only_an_empty_group_is_deleted() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    assert_eq!(rig.group.check_delete(), Err(GroupError::NonEmptyGroup));
    assert_eq!(rig.group.check_offset_delete(), Ok(()), "of topics that nobody reads");
    rig.leave(&[(&members[0].member_id, None)]);
    assert_eq!(rig.group.check_delete(), Ok(()));
    rig.act(|group, _, effects| group.delete(effects));
    assert_eq!(rig.rows.last(), Some(&None));

    let (rig, _) = Rig::stable(vec![JoinGroup { protocol_type: "connect".into(), ..consumer("a") }]);
    assert_eq!(rig.group.check_offset_delete(), Err(GroupError::NonEmptyGroup));
}

#[test]
fn offsets_age_from_when_the_group_became_empty() {
    let mut rig = Rig::new();
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::SinceCommit, "a group that only has offsets");
    let ticket = rig.join(consumer("a"));
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::Never);
    rig.pass(secs(3));
    let joined = rig.joined(ticket);
    rig.sync(&joined, &[]);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::SinceCommit, "of topics that are not read any more");
    rig.leave(&[(&joined.member_id, None)]);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::SinceEmpty(1_000_000 + 3_000));

    let (rig, _) = Rig::stable(vec![JoinGroup { protocol_type: "connect".into(), ..consumer("a") }]);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::Never);
    assert!(!rig.group.is_subscribed_to("t"));
}

#[test]
fn consumers_whose_subscription_cannot_be_read_read_everything() {
    let opaque = Protocol { name: "range".into(), metadata: Bytes::from_static(&[0, 1, 0, 0, 0, 9, 0]) };
    let (rig, _) = Rig::stable(vec![JoinGroup { protocols: vec![opaque], ..consumer("a") }]);
    assert!(rig.group.is_subscribed_to("anything"));
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::Never);
}
