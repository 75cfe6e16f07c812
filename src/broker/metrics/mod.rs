//! Samples of what a shard's rules know: by topic, by group, by client. A walk over all of them is made in slices.
//!
//! The process asks for one section after another with a [`Scrape`], which goes to the shard and back until it is done: it has the place in the walk
//! and the text so far, so that the shard keeps nothing between two slices, and nothing at all if nobody asks any more.

mod connections;
mod figures;
mod groups;
mod lag;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::connections::ConnectionPlace;
use self::groups::GroupPlace;
use self::lag::LagPlace;
use super::Broker;
use super::step::MessagePlace;
use super::store_view::At;
use crate::metrics::text::{histogram, sample, text_of};
use crate::metrics::{Family, Histogram, NodeLabels, Number, Section};

/// Text after which a scrape goes back, to be continued.
const FULL_BYTES: usize = 64 << 10;

/// Store times that are read from disk for one scrape; queues beyond count without their times.
const MAX_READ_TIMES: usize = 1024;

/// Store times kept from one scrape to the next, so that those of a group without progress are read from disk once.
const MAX_KEPT_TIMES: usize = 65_536;

/// RocketMQ's name for its own consumers.
const SYSTEM_GROUP_PREFIX: &str = "cid_rmq_sys_";

/// One section's samples of one shard, in the making.
#[derive(Debug)]
pub struct Scrape {
    section: Section,
    node: Arc<NodeLabels>,
    /// By the families of the section.
    texts: Vec<(&'static Family, String)>,
    place: Place,
    /// Rows of a section that is not made by the rules which are written.
    pub passed: usize,
    times: Times,
}

/// Where the walk goes on.
#[derive(Debug)]
enum Place {
    /// Behind this topic.
    Topic(Option<String>),
    Group(GroupPlace),
    Lag(LagPlace),
    Connection(ConnectionPlace),
}

/// What a slice has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more. Others may run first.
    More,
    /// The next rows need these store times: [`Scrape::times`].
    Times(Vec<MessagePlace>),
    Done,
}

/// Store times of messages, by their places. `None`: the message cannot be read.
pub type KnownTimes = BTreeMap<MessagePlace, Option<i64>>;

#[derive(Debug, Default)]
struct Times {
    known: KnownTimes,
    /// Those that this scrape needed.
    used: KnownTimes,
    asked: Vec<MessagePlace>,
    read: usize,
}

impl Scrape {
    /// `known`: what the last scrape of this section had to read ([`Self::into_times`]).
    pub fn new(section: Section, node: Arc<NodeLabels>, known: KnownTimes) -> Self {
        let place = match section {
            Section::Groups => Place::Group(GroupPlace::default()),
            Section::Lag => Place::Lag(LagPlace::default()),
            Section::Connections => Place::Connection(ConnectionPlace::default()),
            _ => Place::Topic(None),
        };
        Self {
            section,
            node,
            texts: section
                .families()
                .map(|family| (family, String::new()))
                .collect(),
            place,
            passed: 0,
            times: Times {
                known,
                ..Times::default()
            },
        }
    }

    pub fn section(&self) -> Section {
        self.section
    }

    /// Writes the next rows of a section that is made by the rules.
    pub fn turn(&mut self, broker: &Broker, at: At<'_>) -> Turn {
        match self.section {
            Section::MessagesIn | Section::ThroughputIn | Section::MessageSize => {
                self.incoming(broker)
            }
            Section::Transactions => self.transactions(broker),
            Section::Timers => self.timers(broker, at),
            Section::Groups => self.groups(broker),
            Section::Lag => self.lag(broker, at),
            Section::Connections => self.connections(broker),
            Section::Process
            | Section::NameServer
            | Section::Controller
            | Section::Shard
            | Section::Requests => {
                unreachable!("{:?} is not made by the rules", self.section)
            }
        }
    }

    /// The store times that [`Turn::Times`] has asked for, in its order.
    pub fn times(&mut self, times: impl IntoIterator<Item = Option<i64>>) {
        let asked = std::mem::take(&mut self.times.asked);
        self.times.known.extend(asked.into_iter().zip(times));
    }

    /// Whether the text so far is to be taken before there is more.
    pub fn is_full(&self) -> bool {
        let texts = self.texts.iter();
        texts.map(|(_, text)| text.len()).sum::<usize>() >= FULL_BYTES
    }

    /// The text since the last time, by family.
    pub fn take_texts(&mut self) -> impl Iterator<Item = (&'static Family, String)> {
        let texts = self.texts.iter_mut();
        texts.map(|(family, text)| (*family, std::mem::take(text)))
    }

    /// What the next scrape of this section need not read again.
    pub fn into_times(self) -> KnownTimes {
        self.times.used
    }

    /// A sample of a counter or a gauge.
    pub fn sample(&mut self, family: &Family, labels: &[(&str, &str)], value: impl Into<Number>) {
        let text = text_of(&mut self.texts, family);
        sample(family, &self.node, labels, value, text);
    }

    pub fn histogram(&mut self, family: &Family, labels: &[(&str, &str)], values: &Histogram) {
        let text = text_of(&mut self.texts, family);
        histogram(family, &self.node, labels, values, text);
    }
}

fn is_system_group(group: &str) -> bool {
    let prefix = group.get(..SYSTEM_GROUP_PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(SYSTEM_GROUP_PREFIX))
}

#[cfg(test)]
mod tests;
