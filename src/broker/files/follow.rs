//! A slave takes over what its master has besides messages. The answers to 21, 43, 45, 201 and 402 have the shapes of the files.
//!
//! The tables of topics and groups are asked for in pages; without a change of their version nothing else is asked. What the master does
//! not have any more goes, topics with their queues, in slices.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConfigFile, DelaysFile, TopicsFile};
use crate::broker::groups::Forbidden;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::offsets::Offsets;
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
                    if !self.names.contains(&config.topic_name) {
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
    Compare { after: Option<String> },
    Remove(Option<GroupRemoval>),
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
                let mut looked_at = 0;
                let mut last = None;
                for config in broker.groups.after(after.as_deref()).take(ROWS_PER_TURN) {
                    looked_at += 1;
                    last = Some(config.group_name.clone());
                    if !self.names.contains(&config.group_name) {
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
                None => {
                    broker
                        .groups
                        .set_forbidden(std::mem::take(&mut self.forbidden));
                    broker.groups.set_version(self.version);
                    broker.persist(ConfigFile::SubscriptionGroups);
                    return Ok(Progress::Done(Reply::ok()));
                }
            },
        }
        Ok(Progress::More)
    }
}

impl Broker {
    /// Takes over the master's offsets or modes.
    pub fn follow_file(
        &mut self,
        file: ConfigFile,
        body: &[u8],
        now_ms: u64,
    ) -> Result<(), BodyError> {
        match file {
            ConfigFile::DelayOffsets => {
                let theirs: DelaysFile = loose_json::from_slice(body)?;
                self.delays.load(theirs.offset_table, theirs.data_version);
                self.delays.set_dirty();
            }
            ConfigFile::ConsumerOffsets => {
                // All of the table: an offset in a topic that was deleted, and perhaps made again since, would be beyond the new messages.
                let before = std::mem::replace(&mut self.offsets, Offsets::new(now_ms));
                if let Err(error) = self.load_file(file, &String::from_utf8_lossy(body)) {
                    self.offsets = before;
                    return Err(error);
                }
                self.offsets.set_dirty();
            }
            ConfigFile::RequestModes => {
                self.load_file(file, &String::from_utf8_lossy(body))?;
                self.persist(file);
            }
            ConfigFile::Topics
            | ConfigFile::SubscriptionGroups
            | ConfigFile::PopOrders
            | ConfigFile::Settings => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;
    use crate::broker::tests::{FakeStore, ask};
    use crate::wire::codes::request;

    fn broker() -> Broker {
        Broker::new(BrokerConfig::default(), 0)
    }

    fn topic(name: &str, queues: i32) -> TopicConfig {
        TopicConfig {
            topic_name: name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        }
    }

    fn deleted(broker: &mut Broker) -> Vec<String> {
        let mut effects = Vec::new();
        broker.take_effects(&mut effects);
        let topics = effects.into_iter().filter_map(|effect| match effect {
            Effect::TopicDeleted { topic } => Some(topic),
            _ => None,
        });
        topics.collect()
    }

    /// Asks the master for a table as the reactor does; how many pages and slices it took.
    fn follow(slave: &mut Broker, master: &mut Broker, file: ConfigFile) -> (usize, usize) {
        let code = match file {
            ConfigFile::Topics => request::GET_ALL_TOPIC_CONFIG,
            _ => request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        };
        let (mut pages, mut count) = (Pages::of(file).expect("it has pages"), 0);
        let mut work = loop {
            let version = pages.version(slave);
            let fields = pages.fields(&version).map(|(name, value)| match value {
                Value::I64(number) => (name, number.to_string()),
                Value::Str(text) => (name, text.to_owned()),
                other => panic!("{other:?}"),
            });
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            let reply = ask(master, code, &fields, "");
            count += 1;
            let mut ext = reply
                .ext
                .iter()
                .filter(|(name, _)| *name == pages.total_field());
            let total = ext.next().map(|(_, total)| total.parse().unwrap());
            match pages.take(&reply.body, total, slave).unwrap() {
                (Page::Unchanged, _) => return (count, 0),
                (Page::More, more) => pages = more.expect("there are more"),
                (Page::Last(work), _) => break work,
            }
        };
        let at = At {
            now_ms: 9,
            store: &FakeStore,
        };
        let mut slices = 1;
        while !matches!(work.turn(slave, at).unwrap(), Progress::Done(_)) {
            slices += 1;
        }
        (count, slices)
    }

    #[test]
    fn topics_become_the_masters() {
        let (mut master, mut slave) = (broker(), broker());
        for name in ["kept", "changed", "deleted"] {
            master.topics.put(topic(name, 4), 1);
        }
        let file = ConfigFile::Topics;
        follow(&mut slave, &mut master, file);
        assert_eq!(slave.topics.version(), master.topics.version());
        assert!(deleted(&mut slave).is_empty());
        master.topics.put(topic("changed", 8), 3);
        master.topics.remove("deleted", 3);
        slave.offsets.commit("g", "deleted", 0, 1, 3);
        follow(&mut slave, &mut master, file);
        assert_eq!(slave.topics.sorted(), master.topics.sorted());
        assert_eq!(deleted(&mut slave), ["deleted"]);
        assert_eq!(slave.offsets.query("g", "deleted", 0), None);
        assert_eq!(follow(&mut slave, &mut master, file), (1, 0), "unchanged");
        let mut effects = Vec::new();
        slave.take_effects(&mut effects);
        assert!(effects.is_empty(), "the same version: {effects:?}");
    }

    #[test]
    fn large_tables_come_in_pages_and_are_taken_over_in_slices() {
        const TOPICS: usize = 5_000;
        let (mut master, mut slave) = (broker(), broker());
        for n in 0..TOPICS {
            master.topics.put(topic(&format!("T{n}"), 1), 2);
            slave.topics.put(topic(&format!("U{n}"), 1), 1);
            master.groups.create(&format!("g{n}"), 2);
            slave.groups.create(&format!("h{n}"), 1);
        }
        let fewest = TOPICS / ROWS_PER_TURN;
        for file in [ConfigFile::Topics, ConfigFile::SubscriptionGroups] {
            let (pages, slices) = follow(&mut slave, &mut master, file);
            assert!(pages > TOPICS / PAGE_ROWS as usize, "{pages} pages");
            // The master's are put, all are compared, the slave's own are removed.
            assert!(slices > 4 * fewest, "{slices} slices");
        }
        assert_eq!(slave.topics.sorted(), master.topics.sorted());
        assert!(slave.groups.sorted() == master.groups.sorted());
    }

    /// The master's table changes between two pages: it is asked for again from its beginning.
    #[test]
    fn a_page_of_another_version_begins_anew() {
        let (mut master, slave) = (broker(), broker());
        let page = |names: &[&str], version| {
            let rows = names.iter().map(|name| format!(r#""{name}":{{}}"#));
            let rows = rows.collect::<Vec<_>>().join(",");
            format!(r#"{{"dataVersion":{{"counter":{version}}},"topicConfigTable":{{{rows}}}}}"#)
        };
        master.topics.put(topic("T", 1), 1);
        let pages = Pages::of(ConfigFile::Topics).unwrap();
        let taken = pages.take(page(&["a", "b"], 1).as_bytes(), Some(4), &slave);
        let (Page::More, Some(pages)) = taken.unwrap() else {
            panic!("two of four");
        };
        assert_eq!(pages.rows(), 2);
        let taken = pages.take(page(&["c"], 2).as_bytes(), Some(3), &slave);
        let (Page::More, Some(pages)) = taken.unwrap() else {
            panic!("one of three");
        };
        assert_eq!(pages.rows(), 1);
        // A master whose answers have no total sends all at once.
        let taken = pages.take(page(&["d", "e"], 3).as_bytes(), None, &slave);
        assert!(matches!(taken.unwrap(), (Page::Last(_), None)));
    }

    #[test]
    fn groups_and_offsets_become_the_masters() {
        let (mut master, mut slave) = (broker(), broker());
        for group in ["kept", "deleted"] {
            master.groups.create(group, 1);
        }
        master.groups.set_readable("kept", "T", false, 1);
        master.offsets.commit("kept", "T", 3, 77, 1);
        follow(&mut slave, &mut master, ConfigFile::SubscriptionGroups);
        let file = ConfigFile::ConsumerOffsets;
        let offsets = master.file_text(file);
        slave.follow_file(file, offsets.as_bytes(), 2).unwrap();
        assert!(slave.groups.contains("deleted") && !slave.groups.may_read("kept", "T"));
        assert_eq!(slave.offsets.query("kept", "T", 3), Some(77));
        assert!(slave.offsets.take_dirty(), "they are saved");
        master.groups.remove("deleted", 3);
        master.groups.set_readable("kept", "T", true, 3);
        follow(&mut slave, &mut master, ConfigFile::SubscriptionGroups);
        assert!(!slave.groups.contains("deleted") && slave.groups.may_read("kept", "T"));
        assert_eq!(slave.groups.version(), master.groups.version());
    }

    /// RocketMQ's table of offsets of pulls has bare numbers as keys, which its own slave cannot read.
    #[test]
    fn offsets_are_read_from_rocketmqs_answer() {
        let mut slave = broker();
        let body = br#"{"offsetTable":{"T@g":{0:5,1:6}},"pullOffsetTable":{"T@g":{0:9}}}"#;
        slave
            .follow_file(ConfigFile::ConsumerOffsets, body, 1)
            .unwrap();
        assert_eq!(slave.offsets.query("g", "T", 1), Some(6));
    }
}
