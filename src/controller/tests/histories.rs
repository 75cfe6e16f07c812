//! Random histories of three controllers that agree on one log: brokers register, heartbeat, die and return, masters alter their sets in any
//! order and with outdated epochs, controllers take over from each other and have forgotten which brokers they heard.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Join,
    Apply {
        id: i64,
        code: u8,
    },
    Beat {
        id: i64,
        epoch: i8,
        offset: i64,
        is_lossy: bool,
    },
    Close {
        id: i64,
    },
    Pass {
        ms: u64,
    },
    Alter {
        master: i64,
        back: u8,
        set: BTreeSet<i64>,
    },
    Elect {
        id: i64,
        designate: bool,
    },
    Clean {
        ids: BTreeSet<i64>,
        even_living: bool,
    },
    CleanAll,
    /// The next controller leads; what the former one proposed last is agreed on only now.
    TakeOver {
        forgets: bool,
        late: bool,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let id = || 1..6_i64;
    let set = || prop::collection::btree_set(1..5_i64, 0..4);
    let act = prop_oneof![
        2 => Just(Act::Join),
        1 => (0..8_i64, any::<u8>()).prop_map(|(id, code)| Act::Apply { id, code }),
        10 => (id(), any::<i8>(), any::<i64>(), prop::bool::weighted(0.1))
            .prop_map(|(id, epoch, offset, is_lossy)| Act::Beat { id, epoch, offset, is_lossy }),
        3 => id().prop_map(|id| Act::Close { id }),
        4 => prop_oneof![1..200_u64, 1_000..4_000_u64, Just(700_000)].prop_map(|ms| Act::Pass { ms }),
        6 => (id(), 0..3_u8, set()).prop_map(|(master, back, set)| Act::Alter { master, back, set }),
        4 => (-1..6_i64, any::<bool>()).prop_map(|(id, designate)| Act::Elect { id, designate }),
        1 => (set(), any::<bool>()).prop_map(|(ids, even_living)| Act::Clean { ids, even_living }),
        1 => Just(Act::CleanAll),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(forgets, late)| Act::TakeOver { forgets, late }),
    ];
    prop::collection::vec(act, 1..80)
}

/// What every state of the log is compared with.
#[derive(Default)]
struct Oracle {
    masters: BTreeMap<i32, i64>,
    ids: BTreeMap<i64, String>,
    before: Option<Group>,
}

impl Oracle {
    fn check(&mut self, command: &Command, applied: &Applied) {
        let Some(group) = &applied.group else { return };
        if let Some(master) = group.master {
            let first = *self.masters.entry(group.master_epoch).or_insert(master);
            assert_eq!(first, master, "two masters of epoch {}", group.master_epoch);
            assert!(group.set.contains(&master), "{group:?}");
            assert!(group.replicas.contains_key(&master));
        }
        for (id, replica) in &group.replicas {
            let first = self
                .ids
                .entry(*id)
                .or_insert_with(|| replica.check_code.clone());
            assert_eq!(*first, replica.check_code, "id {id} was given twice");
            assert!(*id < group.next_id);
        }
        assert!(group.set.iter().all(|id| group.replicas.contains_key(id)));
        if let Some(before) = &self.before {
            assert!(
                group.master_epoch >= before.master_epoch && group.set_epoch >= before.set_epoch
            );
            assert!(group.next_id >= before.next_id);
            assert!(
                group.set == before.set || group.set_epoch > before.set_epoch,
                "a set without an epoch of its own"
            );
            assert!(group.master == before.master || group.master_epoch > before.master_epoch);
            let by_operator = matches!(
                command,
                Command::Elect {
                    asked: AskedBy::Operator(_),
                    ..
                }
            );
            let is_first = before.is_new || before.set.is_empty() && by_operator;
            if applied.is_elected && !is_first {
                let master = group.master.unwrap();
                assert!(
                    before.set.contains(&master),
                    "{master} was not in {:?}",
                    before.set
                );
            }
        }
        self.before = Some(group.clone());
    }
}

struct History {
    world: World,
    followers: Vec<Controller>,
    oracle: Oracle,
    lossy: BTreeSet<i64>,
    outdated: Option<Command>,
    joined: u64,
}

impl History {
    fn new() -> Self {
        Self {
            world: World::new(Settings::default()),
            followers: vec![Controller::default(), Controller::default()],
            oracle: Oracle::default(),
            lossy: BTreeSet::new(),
            outdated: None,
            joined: 0,
        }
    }

    fn agree(&mut self, command: Command) {
        let applied = self.world.agree(&command);
        if let (Command::Elect { asked, .. }, true) = (&command, applied.is_elected) {
            let master = applied
                .group
                .as_ref()
                .and_then(|group| group.master)
                .unwrap();
            let is_first = self.oracle.before.as_ref().is_none_or(|it| it.is_new);
            let is_allowed = is_first || matches!(asked, AskedBy::Operator(_));
            assert!(
                is_allowed || !self.lossy.contains(&master),
                "{master} has lost messages"
            );
        }
        self.oracle.check(&command, &applied);
        // Another controller that applies the same command to the same state has the same state: the snapshot's bytes say so.
        let bytes = snapshot::encode(&self.world.agreed);
        assert_eq!(snapshot::encode(&snapshot::decode(&bytes).unwrap()), bytes);
    }

    fn ask(&mut self, bytes: &[u8]) {
        if let Step::Propose { command, .. } = self.world.step(bytes, 0) {
            self.outdated = Some(command.clone());
            self.agree(command);
        }
    }

    fn due(&mut self) {
        for command in self
            .world
            .controller
            .due(&self.world.agreed, self.world.now_ms)
        {
            self.agree(command);
        }
    }

    fn act(&mut self, act: Act) {
        let name = ("brokerName", Value::Str(NAME));
        match act {
            Act::Join => {
                self.joined += 1;
                let id = self.world.agreed.next_id(NAME);
                let address = address(id);
                let check_code = format!("{address};{}", self.joined);
                let (cluster, name) = (CLUSTER.to_owned(), NAME.to_owned());
                self.agree(Command::ApplyId {
                    cluster,
                    name,
                    id,
                    check_code,
                    address,
                });
            }
            Act::Apply { id, code } => {
                let code = format!("{};{code}-{}", address(id), self.joined);
                let fields = [
                    name,
                    ("clusterName", Value::Str(CLUSTER)),
                    ("appliedBrokerId", Value::I64(id)),
                    ("registerCheckCode", Value::Str(&code)),
                ];
                self.ask(&super::request(1013, &fields, b""));
            }
            Act::Beat {
                id,
                epoch,
                offset,
                is_lossy,
            } => {
                if is_lossy {
                    self.lossy.insert(id)
                } else {
                    self.lossy.remove(&id)
                };
                let more = [("ringmqLogLoss", Value::Bool(is_lossy))];
                self.world
                    .beat_with(id, epoch.into(), offset, &more, 10 + id as u64);
                for follower in &mut self.followers {
                    std::mem::swap(follower, &mut self.world.controller);
                    self.world
                        .beat_with(id, epoch.into(), offset, &more, 10 + id as u64);
                    std::mem::swap(follower, &mut self.world.controller);
                }
            }
            Act::Close { id } => {
                self.world
                    .controller
                    .connection_closed(10 + id as u64, self.world.now_ms);
                let now = self.world.now_ms;
                self.followers
                    .iter_mut()
                    .for_each(|it| it.connection_closed(10 + id as u64, now));
            }
            Act::Pass { ms } => self.world.now_ms += ms,
            Act::Alter { master, back, set } => {
                let (epoch, set_epoch) = self
                    .oracle
                    .before
                    .as_ref()
                    .map_or((0, 0), |it| (it.master_epoch, it.set_epoch));
                let back = i32::from(back);
                let fields = [
                    name,
                    ("masterBrokerId", Value::I64(master)),
                    ("masterEpoch", Value::I64(i64::from(epoch - back))),
                ];
                let sync_state_set_epoch = set_epoch - back % 2;
                let body = loose_json::to_vec(&SyncStateSet {
                    sync_state_set: set,
                    sync_state_set_epoch,
                });
                self.ask(&super::request(1001, &fields, &body));
            }
            Act::Elect { id, designate } => {
                let fields = [
                    name,
                    ("clusterName", Value::Str(CLUSTER)),
                    ("brokerId", Value::I64(id)),
                    ("designateElect", Value::Bool(designate)),
                ];
                self.ask(&super::request(1002, &fields, b""));
            }
            Act::Clean { ids, even_living } => {
                let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
                let ids = ids.join(";");
                let fields = [
                    name,
                    ("brokerControllerIdsToClean", Value::Str(&ids)),
                    ("isCleanLivingBroker", Value::Bool(even_living)),
                ];
                self.ask(&super::request(1011, &fields, b""));
            }
            Act::CleanAll => self.agree(Command::Clean {
                name: NAME.into(),
                ids: None,
            }),
            Act::TakeOver { forgets, late } => self.take_over(forgets, late),
        }
        self.due();
    }

    fn take_over(&mut self, forgets: bool, late: bool) {
        let mut next = match forgets {
            true => Controller::default(),
            false => self.followers.remove(0),
        };
        self.world.controller.lead(false, self.world.now_ms);
        next.lead(true, self.world.now_ms);
        let former = std::mem::replace(&mut self.world.controller, next);
        self.followers.push(former);
        self.followers.truncate(2);
        // It was in the log of the former leader and was not known to be agreed on. A broker that had lost messages may have said so later.
        if let Some(command) = self.outdated.take().filter(|_| late) {
            self.lossy.clear();
            self.agree(command);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_rule(acts in acts()) {
        let mut history = History::new();
        acts.into_iter().for_each(|act| history.act(act));
    }

    #[test]
    fn arbitrary_commands_and_snapshots_never_panic(text in any::<String>(), bytes: Vec<u8>, id: i64, epoch: i32) {
        let _ = snapshot::decode(&bytes);
        let mut agreed = Agreed::default();
        for command in [
            Command::ApplyId { cluster: text.clone(), name: text.clone(), id, check_code: text.clone(), address: text.clone() },
            Command::ApplyId { cluster: text.clone(), name: text.clone(), id: 1, check_code: text.clone(), address: text.clone() },
            Command::Elect { name: text.clone(), asked: AskedBy::Broker(id), candidates: vec![id], unclean: true },
            Command::Elect { name: text.clone(), asked: AskedBy::Controller { master_epoch: epoch }, candidates: vec![id], unclean: true },
            Command::Clean { name: text.clone(), ids: Some([id].into()) },
            Command::SetAddress { name: text.clone(), id, address: text.clone() },
        ] {
            agreed.apply(&command);
            let read: Command = serde_json::from_slice(&serde_json::to_vec(&command).unwrap()).unwrap();
            prop_assert_eq!(read, command);
        }
    }
}
