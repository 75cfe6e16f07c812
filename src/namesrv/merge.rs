//! The topics of a registration become the broker's, some in each turn.
//!
//! A client asks for one topic at a time, and a topic changes in one turn.

use std::collections::BTreeMap;

use super::route::Queues;
use super::route_table::{Merge, RouteTable, Row};
use crate::wire::topic::perm::WRITE;

/// Topics that are merged or looked at in one turn.
pub const TOPICS_PER_TURN: usize = 256;

impl RouteTable {
    /// Merges the next topics; whether there may be more. A broker that has lost its place meanwhile has no topics.
    pub fn merge_some(&mut self, merge: &mut Merge) -> bool {
        let life = self.life_of(&merge.broker_name);
        let Some(life) = life.filter(|_| self.has_place(&merge.addr, merge.conn)) else {
            return false;
        };
        if merge.topics.len() == 0 {
            return self.forget_some(merge);
        }
        for (topic, queues) in merge.topics.by_ref().take(TOPICS_PER_TURN) {
            let perm = match merge.read_only {
                true => queues.perm & !WRITE,
                false => queues.perm,
            };
            let queues = Queues { perm, ..queues };
            let row = Row { queues, life };
            if let Some(absent) = &mut merge.absent {
                absent.reported.insert(topic.clone());
            }
            let name = &merge.broker_name;
            match self.topics.get_mut(&topic) {
                // Unchanged reports must not undo a wiped write permission.
                Some(by_broker) => {
                    let is_known = by_broker.get(name).is_some_and(|known| known.life == life);
                    if merge.is_changed || !is_known {
                        by_broker.insert(name.clone(), row);
                    }
                }
                None => {
                    let by_broker = BTreeMap::from([(name.clone(), row)]);
                    self.topics.insert(topic, by_broker);
                }
            }
        }
        merge.topics.len() > 0 || merge.absent.is_some()
    }

    /// Removes the next topics that were not reported, if that is wanted.
    fn forget_some(&mut self, merge: &mut Merge) -> bool {
        let Some(absent) = &mut merge.absent else {
            return false;
        };
        let (mut gone, mut last, mut looked_at) = (Vec::new(), None, 0);
        for (topic, by_broker) in self
            .rows_after(absent.after.as_deref())
            .take(TOPICS_PER_TURN)
        {
            if !absent.reported.contains(topic) && by_broker.contains_key(&merge.broker_name) {
                gone.push(topic.to_owned());
            }
            last = Some(topic.to_owned());
            looked_at += 1;
        }
        absent.after = last;
        for topic in gone {
            self.remove_from_topic(&topic, &merge.broker_name);
        }
        looked_at == TOPICS_PER_TURN
    }

    pub(super) fn remove_from_topic(&mut self, topic: &str, broker_name: &str) {
        if let Some(by_broker) = self.topics.get_mut(topic) {
            by_broker.remove(broker_name);
            if by_broker.is_empty() {
                self.topics.remove(topic);
            }
        }
    }
}
