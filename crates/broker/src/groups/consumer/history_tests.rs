//! Random histories: clients that are slow, lose answers, come, go and change their minds, while topics change and
//! coordinators fail over. Nobody ever has what another one has, and in the end everybody has what they should have.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::rig::{Rig, beat, join};
use super::super::{LEAVE_EPOCH, STATIC_LEAVE_EPOCH};
use super::*;
use crate::groups::api_consumer::ConsumerHeartbeat;

/// A client as its protocol says: it lets go of what it is not told any more, and takes what is new only after that; and
/// not while it does not know what became of its last heartbeat, which may have said that it has not taken it.
#[derive(Clone, Debug, Default)]
struct Client {
    instance: Option<String>,
    epoch: i32,
    owned: Assignment,
    /// What it was told and has not taken over yet.
    told: Option<Assignment>,
    names: Vec<String>,
    regex: String,
    /// What it last said that it owns.
    said: Option<Assignment>,
    /// Its last heartbeat was not answered.
    must_say_everything: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Beat { client: usize, is_lost: bool },
    TakeOver(usize),
    Subscribe { client: usize, topics: u8 },
    Leave { client: usize, comes_back: bool },
    Pass(u64),
    Topic { number: u128, count: Option<PartitionIndex> },
    Restore,
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..4usize;
    prop_oneof![
        8 => (client.clone(), prop::bool::weighted(0.2)).prop_map(|(client, is_lost)| Step::Beat { client, is_lost }),
        6 => client.clone().prop_map(Step::TakeOver),
        1 => (client.clone(), any::<u8>()).prop_map(|(client, topics)| Step::Subscribe { client, topics }),
        1 => (client, any::<bool>()).prop_map(|(client, comes_back)| Step::Leave { client, comes_back }),
        1 => (0..30u64).prop_map(Step::Pass),
        1 => (1..4u128, prop::option::weighted(0.8, 1..6i32)).prop_map(|(number, count)| Step::Topic { number, count }),
        1 => Just(Step::Restore),
    ]
}

struct History {
    rig: Rig,
    clients: BTreeMap<usize, Client>,
    /// Member ids are new each time a client begins anew.
    lives: usize,
    ids: BTreeMap<usize, String>,
}

impl History {
    fn new() -> Self {
        let mut rig = Rig::new(&[(1, 3), (2, 2)]);
        rig.group.settings.max_size = 100; // members that are gone without a word count too
        Self { rig, clients: BTreeMap::new(), lives: 0, ids: BTreeMap::new() }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Beat { client, is_lost } => self.beat(client, is_lost),
            Step::TakeOver(client) => self.take_over(client),
            Step::Subscribe { client, topics } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    subscribe(client, topics);
                }
            }
            Step::Leave { client, comes_back } => self.leave(client, comes_back),
            Step::Pass(seconds) => {
                self.rig.pass(Duration::from_secs(seconds));
                // Whoever is out cannot know; what such a client still has does not count.
                self.clients.retain(|index, _| self.rig.group.members.contains_key(self.ids[index].as_str()));
            }
            Step::Topic { number, count } => self.rig.set_topic(number, count),
            Step::Restore => self.rig.restore(),
        }
        self.assert_nobody_shares();
    }

    fn beat(&mut self, index: usize, is_lost: bool) {
        let is_new = !self.clients.contains_key(&index);
        if is_new {
            self.lives += 1;
            self.ids.insert(index, format!("m{index}-{}", self.lives));
        }
        let id = self.ids[&index].clone();
        let client = self.clients.entry(index).or_insert_with(|| {
            let instance = index.is_multiple_of(2).then(|| format!("i{index}"));
            Client { instance, names: vec!["t1".to_owned()], must_say_everything: true, ..Client::default() }
        });
        let request = request(&id, client);
        client.said = request.owned.clone().or_else(|| client.said.take());
        let answer = self.rig.send(&request);
        client.must_say_everything = is_lost;
        match answer {
            _ if is_lost => {}
            Ok(answer) => {
                client.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    client.told = Some(assignment);
                }
            }
            Err(refused) => {
                let known =
                    [GroupError::FencedMemberEpoch, GroupError::UnknownMemberId, GroupError::UnreleasedInstanceId];
                assert!(known.contains(&refused.error), "{refused}");
                assert!(is_new || client.epoch == 0, "a client that keeps the protocol was refused: {refused}");
                self.clients.remove(&index);
            }
        }
    }

    fn take_over(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(&index) else { return };
        if let Some(told) = client.told.take() {
            let (kept, revoked) = client.owned.split(&told);
            if revoked.is_empty() && !client.must_say_everything {
                client.owned = told;
                client.said = None; // says so, even if it is nothing new
            } else {
                client.owned = kept; // and takes what is new the next time
                client.told = Some(told);
            }
        }
    }

    fn leave(&mut self, index: usize, comes_back: bool) {
        let Some(client) = self.clients.remove(&index) else { return };
        let epoch = if comes_back && client.instance.is_some() { STATIC_LEAVE_EPOCH } else { LEAVE_EPOCH };
        let request = ConsumerHeartbeat { instance_id: client.instance, ..beat(&self.ids[&index], epoch) };
        let _ = self.rig.send(&request); // whose joining was lost is not known
    }

    fn assert_nobody_shares(&self) {
        let mut owners = BTreeMap::new();
        for (index, client) in &self.clients {
            for partition in client.owned.iter() {
                let other = owners.insert(partition, index);
                assert_eq!(other, None, "{partition:?} is {index}'s too");
            }
        }
    }

    fn assert_converges(&mut self) {
        for _ in 0..40 {
            for index in 0..4 {
                for _ in 0..2 {
                    self.take_over(index);
                }
                self.beat(index, false);
                self.assert_nobody_shares();
            }
        }
        // Those that were out for good are gone by now or in a minute.
        for _ in 0..12 {
            self.rig.pass(Duration::from_secs(5));
            for index in 0..4 {
                self.beat(index, false);
                self.take_over(index);
                self.take_over(index);
            }
        }
        assert_eq!(self.rig.group.state(), GroupState::Stable);
        for (index, client) in &self.clients {
            let id = self.ids[index].as_str();
            assert_eq!(Some(&client.owned), self.rig.group.targets.get(id), "{id}");
        }
        self.rig.restore();
    }
}

fn subscribe(client: &mut Client, topics: u8) {
    client.names = (1..4).filter(|number| topics >> number & 1 == 1).map(|number| format!("t{number}")).collect();
    client.regex = if topics & 1 == 1 { format!("t[1-{}]", topics % 3 + 1) } else { String::new() };
}

fn request(id: &str, client: &Client) -> ConsumerHeartbeat {
    let names: Vec<&str> = client.names.iter().map(String::as_str).collect();
    let full = ConsumerHeartbeat {
        instance_id: client.instance.clone(),
        member_epoch: client.epoch,
        subscribed_topic_regex: Some(client.regex.clone()),
        owned: Some(if client.epoch == 0 { Assignment::default() } else { client.owned.clone() }),
        ..join(id, &names)
    };
    if client.epoch == 0 || client.must_say_everything {
        return full;
    }
    let owned = full.owned.filter(|owned| client.said.as_ref() != Some(owned));
    ConsumerHeartbeat { rebalance_timeout: None, owned, ..full }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nobody_has_what_another_has_and_all_get_what_they_should(steps in prop::collection::vec(steps(), 1..80)) {
        let mut history = History::new();
        for step in steps {
            history.run(step);
        }
        history.assert_converges();
    }
}
