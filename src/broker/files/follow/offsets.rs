//! The master's consumer offsets (43), which this broker's become: read a piece in each turn, then taken over in the order of both tables.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

use crate::broker::files::TOPIC_GROUP_SEPARATOR;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::offsets::QueueOffsetMap;
use crate::broker::step::{Progress, Work};
use crate::broker::store_view::At;
use crate::broker::{Broker, Refusal};
use crate::wire::loose_json::members::{Members, Next, Want};
use crate::wire::loose_json::{self, BodyError};
use crate::wire::{DataVersion, Reply};

/// Topic and group.
type Name = (String, String);

#[derive(Debug)]
pub struct FollowOffsets {
    version: DataVersion,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read(Reading),
    Take {
        theirs: Peekable<btree_map::IntoIter<Name, QueueOffsetMap>>,
        /// Both tables are compared up to this one.
        after: Option<Name>,
    },
    /// Resets were for offsets that the master does not have.
    DropResets,
}

#[derive(Debug)]
struct Reading {
    members: Members,
    table: BTreeMap<Name, QueueOffsetMap>,
    /// The entry that is being read, under its key.
    entry: (String, QueueOffsetMap),
}

impl FollowOffsets {
    pub fn new(body: Vec<u8>) -> Self {
        Self {
            version: DataVersion::default(),
            stage: Stage::Read(Reading {
                members: Members::of(body),
                table: BTreeMap::new(),
                entry: Default::default(),
            }),
        }
    }
}

impl Work for FollowOffsets {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        match &mut self.stage {
            Stage::Read(reading) => {
                if reading.turn(&mut self.version)? {
                    let table = std::mem::take(&mut reading.table);
                    self.stage = Stage::Take {
                        theirs: table.into_iter().peekable(),
                        after: None,
                    };
                }
            }
            Stage::Take { theirs, after } => {
                if take_some(broker, theirs, after) {
                    broker.offsets.set_version(self.version);
                    self.stage = Stage::DropResets;
                }
            }
            Stage::DropResets => {
                if !broker.offsets.drop_resets(ROWS_PER_TURN) {
                    return Ok(Progress::Done(Reply::ok()));
                }
            }
        }
        Ok(Progress::More)
    }
}

impl Reading {
    /// Whether that was the end.
    fn turn(&mut self, version: &mut DataVersion) -> Result<bool, BodyError> {
        loop {
            match self.members.next(want)? {
                Next::TurnEnds => return Ok(false),
                Next::End => {
                    self.end_entry();
                    return Ok(true);
                }
                Next::Value if self.members.path().len() == 1 => *version = self.members.value()?,
                Next::Value => {
                    let offset: Option<i64> = self.members.value()?;
                    if let [_, key, queue_id] = self.members.path()
                        && let Some(offset) = offset
                    {
                        let queue_id: i32 = loose_json::from_slice(queue_id.as_bytes())?;
                        if self.entry.0 != *key {
                            let key = key.clone();
                            self.end_entry();
                            self.entry.0 = key;
                        }
                        self.entry.1.insert(queue_id, offset);
                    }
                }
            }
        }
    }

    fn end_entry(&mut self) {
        let (key, queues) = std::mem::take(&mut self.entry);
        if let Some((topic, group)) = key.split_once(TOPIC_GROUP_SEPARATOR) {
            let name = (topic.to_owned(), group.to_owned());
            self.table.insert(name, queues);
        }
    }
}

/// RocketMQ's table of offsets of pulls is of no use to a slave.
fn want(path: &[String]) -> Want {
    match path {
        [version] if version == "dataVersion" => Want::Value,
        [table] if table == "offsetTable" => Want::Members,
        [_] => Want::Nothing,
        [_, _] => Want::Members,
        _ => Want::Value,
    }
}

/// Goes on through both tables; whether that was the end. An entry is taken over or removed as a whole: a topic that was deleted, and
/// perhaps made again since, has none of its old offsets.
fn take_some(
    broker: &mut Broker,
    theirs: &mut Peekable<btree_map::IntoIter<Name, QueueOffsetMap>>,
    after: &mut Option<Name>,
) -> bool {
    let mut left = ROWS_PER_TURN;
    while left > 0 {
        let behind = after.as_ref().map(|(topic, group)| (&**topic, &**group));
        let own = broker.offsets.after(behind).next();
        let own = own.map(|(topic, group, _)| (topic.to_owned(), group.to_owned()));
        let is_gone = |own: &Name| theirs.peek().is_none_or(|(name, _)| own < name);
        match own.filter(is_gone) {
            Some((topic, group)) => {
                broker.offsets.remove(&topic, &group);
                left -= 1;
            }
            None => {
                let Some((name, queues)) = theirs.next() else {
                    return true;
                };
                // The offsets of one entry are compared in one turn, some nanoseconds each.
                left = left.saturating_sub(1 + queues.len() / 16);
                broker.offsets.replace(&name.0, &name.1, queues);
                *after = Some(name);
            }
        }
    }
    false
}
