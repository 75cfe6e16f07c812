//! Each rule of the manager, by steps of a broker with the number 1 and its controllers.

mod roles;
mod sets;

use super::*;
use crate::replication::members::Membership;
use crate::replication::replicas::Rule;

const S: u64 = 1_000_000_000;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn settings() -> Settings {
    Settings {
        controllers: vec![addr(9878), addr(9868)],
        check_code: "10.0.0.1:10911;1700000000000".into(),
        heartbeat_ns: S,
        decision_ns: 5 * S,
        leader_ns: 1_000 * S,
        limits: Limits {
            standstill_ns: 1_500 * MS,
            behind_ns: 15 * S,
        },
        lease_ns: 6 * S,
    }
}

fn claim() -> Claim {
    Claim {
        id: 1,
        check_code: settings().check_code,
    }
}

fn set(members: impl IntoIterator<Item = MemberId>, epoch: i32) -> SyncStateSet {
    SyncStateSet {
        members: members.into_iter().collect(),
        epoch,
    }
}

fn decision(master: Option<MemberId>, epoch: i32) -> Decision {
    Decision {
        master: master.map(master_of),
        epoch,
        set: set(master, epoch),
    }
}

fn master_of(id: MemberId) -> Master {
    Master {
        id,
        addr: addr(10_900 + 10 * id as u16),
    }
}

/// A manager with its time, its log and, as a master, its replicas.
struct Broker {
    manager: Manager,
    facts: Facts,
    replicas: Option<Replicas>,
    now_ns: u64,
}

impl Broker {
    fn new(id: Option<MemberId>, claim: Option<Claim>) -> Self {
        Self {
            manager: Manager::new(settings(), id, claim),
            facts: Facts::default(),
            replicas: None,
            now_ns: 100 * S,
        }
    }

    /// Registered, with this for an answer to 1003.
    fn registered(facts: Facts, led: Option<Decision>) -> (Self, Vec<Action>) {
        let mut broker = Self::new(Some(1), None);
        broker.facts = facts;
        assert_eq!(broker.asked(), Ask::Leader);
        broker.leads();
        assert_eq!(broker.asked(), Ask::Register(1));
        let actions = broker.answer(Answer::Registered(led));
        (broker, actions)
    }

    /// Master of epoch 3, whose term has begun.
    fn master() -> Self {
        let (mut broker, actions) = Self::registered(Facts::default(), Some(decision(Some(1), 3)));
        assert!(actions.contains(&takes_master(3)), "{actions:?}");
        let membership = Membership::new(1, set([1], 3));
        broker.replicas = Some(Replicas::new(Rule::Members(membership), 0));
        broker.facts.last_epoch = Some(Epoch {
            number: 3,
            start: 0,
        });
        broker
    }

    fn poll(&mut self) -> Vec<Action> {
        let replicas = self.replicas.as_mut();
        self.manager.poll(&self.facts, replicas, self.now_ns)
    }

    /// Polls every 50 ms for so long.
    fn after(&mut self, ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..ms / 50 {
            self.now_ns += 50 * MS;
            actions.extend(self.poll());
        }
        actions
    }

    /// The next question, within 10 s.
    fn asked(&mut self) -> Ask {
        for _ in 0..200 {
            let actions = self.poll();
            let asked = actions.into_iter().find_map(|action| match action {
                Action::Ask(ask, _) => Some(ask),
                _ => None,
            });
            if let Some(ask) = asked {
                return ask;
            }
            self.now_ns += 50 * MS;
        }
        panic!("nothing is asked: {:?}", self.manager);
    }

    fn answer(&mut self, answer: Answer) -> Vec<Action> {
        let replicas = self.replicas.as_mut();
        self.manager.answered(answer, replicas, self.now_ns);
        std::mem::take(&mut self.manager.ready)
    }

    fn leads(&mut self) {
        self.answer(Answer::Leader {
            is_leader: true,
            leader: None,
        });
    }

    fn decides(&mut self, decision: Decision) -> Vec<Action> {
        self.answer(Answer::Decision(decision))
    }

    /// It asks for the decision, and hears that it is the master of epoch 3 with this set.
    fn is_heard(&mut self, members: impl IntoIterator<Item = MemberId>, epoch: i32) {
        assert_eq!(self.asked(), Ask::Decision);
        self.decides(Decision {
            set: set(members, epoch),
            ..decision(Some(1), 3)
        });
    }

    fn refuses(&mut self, refusal: Refusal) {
        let failure = Failure::Refused(refusal, "for a test".into());
        let replicas = self.replicas.as_mut();
        self.manager.failed(&failure, replicas, self.now_ns);
    }

    fn does_not_answer(&mut self) {
        let failure = Failure::NoAnswer("for a test".into());
        let replicas = self.replicas.as_mut();
        self.manager.failed(&failure, replicas, self.now_ns);
    }

    fn notified(&mut self, decision: Decision) -> Vec<Action> {
        let replicas = self.replicas.as_mut();
        self.manager.notified(decision, replicas, self.now_ns);
        std::mem::take(&mut self.manager.ready)
    }

    fn replicas(&mut self) -> &mut Replicas {
        self.replicas.as_mut().unwrap()
    }

    fn needed(&mut self) -> Vec<MemberId> {
        self.replicas().membership().unwrap().needed().collect()
    }

    /// Replica 2 is connected and has all.
    fn has_replica(&mut self) {
        (self.facts.log_end, self.facts.committed) = (100, 100);
        let now_ns = self.now_ns;
        self.replicas().connected(7, Some(2), false, now_ns);
        self.replicas().reported(7, 100, 100, now_ns).unwrap();
    }
}

fn alter(members: impl IntoIterator<Item = MemberId>, epoch: i32) -> Ask {
    Ask::Alter {
        master: 1,
        master_epoch: 3,
        set: set(members, epoch),
    }
}

/// Whether it takes this role, whatever the reason.
fn takes(actions: &[Action], role: &Role) -> bool {
    let is_it =
        |action: &Action| matches!(action, Action::TakeRole { role: taken, .. } if taken == role);
    actions.iter().any(is_it)
}

fn takes_master(epoch: i32) -> Action {
    Action::TakeRole {
        role: Role::Master {
            epoch,
            set: set([1], epoch),
        },
        reason: "as registered at the controller",
    }
}

fn slave(epoch: i32, master: Option<MemberId>) -> Role {
    Role::Slave {
        epoch,
        master: master.map(master_of),
    }
}

fn beats(actions: &[Action]) -> usize {
    let beats = actions
        .iter()
        .filter(|action| matches!(action, Action::Heartbeat(1)));
    beats.count()
}
