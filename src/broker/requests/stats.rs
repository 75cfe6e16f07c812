//! Where queues and groups stand: 202, 208, 303, 317. A row is a queue; the answers are made in slices.

use std::ops::Range;

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::refusal::missing_topic;
use crate::broker::rows::{Json, Now, Rows, Sliced};
use crate::broker::step::Step;
use crate::broker::topics::queue_count;
use crate::broker::{Broker, Refusal};
use crate::wire::MessageQueue;
use crate::wire::Reply;
use crate::wire::stats::{
    BrokerConsumeStatsRequest, ConsumeStatsRequest, GroupAndTopic, OffsetWrapper, QueueTimeSpan,
    TopicOffset,
};
use crate::wire::topic::TopicRequest;

impl Broker {
    pub(super) fn topic_stats(&self, asked: TopicRequest<'_>) -> Result<Step, Refusal> {
        let topic = asked.topic;
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        let rows = TopicStats {
            topic: topic.into(),
            queues: 0..queue_count(&entry.config) as u32,
        };
        Ok(Sliced::step(r#"{"offsetTable":{"#, rows))
    }

    /// Of the topics asked for, or of all that the group has offsets in; without a list only of those it is subscribed to.
    pub(super) fn consume_stats(&self, asked: ConsumeStatsRequest<'_>) -> Result<Step, Refusal> {
        let list = asked.topic_list.unwrap_or("").split(';');
        let listed = list.filter(|topic| !topic.is_empty()).map(str::to_owned);
        let listed: Vec<String> = listed.collect();
        let named = asked.topic.filter(|topic| !topic.trim().is_empty());
        let topics = match (listed.is_empty(), named) {
            (false, _) => AskedTopics::These(listed.into_iter()),
            (true, Some(topic)) if !self.is_asked_about(asked.consumer_group, topic) => {
                AskedTopics::These(Vec::new().into_iter())
            }
            (true, Some(topic)) => AskedTopics::These(vec![topic.to_owned()].into_iter()),
            (true, None) => AskedTopics::All { after: None },
        };
        let rows = ConsumeStats {
            group: asked.consumer_group.into(),
            topics,
            current: None,
            tps: 0.0,
        };
        Ok(Sliced::step(r#"{"offsetTable":{"#, rows))
    }

    /// The same of every group there is, topic by topic. (RocketMQ leaves out how far they have pulled, so that its total of
    /// what is in flight is negative.)
    pub(super) fn broker_consume_stats(
        &self,
        asked: BrokerConsumeStatsRequest,
    ) -> Result<Step, Refusal> {
        let addr = self.config.advertise;
        let head = format!(r#"{{"brokerAddr":"{addr}","consumeStatsList":["#);
        let rows = AllConsumeStats {
            is_order: asked.is_order,
            place: Place::Group { after: None },
            total_diff: 0,
            total_inflight_diff: 0,
        };
        Ok(Sliced::step(head, rows))
    }

    /// The times of each queue's first and last message and of the group's last one. (RocketMQ takes a group without an
    /// offset for one that is behind since 1970; it has the whole queue before it.)
    pub(super) fn consume_time_spans(&self, asked: GroupAndTopic<'_>) -> Result<Step, Refusal> {
        let topic = asked.topic.unwrap_or("");
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        let rows = TimeSpans {
            group: asked.group.into(),
            topic: topic.into(),
            queues: 0..entry.config.write_queue_nums.max(0) as u32,
        };
        Ok(Sliced::step(r#"{"consumeTimeSpanSet":["#, rows))
    }

    /// A group that is online is asked about only where it still is.
    fn is_asked_about(&self, group: &str, topic: &str) -> bool {
        self.clients.consumers(group).is_none_or(|members| {
            !members.has_subscriptions() || members.subscription(topic).is_some()
        })
    }

    pub(in crate::broker) fn message_queue(&self, topic: &str, queue_id: u32) -> MessageQueue {
        MessageQueue {
            broker_name: self.config.broker_name.clone(),
            queue_id: queue_id as i32,
            topic: topic.into(),
        }
    }
}

/// The next queues of a range.
fn next_slice(queues: &mut Range<u32>) -> Range<u32> {
    let end = queues.end.min(queues.start + ROWS_PER_TURN as u32);
    let slice = queues.start..end;
    queues.start = end;
    slice
}

#[derive(Clone, Debug)]
struct TopicStats {
    topic: String,
    queues: Range<u32>,
}

impl Rows for TopicStats {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let topic = &*self.topic;
        for queue_id in next_slice(&mut self.queues) {
            let bounds = at.store.bounds(topic, queue_id);
            let last = bounds.max.checked_sub(1);
            let stored_ms = last.and_then(|last| at.store.store_time_ms(topic, queue_id, last));
            let offset = TopicOffset {
                last_update_timestamp_ms: stored_ms.unwrap_or(0),
                max_offset: bounds.max as i64,
                min_offset: bounds.min as i64,
            };
            out.member(&at.broker.message_queue(topic, queue_id), &offset)?;
        }
        Ok(self.queues.is_empty())
    }

    fn finish(&self, at: &Now<'_>, out: &mut Json) -> Reply {
        out.text(r#"},"topicPutTps":"#);
        out.value(&at.broker.stats.topic_put_tps(&self.topic, at.now_ms));
        out.text("}");
        Reply::ok()
    }
}

/// How far a group is in a queue.
fn wrapper(at: &Now<'_>, group: &str, topic: &str, queue_id: u32) -> OffsetWrapper {
    let (id, offsets) = (queue_id as i32, &at.broker.offsets);
    let consumer_offset = offsets.query(group, topic, id).unwrap_or(0).max(0);
    let pull_offset = offsets.query_pulled(group, topic, id).unwrap_or(0);
    let last = u64::try_from(consumer_offset - 1).ok();
    let stored_ms = last.and_then(|last| at.store.store_time_ms(topic, queue_id, last));
    OffsetWrapper {
        broker_offset: at.store.bounds(topic, queue_id).max as i64,
        consumer_offset,
        last_timestamp_ms: stored_ms.unwrap_or(0),
        pull_offset: pull_offset.max(consumer_offset),
    }
}

#[derive(Clone, Debug)]
struct ConsumeStats {
    group: String,
    topics: AskedTopics,
    /// A topic, and its next queue.
    current: Option<(String, u32)>,
    tps: f64,
}

/// The topics that are left.
#[derive(Clone, Debug)]
enum AskedTopics {
    These(std::vec::IntoIter<String>),
    /// Those of the group behind this one.
    All {
        after: Option<String>,
    },
}

impl AskedTopics {
    /// The next topic; an empty name stands for one that is skipped.
    fn next(&mut self, group: &str, broker: &Broker) -> Option<String> {
        let after = match self {
            Self::These(topics) => return topics.next(),
            Self::All { after } => after,
        };
        let topic = {
            let mut topics = broker.offsets.topics_after(group, after.as_deref());
            topics.next()?.to_owned()
        };
        *after = Some(topic.clone());
        Some(match broker.is_asked_about(group, &topic) {
            true => topic,
            false => String::new(),
        })
    }
}

impl Rows for ConsumeStats {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        for _ in 0..ROWS_PER_TURN {
            let Some((topic, queue_id)) = &mut self.current else {
                let next = self.topics.next(&self.group, at.broker);
                let Some(topic) = next else { return Ok(true) };
                self.current = Some((topic, 0));
                continue;
            };
            let entry = at.broker.topics.find(topic);
            let queues = entry.map_or(0, |entry| entry.config.read_queue_nums.max(0) as u32);
            if *queue_id >= queues {
                if entry.is_some() {
                    let stats = &at.broker.stats;
                    self.tps += stats.group_get_tps(&self.group, topic, at.now_ms);
                }
                self.current = None;
                continue;
            }
            let queue = at.broker.message_queue(topic, *queue_id);
            out.member(&queue, &wrapper(at, &self.group, topic, *queue_id))?;
            *queue_id += 1;
        }
        Ok(false)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text(r#"},"consumeTps":"#);
        out.value(&self.tps);
        out.text("}");
        Reply::ok()
    }
}

#[derive(Clone, Debug)]
struct AllConsumeStats {
    is_order: bool,
    place: Place,
    total_diff: i64,
    total_inflight_diff: i64,
}

/// What comes next.
#[derive(Clone, Debug)]
enum Place {
    /// The first group, or the first one behind this.
    Group {
        after: Option<String>,
    },
    /// The group's first topic, or the first one behind this.
    Topic {
        group: String,
        after: Option<String>,
    },
    Queue {
        group: String,
        topic: String,
        queue_id: u32,
    },
    End,
}

impl Rows for AllConsumeStats {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        for _ in 0..ROWS_PER_TURN {
            self.place = match std::mem::replace(&mut self.place, Place::End) {
                Place::Group { after } => next_group(at, after.as_deref(), out),
                Place::Topic { group, after } => self.next_topic(at, group, after, out),
                Place::Queue {
                    group,
                    topic,
                    queue_id,
                } => self.queue(at, group, topic, queue_id, out)?,
                Place::End => return Ok(true),
            };
        }
        Ok(matches!(self.place, Place::End))
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text(r#"],"totalDiff":"#);
        out.value(&self.total_diff);
        out.text(r#","totalInflightDiff":"#);
        out.value(&self.total_inflight_diff);
        out.text("}");
        Reply::ok()
    }
}

fn next_group(at: &Now<'_>, after: Option<&str>, out: &mut Json) -> Place {
    let Some(config) = at.broker.groups.after(after).next() else {
        return Place::End;
    };
    let group = config.group_name.clone();
    out.comma();
    out.text("{");
    out.value(&group);
    out.text(":[");
    Place::Topic { group, after: None }
}

impl AllConsumeStats {
    fn next_topic(
        &mut self,
        at: &Now<'_>,
        group: String,
        after: Option<String>,
        out: &mut Json,
    ) -> Place {
        let broker = at.broker;
        let next = broker
            .offsets
            .topics_after(&group, after.as_deref())
            .next()
            .map(str::to_owned);
        let Some(topic) = next else {
            out.text("]}");
            out.go_on();
            return Place::Group { after: Some(group) };
        };
        let entry = broker.topics.find(&topic);
        let is_wanted = entry.is_some_and(|entry| entry.config.order || !self.is_order)
            && broker.is_asked_about(&group, &topic);
        if !is_wanted {
            let after = Some(topic);
            return Place::Topic { group, after };
        }
        out.comma();
        out.text(r#"{"offsetTable":{"#);
        Place::Queue {
            group,
            topic,
            queue_id: 0,
        }
    }

    fn queue(
        &mut self,
        at: &Now<'_>,
        group: String,
        topic: String,
        queue_id: u32,
        out: &mut Json,
    ) -> Result<Place, Refusal> {
        let entry = at.broker.topics.find(&topic);
        let queues = entry.map_or(0, |entry| entry.config.write_queue_nums.max(0) as u32);
        if queue_id >= queues {
            out.text(r#"},"consumeTps":"#);
            out.value(&at.broker.stats.group_get_tps(&group, &topic, at.now_ms));
            out.text("}");
            out.go_on();
            let after = Some(topic);
            return Ok(Place::Topic { group, after });
        }
        let offsets = wrapper(at, &group, &topic, queue_id);
        self.total_diff += offsets.broker_offset - offsets.consumer_offset;
        self.total_inflight_diff += offsets.pull_offset - offsets.consumer_offset;
        out.member(&at.broker.message_queue(&topic, queue_id), &offsets)?;
        Ok(Place::Queue {
            group,
            topic,
            queue_id: queue_id + 1,
        })
    }
}

#[derive(Clone, Debug)]
struct TimeSpans {
    group: String,
    topic: String,
    queues: Range<u32>,
}

impl Rows for TimeSpans {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let topic = &*self.topic;
        for queue_id in next_slice(&mut self.queues) {
            let bounds = at.store.bounds(topic, queue_id);
            let consumed = at.broker.offsets.query(&self.group, topic, queue_id as i32);
            let next = consumed.map_or(0, |offset| offset.max(0) as u64);
            let time_ms = |offset: Option<u64>| {
                let within = offset.filter(|offset| (bounds.min..bounds.max).contains(offset));
                within.and_then(|offset| at.store.store_time_ms(topic, queue_id, offset))
            };
            let min_ms = time_ms(Some(bounds.min)).unwrap_or(-1);
            let waits_since_ms = time_ms(Some(next.max(bounds.min)));
            out.element(&QueueTimeSpan {
                consume_timestamp_ms: time_ms(next.checked_sub(1)).unwrap_or(min_ms),
                delay_ms: waits_since_ms.map_or(0, |since_ms| at.now_ms as i64 - since_ms),
                max_timestamp_ms: time_ms(bounds.max.checked_sub(1)).unwrap_or(-1),
                message_queue: at.broker.message_queue(topic, queue_id),
                min_timestamp_ms: min_ms,
            })?;
        }
        Ok(self.queues.is_empty())
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("]}");
        Reply::ok()
    }
}
