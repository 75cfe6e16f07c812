//! Passes through all topics, some in each turn: the rows of brokers that are gone are removed, and a broker's write permission is
//! taken away or given back.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::NameServer;
use super::merge::TOPICS_PER_TURN;
use super::route_table::{RouteTable, Row, Sweep};
use crate::wire::Reply;
use crate::wire::route::{AddWritePermReply, WipeWritePermReply};
use crate::wire::topic::perm::{READ, WRITE};

/// WIPE_WRITE_PERM_OF_BROKER (205) or ADD_WRITE_PERM_OF_BROKER (327) that is being carried out. It lasts until the broker reports a
/// change of its topics. Producers skip a broker whose topics are not writable.
#[derive(Debug)]
pub struct PermChange {
    broker_name: String,
    is_given: bool,
    at: Sweep,
    pub(super) changed: i32,
}

impl PermChange {
    pub(super) fn new(broker_name: &str, is_given: bool) -> Self {
        Self {
            broker_name: broker_name.into(),
            is_given,
            at: Sweep::default(),
            changed: 0,
        }
    }

    /// Changes the next topics; the answer if these were the last ones.
    pub fn turn(&mut self, server: &mut NameServer) -> Option<Reply> {
        if self.change_some(&mut server.routes) {
            return None;
        }
        let changed = self.changed;
        Some(match self.is_given {
            true => Reply::ok().with_fields(
                &AddWritePermReply {
                    add_topic_count: changed,
                }
                .ext(),
            ),
            false => Reply::ok().with_fields(
                &WipeWritePermReply {
                    wipe_topic_count: changed,
                }
                .ext(),
            ),
        })
    }

    /// Whether there may be more.
    pub(super) fn change_some(&mut self, routes: &mut RouteTable) -> bool {
        let (name, life) = (&self.broker_name, routes.life_of(&self.broker_name));
        let (changed, is_given) = (&mut self.changed, self.is_given);
        routes.next_topics(&mut self.at, |rows| {
            let row = rows.get_mut(name).filter(|row| Some(row.life) == life);
            if let Some(row) = row {
                row.queues.perm = match is_given {
                    true => READ | WRITE,
                    false => row.queues.perm & !WRITE,
                };
                *changed += 1;
            }
        })
    }
}

impl RouteTable {
    /// Removes rows of brokers that are gone from the next topics; whether there may be more.
    pub fn sweep_some(&mut self) -> bool {
        let Some(mut sweep) = self.sweep.take() else {
            return false;
        };
        let lives = std::mem::take(&mut self.lives);
        let goes_on = self.next_topics(&mut sweep, |rows| {
            rows.retain(|broker_name, row| lives.get(broker_name) == Some(&row.life));
        });
        self.lives = lives;
        self.sweep = goes_on.then_some(sweep);
        goes_on
    }

    /// Shows the next topics' rows to `change`; topics that have none afterwards are removed. Returns whether there may be more.
    fn next_topics(
        &mut self,
        at: &mut Sweep,
        mut change: impl FnMut(&mut BTreeMap<String, Row>),
    ) -> bool {
        let from = at.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.topics.range_mut::<String, _>((from, Bound::Unbounded));
        let (mut gone, mut looked_at) = (Vec::new(), 0);
        for (topic, rows) in topics.take(TOPICS_PER_TURN) {
            change(rows);
            looked_at += 1;
            if rows.is_empty() {
                gone.push(topic.clone());
            }
            if looked_at == TOPICS_PER_TURN {
                at.after = Some(topic.clone());
            }
        }
        gone.iter().for_each(|topic| {
            self.topics.remove(topic);
        });
        looked_at == TOPICS_PER_TURN
    }
}
