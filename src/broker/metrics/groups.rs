//! By group and topic: what groups have got.

use super::{Place, Scrape, Turn, is_system_group};
use crate::broker::Broker;
use crate::broker::gets::Gets;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::pop::normal_topic;
use crate::broker::system_topics::{SCHEDULE_GROUP, is_system};
use crate::message::names::is_retry_or_dlq;
use crate::metrics::families::{
    MESSAGES_OUT, POP_REVIVE_IN, POP_REVIVE_RETRY, SEND_TO_DLQ, THROUGHPUT_OUT,
};
use crate::metrics::text::truth;

/// What `AppendMessageStatus` is for all that is counted here.
const PUT_OK: (&str, &str) = ("put_status", "PUT_OK");

/// The next topic of a group, or the next group.
#[derive(Debug, Default)]
pub(super) enum GroupPlace {
    /// The broker's own, which is in no table.
    #[default]
    Schedule,
    /// Behind this group.
    Group(Option<String>),
    Topic {
        group: String,
        after: Option<String>,
    },
}

impl Scrape {
    pub(super) fn groups(&mut self, broker: &Broker) -> Turn {
        for _ in 0..ROWS_PER_TURN {
            let Place::Group(place) = &mut self.place else {
                unreachable!("a walk over groups is at a group");
            };
            let next = match std::mem::take(place) {
                GroupPlace::Schedule => {
                    let gets = broker.stats.group_gets();
                    for (topic, gets) in gets.topics_after(SCHEDULE_GROUP, None) {
                        self.got(broker, SCHEDULE_GROUP, topic, gets);
                    }
                    GroupPlace::Group(None)
                }
                GroupPlace::Group(after) => {
                    let Some(config) = broker.groups.after(after.as_deref()).next() else {
                        return Turn::Done;
                    };
                    GroupPlace::Topic {
                        group: config.group_name.clone(),
                        after: None,
                    }
                }
                GroupPlace::Topic { group, after } => self.next_topic(broker, group, after),
            };
            self.place = Place::Group(next);
        }
        Turn::More
    }

    fn next_topic(&mut self, broker: &Broker, group: String, after: Option<String>) -> GroupPlace {
        let gets = broker.stats.group_gets();
        let next = gets.topics_after(&group, after.as_deref()).next();
        let Some((topic, gets)) = next else {
            return GroupPlace::Group(Some(group));
        };
        self.got(broker, &group, topic, gets);
        GroupPlace::Topic {
            after: Some(topic.to_owned()),
            group,
        }
    }

    /// What one group has got of one topic.
    fn got(&mut self, broker: &Broker, group: &str, topic: &str, gets: &Gets) {
        let normal = normal_topic(topic, group);
        let is_retry = normal != topic;
        let is_system = |topic| truth(is_system(topic, &broker.config) || is_system_group(group));
        let labels = [
            ("topic", normal),
            ("consumer_group", group),
            ("is_system", is_system(normal)),
            ("is_retry", truth(is_retry)),
        ];
        let pops = &gets.pops;
        if pops.messages > 0 {
            self.sample(&MESSAGES_OUT, &labels, pops.messages);
            self.sample(&THROUGHPUT_OUT, &labels, pops.bytes);
        }
        let labels = [
            ("topic", topic),
            ("consumer_group", group),
            ("is_system", is_system(topic)),
        ];
        let pulled = gets.messages.sum() - pops.messages;
        if pulled > 0 && !is_retry_or_dlq(topic) {
            self.sample(&MESSAGES_OUT, &labels, pulled);
            self.sample(&THROUGHPUT_OUT, &labels, gets.bytes.sum() - pops.bytes);
        }
        if gets.dead_letters > 0 {
            self.sample(&SEND_TO_DLQ, &labels, gets.dead_letters);
        }
        for (kind, count) in [("CK", pops.check_points), ("ACK", pops.acks)] {
            if count > 0 {
                let [topic, group, _] = labels;
                let labels = [topic, group, ("revive_message_type", kind), PUT_OK];
                self.sample(&POP_REVIVE_IN, &labels, count);
            }
        }
        if pops.revived > 0 {
            let [topic, group, _] = labels;
            self.sample(&POP_REVIVE_RETRY, &[topic, group, PUT_OK], pops.revived);
        }
    }
}
