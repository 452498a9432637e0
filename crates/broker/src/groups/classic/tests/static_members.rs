//! Static members (KIP-345, KIP-814).

use super::*;

#[test]
fn a_follower_that_starts_over_keeps_its_assignment_without_a_rebalance() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), static_consumer("two")]);
    let ticket = rig.join(static_consumer("two"));
    let joined = rig.joined(ticket);
    assert_ne!(joined.member_id, members[1].member_id);
    assert!(joined.member_id.starts_with("two-"), "instance id and a number");
    assert_eq!((joined.generation_id, &joined.leader, joined.skip_assignment), (1, &members[0].member_id, false));
    assert_eq!(rig.group.state(), GroupState::Stable);
    assert_eq!(rig.rows.len(), 2, "the new id is written");
    let ticket = rig.sync(&joined, &[]);
    assert_eq!(rig.synced(ticket).as_ref(), Ok(&members[1].member_id), "what its predecessor had");
}

#[test]
fn a_leader_that_starts_over_is_told_to_leave_the_assignment() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), static_consumer("two")]);
    let instance = instance_of(&rig, &members[0].member_id);
    let ticket = rig.join(static_consumer(&instance));
    let joined = rig.joined(ticket);
    assert_eq!((joined.skip_assignment, &joined.leader, joined.members.len()), (true, &joined.member_id, 2));
    let ticket = rig.sync(&joined, &[]);
    assert_eq!(rig.synced(ticket).as_ref(), Ok(&members[0].member_id));
}

#[test]
fn an_old_leader_that_starts_over_is_told_the_old_leaders_id() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), static_consumer("two")]);
    let instance = instance_of(&rig, &members[0].member_id);
    let ticket = rig.join(JoinGroup { supports_skipping_assignment: false, ..static_consumer(&instance) });
    let joined = rig.joined(ticket);
    assert_eq!((joined.skip_assignment, joined.members.len()), (false, 0));
    assert_eq!(joined.leader, members[0].member_id, "it takes itself for a follower");
}

#[test]
fn the_predecessor_is_fenced() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one")]);
    rig.join(static_consumer("one"));
    let old = &members[0];
    let with_instance = SyncGroup {
        group_id: "group".into(),
        generation_id: 1,
        member_id: old.member_id.clone(),
        group_instance_id: Some("one".into()),
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    };
    let ticket = rig.sync_as(with_instance);
    assert_eq!(rig.synced(ticket), Err(GroupError::FencedInstanceId));
    let ticket = rig.join(again(static_consumer("one"), old));
    let refused = JoinRefused { error: GroupError::FencedInstanceId, member_id: old.member_id.clone() };
    assert_eq!(rig.refused(ticket), refused);
    assert_eq!(rig.heartbeat(&old.member_id, 1), Err(GroupError::UnknownMemberId), "without its instance id");
    assert_eq!(rig.leave(&[(&old.member_id, Some("one"))]), [Some(GroupError::FencedInstanceId)]);
}

#[test]
fn a_predecessor_that_waits_is_answered() {
    let mut rig = Rig::new();
    let first = rig.join(static_consumer("one"));
    let second = rig.join(static_consumer("one"));
    assert_eq!(rig.refused(first).error, GroupError::FencedInstanceId);
    rig.pass(secs(3));
    assert_eq!(rig.joined(second).members.len(), 1);
}

#[test]
fn one_that_reads_something_else_now_makes_the_group_rebalance() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), static_consumer("two")]);
    let changed = JoinGroup { protocols: vec![protocol("range", &["u"])], ..static_consumer("two") };
    let ticket = rig.join(changed);
    assert!(rig.waits(ticket));
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn one_that_changes_the_protocol_that_is_chosen_makes_the_group_rebalance() {
    let both = |instance: &str, names: [&str; 2]| JoinGroup {
        protocols: names.iter().map(|name| protocol(name, &["t"])).collect(),
        ..static_consumer(instance)
    };
    let (mut rig, _) = Rig::stable(vec![both("one", ["range", "sticky"])]);
    let ticket = rig.join(both("one", ["sticky", "range"]));
    assert_eq!(rig.joined(ticket).protocol_name.as_deref(), Some("sticky"), "alone, it is joined at once");
    assert_eq!(rig.joined(ticket).generation_id, 2);
}

#[test]
fn one_that_starts_over_while_the_assignment_is_made_makes_the_group_rebalance() {
    let mut rig = Rig::new();
    let (one, two) = (rig.join(static_consumer("one")), rig.join(static_consumer("two")));
    rig.pass(secs(9));
    let waiting = if rig.joined(one).members.is_empty() { one } else { two };
    let waiting = rig.joined(waiting);
    let sync = rig.sync(&waiting, &[]);
    let instance = instance_of(&rig, &waiting.member_id);
    let again = rig.join(static_consumer(&instance));
    assert_eq!(rig.synced(sync), Err(GroupError::FencedInstanceId));
    assert!(rig.waits(again));
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn one_that_is_away_stays_until_its_session_ends() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), consumer("b")]);
    let away = members.iter().find(|member| member.member_id.starts_with("one")).expect("joined").clone();
    let present = members.iter().find(|member| member.member_id != away.member_id).expect("joined").clone();
    let quick = JoinGroup { rebalance_timeout: secs(1), protocols: vec![protocol("range", &[])], ..consumer("b") };
    let ticket = rig.join(again(quick, &present));
    rig.heartbeat(&away.member_id, 1).expect_err("it should join");
    rig.pass(secs(9));
    assert!(rig.waits(ticket), "its rebalance time-out is 60 s");
    rig.pass(secs(1));
    assert_eq!(rig.joined(ticket).members.len(), 1);
    assert!(rig.group.describe().members.iter().all(|member| member.group_instance_id.is_none()));
}

#[test]
fn where_all_are_away_the_rebalance_waits_for_their_sessions() {
    let quick = |instance: &str| JoinGroup { rebalance_timeout: Duration::ZERO, ..static_consumer(instance) };
    let (mut rig, _) = {
        let mut rig = Rig::new();
        let ticket = rig.join(JoinGroup { rebalance_timeout: secs(60), ..quick("one") });
        rig.pass(secs(3));
        let joined = rig.joined(ticket);
        let sync = rig.sync(&joined, &[]);
        assert!(rig.synced(sync).is_ok());
        (rig, joined)
    };
    // A dynamic member comes and goes: the static one does not join again.
    let ticket = rig.join(consumer("b"));
    assert!(rig.waits(ticket));
    rig.pass(secs(10));
    assert_eq!(rig.joined(ticket).members.len(), 1);
}

#[test]
fn an_administrator_puts_one_out_by_its_instance_id() {
    let (mut rig, members) = Rig::stable(vec![static_consumer("one"), static_consumer("two")]);
    assert_eq!(rig.leave(&[("", Some("two")), ("", Some("three"))]), [None, Some(GroupError::UnknownMemberId)]);
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.group.describe().members.len(), 1);
}

fn instance_of(rig: &Rig, member_id: &str) -> String {
    let described = rig.group.describe();
    let member = described.members.into_iter().find(|member| member.member_id == member_id).expect("a member");
    member.group_instance_id.expect("a static one")
}
