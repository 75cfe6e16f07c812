//! Counters of one shard and their rates over 10 s, 1 min and 10 min, as `mqadmin clusterList` shows them.
//!
//! A message costs a few additions; the rates come from samples taken once a second (RocketMQ: `StoreStatsService`).

use std::collections::VecDeque;

use super::Broker;
pub use super::gets::Delivered;
use super::gets::{Forgotten, Gets, GroupGets};
use super::latencies::SendLatencies;
use super::meter::{Amount, Meter};
use super::puts::Rare;
pub use super::puts::{MessageType, Puts};
use super::system_topics::{SCHEDULE, SCHEDULE_GROUP};
use crate::parted::PartedMap;
use crate::store::QueueIndex;

const SAMPLE_INTERVAL_MS: u64 = 1000;
const WINDOWS_MS: [u64; 3] = [10_000, 60_000, 600_000];

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub put_messages: u64,
    pub put_bytes: u64,
    pub put_failed: u64,
    /// Pulls that found something, and that did not.
    pub get_found: u64,
    pub get_missed: u64,
    /// Messages handed out.
    pub transferred: u64,
    /// Biggest time from request to durable, in milliseconds.
    pub put_time_max_ms: u64,
    /// The same of pulls and pops that found something: until their messages were read.
    pub get_time_max_ms: u64,
    /// Messages with a time of their own: taken in, and delivered.
    pub timers_enqueued: u64,
    pub timers_delivered: u64,
}

#[derive(Debug)]
pub struct Stats {
    pub counts: Counts,
    /// One a second, the oldest first, ten minutes deep.
    samples: VecDeque<(u64, Counts)>,
    days: Days,
    topic_puts: PartedMap<String, Puts>,
    group_gets: GroupGets,
    broker_puts: Meter,
    broker_gets: Meter,
    send_latencies: SendLatencies,
}

/// What `mqadmin statsAll` asks for by name and key (RocketMQ: `BrokerStatsManager`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    pub minute: Amount,
    pub hour: Amount,
    pub day: Amount,
}

/// Totals at the last two midnights (UTC).
#[derive(Clone, Copy, Debug, Default)]
pub struct Days {
    day: u64,
    pub yesterday_morning: Counts,
    pub today_morning: Counts,
}

impl Stats {
    pub fn new(now_ms: u64) -> Self {
        Self {
            counts: Counts::default(),
            samples: VecDeque::from([(now_ms, Counts::default())]),
            days: Days {
                day: day(now_ms),
                ..Days::default()
            },
            topic_puts: PartedMap::default(),
            group_gets: GroupGets::default(),
            broker_puts: Meter::default(),
            broker_gets: Meter::default(),
            send_latencies: SendLatencies::default(),
        }
    }

    /// `kind`: of what a client has sent, or what was delivered after a delay.
    pub fn topic_put(
        &mut self,
        topic: &str,
        kind: Option<MessageType>,
        messages: u64,
        bytes: u64,
        now_ms: u64,
    ) {
        let puts = self.puts_mut(topic);
        puts.messages.add(messages, now_ms);
        puts.bytes.add(bytes, now_ms);
        if let Some(kind) = kind {
            puts.came_in(kind, messages, bytes);
        }
        self.broker_puts.add(messages, now_ms);
    }

    fn puts_mut(&mut self, topic: &str) -> &mut Puts {
        let new = || (topic.into(), Puts::default());
        self.topic_puts.get_or_insert_with(topic, new)
    }

    pub fn puts(&self, topic: &str) -> Option<&Puts> {
        self.topic_puts.get(topic)
    }

    /// What rarely happens to messages of the topic.
    pub fn rare_mut(&mut self, topic: &str) -> &mut Rare {
        self.puts_mut(topic).rare_mut()
    }

    /// What groups have got.
    pub fn group_gets(&self) -> &GroupGets {
        &self.group_gets
    }

    pub fn gets_mut(&mut self, group: &str, topic: &str) -> &mut Gets {
        self.group_gets.find_or_add(group, topic)
    }

    pub fn group_get(&mut self, delivered: &Delivered<'_>, now_ms: u64) {
        self.group_gets.delivered(delivered, now_ms);
        let max_ms = &mut self.counts.get_time_max_ms;
        *max_ms = (*max_ms).max(delivered.read_ms);
        self.broker_gets.add(delivered.messages, now_ms);
    }

    /// The latencies of sends to this queue are counted from now on.
    pub fn add_queue(&mut self, queue: QueueIndex) {
        self.send_latencies.add_queue(queue);
    }

    pub fn forget_queue(&mut self, queue: QueueIndex) {
        self.send_latencies.forget(queue);
    }

    pub fn sent_back(&mut self, group: &str, topic: &str, now_ms: u64) {
        self.group_gets.sent_back(group, topic, now_ms);
    }

    /// Messages a second, over the last minute.
    pub fn topic_put_tps(&self, topic: &str, now_ms: u64) -> f64 {
        let puts = self.topic_puts.get(topic);
        puts.map_or(0.0, |puts| puts.messages.minute(now_ms).per_second)
    }

    pub fn group_get_tps(&self, group: &str, topic: &str, now_ms: u64) -> f64 {
        let gets = self.gets(group, topic);
        gets.map_or(0.0, |gets| gets.messages.minute(now_ms).per_second)
    }

    /// The windows of RocketMQ's statistic `name` for `key`, of those that are kept here.
    pub fn windows(&self, name: &str, key: &str, cluster: &str, now_ms: u64) -> Option<Windows> {
        let meter = match name {
            "TOPIC_PUT_NUMS" => &self.topic_puts.get(key)?.messages,
            "TOPIC_PUT_SIZE" => &self.topic_puts.get(key)?.bytes,
            "GROUP_GET_NUMS" => &self.gets_by_key(key)?.messages,
            "GROUP_GET_SIZE" => &self.gets_by_key(key)?.bytes,
            "SNDBCK_PUT_NUMS" => &self.gets_by_key(key)?.send_backs,
            "GROUP_GET_LATENCY" => self.pull_latency(key)?,
            "BROKER_PUT_NUMS" if key == cluster => &self.broker_puts,
            "BROKER_GET_NUMS" if key == cluster => &self.broker_gets,
            _ => return None,
        };
        Some(Windows::of(meter, now_ms))
    }

    /// The milliseconds that sends to a queue took until they were acknowledged.
    pub fn send_latency(&self, queue: QueueIndex, now_ms: u64) -> Option<Windows> {
        let meter = self.send_latencies.find(queue)?;
        Some(Windows::of(meter, now_ms))
    }

    /// The key is `queueId@topic@group`.
    fn pull_latency(&self, key: &str) -> Option<&Meter> {
        let (queue_id, key) = key.split_once('@')?;
        let queue_id = queue_id.parse().ok()?;
        self.gets_by_key(key)?.latency(queue_id)
    }

    fn gets(&self, group: &str, topic: &str) -> Option<&Gets> {
        self.group_gets.find(group, topic)
    }

    /// `topic@group`
    fn gets_by_key(&self, key: &str) -> Option<&Gets> {
        let (topic, group) = key.split_once('@')?;
        self.gets(group, topic)
    }

    /// Those of sends, and those of pulls.
    pub fn queues_with_latencies(&self) -> [usize; 2] {
        [self.send_latencies.len(), self.group_gets.latencies()]
    }

    pub fn forget_topic(&mut self, topic: &str) {
        self.topic_puts.remove(topic);
    }

    /// Forgets the next group that has got something of the topic; `false` if there is none.
    pub fn forget_group_of(&mut self, topic: &str) -> bool {
        self.group_gets.remove_group_of(topic)
    }

    /// Removes a group; its topics are to be forgotten one by one with [`Self::forget_topic_of`].
    pub fn remove_group(&mut self, group: &str) -> Forgotten {
        self.group_gets.remove_group(group)
    }

    /// `false` if there is none left.
    pub fn forget_topic_of(&mut self, group: &str, forgotten: &mut Forgotten) -> bool {
        self.group_gets.forget(group, forgotten)
    }

    pub fn put(&mut self, messages: u64, bytes: u64) {
        self.counts.put_messages += messages;
        self.counts.put_bytes += bytes;
    }

    /// A put was answered, so long after its request.
    pub fn put_took(&mut self, ms: u64) {
        self.counts.put_time_max_ms = self.counts.put_time_max_ms.max(ms);
    }

    pub fn put_failed(&mut self) {
        self.counts.put_failed += 1;
    }

    pub fn found(&mut self, messages: u64) {
        self.counts.get_found += 1;
        self.counts.transferred += messages;
    }

    pub fn missed(&mut self) {
        self.counts.get_missed += 1;
    }

    /// Takes the sample of this second, if it is time.
    pub fn sample(&mut self, now_ms: u64) {
        if day(now_ms) != self.days.day {
            self.days = Days {
                day: day(now_ms),
                yesterday_morning: self.days.today_morning,
                today_morning: self.counts,
            };
        }
        let last_ms = self.samples.back().map_or(0, |(at, _)| *at);
        if now_ms < last_ms + SAMPLE_INTERVAL_MS {
            return;
        }
        self.samples.push_back((now_ms, self.counts));
        while self
            .samples
            .front()
            .is_some_and(|(at, _)| now_ms - at > WINDOWS_MS[2])
        {
            self.samples.pop_front();
        }
    }

    pub fn days(&self) -> Days {
        self.days
    }

    /// Rates a second over the three windows, in RocketMQ's form `a b c`.
    pub fn rates(&self, now_ms: u64, of: impl Fn(&Counts) -> u64) -> String {
        let [a, b, c] = WINDOWS_MS.map(|window_ms| self.rate(now_ms, window_ms, &of));
        format!("{a:?} {b:?} {c:?}")
    }

    /// The rate a second over the shortest window.
    pub fn latest_rate(&self, now_ms: u64, of: impl Fn(&Counts) -> u64) -> f64 {
        self.rate(now_ms, WINDOWS_MS[0], &of)
    }

    fn rate(&self, now_ms: u64, window_ms: u64, of: &impl Fn(&Counts) -> u64) -> f64 {
        let from_ms = now_ms.saturating_sub(window_ms);
        let at = self.samples.partition_point(|(at, _)| *at < from_ms);
        let Some((at_ms, then)) = self.samples.get(at) else {
            return 0.0;
        };
        let elapsed_ms = now_ms.saturating_sub(*at_ms).max(SAMPLE_INTERVAL_MS);
        of(&self.counts).saturating_sub(of(then)) as f64 * 1000.0 / elapsed_ms as f64
    }
}

impl Broker {
    /// Counts what the store has taken for a topic.
    pub fn stored(
        &mut self,
        topic: &str,
        kind: Option<MessageType>,
        messages: u64,
        bytes: u64,
        now_ms: u64,
    ) {
        self.stats.put(messages, bytes);
        self.stats.topic_put(topic, kind, messages, bytes, now_ms);
    }

    /// A record was acknowledged, so long after it was appended. `queue`: it is the message of a send.
    pub fn append_took(&mut self, queue: Option<QueueIndex>, ms: u64, now_ms: u64) {
        self.stats.put_took(ms);
        if let Some(queue) = queue {
            self.stats.send_latencies.took(queue, ms, now_ms);
        }
    }

    /// A delayed message, whose record has so many bytes, is in its own topic.
    pub fn delay_moved(&mut self, bytes: u64, now_ms: u64) {
        let gets = self.stats.gets_mut(SCHEDULE_GROUP, SCHEDULE);
        gets.messages.add(1, now_ms);
        gets.bytes.add(bytes, now_ms);
    }

    pub fn send_failed(&mut self) {
        self.stats.put_failed();
    }

    /// The timer has read a message from the log that is to be delivered so long after its birth.
    pub fn timer_enqueued(&mut self, topic: &str, delay_ms: i64) {
        self.stats.counts.timers_enqueued += 1;
        let delay_s = (delay_ms / 1_000).max(0) as u64;
        self.stats.rare_mut(topic).timer_enqueued(delay_s);
    }

    pub fn timer_delivered(&mut self, topic: &str) {
        self.stats.counts.timers_delivered += 1;
        self.stats.rare_mut(topic).timers_dequeued += 1;
    }
}

impl Windows {
    fn of(meter: &Meter, now_ms: u64) -> Self {
        Self {
            minute: meter.minute(now_ms),
            hour: meter.hour(now_ms),
            day: meter.day(now_ms),
        }
    }
}

fn day(now_ms: u64) -> u64 {
    now_ms / 86_400_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered<'a>(group: &'a str, topic: &'a str, messages: u64) -> Delivered<'a> {
        Delivered {
            group,
            topic,
            queue_id: 5,
            messages,
            bytes: messages * 100,
            read_ms: 9,
            is_pop: false,
        }
    }

    #[test]
    fn rates_follow_their_windows() {
        let mut stats = Stats::new(0);
        for second in 1..=30 {
            stats.put(10, 1000);
            stats.sample(second * 1000);
        }
        assert_eq!(stats.rates(30_000, |c| c.put_messages), "10.0 10.0 10.0");
        for second in 31..=60 {
            stats.sample(second * 1000);
        }
        assert_eq!(stats.rates(60_000, |c| c.put_messages), "0.0 5.0 5.0");
        assert_eq!(stats.rates(60_000, |c| c.put_bytes), "0.0 500.0 500.0");
    }

    #[test]
    fn samples_stay_bounded() {
        let mut stats = Stats::new(0);
        for ms in (0..3_000_000).step_by(100) {
            stats.sample(ms);
        }
        assert!(stats.samples.len() <= 602);
    }

    #[test]
    fn statistics_by_name_and_key() {
        let mut stats = Stats::new(0);
        stats.topic_put("T", None, 60, 6000, 30_000);
        stats.group_get(&delivered("g", "T", 120), 30_000);
        stats.sent_back("g", "T", 30_000);
        assert_eq!(stats.topic_put_tps("T", 90_000), 1.0);
        assert_eq!(stats.group_get_tps("g", "T", 90_000), 2.0);
        assert_eq!(stats.group_get_tps("g", "U", 60_000), 0.0);
        let sum = |name, key| {
            let windows = stats.windows(name, key, "C", 60_000);
            windows.map(|windows| windows.day.sum)
        };
        assert_eq!(sum("TOPIC_PUT_NUMS", "T"), Some(60));
        assert_eq!(sum("TOPIC_PUT_SIZE", "T"), Some(6000));
        assert_eq!(sum("GROUP_GET_NUMS", "T@g"), Some(120));
        assert_eq!(sum("GROUP_GET_SIZE", "T@g"), Some(12_000));
        assert_eq!(sum("SNDBCK_PUT_NUMS", "T@g"), Some(1));
        assert_eq!(sum("GROUP_GET_LATENCY", "5@T@g"), Some(9));
        assert_eq!(sum("BROKER_PUT_NUMS", "C"), Some(60));
        assert_eq!(sum("BROKER_GET_NUMS", "C"), Some(120));
        let missing = [
            ("TOPIC_PUT_NUMS", "U"),
            ("GROUP_GET_NUMS", "T"),
            ("GROUP_GET_NUMS", "T@h"),
            ("GROUP_GET_LATENCY", "4@T@g"),
            ("GROUP_GET_LATENCY", "T@g"),
            ("BROKER_PUT_NUMS", "other"),
            ("NOTHING", "T"),
        ];
        assert!(missing.iter().all(|(name, key)| sum(name, key).is_none()));
    }

    #[test]
    fn midnight_moves_the_totals() {
        let mut stats = Stats::new(0);
        stats.put(3, 0);
        stats.sample(86_400_000);
        stats.put(4, 0);
        stats.sample(2 * 86_400_000);
        assert_eq!(stats.days().yesterday_morning.put_messages, 3);
        assert_eq!(stats.days().today_morning.put_messages, 7);
    }

    #[test]
    fn found_and_missed() {
        let mut stats = Stats::new(0);
        stats.found(32);
        stats.missed();
        stats.put_failed();
        stats.put_took(7);
        stats.put_took(5);
        assert_eq!(stats.counts.transferred, 32);
        assert_eq!((stats.counts.get_found, stats.counts.get_missed), (1, 1));
        assert_eq!(
            (stats.counts.put_failed, stats.counts.put_time_max_ms),
            (1, 7)
        );
    }
}
