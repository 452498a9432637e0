//! Random histories: clients of both protocols come and go at a random pace, and coordinators fail over, so that the group
//! changes its protocol again and again. Nobody ever has what another one has, and in the end all of it is had.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::*;

const HISTORIES: u64 = 150;
const STEPS: usize = 200;
const CLIENTS: usize = 5;
const PARTITIONS: PartitionIndex = 6;

/// A client that keeps its protocol.
#[derive(Debug)]
enum Client {
    Classic(Classic),
    Modern(Modern),
}

#[derive(Debug, Default)]
struct Classic {
    instance_id: Option<String>,
    member_id: String,
    /// What it was told last, until it asks what it is assigned and after.
    joined: Option<Joined>,
    is_synced: bool,
    waits: Option<Ticket>,
    owned: Assignment,
    must_join: bool,
    /// It was put out since it was told what it has, and does not know.
    is_out: bool,
}

#[derive(Debug, Default)]
struct Modern {
    instance_id: Option<String>,
    member_id: String,
    epoch: i32,
    owned: Assignment,
}

struct History {
    rig: Rig,
    random: StdRng,
    /// Gives up all it has before it joins, or only what it is told to.
    is_eager: bool,
    clients: BTreeMap<usize, Client>,
    lives: usize,
    /// As programs are rolled out and back: how many of those that begin speak the classic protocol.
    classic_share: f64,
    conversions: usize,
    kind: GroupType,
}

impl History {
    fn new(seed: u64) -> Self {
        let rig = Rig::new(PARTITIONS, GroupSettings::default());
        let (random, is_eager, kind) = (StdRng::seed_from_u64(seed), seed.is_multiple_of(2), GroupType::Classic);
        Self { rig, random, is_eager, clients: BTreeMap::new(), lives: 0, classic_share: 1.0, conversions: 0, kind }
    }

    fn protocol(&self) -> &'static str {
        if self.is_eager { "range" } else { "cooperative-sticky" }
    }

    fn step(&mut self) {
        let number = self.random.random_range(0..CLIENTS);
        match self.random.random_range(0..40) {
            0..=3 => self.begin_anew(number),
            4 => self.leave(number),
            5 => self.fail_over(),
            6..=9 => {
                let time = Duration::from_millis(self.random.random_range(1..4_000));
                self.rig.pass(time);
            }
            10 if self.random.random_bool(0.2) => self.rig.pass(secs(20)),
            _ => self.act(number),
        }
        self.check();
    }

    /// Another program takes a client's place, whose predecessor ended or, if it is not static, died.
    fn begin_anew(&mut self, number: usize) {
        if self.random.random_bool(0.7) {
            self.leave(number);
        }
        self.lives += 1;
        let instance_id = number.is_multiple_of(2).then(|| format!("instance{number}"));
        let client = if self.random.random_bool(self.classic_share) {
            Client::Classic(Classic { instance_id, must_join: true, ..Classic::default() })
        } else {
            Client::Modern(Modern { instance_id, member_id: format!("m{}", self.lives), ..Modern::default() })
        };
        self.clients.insert(number, client);
    }

    fn leave(&mut self, number: usize) {
        match self.clients.remove(&number) {
            Some(Client::Classic(client)) if client.member_id.is_empty() => {}
            Some(Client::Classic(client)) => {
                self.rig.leave(&client.member_id, client.instance_id.as_deref());
            }
            Some(Client::Modern(client)) => {
                // A static one says that it will be back, or that it will not.
                let comes_back = client.instance_id.is_some() && self.random.random_bool(0.5);
                let epoch = if comes_back { -2 } else { -1 };
                let request = ConsumerHeartbeat {
                    instance_id: client.instance_id,
                    ..modern(&client.member_id, epoch, &client.owned)
                };
                let _ = self.rig.beat(&request);
            }
            None => {}
        }
    }

    fn fail_over(&mut self) {
        self.rig.restore();
        for client in self.clients.values_mut() {
            if let Client::Classic(client) = client
                && client.waits.take().is_some()
            {
                client.must_join = true; // NOT_COORDINATOR
            }
        }
    }

    fn act(&mut self, number: usize) {
        match self.clients.remove(&number) {
            Some(Client::Classic(mut client)) => {
                self.act_as_classic(&mut client);
                self.clients.insert(number, Client::Classic(client));
            }
            Some(Client::Modern(mut client)) => {
                self.act_as_modern(&mut client);
                self.clients.insert(number, Client::Modern(client));
            }
            None => self.begin_anew(number),
        }
    }

    fn act_as_modern(&mut self, client: &mut Modern) {
        let request = ConsumerHeartbeat {
            instance_id: client.instance_id.clone(),
            ..modern(&client.member_id, client.epoch, &client.owned)
        };
        match self.rig.beat(&request) {
            Ok(answer) => {
                client.epoch = answer.member_epoch;
                if let Some(told) = answer.assignment {
                    // It takes what is new only when it has nothing to give up any more.
                    let (kept, revoked) = client.owned.split(&told);
                    client.owned = if revoked.is_empty() { told } else { kept };
                }
            }
            Err(refused) => {
                client.owned = Assignment::default();
                client.epoch = 0;
                self.lives += 1;
                client.member_id = format!("m{}", self.lives);
                let known = [
                    GroupError::FencedMemberEpoch,
                    GroupError::UnknownMemberId,
                    GroupError::UnreleasedInstanceId,
                    GroupError::FencedInstanceId,
                    GroupError::GroupIdNotFound,
                ];
                assert!(known.contains(&refused.error), "{refused}");
                // The group it was in is a classic one now, or it was put out of it; it may join at once.
                assert!(request.member_epoch != 0 || refused.error != GroupError::GroupIdNotFound, "{refused}");
            }
        }
    }

    fn act_as_classic(&mut self, client: &mut Classic) {
        if let Some(ticket) = client.waits {
            return self.hear(client, ticket);
        }
        let generation = client.joined.as_ref().map_or(-1, |joined| joined.generation_id);
        if client.must_join || client.joined.is_none() {
            return self.join(client);
        }
        if !client.is_synced {
            return self.sync(client);
        }
        match self.rig.heartbeat(&client.member_id, generation) {
            Ok(()) => {}
            Err(GroupError::RebalanceInProgress) => client.must_join = true,
            Err(error) => lose(client, error),
        }
    }

    fn join(&mut self, client: &mut Classic) {
        if self.is_eager {
            client.owned = Assignment::default();
        }
        client.must_join = false;
        client.is_synced = false;
        let group_instance_id = client.instance_id.clone();
        let request = classic(&client.member_id, self.protocol(), &client.owned);
        client.waits = Some(self.rig.join(JoinGroup { group_instance_id, ..request }));
    }

    fn sync(&mut self, client: &mut Classic) {
        let Some(joined) = client.joined.clone() else { return };
        let assignments = self.divide(&joined);
        client.waits = Some(self.rig.sync_as(&joined, client.instance_id.clone(), assignments));
    }

    /// What a leader makes of what the members say: who has something keeps it, up to a fair share; what somebody has is given to
    /// another one only in the next generation.
    fn divide(&self, joined: &Joined) -> Vec<(String, Bytes)> {
        let mut shares: Vec<(String, Assignment, Assignment)> = Vec::new();
        for member in &joined.members {
            let said = crate::groups::embedded::Subscription::parse(&member.metadata).expect("a subscription");
            let owned = partitions(said.owned.into_iter().flat_map(|(_, partitions)| partitions));
            shares.push((member.member_id.clone(), owned, Assignment::default()));
        }
        let fair = (PARTITIONS as usize).div_ceil(shares.len().max(1));
        for (topic, partition) in partitions(0..PARTITIONS).iter() {
            let owner = shares.iter_mut().find(|(_, owned, _)| owned.contains(topic, partition));
            match owner {
                Some((_, _, share)) if share.len() < fair => drop(share.insert(topic, partition)),
                Some(_) => {}
                None => {
                    let poorest = shares.iter_mut().min_by_key(|(_, owned, share)| owned.len().max(share.len()));
                    poorest.map(|(_, _, share)| share.insert(topic, partition));
                }
            }
        }
        shares.into_iter().map(|(member_id, _, share)| (member_id, written(&share))).collect()
    }

    /// Takes an answer that it waits for.
    fn hear(&mut self, client: &mut Classic, ticket: Ticket) {
        let Some(reply) = self.rig.answer(ticket) else { return };
        client.waits = None;
        match reply {
            Reply::Join(Ok(joined)) => {
                client.member_id = joined.member_id.clone();
                client.joined = Some(joined);
            }
            Reply::Join(Err(refused)) => {
                client.must_join = true;
                match refused.error {
                    GroupError::MemberIdRequired => client.member_id = refused.member_id,
                    GroupError::RebalanceInProgress => {}
                    error => lose(client, error),
                }
            }
            Reply::Sync(Ok(synced)) => {
                let told = read(&synced.assignment);
                let (_, revoked) = client.owned.split(&told);
                client.owned = told;
                client.is_out = false;
                client.is_synced = true;
                // Cooperative: what was given up can be given away now. And a leader joins again for what it gave to nobody.
                client.must_join = !revoked.is_empty();
            }
            Reply::Sync(Err(GroupError::RebalanceInProgress)) => client.must_join = true,
            Reply::Sync(Err(error)) => lose(client, error),
            other => panic!("nobody asked for that: {other:?}"),
        }
    }

    fn members(&self) -> Vec<String> {
        match &self.rig.group.members {
            Members::Classic(classic) => {
                classic.describe().members.into_iter().map(|member| member.member_id).collect()
            }
            Members::Consumer(consumer) => {
                consumer.describe(&self.rig.topics).members.into_iter().map(|member| member.member_id).collect()
            }
        }
    }

    /// Of those that are members: who is put out hears of it later, in any protocol.
    fn check(&mut self) {
        let members = self.members();
        let mut owners = BTreeMap::new();
        for (number, client) in &mut self.clients {
            let (is_out, owned) = match client {
                Client::Classic(client) => {
                    client.is_out |= !members.contains(&client.member_id);
                    (client.is_out, client.owned.clone())
                }
                Client::Modern(client) => (!members.contains(&client.member_id), client.owned.clone()),
            };
            if !is_out {
                for partition in owned.iter() {
                    let other = owners.insert(partition, *number);
                    assert_eq!(other, None, "{partition:?} is {number}'s too");
                }
            }
        }
        let (kind, _) = self.rig.kind();
        self.conversions += usize::from(kind != self.kind);
        self.kind = kind;
    }

    /// Everybody does what they should, and time passes.
    fn settle(&mut self) {
        for round in 0..90 {
            for number in 0..CLIENTS {
                for _ in 0..3 {
                    self.act(number);
                }
                self.check();
            }
            self.rig.pass(secs(u64::from(round < 60)));
            self.check();
        }
        let mut all = Assignment::default();
        for client in self.clients.values() {
            match client {
                Client::Classic(client) => all.extend(client.owned.iter()),
                Client::Modern(client) => all.extend(client.owned.iter()),
            }
        }
        assert_eq!(all, partitions(0..PARTITIONS), "nobody has the others: {:?}", self.clients);
        assert_eq!(self.rig.kind().1, GroupState::Stable, "{:?}", self.clients);
        let kinds: Vec<bool> = self.clients.values().map(|client| matches!(client, Client::Modern(_))).collect();
        let expected = if kinds.contains(&true) { GroupType::Consumer } else { GroupType::Classic };
        assert_eq!(self.rig.kind().0, expected);
    }
}

fn lose(client: &mut Classic, error: GroupError) {
    let known = [
        GroupError::UnknownMemberId,
        GroupError::IllegalGeneration,
        GroupError::FencedInstanceId,
        GroupError::InconsistentGroupProtocol,
    ];
    assert!(known.contains(&error), "{error}");
    client.owned = Assignment::default();
    client.joined = None;
    client.must_join = true;
    if error != GroupError::IllegalGeneration {
        client.member_id.clear();
    }
}

#[test]
fn nobody_has_what_another_has_whichever_protocol_they_speak() {
    let mut conversions = 0;
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for step in 0..STEPS {
            history.classic_share = [1.0, 0.5, 0.0, 0.5][step / 25 % 4];
            history.step();
        }
        history.settle();
        conversions += history.conversions;
    }
    assert!(conversions > 300, "histories in which little happens prove little: {conversions}");
}
