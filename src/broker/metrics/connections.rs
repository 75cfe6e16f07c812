//! By language and version: the connected clients.

use std::collections::BTreeMap;

use super::{Place, Scrape, Turn, is_system_group};
use crate::broker::Broker;
use crate::broker::clients::{ConnId, Member};
use crate::broker::limits::ROWS_PER_TURN;
use crate::metrics::families::{CONSUMER_CONNECTIONS, PRODUCER_CONNECTIONS};
use crate::metrics::text::truth;
use crate::wire::codes::version_name;
use crate::wire::heartbeat::ConsumeType;

const REMOTING: (&str, &str) = ("protocol_type", "remoting");

/// Members that are looked at in one turn: they only count.
const MEMBERS_PER_TURN: usize = 512;

/// Bound of the pairs of language and version that have a count of their own: both come from the client, unchecked.
const MAX_KINDS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct ConnectionPlace {
    at: Next,
    counts: Kinds,
}

#[derive(Debug)]
enum Next {
    /// A group of producers behind this one.
    Producers(Option<String>),
    /// A producer of the group behind this one.
    Producer(String, Option<ConnId>),
    /// A group of consumers behind this one.
    Consumers(Option<String>),
    Consumer(String, Option<ConnId>),
}

impl Default for Next {
    fn default() -> Self {
        Self::Producers(None)
    }
}

/// Connections by language and version.
#[derive(Debug, Default)]
struct Kinds {
    counts: BTreeMap<(&'static str, String), u64>,
    others: u64,
}

impl Kinds {
    fn add(&mut self, member: &Member) {
        let kind = (member.language.name(), version_name(member.version));
        if let Some(count) = self.counts.get_mut(&kind) {
            *count += 1;
        } else if self.counts.len() < MAX_KINDS {
            self.counts.insert(kind, 1);
        } else {
            self.others += 1;
        }
    }

    /// Calls `row` with language, version and number.
    fn drain(&mut self, mut row: impl FnMut(&str, &str, u64)) {
        for ((language, version), count) in std::mem::take(&mut self.counts) {
            row(&language.to_ascii_lowercase(), &version, count);
        }
        if self.others > 0 {
            row("other", "others", std::mem::take(&mut self.others));
        }
    }
}

impl Scrape {
    pub(super) fn connections(&mut self, broker: &Broker) -> Turn {
        let Place::Connection(place) = &mut self.place else {
            unreachable!("a walk over connections is at a client");
        };
        let (mut at, mut kinds) = (
            std::mem::take(&mut place.at),
            std::mem::take(&mut place.counts),
        );
        let mut left = MEMBERS_PER_TURN;
        for _ in 0..ROWS_PER_TURN {
            at = match at {
                Next::Producers(after) => {
                    match broker.clients.producer_group_after(after.as_deref()) {
                        Some(group) => Next::Producer(group.to_owned(), None),
                        None => {
                            self.producers(&mut kinds);
                            Next::Consumers(None)
                        }
                    }
                }
                Next::Producer(group, after) => {
                    let members = broker.clients.producers_after(&group, after);
                    match count_some(members, &mut left, &mut kinds) {
                        Some(last) => Next::Producer(group, Some(last)),
                        None => Next::Producers(Some(group)),
                    }
                }
                Next::Consumers(after) => match broker.groups.after(after.as_deref()).next() {
                    Some(config) => Next::Consumer(config.group_name.clone(), None),
                    None => return Turn::Done,
                },
                Next::Consumer(group, after) => {
                    let members = broker.clients.consumers(&group).into_iter();
                    let members = members.flat_map(|members| members.members_after(after));
                    match count_some(members, &mut left, &mut kinds) {
                        Some(last) => Next::Consumer(group, Some(last)),
                        None => {
                            self.consumers(broker, &group, &mut kinds);
                            Next::Consumers(Some(group))
                        }
                    }
                }
            };
            if left == 0 {
                break;
            }
        }
        self.place = Place::Connection(ConnectionPlace { at, counts: kinds });
        Turn::More
    }

    fn producers(&mut self, kinds: &mut Kinds) {
        kinds.drain(|language, version, count| {
            let labels = [("language", language), ("version", version), REMOTING];
            self.sample(&PRODUCER_CONNECTIONS, &labels, count);
        });
    }

    fn consumers(&mut self, broker: &Broker, group: &str, kinds: &mut Kinds) {
        let members = broker.clients.consumers(group);
        let mode = match members.map(|members| members.consume_type) {
            Some(ConsumeType::ConsumeActively) => "pull",
            Some(ConsumeType::ConsumePop) => "pop",
            Some(ConsumeType::ConsumePassively) | None => "push",
        };
        kinds.drain(|language, version, count| {
            let labels = [
                ("consumer_group", group),
                ("language", language),
                ("version", version),
                ("consume_mode", mode),
                REMOTING,
                ("is_system", truth(is_system_group(group))),
            ];
            self.sample(&CONSUMER_CONNECTIONS, &labels, count);
        });
    }
}

/// Counts the next members; the last one if there may be more.
fn count_some<'a>(
    members: impl Iterator<Item = (ConnId, &'a Member)>,
    left: &mut usize,
    kinds: &mut Kinds,
) -> Option<ConnId> {
    let mut last = None;
    for (conn, member) in members.take(*left) {
        kinds.add(member);
        *left -= 1;
        last = Some(conn);
    }
    last.filter(|_| *left == 0)
}
