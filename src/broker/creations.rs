//! How long it took to make topics and groups for administrators, by how that ended.

use super::Broker;
use super::system_topics::is_system;
use crate::metrics::Histogram;
use crate::metrics::families::{GROUP_CREATE, TOPIC_CREATE};
use crate::wire::Ext;
use crate::wire::codes::request;

/// What a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Topic { is_system: bool },
    Group,
}

#[derive(Debug, Default)]
pub struct Creations {
    /// By whether it worked, and whether the topic is the system's.
    topics: [[Option<Histogram>; 2]; 2],
    groups: [Option<Histogram>; 2],
}

impl Creations {
    pub fn took(&mut self, creation: Creation, is_made: bool, ms: u64) {
        let outcome = usize::from(is_made);
        let (times, family) = match creation {
            Creation::Topic { is_system } => (
                &mut self.topics[outcome][usize::from(is_system)],
                &TOPIC_CREATE,
            ),
            Creation::Group => (&mut self.groups[outcome], &GROUP_CREATE),
        };
        times
            .get_or_insert_with(|| Histogram::of(family))
            .record(ms);
    }

    /// What was made, whether that worked, and how long it took.
    pub fn iter(&self) -> impl Iterator<Item = (Creation, bool, &Histogram)> {
        let topics = [false, true].into_iter().flat_map(move |is_made| {
            [false, true].into_iter().filter_map(move |is_system| {
                let times = self.topics[usize::from(is_made)][usize::from(is_system)].as_ref();
                Some((Creation::Topic { is_system }, is_made, times?))
            })
        });
        let groups = [false, true].into_iter().filter_map(|is_made| {
            Some((
                Creation::Group,
                is_made,
                self.groups[usize::from(is_made)].as_ref()?,
            ))
        });
        topics.chain(groups)
    }
}

impl Broker {
    /// What a request is to make, if anything.
    pub fn creation(&self, code: i32, ext: &Ext<'_>) -> Option<Creation> {
        match code {
            request::UPDATE_AND_CREATE_TOPIC | request::UPDATE_AND_CREATE_TOPIC_LIST => {
                let topic = ext.find("topic");
                let is_system = topic.is_some_and(|topic| is_system(topic, &self.config));
                Some(Creation::Topic { is_system })
            }
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => Some(Creation::Group),
            _ => None,
        }
    }

    /// It was answered, so long after it had arrived.
    pub fn creation_took(&mut self, creation: Creation, is_made: bool, ms: u64) {
        self.creations.took(creation, is_made, ms);
    }
}
