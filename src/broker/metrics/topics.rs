//! By topic: what came in, transactions, timers.

use super::{Place, Scrape, Turn};
use crate::broker::Broker;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::puts::Rare;
use crate::broker::store_view::At;
use crate::broker::system_topics::is_system;
use crate::metrics::Section;
use crate::metrics::families::{
    COMMIT_MESSAGES, DELAY_LATENCY, FINISH_LATENCY, HALF_MESSAGES, MESSAGE_SIZE, MESSAGES_IN,
    ROLLBACK_MESSAGES, THROUGHPUT_IN, TIMER_DEQUEUE, TIMER_ENQUEUE, TIMING_MESSAGES,
};
use crate::metrics::text::truth;

impl Scrape {
    pub(super) fn incoming(&mut self, broker: &Broker) -> Turn {
        self.for_topics(broker, |scrape, topic| {
            let Some(puts) = broker.stats.puts(topic) else {
                return;
            };
            let is_system = truth(is_system(topic, &broker.config));
            for (kind, incoming) in puts.incoming() {
                let labels = [
                    ("topic", topic),
                    ("message_type", kind.name()),
                    ("is_system", is_system),
                ];
                match scrape.section {
                    Section::MessagesIn => scrape.sample(&MESSAGES_IN, &labels, incoming.messages),
                    Section::ThroughputIn => scrape.sample(&THROUGHPUT_IN, &labels, incoming.bytes),
                    _ => scrape.histogram(&MESSAGE_SIZE, &labels, &incoming.sizes),
                }
            }
        })
    }

    pub(super) fn transactions(&mut self, broker: &Broker) -> Turn {
        self.for_topics(broker, |scrape, topic| {
            let Some(counts) = rare(broker, topic) else {
                return;
            };
            let labels = [("topic", topic)];
            if counts.committed > 0 {
                scrape.sample(&COMMIT_MESSAGES, &labels, counts.committed);
            }
            if counts.rolled_back > 0 {
                scrape.sample(&ROLLBACK_MESSAGES, &labels, counts.rolled_back);
            }
            if let Some(times) = &counts.finished_s {
                scrape.histogram(&FINISH_LATENCY, &labels, times);
            }
            if counts.half + counts.committed + counts.rolled_back > 0 {
                scrape.sample(&HALF_MESSAGES, &labels, counts.half);
            }
        })
    }

    pub(super) fn timers(&mut self, broker: &Broker, at: At<'_>) -> Turn {
        let timers = at.store.timers();
        self.for_topics(broker, |scrape, topic| {
            let labels = [("topic", topic)];
            let waiting = timers.as_ref().and_then(|timers| timers.waiting.get(topic));
            let counts = rare(broker, topic);
            let was_timed = counts.is_some_and(|counts| counts.timers_enqueued > 0);
            if waiting.is_some() || was_timed {
                let count = waiting.map_or(0, |waiting| waiting.count);
                scrape.sample(&TIMING_MESSAGES, &labels, count);
            }
            let Some(counts) = counts else {
                return;
            };
            if counts.timers_enqueued > 0 {
                scrape.sample(&TIMER_ENQUEUE, &labels, counts.timers_enqueued);
            }
            if counts.timers_dequeued > 0 {
                scrape.sample(&TIMER_DEQUEUE, &labels, counts.timers_dequeued);
            }
            if let Some(delays) = &counts.delays_s {
                scrape.histogram(&DELAY_LATENCY, &labels, delays);
            }
        })
    }

    /// Calls `row` for the next topics.
    fn for_topics(&mut self, broker: &Broker, mut row: impl FnMut(&mut Self, &str)) -> Turn {
        let Place::Topic(after) = std::mem::replace(&mut self.place, Place::Topic(None)) else {
            unreachable!("a walk over topics is at a topic");
        };
        let topics = broker.topics.after(after.as_deref()).take(ROWS_PER_TURN);
        let (mut last, mut count) = (None, 0);
        for config in topics {
            row(self, &config.topic_name);
            (last, count) = (Some(&config.topic_name), count + 1);
        }
        if count < ROWS_PER_TURN {
            return Turn::Done;
        }
        self.place = Place::Topic(last.cloned());
        Turn::More
    }
}

fn rare<'a>(broker: &'a Broker, topic: &str) -> Option<&'a Rare> {
    broker.stats.puts(topic)?.rare()
}
