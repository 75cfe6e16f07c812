//! The removal of a group with what is known of it: locks, statistics, what it has popped, and offsets if these are to go.

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::pop::Place;
use crate::broker::step::{Progress, Work};
use crate::broker::store_view::At;
use crate::broker::{Broker, ConfigFile, Refusal, gets, locks};
use crate::wire::Reply;

/// Removes what is known of a group that is not in the table any more. It may be there again before all of it is removed: what belongs
/// to the new one stays, except for offsets.
#[derive(Debug)]
pub(in crate::broker) struct GroupRemoval {
    group: String,
    deleted_ms: u64,
    stage: Stage,
    /// The last check point at the time of the deletion.
    last_point: Option<Place>,
    cleans_offsets: bool,
}

/// What is removed next.
#[derive(Debug)]
enum Stage {
    Locks(locks::Forgotten),
    Statistics(gets::Forgotten),
    Orders { after: Option<String> },
    InFlight { after: Option<Place> },
    Offsets,
}

impl Work for GroupRemoval {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        for _ in 0..ROWS_PER_TURN {
            let group = &*self.group;
            let next = match &mut self.stage {
                Stage::Locks(locks) => match broker.locks.forget(locks) {
                    true => None,
                    false => Some(Stage::Statistics(broker.stats.remove_group(group))),
                },
                Stage::Statistics(topics) => match broker.stats.forget_topic_of(group, topics) {
                    true => None,
                    false => Some(Stage::Orders { after: None }),
                },
                Stage::Orders { after } => {
                    let orders = &mut broker.pops.orders;
                    *after = orders.remove_of_group(group, after.as_deref(), self.deleted_ms);
                    match after {
                        Some(_) => None,
                        None => {
                            if orders.is_dirty() {
                                broker.persist(ConfigFile::PopOrders);
                            }
                            Some(Stage::InFlight { after: None })
                        }
                    }
                }
                Stage::InFlight { after } => {
                    let is_over = *after >= self.last_point;
                    if !is_over {
                        *after = broker.pops.in_flight.remove_of_group(group, *after);
                    }
                    (is_over || after.is_none()).then_some(Stage::Offsets)
                }
                Stage::Offsets => return Ok(self.offsets(broker)),
            };
            if let Some(next) = next {
                self.stage = next;
            }
        }
        Ok(Progress::More)
    }
}

impl GroupRemoval {
    /// Takes the group out of the table.
    pub fn begin(broker: &mut Broker, group: &str, cleans_offsets: bool, now_ms: u64) -> Self {
        let is_removed = broker.groups.remove(group, now_ms);
        if is_removed {
            broker.persist(ConfigFile::SubscriptionGroups);
        }
        Self {
            group: group.into(),
            deleted_ms: now_ms,
            stage: match is_removed {
                true => Stage::Locks(broker.locks.remove_group(group)),
                false => Stage::Offsets,
            },
            last_point: broker.pops.in_flight.last(),
            cleans_offsets,
        }
    }

    fn offsets(&self, broker: &mut Broker) -> Progress {
        let has_more =
            self.cleans_offsets && broker.offsets.remove_group(&self.group, ROWS_PER_TURN);
        if self.cleans_offsets {
            broker.persist(ConfigFile::ConsumerOffsets);
        }
        match has_more {
            true => Progress::More,
            false => Progress::Done(Reply::ok()),
        }
    }
}
