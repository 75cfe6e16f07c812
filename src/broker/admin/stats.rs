//! Where queues and groups stand: 43, 45, 202, 208, 303, 308, 315, 317.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::broker::meter::Amount;
use crate::broker::reply::{Reply, StoreView};
use crate::broker::send::missing_topic;
use crate::broker::topics::queue_count;
use crate::broker::{Broker, Refusal, files};
use crate::wire::codes::response;
use crate::wire::stats::{
    BrokerConsumeStatsRequest, BrokerStatsData, BrokerStatsItem, BrokerStatsRequest, ConsumeStats,
    ConsumeStatsList, ConsumeStatsRequest, ConsumeTimeSpans, GroupAndTopic, OffsetWrapper,
    QueueTimeSpan, ResetOffsetBody, TopicOffset, TopicStatsTable,
};
use crate::wire::topic::TopicRequest;
use crate::wire::{Ext, MessageQueue};

impl Broker {
    pub(in crate::broker) fn topic_stats(
        &self,
        ext: &Ext<'_>,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let topic = TopicRequest::decode(ext)?.topic;
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        let offsets = (0..queue_count(&entry.config) as u32).map(|queue_id| {
            let bounds = store.bounds(topic, queue_id);
            let last = bounds.max.checked_sub(1);
            let stored_ms = last.and_then(|last| store.store_time_ms(topic, queue_id, last));
            let offset = TopicOffset {
                last_update_timestamp_ms: stored_ms.unwrap_or(0),
                max_offset: bounds.max as i64,
                min_offset: bounds.min as i64,
            };
            (self.message_queue(topic, queue_id), offset)
        });
        Ok(Reply::json(&TopicStatsTable {
            offset_table: offsets.collect(),
            topic_put_tps: self.stats.topic_put_tps(topic, now_ms),
        }))
    }

    pub(in crate::broker) fn consume_stats(
        &self,
        ext: &Ext<'_>,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let request = ConsumeStatsRequest::decode(ext)?;
        let group = request.consumer_group;
        let mut stats = ConsumeStats::default();
        for topic in self.topics_for_stats(&request) {
            if let Some(entry) = self.topics.find(topic) {
                let queues = entry.config.read_queue_nums;
                let of_topic = self.stats_of(group, topic, queues, now_ms, store);
                stats.consume_tps += of_topic.consume_tps;
                stats.offset_table.extend(of_topic.offset_table);
            }
        }
        Ok(Reply::json(&stats))
    }

    /// The same of every group there is, topic by topic. (RocketMQ leaves out how far they have pulled, so that its total of
    /// what is in flight is negative.)
    pub(in crate::broker) fn broker_consume_stats(
        &self,
        ext: &Ext<'_>,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let is_order = BrokerConsumeStatsRequest::decode(ext)?.is_order;
        let mut list = ConsumeStatsList {
            broker_addr: Some(self.config.advertise.to_string()),
            ..ConsumeStatsList::default()
        };
        for config in self.groups.sorted() {
            let group = &*config.group_name;
            let mut topics = self.offsets.topics_of(group);
            self.retain_subscribed(group, &mut topics);
            let entries = topics
                .into_iter()
                .filter_map(|topic| self.topics.find(topic));
            let wanted = entries.filter(|entry| entry.config.order || !is_order);
            let stats: Vec<_> = wanted
                .map(|entry| {
                    let (topic, queues) = (&entry.config.topic_name, entry.config.write_queue_nums);
                    self.stats_of(group, topic, queues, now_ms, store)
                })
                .collect();
            for offsets in stats.iter().flat_map(|stats| stats.offset_table.values()) {
                list.total_diff += offsets.broker_offset - offsets.consumer_offset;
                list.total_inflight_diff += offsets.pull_offset - offsets.consumer_offset;
            }
            list.consume_stats_list
                .push([(group.to_owned(), stats)].into());
        }
        Ok(Reply::json(&list))
    }

    fn stats_of(
        &self,
        group: &str,
        topic: &str,
        queues: i32,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> ConsumeStats {
        let queues = 0..queues.max(0) as u32;
        let offsets = queues.map(|queue_id| {
            let id = queue_id as i32;
            let consumer_offset = self.offsets.query(group, topic, id).unwrap_or(0).max(0);
            let pull_offset = self.offsets.query_pulled(group, topic, id).unwrap_or(0);
            let last = u64::try_from(consumer_offset - 1).ok();
            let stored_ms = last.and_then(|last| store.store_time_ms(topic, queue_id, last));
            let wrapper = OffsetWrapper {
                broker_offset: store.bounds(topic, queue_id).max as i64,
                consumer_offset,
                last_timestamp_ms: stored_ms.unwrap_or(0),
                pull_offset: pull_offset.max(consumer_offset),
            };
            (self.message_queue(topic, queue_id), wrapper)
        });
        ConsumeStats {
            offset_table: offsets.collect(),
            consume_tps: self.stats.group_get_tps(group, topic, now_ms),
        }
    }

    /// The times of each queue's first and last message and of the group's last one. (RocketMQ takes a group without an
    /// offset for one that is behind since 1970; it has the whole queue before it.)
    pub(in crate::broker) fn consume_time_spans(
        &self,
        ext: &Ext<'_>,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let request = GroupAndTopic::decode(ext)?;
        let topic = request.topic.unwrap_or("");
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        let spans = (0..entry.config.write_queue_nums.max(0) as u32).map(|queue_id| {
            let bounds = store.bounds(topic, queue_id);
            let consumed = self.offsets.query(request.group, topic, queue_id as i32);
            let next = consumed.map_or(0, |offset| offset.max(0) as u64);
            let time_ms = |offset: Option<u64>| {
                let within = offset.filter(|offset| (bounds.min..bounds.max).contains(offset));
                within.and_then(|offset| store.store_time_ms(topic, queue_id, offset))
            };
            let min_ms = time_ms(Some(bounds.min)).unwrap_or(-1);
            let waits_since_ms = time_ms(Some(next.max(bounds.min)));
            QueueTimeSpan {
                consume_timestamp_ms: time_ms(next.checked_sub(1)).unwrap_or(min_ms),
                delay_ms: waits_since_ms.map_or(0, |since_ms| now_ms as i64 - since_ms),
                max_timestamp_ms: time_ms(bounds.max.checked_sub(1)).unwrap_or(-1),
                message_queue: self.message_queue(topic, queue_id),
                min_timestamp_ms: min_ms,
            }
        });
        Ok(Reply::json(&ConsumeTimeSpans {
            consume_time_span_set: spans.collect(),
        }))
    }

    pub(in crate::broker) fn statistics(
        &self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let request = BrokerStatsRequest::decode(ext)?;
        let (name, key) = (request.stats_name, request.stats_key);
        let cluster = &self.config.cluster_name;
        let Some(windows) = self.stats.windows(name, key, cluster, now_ms) else {
            let remark = format!("The stats <{name}> <{key}> not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let item = |amount: Amount| BrokerStatsItem {
            avgpt: amount.sum as f64 / amount.times.max(1) as f64,
            sum: amount.sum as i64,
            tps: amount.per_second,
        };
        Ok(Reply::json(&BrokerStatsData {
            stats_day: item(windows.day),
            stats_hour: item(windows.hour),
            stats_minute: item(windows.minute),
        }))
    }

    /// The topics asked for, or all that the group has offsets in; without a list only those it is subscribed to.
    fn topics_for_stats<'a>(&'a self, request: &ConsumeStatsRequest<'a>) -> Vec<&'a str> {
        let group = request.consumer_group;
        let list = request.topic_list.unwrap_or("");
        let list: Vec<_> = list.split(';').filter(|topic| !topic.is_empty()).collect();
        if !list.is_empty() {
            return list;
        }
        let mut topics = match request.topic.filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic],
            None => self.offsets.topics_of(group),
        };
        self.retain_subscribed(group, &mut topics);
        topics
    }

    /// A group that is online is asked about only where it still is.
    fn retain_subscribed(&self, group: &str, topics: &mut Vec<&str>) {
        if let Some(group) = self.clients.consumers(group)
            && group.has_subscriptions()
        {
            topics.retain(|topic| group.subscription(topic).is_some());
        }
    }

    /// For each queue the least offset of all groups in the topic, without those to be left out (RocketMQ:
    /// `queryCorrectionOffset`, which forgets their offsets as well; we do not).
    pub(in crate::broker) fn correction_offsets(
        &self,
        ext: &Ext<'_>,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct CorrectionOffsets {
            correction_offsets: BTreeMap<i32, i64>,
        }
        let topic = TopicRequest::decode(ext)?.topic;
        let compare = ext.find("compareGroup").unwrap_or("");
        let left_out: Vec<_> = ext.find("filterGroups").unwrap_or("").split(',').collect();
        let mut least: BTreeMap<i32, i64> = BTreeMap::new();
        let groups = self.offsets.groups_of(topic).into_iter();
        for group in groups.filter(|group| !left_out.contains(group)) {
            for (queue_id, offset) in self.offsets.of(group, topic).into_iter().flatten() {
                let min = store.bounds(topic, (*queue_id).max(0) as u32).min as i64;
                if *offset >= min {
                    let known = least.entry(*queue_id).or_insert(*offset);
                    *known = (*known).min(*offset);
                }
            }
        }
        for (queue_id, offset) in self.offsets.of(compare, topic).into_iter().flatten() {
            if let Some(known) = least.get_mut(queue_id)
                && *known > *offset
            {
                *known = i64::MAX;
            }
        }
        Ok(Reply::json(&CorrectionOffsets {
            correction_offsets: least,
        }))
    }

    /// Sends a group to these offsets (222), which the caller has found by time or has been given: its next pull of each
    /// queue is told so, and until then its own commits do not count.
    pub fn reset_offsets(
        &mut self,
        group: &str,
        topic: &str,
        offsets: &[(u32, u64)],
    ) -> Result<Reply, Refusal> {
        let missing = |code, what| Err(Refusal::new(code, format!("{what} does not exist")));
        if !self.topics.contains(topic) {
            return missing(response::TOPIC_NOT_EXIST, format!("Topic {topic}"));
        }
        if !self.groups.contains(group) {
            let code = response::SUBSCRIPTION_GROUP_NOT_EXIST;
            return missing(code, format!("Group {group}"));
        }
        if offsets.is_empty() {
            let remark = "No queues to reset.";
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let mut body = ResetOffsetBody::default();
        for (queue_id, offset) in offsets {
            let (id, offset) = (*queue_id as i32, *offset as i64);
            self.offsets.reset(group, topic, id, offset);
            let queue = self.message_queue(topic, *queue_id);
            body.offset_table.insert(queue, offset);
        }
        Ok(Reply::json(&body))
    }

    pub(in crate::broker) fn all_offsets(&self) -> Result<Reply, Refusal> {
        Ok(Reply::json(&files::OffsetsFile::of(&self.offsets)))
    }

    pub(in crate::broker) fn all_delay_offsets(&self) -> Result<Reply, Refusal> {
        Ok(Reply::json(&files::DelaysFile::of(&self.delays)))
    }

    pub(super) fn message_queue(&self, topic: &str, queue_id: u32) -> MessageQueue {
        MessageQueue {
            broker_name: self.config.broker_name.clone(),
            queue_id: queue_id as i32,
            topic: topic.into(),
        }
    }
}
