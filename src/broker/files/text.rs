//! The text of a file of `config/`, written in slices: RocketMQ's shapes in fastjson's dialect, indented by tabs.
//!
//! A table may have ten thousands of entries, and the core that writes them answers messages as well. Between two slices
//! the table may change: a text then has some entries as they were before a change and some as they are after it, each of
//! them whole. Its version is that of the beginning. Files whose entries have to fit together say how themselves; see
//! [`super::changes`] for topics and groups.

use std::io::Write;
use std::ops::Bound;

use serde::Serialize;

use super::TOPIC_GROUP_SEPARATOR;
use crate::broker::offsets::QueueOffsetMap;
use crate::broker::{Broker, ConfigFile};
use crate::wire::DataVersion;
use crate::wire::assignment::MessageRequestMode;
use crate::wire::loose_json;

/// What a slice may cost, in values that are written.
pub const SLICE_VALUES: usize = 1_000;

/// A topic or group has about so many values.
const VALUES_PER_CONFIG: usize = 12;

const VALUES_PER_MODE: usize = 4;

/// A text that is being written; [`Broker::write_text`] goes on with it.
#[derive(Debug)]
pub struct Text {
    tables: &'static [Table],
    out: Vec<u8>,
    /// Index into the tables.
    table: usize,
    stage: Stage,
    slices: u64,
}

/// How far a table has been written.
#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    NotBegun,
    Begun {
        /// The last entry that was written.
        last: Option<(String, String)>,
        /// It is written up to this queue, and has more.
        open: Option<i32>,
    },
}

impl Stage {
    fn last(&self) -> Option<(&str, &str)> {
        match self {
            Stage::NotBegun | Stage::Begun { last: None, .. } => None,
            Stage::Begun {
                last: Some(last), ..
            } => Some((&last.0, &last.1)),
        }
    }
}

/// The tables of the files, by what is in them.
#[derive(Clone, Copy, Debug)]
enum Table {
    Topics,
    Forbidden,
    Groups,
    TopicsOfGroups,
    Offsets,
    Pulled,
    /// Of a slave only, which has something for its master.
    Left,
    Orders,
    Modes,
}

impl Table {
    fn of(file: ConfigFile, has_left: bool) -> &'static [Table] {
        match file {
            ConfigFile::Topics => &[Table::Topics],
            ConfigFile::SubscriptionGroups => &[Table::Forbidden, Table::Groups],
            ConfigFile::ConsumerOffsets if has_left => &[
                Table::TopicsOfGroups,
                Table::Offsets,
                Table::Pulled,
                Table::Left,
            ],
            ConfigFile::ConsumerOffsets => &[Table::TopicsOfGroups, Table::Offsets, Table::Pulled],
            ConfigFile::PopOrders => &[Table::Orders],
            ConfigFile::RequestModes => &[Table::Modes],
            ConfigFile::Settings | ConfigFile::DelayOffsets => &[],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Table::Topics => "topicConfigTable",
            Table::Forbidden => "forbiddenTable",
            Table::Groups => "subscriptionGroupTable",
            Table::TopicsOfGroups => "groupTopicMap",
            Table::Offsets => "offsetTable",
            Table::Pulled => "pullOffsetTable",
            Table::Left => "ringmqLeftTable",
            Table::Orders => "table",
            Table::Modes => "messageRequestModeMap",
        }
    }
}

/// An entry: its key is `first`, or `first@second`.
struct Entry<'a, V> {
    first: &'a str,
    second: &'a str,
    value: V,
}

/// What an entry has.
trait EntryValue {
    /// Writes it, up to so many values; the queue behind which there are more.
    fn write(&self, text: &mut Text, values: &mut usize) -> Option<i32>;
}

/// It is written in one slice, and has so many values.
struct Whole<V>(V, usize);

impl<V: Serialize> EntryValue for Whole<V> {
    fn write(&self, text: &mut Text, values: &mut usize) -> Option<i32> {
        loose_json::write_indented(&mut text.out, &self.0, 2);
        *values = values.saturating_sub(self.1.max(1));
        None
    }
}

/// Offsets by queue: there may be tens of thousands.
impl EntryValue for &QueueOffsetMap {
    fn write(&self, text: &mut Text, values: &mut usize) -> Option<i32> {
        text.out.push(b'{');
        text.queues(self, None, values)
    }
}

impl<'a, V> Entry<'a, Whole<V>> {
    fn of(first: &'a str, value: V, values: usize) -> Self {
        Self {
            first,
            second: "",
            value: Whole(value, values),
        }
    }
}

impl Broker {
    /// The whole of a file at once.
    pub fn file_text(&self, file: ConfigFile) -> String {
        let mut text = self.begin_text(file, self.file_version(file));
        while !self.write_text(&mut text, usize::MAX) {}
        text.into_string()
    }

    /// The version of what the file is about; files without one have the default.
    pub fn file_version(&self, file: ConfigFile) -> DataVersion {
        match file {
            ConfigFile::Topics => self.topics.version(),
            ConfigFile::SubscriptionGroups => self.groups.version(),
            ConfigFile::ConsumerOffsets => self.offsets.version(),
            ConfigFile::DelayOffsets => self.delays.version(),
            ConfigFile::Settings | ConfigFile::RequestModes | ConfigFile::PopOrders => {
                DataVersion::default()
            }
        }
    }

    /// Begins a text that is to have this version.
    pub fn begin_text(&self, file: ConfigFile, version: DataVersion) -> Text {
        let mut text = Text {
            tables: Table::of(file, self.offsets.has_left()),
            out: Vec::new(),
            table: 0,
            stage: Stage::NotBegun,
            slices: 0,
        };
        match file {
            ConfigFile::Settings => text.out = self.changed_settings_text().into_bytes(),
            ConfigFile::DelayOffsets => text.whole(&super::DelaysFile::of(&self.delays)),
            ConfigFile::Topics | ConfigFile::SubscriptionGroups | ConfigFile::ConsumerOffsets => {
                text.version(version)
            }
            ConfigFile::PopOrders | ConfigFile::RequestModes => text.out.push(b'{'),
        }
        text
    }

    /// Writes up to so many values more; whether the text is complete.
    pub fn write_text(&self, text: &mut Text, values: usize) -> bool {
        let mut values = values.max(1);
        let tables = text.tables;
        text.slices += 1;
        while let Some(table) = tables.get(text.table) {
            if !self.write_table(*table, text, &mut values) {
                return false;
            }
            text.table += 1;
            if text.table == tables.len() {
                text.out.extend_from_slice(b"\n}");
            }
        }
        true
    }

    fn write_table(&self, table: Table, text: &mut Text, values: &mut usize) -> bool {
        let stage = std::mem::take(&mut text.stage);
        let pair = stage.last();
        let first = pair.map(|(first, _)| first);
        match table {
            Table::Topics => {
                let topics = self.topics.after(first);
                let entries = topics.map(|c| Entry::of(&c.topic_name, c, VALUES_PER_CONFIG));
                text.write(table, &stage, entries, values)
            }
            Table::Groups => {
                let groups = self.groups.after(first);
                let entries = groups.map(|c| Entry::of(&c.group_name, c, VALUES_PER_CONFIG));
                text.write(table, &stage, entries, values)
            }
            Table::Forbidden => {
                let groups = self.groups.forbidden_after(first);
                let entries = groups.map(|(group, topics)| Entry::of(group, topics, topics.len()));
                text.write(table, &stage, entries, values)
            }
            Table::TopicsOfGroups => {
                let groups = self.offsets.groups_after(first);
                let entries = groups.map(|(group, topics)| Entry::of(group, topics, topics.len()));
                text.write(table, &stage, entries, values)
            }
            Table::Offsets => {
                let of = |group: &str, topic: &str| self.offsets.of(group, topic);
                if !text.write_rest(&stage, of, values) {
                    return false;
                }
                let offsets = self.offsets.after(pair);
                text.write(table, &stage, offsets.map(by_topic), values)
            }
            Table::Pulled => {
                let of = |group: &str, topic: &str| self.offsets.pulled_of(group, topic);
                if !text.write_rest(&stage, of, values) {
                    return false;
                }
                let pulled = self.offsets.pulled_after(pair);
                text.write(table, &stage, pulled.map(by_topic), values)
            }
            Table::Left => {
                let of = |group: &str, topic: &str| self.offsets.left_of(group, topic);
                if !text.write_rest(&stage, of, values) {
                    return false;
                }
                let left = self.offsets.left_after(pair);
                text.write(table, &stage, left.map(by_topic), values)
            }
            Table::Orders => {
                let queues = self.pops.orders.after(first);
                let entries = queues.map(|(key, queues)| Entry::of(key, queues, 8 * queues.len()));
                text.write(table, &stage, entries, values)
            }
            Table::Modes => {
                let modes = self.pops.modes.rows_after(pair);
                text.modes(&stage, modes, values)
            }
        }
    }
}

type Offsets<'a> = crate::broker::offsets::Entry<'a>;

fn by_topic<'a>((topic, group, queues): Offsets<'a>) -> Entry<'a, &'a QueueOffsetMap> {
    Entry {
        first: topic,
        second: group,
        value: queues,
    }
}

impl Text {
    /// How often it was interrupted, and once more.
    pub fn slices(&self) -> u64 {
        self.slices
    }

    pub fn len_bytes(&self) -> u64 {
        self.out.len() as u64
    }

    pub fn into_string(self) -> String {
        String::from_utf8(self.out).expect("JSON of texts is a text")
    }

    fn whole(&mut self, value: &impl Serialize) {
        loose_json::write_indented(&mut self.out, value, 0);
    }

    fn version(&mut self, version: DataVersion) {
        self.out.extend_from_slice(b"{\n\t\"dataVersion\":");
        loose_json::write_indented(&mut self.out, &version, 1);
        self.out.push(b',');
    }

    fn begin(&mut self, table: Table, stage: &Stage) {
        if matches!(stage, Stage::NotBegun) {
            let comma = if self.table > 0 { "," } else { "" };
            let begin = format!("{comma}\n\t\"{}\":{{", table.name());
            self.out.extend_from_slice(begin.as_bytes());
        }
    }

    /// The next entries of a table that is written up to `stage`; returns whether they were the last ones.
    fn write<'a, V: EntryValue>(
        &mut self,
        table: Table,
        stage: &Stage,
        entries: impl Iterator<Item = Entry<'a, V>>,
        values: &mut usize,
    ) -> bool {
        self.begin(table, stage);
        let mut last = stage.last();
        for entry in entries {
            if *values == 0 {
                let last = last.map(|(first, second)| (first.into(), second.into()));
                self.stage = Stage::Begun { last, open: None };
                return false;
            }
            self.key(&entry, last.is_none());
            let open = entry.value.write(self, values);
            if open.is_some() {
                let last = Some((entry.first.into(), entry.second.into()));
                self.stage = Stage::Begun { last, open };
                return false;
            }
            last = Some((entry.first, entry.second));
        }
        let end: &[u8] = if last.is_some() { b"\n\t}" } else { b"}" };
        self.out.extend_from_slice(end);
        true
    }

    /// The same of the modes, which are objects by topic with a member for each group.
    fn modes<'a>(
        &mut self,
        stage: &Stage,
        modes: impl Iterator<Item = (&'a str, &'a str, &'a MessageRequestMode)>,
        values: &mut usize,
    ) -> bool {
        self.begin(Table::Modes, stage);
        let mut last = stage.last();
        for (topic, group, mode) in modes {
            if *values == 0 {
                let last = last.map(|(topic, group)| (topic.into(), group.into()));
                self.stage = Stage::Begun { last, open: None };
                return false;
            }
            match last {
                Some((open, _)) if open == topic => self.out.push(b','),
                last => {
                    let comma: &[u8] = if last.is_some() { b"\n\t\t}," } else { b"" };
                    self.out.extend_from_slice(comma);
                    self.name(topic, b"\n\t\t");
                    self.out.push(b'{');
                }
            }
            self.name(group, b"\n\t\t\t");
            loose_json::write_indented(&mut self.out, mode, 3);
            *values = values.saturating_sub(VALUES_PER_MODE);
            last = Some((topic, group));
        }
        let end: &[u8] = if last.is_some() {
            b"\n\t\t}\n\t}"
        } else {
            b"}"
        };
        self.out.extend_from_slice(end);
        true
    }

    fn name(&mut self, name: &str, indent: &[u8]) {
        self.out.extend_from_slice(indent);
        self.out.extend_from_slice(&loose_json::to_vec(name));
        self.out.push(b':');
    }

    /// The rest of the entry in which the last slice ended, if any; whether that is all of it.
    fn write_rest<'a>(
        &mut self,
        stage: &Stage,
        of: impl Fn(&str, &str) -> Option<&'a QueueOffsetMap>,
        values: &mut usize,
    ) -> bool {
        let Stage::Begun {
            last: Some((topic, group)),
            open: Some(queue),
        } = stage
        else {
            return true;
        };
        // What was removed meanwhile ends here.
        let gone = QueueOffsetMap::new();
        let queues = of(group, topic).unwrap_or(&gone);
        let open = self.queues(queues, Some(*queue), values);
        if open.is_some() {
            let last = Some((topic.clone(), group.clone()));
            self.stage = Stage::Begun { last, open };
        }
        open.is_none()
    }

    /// The offsets of queues behind this one; the last one if there are more.
    fn queues(
        &mut self,
        queues: &QueueOffsetMap,
        after: Option<i32>,
        values: &mut usize,
    ) -> Option<i32> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = after;
        for (queue_id, offset) in queues.range((from, Bound::Unbounded)) {
            if *values == 0 {
                return last;
            }
            let comma = if last.is_some() { "," } else { "" };
            let written = write!(self.out, "{comma}\n\t\t\t{queue_id}:{offset}");
            debug_assert!(written.is_ok(), "memory takes everything");
            *values -= 1;
            last = Some(*queue_id);
        }
        let end: &[u8] = if last.is_some() { b"\n\t\t}" } else { b"}" };
        self.out.extend_from_slice(end);
        None
    }

    fn key<V>(&mut self, entry: &Entry<'_, V>, is_first: bool) {
        let comma: &[u8] = if is_first { b"" } else { b"," };
        self.out.extend_from_slice(comma);
        self.out.extend_from_slice(b"\n\t\t");
        let key = match entry.second {
            "" => loose_json::to_vec(entry.first),
            group => loose_json::to_vec(&format!("{}{TOPIC_GROUP_SEPARATOR}{group}", entry.first)),
        };
        self.out.extend_from_slice(&key);
        self.out.push(b':');
    }
}
