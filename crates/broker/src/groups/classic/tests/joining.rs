//! JoinGroup: ids, delays, votes, bounds.

use super::*;

#[test]
fn a_new_member_gets_an_id_first_and_joins_with_it() {
    let mut rig = Rig::new();
    let request = JoinGroup { require_known_member_id: true, ..consumer("c") };
    let ticket = rig.join(request.clone());
    let refused = rig.refused(ticket);
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert!(refused.member_id.starts_with("c-"), "client id and a number: {refused:?}");
    assert_eq!(rig.group.state(), GroupState::Empty);
    assert!(!rig.group.is_unused(), "somebody is about to join");

    let ticket = rig.join(JoinGroup { member_id: refused.member_id.clone(), ..request });
    assert!(rig.waits(ticket));
    rig.pass(secs(3));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, &joined.leader), (1, &refused.member_id));
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten() {
    let mut rig = Rig::new();
    let request = JoinGroup { require_known_member_id: true, ..consumer("c") };
    let ticket = rig.join(request.clone());
    rig.pass(secs(10));
    assert!(rig.group.is_unused());
    let member_id = rig.refused(ticket).member_id;
    let ticket = rig.join(JoinGroup { member_id, ..request });
    assert_eq!(rig.refused(ticket).error, GroupError::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_ids_that_were_given_out() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    let pending = rig.join(JoinGroup { require_known_member_id: true, ..consumer("b") });
    let leader = rig.join(again(consumer("a"), &members[0]));
    assert!(rig.waits(leader));
    rig.pass(secs(9));
    assert!(rig.waits(leader));
    let member_id = rig.refused(pending).member_id;
    let second = rig.join(JoinGroup { member_id, ..consumer("b") });
    assert_eq!(rig.joined(leader).members.len(), 2);
    assert_eq!(rig.joined(second).members.len(), 0);
}

#[test]
fn the_first_rebalance_is_put_off_while_members_come_but_not_beyond_their_rebalance_timeout() {
    let mut rig = Rig::new();
    let quick = |name: &str| JoinGroup { rebalance_timeout: secs(8), ..consumer(name) };
    let first = rig.join(quick("a"));
    for name in ["b", "c"] {
        rig.pass(secs(2));
        rig.join(quick(name));
        assert!(rig.waits(first));
    }
    rig.pass(secs(2)); // 6 s: "c" came in the second delay, which ends now
    rig.join(quick("d"));
    rig.pass(secs(1));
    assert!(rig.waits(first));
    rig.pass(secs(1)); // 8 s
    assert_eq!(rig.joined(first).members.len(), 4);
}

#[test]
fn without_a_delay_the_first_member_goes_ahead() {
    let mut rig = Rig::with(GroupSettings { initial_rebalance_delay: Duration::ZERO, ..GroupSettings::default() });
    let ticket = rig.join(consumer("a"));
    assert_eq!(rig.joined(ticket).generation_id, 1);
}

#[test]
fn the_session_timeout_has_bounds() {
    let mut rig = Rig::new();
    for (session_timeout, allowed) in [(5_999, false), (6_000, true), (1_800_000, true), (1_800_001, false)] {
        let session_timeout = Duration::from_millis(session_timeout);
        let ticket = rig.join(JoinGroup { session_timeout, ..consumer("a") });
        assert_eq!(rig.waits(ticket), allowed);
        if !allowed {
            assert_eq!(rig.refused(ticket).error, GroupError::InvalidSessionTimeout);
        }
    }
}

#[test]
fn what_most_members_prefer_is_chosen_of_what_all_have() {
    let speaking = |client_id: &str, names: &[&str]| JoinGroup {
        protocols: names.iter().map(|name| protocol(name, &["t"])).collect(),
        ..consumer(client_id)
    };
    let (_, members) = Rig::stable(vec![
        speaking("a", &["x", "range", "sticky"]),
        speaking("b", &["sticky", "range"]),
        speaking("c", &["sticky", "y", "range"]),
    ]);
    assert_eq!(members[0].protocol_name.as_deref(), Some("sticky"));
    assert_eq!(members[0].protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let (mut rig, _) = Rig::stable(vec![consumer("a")]);
    let other_name = rig.join(JoinGroup { protocols: vec![protocol("sticky", &["t"])], ..consumer("b") });
    let other_type = rig.join(JoinGroup { protocol_type: "connect".into(), ..consumer("c") });
    for ticket in [other_name, other_type] {
        assert_eq!(rig.refused(ticket).error, GroupError::InconsistentGroupProtocol);
    }
    let mut rig = Rig::new();
    let no_type = rig.join(JoinGroup { protocol_type: String::new(), ..consumer("a") });
    let no_protocols = rig.join(JoinGroup { protocols: Vec::new(), ..consumer("a") });
    for ticket in [no_type, no_protocols] {
        assert_eq!(rig.refused(ticket).error, GroupError::InconsistentGroupProtocol);
    }
    assert!(rig.group.is_unused());
}

#[test]
fn an_empty_group_takes_any_protocol_type() {
    let (mut rig, members) = Rig::stable(vec![consumer("a")]);
    rig.leave(&[(&members[0].member_id, None)]);
    let ticket = rig.join(JoinGroup { protocol_type: "sr".into(), ..consumer("b") });
    rig.pass(secs(3));
    assert_eq!(rig.joined(ticket).protocol_type.as_deref(), Some("sr"));
}

#[test]
fn a_full_group_refuses_another_member() {
    let mut rig = Rig::with(GroupSettings { group_size_max: 2, ..GroupSettings::default() });
    let tickets = [rig.join(consumer("a")), rig.join(consumer("b"))];
    let third = rig.join(consumer("c"));
    assert_eq!(rig.refused(third), JoinRefused { error: GroupError::GroupMaxSizeReached, member_id: String::new() });
    rig.pass(secs(9));
    assert_eq!(tickets.map(|ticket| rig.joined(ticket).generation_id), [1, 1]);
    let fourth = rig.join(consumer("d"));
    assert_eq!(rig.refused(fourth).error, GroupError::GroupMaxSizeReached);
}

#[test]
fn as_many_ids_may_wait_to_be_used_as_members_fit() {
    let mut rig = Rig::with(GroupSettings { group_size_max: 2, ..GroupSettings::default() });
    let request = JoinGroup { require_known_member_id: true, ..consumer("a") };
    let errors = [(); 3].map(|()| {
        let ticket = rig.join(request.clone());
        rig.refused(ticket).error
    });
    let (given, refused) = (GroupError::MemberIdRequired, GroupError::GroupMaxSizeReached);
    assert_eq!(errors, [given, given, refused]);
}

#[test]
fn a_member_and_a_group_have_a_size_in_bytes() {
    let mut rig = Rig::new();
    let of_bytes = |bytes: usize| JoinGroup {
        protocols: vec![Protocol { name: "p".into(), metadata: vec![0; bytes].into() }],
        protocol_type: "x".into(),
        ..consumer("c")
    };
    let ticket = rig.join(of_bytes(1024 * 1024));
    assert_eq!(rig.refused(ticket).error, GroupError::UnknownServerError);
    let tickets: Vec<Ticket> = (0..9).map(|_| rig.join(of_bytes(1_000_000))).collect();
    assert!(tickets[..8].iter().all(|ticket| rig.waits(*ticket)));
    assert_eq!(rig.refused(tickets[8]).error, GroupError::GroupMaxSizeReached);
}

#[test]
fn followers_that_join_again_unchanged_are_told_what_they_know() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let ticket = rig.join(again(consumer("b"), &members[1]));
    assert_eq!(rig.joined(ticket), members[1]);
    assert_eq!(rig.group.state(), GroupState::Stable);
}

#[test]
fn a_follower_with_another_subscription_makes_the_group_rebalance() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let changed = JoinGroup { protocols: vec![protocol("range", &["t", "u"])], ..consumer("b") };
    let follower = rig.join(again(changed, &members[1]));
    assert!(rig.waits(follower));
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::RebalanceInProgress));
    let leader = rig.join(again(consumer("a"), &members[0]));
    let joined = rig.joined(leader);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    assert_eq!(rig.joined(follower).generation_id, 2);
    assert!(rig.group.is_subscribed_to("u"));
    assert!(!rig.group.is_subscribed_to("v"));
}

#[test]
fn a_leader_that_joins_again_makes_the_group_rebalance() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let leader = rig.join(again(consumer("a"), &members[0]));
    assert!(rig.waits(leader));
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn members_that_do_not_join_again_in_time_are_out() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let follower = rig.join(again(JoinGroup { protocols: vec![protocol("range", &[])], ..consumer("b") }, &members[1]));
    for _ in 0..12 {
        assert!(rig.waits(follower), "the leader lives, but does not join");
        assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::RebalanceInProgress));
        rig.pass(secs(5));
    }
    let joined = rig.joined(follower);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
    assert_eq!(joined.leader, members[1].member_id);
    assert_eq!(rig.heartbeat(&members[0].member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_member_that_waits_needs_no_heartbeat() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let leader = rig.join(again(consumer("a"), &members[0]));
    for _ in 0..11 {
        rig.pass(secs(5));
        let _ = rig.heartbeat(&members[1].member_id, 1);
    }
    assert!(rig.waits(leader), "55 s, and its session time-out is 10 s");
    rig.pass(secs(5));
    assert_eq!(rig.joined(leader).members.len(), 1);
}

#[test]
fn a_new_member_that_waits_too_long_is_gone() {
    let long = |name: &str| JoinGroup { rebalance_timeout: secs(3600), ..consumer(name) };
    let (mut rig, members) = Rig::stable(vec![long("a")]);
    let new = rig.join(long("b"));
    for _ in 0..60 {
        assert!(rig.waits(new));
        rig.pass(secs(5));
        let _ = rig.heartbeat(&members[0].member_id, 1);
    }
    assert_eq!(rig.refused(new), JoinRefused { error: GroupError::UnknownMemberId, member_id: String::new() });
}

#[test]
fn of_a_repeated_request_the_earlier_one_is_answered_too() {
    let (mut rig, members) = Rig::stable(vec![consumer("a"), consumer("b")]);
    let first = rig.join(again(consumer("a"), &members[0]));
    let second = rig.join(again(consumer("a"), &members[0]));
    assert_eq!(rig.refused(first).error, GroupError::RebalanceInProgress);
    assert!(rig.waits(second));
}

#[test]
fn a_member_that_missed_the_answer_is_told_again() {
    let mut rig = Rig::new();
    let tickets = [rig.join(consumer("a")), rig.join(consumer("b"))];
    rig.pass(secs(9));
    for ticket in tickets {
        let joined = rig.joined(ticket);
        let repeated = rig.join(again(consumer("x"), &joined));
        assert_eq!(rig.joined(repeated), joined);
    }
    assert_eq!(rig.group.state(), GroupState::CompletingRebalance);
}
