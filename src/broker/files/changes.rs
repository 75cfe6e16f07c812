//! Changes of topics and groups, as they stand in a file that only grows.
//!
//! `topics.json` and `subscriptionGroup.json` are RocketMQ's, each one text about everything. To write them anew for each
//! topic that is made costs more the more there are. So a change goes into a change file first, a line each:
//!
//! ```text
//! checksum (8 hexadecimal digits) | blank | JSON of a [`Change`] | line feed
//! ```
//!
//! The checksum of a line covers the lines before it as well: what is left of an earlier, longer write behind the last line
//! does not count. A file begins with a [`Change::Base`].
//!
//! Now and then the JSON files are written and the change files before that are removed. As the texts are written in slices,
//! they may already have some of the changes that come after them; a change says all there is about its topic or group, so
//! that making it twice does no harm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::broker::groups::Forbidden;
use crate::wire::DataVersion;
use crate::wire::group::SubscriptionGroupConfig;
use crate::wire::topic::TopicConfig;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The versions of the JSON files on which what follows rests: they are on the disk, or about to be.
    Base {
        /// Of two change files the one with the greater number is the later one.
        generation: u64,
        topics: DataVersion,
        groups: DataVersion,
    },
    /// The topic as it is now; without a `config` it was deleted.
    Topic {
        name: String,
        version: DataVersion,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<TopicConfig>,
    },
    Group {
        name: String,
        version: DataVersion,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<SubscriptionGroupConfig>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        forbidden: Forbidden,
    },
}

const CHECKSUM_DIGITS: usize = 8;

/// Appends a change behind one with the checksum `before` (0 at the beginning of a file); its own.
pub fn append(out: &mut Vec<u8>, change: &Change, before: u32) -> u32 {
    let json = serde_json::to_vec(change).expect("a change is JSON");
    let checksum = checksum(before, &json);
    out.extend_from_slice(format!("{checksum:08x} ").as_bytes());
    out.extend_from_slice(&json);
    out.push(b'\n');
    checksum
}

/// The changes up to the first line that is not whole, and how many bytes are not read.
pub fn read(mut text: &[u8]) -> (Vec<Change>, usize) {
    let mut changes = Vec::new();
    let mut before = 0;
    while let Some(end) = memchr::memchr(b'\n', text)
        && let Some((change, checksum)) = line(&text[..end], before)
    {
        changes.push(change);
        before = checksum;
        text = &text[end + 1..];
    }
    (changes, text.len())
}

fn line(line: &[u8], before: u32) -> Option<(Change, u32)> {
    let (digits, json) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    let stated = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    let is_whole = stated == checksum(before, json);
    Some((serde_json::from_slice(json).ok()?, stated)).filter(|_| is_whole)
}

fn checksum(before: u32, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub changes: usize,
    /// Another program has written the JSON file meanwhile, without the changes: what it has was left as it is, and
    /// only what it does not have was added.
    pub is_merged: bool,
}

impl Broker {
    pub fn topic_change(&self, topic: &str) -> Change {
        Change::Topic {
            name: topic.to_owned(),
            version: self.topics.version(),
            config: self.topics.find(topic).map(|entry| entry.config.clone()),
        }
    }

    pub fn group_change(&self, group: &str) -> Change {
        Change::Group {
            name: group.to_owned(),
            version: self.groups.version(),
            config: self.groups.find(group).cloned(),
            forbidden: self.groups.forbidden_of(group).cloned().unwrap_or_default(),
        }
    }

    /// Makes the changes that change files have, the earlier file first, after the JSON files were loaded.
    pub fn replay_changes(&mut self, changes: Vec<Change>) -> Replayed {
        let mut bases = Known::default();
        // Only the last change of a name counts: it says all there is.
        let mut last = BTreeMap::new();
        for change in changes {
            bases.note(&change);
            match &change {
                Change::Base { .. } => {}
                Change::Topic { name, .. } => drop(last.insert((false, name.clone()), change)),
                Change::Group { name, .. } => drop(last.insert((true, name.clone()), change)),
            }
        }
        let knows_topics = bases.topics.contains(&self.topics.version());
        let knows_groups = bases.groups.contains(&self.groups.version());
        let mut replayed = Replayed::default();
        for change in last.into_values() {
            let is_made = match change {
                Change::Base { .. } => false,
                Change::Topic {
                    name,
                    version,
                    config,
                } => {
                    let is_new = config.is_some() && !self.topics.contains(&name);
                    let is_made = knows_topics || is_new;
                    if is_made {
                        self.topics.replay(&name, config, version);
                    }
                    is_made
                }
                Change::Group {
                    name,
                    version,
                    config,
                    forbidden,
                } => {
                    let is_new = config.is_some() && !self.groups.contains(&name);
                    let is_made = knows_groups || is_new;
                    if is_made {
                        self.groups.replay(&name, config, forbidden, version);
                    }
                    is_made
                }
            };
            replayed.changes += usize::from(is_made);
        }
        replayed.is_merged = replayed.changes > 0 && !(knows_topics && knows_groups);
        replayed
    }
}

/// Versions that the JSON files may have if no other program has written them.
#[derive(Default)]
struct Known {
    topics: Vec<DataVersion>,
    groups: Vec<DataVersion>,
}

impl Known {
    fn note(&mut self, change: &Change) {
        match change {
            Change::Base { topics, groups, .. } => {
                self.topics.push(*topics);
                self.groups.push(*groups);
            }
            Change::Topic { version, .. } => self.topics.push(*version),
            Change::Group { version, .. } => self.groups.push(*version),
        }
    }
}

/// The changes of the files that there are, the earlier file first; also the greatest of their numbers.
pub fn in_order(mut files: Vec<Vec<Change>>) -> (Vec<Change>, u64) {
    let generation = |file: &Vec<Change>| match file.first() {
        Some(Change::Base { generation, .. }) => *generation,
        _ => 0,
    };
    files.sort_by_key(generation);
    let last = files.last().map_or(0, generation);
    (files.into_iter().flatten().collect(), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::tests::{broker, topic};
    use crate::broker::{BrokerConfig, ConfigFile};

    fn written(changes: &[Change]) -> Vec<u8> {
        let (mut out, mut checksum) = (Vec::new(), 0);
        for change in changes {
            checksum = append(&mut out, change, checksum);
        }
        out
    }

    fn some_changes() -> Vec<Change> {
        let mut broker = broker();
        let base = Change::Base {
            generation: 3,
            topics: broker.topics.version(),
            groups: broker.groups.version(),
        };
        broker.topics.put(topic("A", 2), 5);
        let made = broker.topic_change("A");
        broker.topics.remove("T", 6);
        broker.find_or_create_group("g", 7);
        broker.groups.set_readable("g", "A", false, 8);
        vec![
            base,
            made,
            broker.topic_change("T"),
            broker.group_change("g"),
        ]
    }

    #[test]
    fn they_are_read_as_they_were_written_up_to_where_the_file_is_whole() {
        let changes = some_changes();
        let whole = written(&changes);
        assert_eq!(read(&whole), (changes.clone(), 0));
        for len in 0..whole.len() {
            let (read, rest) = read(&whole[..len]);
            assert_eq!(read, changes[..read.len()], "cut at {len}");
            assert_eq!(written(&read).len() + rest, len);
        }
        for at in 0..whole.len() {
            let mut rotten = whole.clone();
            rotten[at] ^= 1;
            let (read, rest) = read(&rotten);
            assert_eq!(read, changes[..read.len()], "rot at {at}");
            assert!(rest > 0);
        }
    }

    #[test]
    fn what_an_earlier_write_left_behind_does_not_count() {
        let changes = some_changes();
        let left = written(&changes);
        // The same up to its second line, and then something else of the same length as what it replaces.
        let mut again = changes[..2].to_vec();
        again.push(changes[1].clone());
        let mut text = written(&again);
        let line_begins = text.len();
        let next = left[..left.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n');
        text.extend_from_slice(&left[next.unwrap() + 1..]);
        assert_eq!(read(&text), (again, text.len() - line_begins));
    }

    #[test]
    fn a_replay_ends_where_the_broker_was() {
        let changes = some_changes();
        let mut again = broker();
        let replayed = again.replay_changes(changes.clone());
        let expected = Replayed {
            changes: 3,
            is_merged: false,
        };
        assert_eq!(replayed, expected);
        assert!(again.topics.contains("A") && !again.topics.contains("T"));
        assert!(!again.groups.may_read("g", "A"));
        let files = [ConfigFile::Topics, ConfigFile::SubscriptionGroups];
        let texts = files.map(|file| again.file_text(file));
        again.replay_changes(changes);
        assert_eq!(files.map(|file| again.file_text(file)), texts, "once more");
    }

    #[test]
    fn a_file_that_somebody_else_wrote_keeps_what_it_has() {
        let mut other = Broker::new(BrokerConfig::default(), 0);
        other.topics.put(topic("T", 7), 99);
        other.topics.put(topic("New", 7), 99);
        let replayed = other.replay_changes(some_changes());
        assert!(replayed.is_merged);
        let queues = |topic| other.topics.find(topic).map(|entry| entry.queues.len());
        assert_eq!(queues("A"), Some(2), "added");
        assert_eq!(queues("T"), Some(7), "not deleted: it may be a new one");
        assert_eq!(queues("New"), Some(7));
        assert!(other.groups.contains("g"));
    }

    #[test]
    fn arbitrary_bytes_are_no_changes() {
        for text in [
            &b""[..],
            b"\n",
            b"00000000 {}\n",
            b"\xff\xfe\n",
            b"0000000g {}\n",
        ] {
            assert_eq!(read(text), (vec![], text.len()));
        }
    }
}
