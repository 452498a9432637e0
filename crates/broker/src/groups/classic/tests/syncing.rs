//! SyncGroup, Heartbeat, sessions, commits.

use super::*;

/// Two members that were told generation 1, the leader first.
fn completing() -> (Rig, Joined, Joined) {
    let mut rig = Rig::new();
    let tickets = [rig.join(consumer("a")), rig.join(consumer("b"))];
    rig.pass(secs(9));
    let [a, b] = tickets.map(|ticket| rig.joined(ticket));
    assert_eq!(rig.group.state(), GroupState::CompletingRebalance);
    if a.members.is_empty() { (rig, b, a) } else { (rig, a, b) }
}

#[test]
fn followers_wait_for_the_leader_and_the_assignment_is_written() {
    let (mut rig, leader, follower) = completing();
    let waiting = rig.sync(&follower, &[]);
    assert!(rig.waits(waiting));
    assert!(rig.rows.is_empty());
    let own = rig.sync(&leader, &[(&leader.member_id, "one"), (&follower.member_id, "two"), ("nobody", "three")]);
    assert_eq!(rig.synced(own), Ok("one".into()));
    assert_eq!(rig.synced(waiting), Ok("two".into()));
    assert_eq!(rig.rows.len(), 1);
    let later = rig.sync(&follower, &[]);
    assert_eq!(rig.synced(later), Ok("two".into()));
}

#[test]
fn whom_the_leader_left_out_has_nothing_to_do() {
    let (mut rig, leader, follower) = completing();
    rig.sync(&leader, &[(&leader.member_id, "all")]);
    let ticket = rig.sync(&follower, &[]);
    assert_eq!(rig.synced(ticket), Ok(String::new()));
}

#[test]
fn what_does_not_fit_the_generation_is_refused() {
    let (mut rig, leader, _) = completing();
    let request = |member_id: &str, generation_id, kind: &str, name: &str| SyncGroup {
        group_id: "group".into(),
        generation_id,
        member_id: member_id.into(),
        group_instance_id: None,
        protocol_type: Some(kind.into()),
        protocol_name: Some(name.into()),
        assignments: Vec::new(),
    };
    for (request, error) in [
        (request("nobody", 1, "consumer", "range"), GroupError::UnknownMemberId),
        (request(&leader.member_id, 0, "consumer", "range"), GroupError::IllegalGeneration),
        (request(&leader.member_id, 1, "connect", "range"), GroupError::InconsistentGroupProtocol),
        (request(&leader.member_id, 1, "consumer", "sticky"), GroupError::InconsistentGroupProtocol),
    ] {
        let ticket = rig.sync_as(request);
        assert_eq!(rig.synced(ticket), Err(error));
    }
    assert_eq!(rig.heartbeat("nobody", 1), Err(GroupError::UnknownMemberId));
    assert_eq!(rig.heartbeat(&leader.member_id, 2), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.heartbeat(&leader.member_id, 1), Ok(()));
}

#[test]
fn a_member_that_comes_meanwhile_sends_the_waiting_back_to_join() {
    let (mut rig, _, follower) = completing();
    let waiting = rig.sync(&follower, &[]);
    rig.join(consumer("c"));
    assert_eq!(rig.synced(waiting), Err(GroupError::RebalanceInProgress));
    let late = rig.sync(&follower, &[]);
    assert_eq!(rig.synced(late), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let (mut rig, leader, follower) = completing();
    let waiting = rig.sync(&follower, &[]);
    for _ in 0..12 {
        assert!(rig.waits(waiting));
        assert_eq!(rig.heartbeat(&leader.member_id, 1), Ok(()));
        rig.pass(secs(5));
    }
    assert_eq!(rig.synced(waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.heartbeat(&leader.member_id, 1), Err(GroupError::UnknownMemberId));
    let ticket = rig.join(again(consumer("b"), &follower));
    assert_eq!(rig.joined(ticket).members.len(), 1);
}

#[test]
fn in_a_stable_group_too() {
    let (mut rig, leader, follower) = completing();
    let own = rig.sync(&leader, &[]);
    assert_eq!(rig.synced(own), Ok(String::new()));
    for _ in 0..12 {
        assert_eq!(rig.group.state(), GroupState::Stable);
        for member in [&leader, &follower] {
            assert_eq!(rig.heartbeat(&member.member_id, 1), Ok(()));
        }
        rig.pass(secs(5));
    }
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
    assert_eq!(rig.heartbeat(&follower.member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn of_a_repeated_sync_the_earlier_one_is_answered_too() {
    let (mut rig, _, follower) = completing();
    let (first, second) = (rig.sync(&follower, &[]), rig.sync(&follower, &[]));
    assert_eq!(rig.synced(first), Err(GroupError::RebalanceInProgress));
    assert!(rig.waits(second));
}

#[test]
fn an_assignment_that_is_too_large_is_nobodys() {
    let (mut rig, leader, follower) = completing();
    let waiting = rig.sync(&follower, &[]);
    let large = "x".repeat(8 * 1024 * 1024 + 1);
    let own = rig.sync(&leader, &[(&leader.member_id, &large)]);
    for ticket in [own, waiting] {
        assert_eq!(rig.synced(ticket), Err(GroupError::UnknownServerError));
    }
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
    assert!(rig.rows.is_empty());
}

#[test]
fn a_member_without_a_sign_of_life_is_gone_after_its_session_timeout() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    rig.pass(secs(9));
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Ok(()));
    rig.pass(Duration::from_millis(999));
    assert_eq!(rig.group.state(), GroupState::Stable);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.heartbeat(&members[1].member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_group_whose_last_member_is_gone_is_empty_and_that_is_written() {
    let (mut rig, _) = Rig::stable(vec![consumer("a")]);
    rig.pass(secs(10));
    assert_eq!(rig.group.state(), GroupState::Empty);
    assert_eq!(rig.rows.len(), 2);
    assert_eq!(rig.group.next_deadline(), None);
    let listed = rig.group.listed();
    assert_eq!((listed.protocol_type.as_str(), listed.state), ("consumer", GroupState::Empty));
}

#[test]
fn who_may_commit() {
    let mut rig = Rig::new();
    assert_eq!(rig.commit("", -1), Ok(()), "nobody is there");
    assert_eq!(rig.commit("a", 0), Err(GroupError::UnknownMemberId));

    let (mut rig, leader, follower) = completing();
    assert_eq!(rig.commit("", -1), Err(GroupError::UnknownMemberId), "from outside of a group with members");
    assert_eq!(rig.commit(&leader.member_id, 1), Err(GroupError::RebalanceInProgress));
    rig.sync(&leader, &[]);
    rig.sync(&follower, &[]);
    assert_eq!(rig.commit(&follower.member_id, 1), Ok(()));
    assert_eq!(rig.commit(&follower.member_id, 0), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.commit(&follower.member_id, -1), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.commit("nobody", 1), Err(GroupError::UnknownMemberId));

    rig.join(again(consumer("a"), &leader));
    assert_eq!(rig.commit(&follower.member_id, 1), Ok(()), "before it joins again it commits what it has");
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    for _ in 0..5 {
        rig.pass(secs(9));
        assert_eq!(rig.commit(&members[0].member_id, 1), Ok(()));
    }
    assert_eq!(rig.group.state(), GroupState::Stable);
}

#[test]
fn what_members_said_is_described_when_the_group_is_stable() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    let described = rig.group.describe();
    assert_eq!((described.state, described.protocol_data.as_str()), (GroupState::Stable, "range"));
    let member = &described.members[0];
    assert_eq!((&member.client_id, &member.client_host), (&"a".to_owned(), &"/127.0.0.1".to_owned()));
    assert_eq!(member.member_metadata, protocol("range", &["t"]).metadata);
    assert_eq!(member.member_assignment, members[0].member_id.as_bytes());

    rig.join(consumer("b"));
    let described = rig.group.describe();
    assert_eq!((described.state, described.protocol_data.as_str()), (GroupState::PreparingRebalance, ""));
    assert!(described.members.iter().all(|member| member.member_metadata.is_empty()));
    let assigned: Vec<_> = described.members.iter().map(|member| member.member_assignment.clone()).collect();
    assert!(assigned.contains(&members[0].member_id.as_bytes().to_vec().into()), "it still has that: {assigned:?}");
}
