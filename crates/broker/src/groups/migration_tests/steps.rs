//! From one protocol to the other, step by step.

use super::*;
use crate::groups::api_consumer::DescribedConsumer;

fn rig() -> Rig {
    Rig::new(4, GroupSettings::default())
}

fn with_policy(migration_policy: MigrationPolicy) -> Rig {
    Rig::new(4, GroupSettings { migration_policy, ..GroupSettings::default() })
}

fn member<'a>(members: &'a [DescribedConsumer], id: &str) -> &'a DescribedConsumer {
    members.iter().find(|member| member.member_id == id).expect(id)
}

const CONSUMER_GROUP: GroupType = GroupType::Consumer;

#[test]
fn a_classic_group_is_converted_member_by_member_and_back() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let old = rig.stable("range", &[partitions(0..4)]).remove(0);
    let id = old.member_id.as_str();
    assert_eq!(rig.commit(id, 1), Ok(()));

    let new = rig.beat(&modern("m", 0, &nothing)).expect("joins");
    assert_eq!((new.member_epoch, new.assignment), (2, Some(nothing.clone())), "the classic member has all still");
    assert_eq!(rig.kind(), (CONSUMER_GROUP, GroupState::Reconciling));
    rig.restore();
    assert_eq!(rig.commit(id, 1), Ok(()), "in its generation, with the old versions of OffsetCommit");
    assert_eq!(rig.commit(id, 2), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.heartbeat(id, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.heartbeat(id, 2), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.assigned(&old), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(id, "range", &nothing));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, joined.leader.as_str(), joined.members.len()), (2, "", 0), "nobody leads");
    assert_eq!((joined.protocol_type.as_deref(), joined.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    rig.restore();
    assert_eq!(rig.assigned(&joined), Ok(partitions(0..2)));
    assert_eq!(rig.heartbeat(id, 2), Ok(()));
    let new = rig.beat(&modern("m", 2, &nothing)).expect("a member");
    assert_eq!(new.assignment, Some(partitions(2..4)));
    assert_eq!(rig.kind(), (CONSUMER_GROUP, GroupState::Stable));
    let described = rig.group.describe_consumer(&rig.topics).expect("a KIP-848 group");
    assert!(member(&described.members, id).is_classic && !member(&described.members, "m").is_classic);

    rig.beat(&modern("m", -1, &nothing)).expect("leaves");
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::PreparingRebalance));
    assert_eq!(rig.heartbeat(id, 2), Err(GroupError::RebalanceInProgress), "in the generation that it knows");
    assert_eq!(rig.commit(id, 2), Ok(()));
    rig.restore();
    assert_eq!(rig.heartbeat(id, 2), Err(GroupError::RebalanceInProgress), "which the next coordinator says too");
    let ticket = rig.join(classic(id, "range", &nothing));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, joined.leader.as_str()), (3, id));
    let ticket = rig.sync(&joined, vec![(id.to_owned(), written(&partitions(0..4)))]);
    assert_eq!(rig.synced(ticket), Ok(partitions(0..4)));
    rig.restore();
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::Stable));
    assert_eq!(rig.rows.len(), 1, "nothing is left of what it was: {:?}", rig.rows.keys());
}

#[test]
fn a_cooperative_member_keeps_what_it_is_not_asked_for() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let old = rig.stable("cooperative-sticky", &[partitions(0..4)]).remove(0);
    let id = old.member_id.as_str();
    rig.beat(&modern("m", 0, &nothing)).expect("joins");
    let ticket = rig.join(classic(id, "cooperative-sticky", &partitions(0..4)));
    let joined = rig.joined(ticket);
    assert_eq!(joined.generation_id, 1, "has to give up partitions first");
    assert_eq!(rig.assigned(&joined), Ok(partitions(0..2)));
    assert_eq!(rig.beat(&modern("m", 2, &nothing)).expect("a member").assignment, Some(nothing.clone()), "held still");
    assert_eq!(rig.heartbeat(id, 1), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(id, "cooperative-sticky", &partitions(0..2)));
    let joined = rig.joined(ticket);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(rig.assigned(&joined), Ok(partitions(0..2)));
    assert_eq!(rig.beat(&modern("m", 2, &nothing)).expect("a member").assignment, Some(partitions(2..4)));
    assert_eq!(rig.heartbeat(id, 2), Ok(()));
}

#[test]
fn a_classic_member_joins_again_when_what_it_waits_for_is_free() {
    let mut rig = rig();
    let nothing = Assignment::default();
    rig.beat(&modern("m", 0, &nothing)).expect("joins");
    let (id, ticket) = rig.join_new("range");
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, rig.assigned(&joined)), (2, Ok(nothing.clone())));
    assert_eq!(rig.heartbeat(&id, 2), Ok(()), "nothing is free yet");
    rig.beat(&modern("m", 1, &partitions(0..4))).expect("a member");
    rig.beat(&modern("m", 1, &partitions(0..2))).expect("let go");
    assert_eq!(rig.heartbeat(&id, 2), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(&id, "range", &nothing));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, rig.assigned(&joined)), (2, Ok(partitions(2..4))));
    assert_eq!(rig.heartbeat(&id, 2), Ok(()));
}

#[test]
fn what_does_not_fit_is_refused_as_kafka_does() {
    let mut rig = rig();
    let nothing = Assignment::default();
    rig.beat(&modern("m", 0, &nothing)).expect("joins");
    let (id, ticket) = rig.join_new("range");
    let joined = rig.joined(ticket);
    let refusal = |rig: &mut Rig, request: JoinGroup| {
        let ticket = rig.join(request);
        match rig.answer(ticket) {
            Some(Reply::Join(Err(refused))) => refused.error,
            other => panic!("{other:?}"),
        }
    };
    let other = JoinGroup { protocol_type: "connect".to_owned(), ..classic("", "range", &nothing) };
    assert_eq!(refusal(&mut rig, other), GroupError::InconsistentGroupProtocol);
    assert_eq!(refusal(&mut rig, classic("", "sticky", &nothing)), GroupError::InconsistentGroupProtocol);
    let short = JoinGroup { session_timeout: secs(1), ..classic("", "range", &nothing) };
    assert_eq!(refusal(&mut rig, short), GroupError::InvalidSessionTimeout);
    let malformed = Protocol { name: "range".to_owned(), metadata: Bytes::from_static(b"x") };
    let malformed = JoinGroup { protocols: vec![malformed], ..classic("n", "range", &nothing) };
    assert_eq!(refusal(&mut rig, malformed), GroupError::UnknownServerError);
    let fixed = JoinGroup { group_instance_id: Some("i".to_owned()), ..classic("n", "range", &nothing) };
    assert_eq!(refusal(&mut rig, fixed), GroupError::UnknownMemberId);
    assert_eq!(rig.heartbeat("m", 1), Err(GroupError::UnknownMemberId), "does not speak the classic protocol");
    let stranger = Joined { member_id: "m".to_owned(), generation_id: 1, ..joined.clone() };
    assert_eq!(rig.assigned(&stranger), Err(GroupError::UnknownMemberId));
    let wrong = Joined { protocol_name: Some("sticky".to_owned()), ..joined.clone() };
    assert_eq!(rig.assigned(&wrong), Err(GroupError::InconsistentGroupProtocol));
    let late = Joined { generation_id: 1, ..joined };
    assert_eq!(rig.assigned(&late), Err(GroupError::IllegalGeneration));
    assert_eq!(rig.leave("x", None), Some(GroupError::UnknownMemberId));
    assert_eq!(rig.leave(&id, None), None);
    assert_eq!(rig.kind().0, CONSUMER_GROUP, "one that speaks KIP-848 is left");
}

#[test]
fn a_group_has_room_for_so_many_of_both_protocols() {
    let consumer = ConsumerSettings { max_size: 2, ..ConsumerSettings::default() };
    let mut rig = Rig::new(4, GroupSettings { consumer, ..GroupSettings::default() });
    let nothing = Assignment::default();
    rig.stable("range", &[partitions(0..2), partitions(2..4)]);
    assert_eq!(rig.beat(&modern("m", 0, &nothing)).unwrap_err().error, GroupError::GroupMaxSizeReached);
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::Stable), "nothing changed");
}

#[test]
fn only_groups_of_consumers_are_converted_and_only_if_the_policy_allows_it() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut rig = with_policy(policy);
        rig.stable("range", &[partitions(0..4)]);
        let refused = rig.beat(&modern("m", 0, &Assignment::default())).unwrap_err();
        assert_eq!(refused.error, GroupError::GroupIdNotFound);
        assert!(refused.message.contains("online upgrade is disabled"), "{refused}");
    }
    let mut rig = rig();
    let request = JoinGroup { protocol_type: "connect".to_owned(), ..classic("", "range", &Assignment::default()) };
    rig.join(JoinGroup { require_known_member_id: false, ..request });
    let refused = rig.beat(&modern("m", 0, &Assignment::default())).unwrap_err();
    assert!(refused.message.contains("does not use the consumer embedded protocol"), "{refused}");
    let refused = rig.beat(&modern("m", 1, &Assignment::default())).unwrap_err();
    assert_eq!(refused, HeartbeatRefused::not_consumer("g"), "not by somebody who says to be a member");
}

#[test]
fn without_the_policy_a_group_stays_when_its_last_kip_848_member_goes() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Upgrade] {
        let mut rig = with_policy(policy);
        rig.beat(&modern("m", 0, &Assignment::default())).expect("joins");
        let (id, _) = rig.join_new("range");
        rig.beat(&modern("m", -1, &Assignment::default())).expect("leaves");
        assert_eq!(rig.kind().0, CONSUMER_GROUP);
        let ticket = rig.join(classic(&id, "range", &Assignment::default()));
        let joined = rig.joined(ticket);
        assert_eq!(rig.assigned(&joined), Ok(partitions(0..4)));
    }
}

#[test]
fn an_assignment_that_cannot_be_kept_is_not_converted() {
    let mut rig = rig();
    rig.stable("range", &[partitions(0..4), partitions(3..4)]);
    let refused = rig.beat(&modern("m", 0, &Assignment::default())).unwrap_err();
    assert!(refused.message.contains("assigned the same partitions"), "{refused}");
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::Stable));
}

#[test]
fn who_waits_in_a_classic_group_is_asked_to_join_again() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let old = rig.stable("range", &[partitions(0..4)]).remove(0);
    let (second, waits) = rig.join_new("range");
    assert_eq!(rig.answer(waits), None, "waits for the first");
    rig.beat(&modern("m", 0, &nothing)).expect("joins");
    let refused = JoinRefused { error: GroupError::RebalanceInProgress, member_id: second.clone() };
    assert_eq!(rig.answer(waits), Some(Reply::Join(Err(refused))));
    let described = rig.group.describe_consumer(&rig.topics).expect("a KIP-848 group");
    assert_eq!(described.members.len(), 2, "who was never answered is no member yet");
    for id in [&old.member_id, &second] {
        let ticket = rig.join(classic(id, "range", &nothing));
        assert_eq!(rig.joined(ticket).member_id, *id);
    }
    assert_eq!(rig.group.describe_consumer(&rig.topics).expect("a KIP-848 group").members.len(), 3);
}

#[test]
fn what_a_member_may_have_of_the_generation_before_is_nobody_elses() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let first = rig.stable("cooperative-sticky", &[partitions(0..4)]).remove(0);
    let (_, waits) = rig.join_new("cooperative-sticky");
    let ticket = rig.join(classic(&first.member_id, "cooperative-sticky", &partitions(0..4)));
    let (first, second) = (rig.joined(ticket), rig.joined(waits));
    assert_eq!(rig.sync(&second, Vec::new()), Ticket(rig.tickets));
    // A third one comes before the leader has assigned: nobody is assigned anything now, and the first has what it had.
    rig.join_new("cooperative-sticky");
    rig.beat(&modern("m", 0, &nothing)).expect("joins");
    for _ in 0..3 {
        let told = rig.beat(&modern("m", 3, &nothing)).expect("a member").assignment;
        assert_eq!(told.unwrap_or_default(), nothing, "the first has not let go");
    }
    assert_eq!(rig.heartbeat(&first.member_id, 2), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(&first.member_id, "cooperative-sticky", &partitions(0..4)));
    let joined = rig.joined(ticket);
    assert_eq!((joined.generation_id, rig.assigned(&joined)), (2, Ok(nothing.clone())), "has to let go first");
    let ticket = rig.join(classic(&first.member_id, "cooperative-sticky", &nothing));
    rig.joined(ticket);
    let told = rig.beat(&modern("m", 3, &nothing)).expect("a member").assignment;
    assert!(told.is_some_and(|told| !told.is_empty()), "what is let go is given");
}

#[test]
fn classic_members_are_out_if_they_do_not_do_their_part() {
    let mut rig = rig();
    rig.beat(&modern("m", 0, &Assignment::default())).expect("joins");
    let settings = GroupSettings { session_timeout_max: secs(3600), ..GroupSettings::default() };
    rig.settings = Arc::new(settings);
    let patient = |id: &str| JoinGroup { session_timeout: secs(3600), ..classic(id, "range", &Assignment::default()) };
    let members = |rig: &mut Rig| {
        rig.beat(&modern("m", epoch_of(rig, "m"), &Assignment::default())).expect("a member");
        rig.group.describe_consumer(&rig.topics).expect("a KIP-848 group").members.len()
    };
    // Joined, and never asked what it is assigned.
    let ticket = rig.join(patient("a"));
    rig.joined(ticket);
    rig.pass(secs(29));
    assert_eq!(members(&mut rig), 2);
    rig.pass(secs(1));
    assert_eq!(members(&mut rig), 1);
    // Was told to join again, and only says that it is there.
    let ticket = rig.join(patient("b"));
    let joined = rig.joined(ticket);
    rig.assigned(&joined).expect("an assignment");
    let ticket = rig.join(patient("c"));
    let other = rig.joined(ticket);
    rig.assigned(&other).expect("an assignment");
    for _ in 0..2 {
        assert_eq!(rig.heartbeat("b", joined.generation_id), Err(GroupError::RebalanceInProgress));
        rig.pass(secs(15));
        members(&mut rig);
    }
    assert_eq!(members(&mut rig), 2);
    assert_eq!(rig.heartbeat("b", joined.generation_id), Err(GroupError::UnknownMemberId));
    // Says nothing at all.
    rig.settings = Arc::new(GroupSettings::default());
    let (id, ticket) = rig.join_new("range");
    let joined = rig.joined(ticket);
    rig.assigned(&joined).expect("an assignment");
    rig.pass(secs(9));
    assert!(matches!(rig.heartbeat(&id, joined.generation_id), Ok(()) | Err(GroupError::RebalanceInProgress)));
    rig.pass(secs(10));
    assert_eq!(rig.heartbeat(&id, joined.generation_id), Err(GroupError::UnknownMemberId));
}

fn epoch_of(rig: &Rig, member_id: &str) -> i32 {
    let described = rig.group.describe_consumer(&rig.topics).expect("a KIP-848 group");
    member(&described.members, member_id).member_epoch
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_partitions() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let fixed = |request: JoinGroup| JoinGroup { group_instance_id: Some("i".to_owned()), ..request };
    let fixed_modern = |request| ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..request };
    let other = rig.stable("range", &[partitions(0..4)]).remove(0);
    rig.beat(&fixed_modern(modern("m", 0, &nothing))).expect("joins");
    let ticket = rig.join(classic(&other.member_id, "range", &nothing));
    let joined = rig.joined(ticket);
    assert_eq!(rig.assigned(&joined), Ok(partitions(0..2)));
    rig.beat(&fixed_modern(modern("m", 2, &nothing))).expect("a member");
    assert_eq!(rig.kind(), (CONSUMER_GROUP, GroupState::Stable));

    // It starts over as a classic one, without leaving: nobody has to do anything.
    let ticket = rig.join(fixed(classic("", "range", &nothing)));
    let back = rig.joined(ticket);
    assert_eq!((back.generation_id, rig.kind()), (2, (GroupType::Classic, GroupState::Stable)));
    let ticket = rig.sync_as(&back, Some("i".to_owned()), Vec::new());
    assert_eq!(rig.synced(ticket), Ok(partitions(2..4)));
    assert_eq!(rig.heartbeat(&other.member_id, 2), Ok(()));
    rig.restore();
    assert_eq!(rig.heartbeat(&other.member_id, 2), Ok(()));
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::Stable));

    // And again as a KIP-848 one.
    let again = rig.beat(&fixed_modern(modern("n", 0, &nothing))).expect("takes its own place");
    assert_eq!(again.assignment, Some(partitions(2..4)));
    assert_eq!(rig.heartbeat(&back.member_id, 2), Err(GroupError::UnknownMemberId));
    assert_eq!(rig.kind(), (CONSUMER_GROUP, GroupState::Reconciling));
    assert_eq!(rig.heartbeat(&other.member_id, 2), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(&other.member_id, "range", &nothing));
    let joined = rig.joined(ticket);
    assert_eq!(rig.assigned(&joined), Ok(partitions(0..2)), "nothing moved");
}

#[test]
fn a_static_member_that_makes_a_group_classic_waits_for_those_who_have_to_join() {
    let mut rig = rig();
    let nothing = Assignment::default();
    let fixed = |request| ConsumerHeartbeat { instance_id: Some("i".to_owned()), ..request };
    rig.beat(&fixed(modern("m", 0, &nothing))).expect("joins");
    let (id, ticket) = rig.join_new("range");
    let joined = rig.joined(ticket);
    assert_eq!(rig.assigned(&joined), Ok(nothing.clone()), "m has all");
    let back = JoinGroup { group_instance_id: Some("i".to_owned()), ..classic("", "range", &nothing) };
    let waits = rig.join(back);
    assert_eq!(rig.answer(waits), None);
    assert_eq!(rig.kind(), (GroupType::Classic, GroupState::PreparingRebalance));
    assert_eq!(rig.heartbeat(&id, 2), Err(GroupError::RebalanceInProgress));
    let ticket = rig.join(classic(&id, "range", &nothing));
    assert_eq!(rig.joined(ticket).generation_id, rig.joined(waits).generation_id);
}

#[test]
fn the_last_kip_848_member_may_go_in_any_way() {
    for way in 0..3 {
        let mut rig = rig();
        let nothing = Assignment::default();
        rig.beat(&modern("m", 0, &nothing)).expect("joins");
        let (id, ticket) = rig.join_new("range");
        rig.joined(ticket);
        match way {
            0 => drop(rig.beat(&modern("m", -1, &nothing)).expect("leaves")),
            1 => assert_eq!(rig.leave("m", None), None, "put out"),
            _ => {
                for _ in 0..5 {
                    rig.pass(secs(9));
                    let ticket = rig.join(classic(&id, "range", &nothing));
                    rig.answer(ticket);
                }
            }
        }
        assert_eq!(rig.kind().0, GroupType::Classic, "way {way}");
    }
}

#[test]
fn what_a_member_has_is_its_own_through_conversions_that_it_does_not_hear_of() {
    let mut rig = rig();
    let nothing = Assignment::default();
    rig.stable("cooperative-sticky", &[partitions(0..4)]);
    for member_id in ["m", "n"] {
        rig.beat(&modern(member_id, 0, &nothing)).expect("joins");
        let told = rig.beat(&modern(member_id, epoch_of(&rig, member_id), &nothing)).expect("a member").assignment;
        assert_eq!(told, Some(nothing.clone()), "the classic member has all");
        rig.beat(&modern(member_id, -1, &nothing)).expect("leaves");
        assert_eq!(rig.kind().0, GroupType::Classic);
    }
}
