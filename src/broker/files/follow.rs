//! A slave takes over what its master has besides messages. The answers to 21, 43, 45, 201 and 402 have the shapes of the files.
//!
//! The tables of topics and groups are asked for in pages; without a change of their version nothing else is asked. What the master does
//! not have any more goes, topics with their queues, in slices.

mod modes;
mod offsets;

use std::collections::{BTreeMap, BTreeSet};

use modes::FollowModes;
use offsets::FollowOffsets;

use super::{ConfigFile, DelaysFile, TopicsFile};
use crate::broker::groups::Forbidden;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::removal::{GroupRemoval, Removal, Removed};
use crate::broker::step::{Progress, Work};
use crate::broker::store_view::At;
use crate::broker::{Broker, Effect, Refusal};
use crate::wire::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use crate::wire::loose_json::{self, BodyError};
use crate::wire::topic::TopicConfig;
use crate::wire::{DataVersion, Reply, Value};

/// Rows of one page: it is decoded in one turn.
const PAGE_ROWS: i64 = 256;

/// A table of the master as it comes, page by page.
#[derive(Debug)]
pub struct Pages {
    table: Table,
    /// Of all pages so far.
    version: Option<DataVersion>,
    topics: BTreeMap<String, TopicConfig>,
    groups: BTreeMap<String, SubscriptionGroupConfig>,
    forbidden: BTreeMap<String, Forbidden>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Topics,
    Groups,
}

/// What a page has brought.
#[derive(Debug)]
pub enum Page {
    /// The tables are equal.
    Unchanged,
    /// The next page is to be asked for.
    More,
    /// The table is complete; what is left is to take it over.
    Last(Box<dyn Work>),
}

impl Pages {
    /// `None`: the file is asked for as a whole.
    pub fn of(file: ConfigFile) -> Option<Self> {
        let table = match file {
            ConfigFile::Topics => Table::Topics,
            ConfigFile::SubscriptionGroups => Table::Groups,
            _ => return None,
        };
        Some(Self {
            table,
            version: None,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            forbidden: BTreeMap::new(),
        })
    }

    fn rows(&self) -> usize {
        self.topics.len() + self.groups.len()
    }

    /// The version that is named in the request for the next page: the master begins anew if its table has another one.
    pub fn version(&self, broker: &Broker) -> String {
        let version = self.version.unwrap_or(self.table.version(broker));
        String::from_utf8_lossy(&loose_json::to_vec(&version)).into_owned()
    }

    /// The fields of the request for the next page. The first one asks for what is behind the end of an equal table.
    pub fn fields<'a>(&self, version: &'a str) -> [(&'static str, Value<'a>); 3] {
        let begin = match self.version {
            None => i64::from(i32::MAX),
            Some(_) => self.rows() as i64,
        };
        let [seq, most] = match self.table {
            Table::Topics => ["topicSeq", "maxTopicNum"],
            Table::Groups => ["groupSeq", "maxGroupNum"],
        };
        [
            (seq, Value::I64(begin)),
            ("dataVersion", Value::Str(version)),
            (most, Value::I64(PAGE_ROWS)),
        ]
    }

    /// The field of the answer that has the number of all rows. A master whose answers have none sends all of them at once.
    pub fn total_field(&self) -> &'static str {
        match self.table {
            Table::Topics => "totalTopicNum",
            Table::Groups => "totalGroupNum",
        }
    }

    /// Takes in an answer.
    pub fn take(
        mut self,
        body: &[u8],
        total: Option<usize>,
        broker: &Broker,
    ) -> Result<(Page, Option<Self>), BodyError> {
        let before = self.rows();
        let version = match self.table {
            Table::Topics => {
                let page: TopicsFile = loose_json::from_slice(body)?;
                self.begin_anew_unless(page.data_version);
                self.topics.extend(page.topic_config_table);
                page.data_version
            }
            Table::Groups => {
                let page: SubscriptionGroupTable = loose_json::from_slice(body)?;
                self.begin_anew_unless(page.data_version);
                self.groups.extend(page.subscription_group_table);
                self.forbidden.extend(page.forbidden_table);
                page.data_version
            }
        };
        if self.version.is_none() && version == self.table.version(broker) {
            return Ok((Page::Unchanged, None));
        }
        self.version = Some(version);
        let is_last = total.is_none_or(|total| self.rows() >= total) || self.rows() == before;
        Ok(match is_last {
            true => (Page::Last(self.into_work(version)), None),
            false => (Page::More, Some(self)),
        })
    }

    /// A page of another version is the first one of it.
    fn begin_anew_unless(&mut self, version: DataVersion) {
        if self.version.is_some_and(|known| known != version) {
            self.topics.clear();
            self.groups.clear();
            self.forbidden.clear();
        }
    }

    fn into_work(self, version: DataVersion) -> Box<dyn Work> {
        match self.table {
            Table::Topics => Box::new(FollowTopics {
                version,
                names: BTreeSet::new(),
                stage: TopicStage::Put(self.topics.into_iter()),
                gone: Vec::new(),
            }),
            Table::Groups => Box::new(FollowGroups {
                version,
                names: BTreeSet::new(),
                stage: GroupStage::Put(self.groups.into_iter()),
                forbidden: self.forbidden,
                gone: Vec::new(),
            }),
        }
    }
}

impl Table {
    fn version(self, broker: &Broker) -> DataVersion {
        match self {
            Self::Topics => broker.topics.version(),
            Self::Groups => broker.groups.version(),
        }
    }
}

/// The master's topics, which this broker's become.
#[derive(Debug)]
struct FollowTopics {
    version: DataVersion,
    names: BTreeSet<String>,
    stage: TopicStage,
    gone: Vec<String>,
}

#[derive(Debug)]
enum TopicStage {
    Put(std::collections::btree_map::IntoIter<String, TopicConfig>),
    /// Own topics up to this one have been looked up among the master's.
    Compare {
        after: Option<String>,
    },
    Remove(Removal),
}

impl Work for FollowTopics {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        match &mut self.stage {
            TopicStage::Put(topics) => {
                for (topic_name, config) in topics.by_ref().take(ROWS_PER_TURN) {
                    self.names.insert(topic_name.clone());
                    let config = TopicConfig {
                        topic_name,
                        ..config
                    };
                    broker.topics.put(config, at.now_ms);
                }
                if topics.len() == 0 {
                    self.stage = TopicStage::Compare { after: None };
                }
            }
            TopicStage::Compare { after } => {
                let mut looked_at = 0;
                let mut last = None;
                for config in broker.topics.after(after.as_deref()).take(ROWS_PER_TURN) {
                    looked_at += 1;
                    last = Some(config.topic_name.clone());
                    // Forgotten one by one: all at once would be a long turn, too.
                    if !self.names.remove(&config.topic_name) {
                        self.gone.push(config.topic_name.clone());
                    }
                }
                *after = last;
                if looked_at < ROWS_PER_TURN {
                    let gone = std::mem::take(&mut self.gone);
                    self.stage = TopicStage::Remove(Removal::of(gone));
                }
            }
            TopicStage::Remove(removal) => match removal.turn(broker, at.now_ms) {
                Removed::Some => {}
                Removed::AllButQueues(topic) => return Ok(Progress::RemoveQueues(topic)),
                Removed::All => {
                    // All of them are there; the version is the master's.
                    broker.topics.load([], self.version);
                    broker.persist(ConfigFile::Topics);
                    broker.effects.push(Effect::RegisterAll);
                    return Ok(Progress::Done(Reply::ok()));
                }
            },
        }
        Ok(Progress::More)
    }
}

/// The master's groups, which this broker's become.
#[derive(Debug)]
struct FollowGroups {
    version: DataVersion,
    names: BTreeSet<String>,
    stage: GroupStage,
    forbidden: BTreeMap<String, Forbidden>,
    gone: Vec<String>,
}

#[derive(Debug)]
enum GroupStage {
    Put(std::collections::btree_map::IntoIter<String, SubscriptionGroupConfig>),
    Compare {
        after: Option<String>,
    },
    Remove(Option<GroupRemoval>),
    /// Own groups up to this one are allowed what the master allows.
    Allow {
        after: Option<String>,
    },
    Forbid(std::collections::btree_map::IntoIter<String, Forbidden>),
}

impl Work for FollowGroups {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        match &mut self.stage {
            GroupStage::Put(groups) => {
                for (group_name, config) in groups.by_ref().take(ROWS_PER_TURN) {
                    self.names.insert(group_name.clone());
                    let config = SubscriptionGroupConfig {
                        group_name,
                        ..config
                    };
                    if broker.groups.find(&config.group_name) != Some(&config) {
                        broker.groups.put(config, at.now_ms);
                    }
                }
                if groups.len() == 0 {
                    self.stage = GroupStage::Compare { after: None };
                }
            }
            GroupStage::Compare { after } => {
                let (mut looked_at, mut last) = (0, None);
                for config in broker.groups.after(after.as_deref()).take(ROWS_PER_TURN) {
                    looked_at += 1;
                    last = Some(config.group_name.clone());
                    if !self.names.remove(&config.group_name) {
                        self.gone.push(config.group_name.clone());
                    }
                }
                *after = last;
                if looked_at < ROWS_PER_TURN {
                    self.stage = GroupStage::Remove(None);
                }
            }
            GroupStage::Remove(Some(removal)) => {
                if let Progress::Done(_) = removal.turn(broker, at)? {
                    self.stage = GroupStage::Remove(None);
                }
            }
            GroupStage::Remove(None) => match self.gone.pop() {
                Some(group) => {
                    let removal = GroupRemoval::begin(broker, &group, false, at.now_ms);
                    self.stage = GroupStage::Remove(Some(removal));
                }
                None => self.stage = GroupStage::Allow { after: None },
            },
            GroupStage::Allow { after } => {
                let after = after.take();
                self.allow_some(broker, after);
            }
            GroupStage::Forbid(groups) => {
                for (group, topics) in groups.by_ref().take(ROWS_PER_TURN) {
                    broker.groups.set_forbidden(&group, topics);
                }
                if groups.len() == 0 {
                    broker.groups.set_version(self.version);
                    broker.persist(ConfigFile::SubscriptionGroups);
                    return Ok(Progress::Done(Reply::ok()));
                }
            }
        }
        Ok(Progress::More)
    }
}

impl FollowGroups {
    /// Allows the next groups behind this one what the master does not forbid.
    fn allow_some(&mut self, broker: &mut Broker, after: Option<String>) {
        let own = broker.groups.forbidden_after(after.as_deref());
        let own = own.take(ROWS_PER_TURN).map(|(group, _)| group.to_owned());
        let own: Vec<_> = own.collect();
        let theirs = &self.forbidden;
        let allowed = own.iter().filter(|group| !theirs.contains_key(*group));
        allowed.for_each(|group| broker.groups.set_forbidden(group, Forbidden::new()));
        self.stage = match own.len() < ROWS_PER_TURN {
            true => GroupStage::Forbid(std::mem::take(&mut self.forbidden).into_iter()),
            false => GroupStage::Allow {
                after: own.into_iter().last(),
            },
        };
    }
}

/// How far a master has delivered delayed messages.
#[derive(Debug)]
pub struct MasterDelays {
    theirs: DelaysFile,
    known_position: u64,
}

impl MasterDelays {
    /// `log_position`: where the slave's log was committed when it asked. A RocketMQ master includes what it had delivered before that. One of
    /// ours says what it includes: after a start it may not have looked at all of its log yet.
    pub fn read(body: &[u8], log_position: u64) -> Result<Self, BodyError> {
        let theirs: DelaysFile = loose_json::from_slice(body)?;
        let known = theirs.ringmq_known_position.unwrap_or(u64::MAX);
        Ok(Self {
            theirs,
            known_position: known.min(log_position),
        })
    }

    /// What counts as delivered was written to the master's log before this position; 0: it did not say.
    pub fn log_end(&self) -> u64 {
        self.theirs.ringmq_log_end.unwrap_or(0)
    }
}

/// The master's answer to 43 or 402, which is taken over piece by piece; `None`: this file is not asked for so.
pub fn follow_whole(file: ConfigFile, body: Vec<u8>) -> Option<Box<dyn Work>> {
    match file {
        ConfigFile::ConsumerOffsets => Some(Box::new(FollowOffsets::new(body))),
        ConfigFile::RequestModes => Some(Box::new(FollowModes::new(body))),
        _ => None,
    }
}

impl Broker {
    /// Takes over how far the master has delivered delayed messages.
    pub fn follow_delays(&mut self, master: MasterDelays) {
        let MasterDelays {
            theirs,
            known_position,
        } = master;
        self.delays.load(theirs.offset_table, theirs.data_version);
        self.delays.known_up_to(known_position);
        self.delays.set_dirty();
    }
}

#[cfg(test)]
mod tests;
