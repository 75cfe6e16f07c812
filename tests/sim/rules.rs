//! The pure rules of replication in random histories, against models of a few lines: whose acknowledgement a master needs, and where two logs part.

use std::collections::{BTreeMap, BTreeSet};

use ringmq::replication::epochs::{Epoch, Epochs};
use ringmq::replication::follow::{Start, start};
use ringmq::replication::frames::epoch::EpochList;
use ringmq::replication::members::{MemberId, Membership, SyncStateSet};
use ringmq::replication::replicas::{Link, Replicas, Rule};
use ringmq::sim::Tally;

use crate::dice::Dice;
use crate::seeds;

const MASTER: MemberId = 1;
const OTHERS: [MemberId; 3] = [2, 3, 4];

#[test]
fn rules_every_member_of_the_set_has_what_is_confirmed() {
    seeds::from_environment("members", members, 300);
}

#[test]
fn rules_a_log_that_is_followed_is_a_prefix_of_its_master() {
    seeds::from_environment("epochs", epochs, 300);
}

/// A master with three replicas. The controller's answers may be lost, and each member may lose what is not confirmed.
pub fn members(seed: u64) -> Tally {
    let dice = Dice::new(seed, 80);
    let mut world = World::new(match dice.one_in(3) {
        // A master that is alone needs nobody, until another one joins.
        true => BTreeSet::from([MASTER]),
        false => BTreeSet::from([MASTER, 2, 3]),
    });
    for _ in 0..1_000 {
        world.step(&dice);
        world.check();
    }
    Tally::default()
}

struct World {
    replicas: Replicas,
    log_end: u64,
    /// What the master's own device has. A replica may have more.
    own_end: u64,
    /// What each replica has on its device.
    logs: BTreeMap<MemberId, u64>,
    /// Connections that the master takes for open, with their replica; the last one of a replica is the true one.
    links: BTreeMap<Link, MemberId>,
    learners: BTreeSet<MemberId>,
    next_link: Link,
    /// What the controller has.
    agreed: SyncStateSet,
    /// An answer of the controller that is on its way; None: a refusal.
    answer: Option<Option<SyncStateSet>>,
    /// The last change that was asked for.
    is_granted: bool,
    /// What the needed replicas had: it was flushed there.
    flushed: u64,
    /// The same as far as the master's own device has it: it is acknowledged.
    committed: u64,
}

impl World {
    fn new(members: BTreeSet<MemberId>) -> Self {
        let set = SyncStateSet { members, epoch: 1 };
        let membership = Membership::new(MASTER, set.clone());
        Self {
            replicas: Replicas::new(Rule::Members(membership), 0),
            log_end: 0,
            own_end: 0,
            logs: OTHERS.map(|id| (id, 0)).into(),
            links: BTreeMap::new(),
            learners: BTreeSet::new(),
            next_link: 1,
            agreed: set,
            answer: None,
            is_granted: false,
            flushed: 0,
            committed: 0,
        }
    }

    fn step(&mut self, dice: &Dice) {
        let id = *dice.pick(&OTHERS);
        match dice.below(20) {
            0..=3 => self.log_end += dice.within(1, 50),
            4..=9 => self.report(id, dice),
            10 => self.connect(id, dice),
            11 => self.disconnect(id, dice),
            12..=13 => self.ask(id, dice),
            14..=16 => self.own_end = dice.within(self.own_end, self.log_end),
            _ => self.hear(dice),
        }
        let confirmed = self.replicas.confirm();
        self.flushed = confirmed.min(self.log_end).max(self.flushed);
        self.committed = confirmed.min(self.own_end).max(self.committed);
    }

    /// Every one that the controller may elect has all that is acknowledged.
    fn check(&self) {
        for id in self.agreed.members.iter().filter(|id| **id != MASTER) {
            let has = self.logs[id];
            assert!(
                has >= self.committed,
                "{} is acknowledged, and {id} has {has}: {:?}, the controller has {:?}",
                self.committed,
                self.replicas,
                self.agreed
            );
        }
    }

    fn link_of(&self, id: MemberId) -> Option<Link> {
        let links = self.links.iter().rev();
        links
            .filter(|(_, of)| **of == id)
            .map(|(link, _)| *link)
            .next()
    }

    /// Its device has more, and it reports that.
    fn report(&mut self, id: MemberId, dice: &Dice) {
        let Some(link) = self.link_of(id) else {
            return;
        };
        let mut has = dice.within(self.logs[&id], self.log_end);
        match self.learners.contains(&id) {
            // It has no copy that counts.
            true => has = self.log_end,
            false => drop(self.logs.insert(id, has)),
        }
        // A report may come after the next connection has begun.
        let said = self.replicas.reported(link, has, self.log_end, 0);
        assert_eq!(said, Ok(()));
    }

    fn connect(&mut self, id: MemberId, dice: &Dice) {
        self.lose_some(id, dice);
        let link = self.next_link;
        self.next_link += 1;
        match dice.one_in(6) {
            true => self.learners.insert(id),
            false => self.learners.remove(&id),
        };
        let is_learner = self.learners.contains(&id);
        self.replicas.connected(link, Some(id), is_learner, 0);
        self.links.insert(link, id);
        if !is_learner && dice.one_in(2) {
            let said = self
                .replicas
                .reported(link, self.logs[&id], self.log_end, 0);
            assert_eq!(said, Ok(()));
        }
    }

    fn disconnect(&mut self, id: MemberId, dice: &Dice) {
        self.lose_some(id, dice);
        if let Some(link) = self.link_of(id) {
            self.links.remove(&link);
            self.replicas.disconnected(link);
        }
    }

    /// Of a member's log stays what was flushed.
    fn lose_some(&mut self, id: MemberId, dice: &Dice) {
        let least = match self.agreed.members.contains(&id) {
            true => self.flushed,
            false => 0,
        };
        let has = self.logs[&id];
        self.logs.insert(id, dice.within(least.min(has), has));
        // What it had is of no use to the master any more, and the connection is dead: it reports nothing over it.
        let dead: Vec<_> = self
            .links
            .iter()
            .filter(|(_, of)| **of == id)
            .map(|(link, _)| *link)
            .collect();
        if dice.one_in(2) {
            for link in dead {
                self.links.remove(&link);
                self.replicas.disconnected(link);
            }
        } else {
            self.links.retain(|_, of| *of != id);
            // The master notices later: at the next connection of the replica at the latest.
            self.connect_anew(id);
        }
    }

    fn connect_anew(&mut self, id: MemberId) {
        let link = self.next_link;
        self.next_link += 1;
        self.replicas
            .connected(link, Some(id), self.learners.contains(&id), 0);
        self.links.insert(link, id);
    }

    /// One joins that has what is acknowledged, or one leaves. The controller may refuse, and its answer may be lost.
    fn ask(&mut self, id: MemberId, dice: &Dice) {
        let has = self.logs[&id];
        let is_in = self.agreed.members.contains(&id);
        let (committed, is_learner) = (self.committed, self.learners.contains(&id));
        let Some(membership) = self.replicas.membership() else {
            return;
        };
        let asked = match is_in {
            true => membership.ask([], [id]),
            false if has >= committed && !is_learner => membership.ask([id], []),
            false => None,
        };
        let Some(asked) = asked else {
            return;
        };
        if !is_in {
            self.replicas.take_back(committed);
        }
        let is_granted = asked.epoch == self.agreed.epoch && !dice.one_in(3);
        self.is_granted = is_granted;
        if is_granted {
            self.agreed = SyncStateSet {
                epoch: asked.epoch + 1,
                ..asked
            };
        }
        if !dice.one_in(3) {
            self.answer = Some(is_granted.then(|| self.agreed.clone()));
        }
    }

    /// The answer arrives, or the master asks what the set is. A change that was not granted is refused at last.
    fn hear(&mut self, dice: &Dice) {
        let answer = self.answer.take();
        let agreed = self.agreed.clone();
        let may_be_refused = !self.is_granted;
        let Some(membership) = self.replicas.membership() else {
            return;
        };
        match answer {
            Some(Some(set)) => membership.learned(set),
            Some(None) => membership.refused(),
            None if dice.one_in(3) => membership.learned(agreed),
            None if may_be_refused => membership.refused(),
            None => {}
        }
    }
}

/// A broker's log: who has written what.
#[derive(Clone, Default)]
struct Log {
    /// Each entry is written once in all of the history.
    entries: Vec<u64>,
    epochs: Epochs,
}

impl Log {
    fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Follows a master: cuts what is not in its log, and takes over some of the rest.
    fn follow(&mut self, master: &Log, dice: &Dice) {
        let list = EpochList {
            log_end: master.end(),
            epochs: master.epochs.clone(),
        };
        loop {
            // As a slave does first: of an epoch that begins at its end it has nothing.
            self.epochs.cut(self.end());
            match start(&self.epochs, self.end(), &list, true) {
                Ok(Start::CutAt(position)) => {
                    assert!(position < self.end());
                    self.entries.truncate(position as usize);
                    self.epochs.cut(position);
                }
                Ok(Start::At(at)) => {
                    assert_eq!(at, self.end());
                    break;
                }
                // As an operator does.
                Err(_) => *self = Self::default(),
            }
        }
        let is_prefix = master.entries.starts_with(&self.entries);
        assert!(
            is_prefix,
            "{:?} of {:?}: not a prefix",
            self.epochs, master.epochs
        );
        let end = dice.within(self.end(), master.end());
        while self.end() < end {
            let reign = master.epochs.reign_at(self.end(), master.end());
            let epoch = reign.expect("all of the log has an epoch").epoch;
            if self.epochs.last() != Some(epoch) {
                self.epochs
                    .append(epoch)
                    .expect("the master's list is in order");
            }
            self.entries.push(master.entries[self.entries.len()]);
        }
    }
}

/// Three brokers, of which any may become master at any time, whatever it lacks.
pub fn epochs(seed: u64) -> Tally {
    let dice = Dice::new(seed, 81);
    let mut logs = vec![Log::default(); 3];
    let (mut master, mut number, mut written) = (0, 0, 0);
    for _ in 0..60 {
        if number == 0 || dice.one_in(4) {
            master = dice.below(3) as usize;
            number += 1;
            let start = logs[master].end();
            let begun = logs[master].epochs.begin(Epoch { number, start });
            begun.expect("the newest of all");
        }
        for _ in 0..dice.below(8) {
            written += 1;
            logs[master].entries.push(written);
        }
        let follower = dice.below(3) as usize;
        if follower != master {
            let of = logs[master].clone();
            logs[follower].follow(&of, &dice);
        }
    }
    Tally::default()
}
