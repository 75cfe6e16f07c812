//! Figures that the rules know without a walk.

use super::Scrape;
use crate::broker::Broker;
use crate::broker::creations::Creation;
use crate::broker::store_view::At;
use crate::broker::system_topics::REVIVE_QUEUES;
use crate::metrics::families::{
    BROKER_PERMISSION, GROUP_CREATE, GROUP_NUMBER, POP_CHECKPOINT_BUFFER, POP_OFFSET_BUFFER,
    POP_REVIVE_LAG, POP_REVIVE_LATENCY, PULLS, SENDS_REFUSED, START_TIME, TIMER_DEQUEUE_LAG,
    TIMER_DEQUEUE_LATENCY, TIMER_ENQUEUE_LAG, TIMER_ENQUEUE_LATENCY, TOPIC_CREATE, TOPIC_NUMBER,
};
use crate::metrics::text::truth;

/// Check points that are looked at for the lag of the revive log.
const MAX_OVERDUE: usize = 1024;

impl Broker {
    pub fn write_figures(&self, scrape: &mut Scrape, at: At<'_>) {
        let permission = self.config.broker_permission.max(0) as u64;
        scrape.sample(&BROKER_PERMISSION, &[], permission);
        scrape.sample(&TOPIC_NUMBER, &[], self.topics.len());
        scrape.sample(&GROUP_NUMBER, &[], self.groups.len());
        for (creation, is_made, times) in self.creations.iter() {
            let status = match is_made {
                true => ("invocation_status", "success"),
                false => ("invocation_status", "failure"),
            };
            match creation {
                Creation::Topic { is_system } => {
                    let labels = [status, ("is_system", truth(is_system))];
                    scrape.histogram(&TOPIC_CREATE, &labels, times);
                }
                Creation::Group => scrape.histogram(&GROUP_CREATE, &[status], times),
            }
        }
        let counts = &self.stats.counts;
        scrape.sample(&SENDS_REFUSED, &[], counts.put_failed);
        scrape.sample(&PULLS, &[("result", "found")], counts.get_found);
        scrape.sample(&PULLS, &[("result", "empty")], counts.get_missed);
        scrape.sample(&START_TIME, &[], self.started_ms as f64 / 1_000.0);
        self.timer_figures_of(scrape, at);
        self.pop_figures_of(scrape, at.now_ms);
    }

    fn timer_figures_of(&self, scrape: &mut Scrape, at: At<'_>) {
        let Some(timers) = at.store.timers() else {
            return;
        };
        scrape.sample(&TIMER_ENQUEUE_LAG, &[], timers.behind_messages);
        // A timed message that is due when it is read is delivered at once; RocketMQ shows how late that is.
        scrape.sample(&TIMER_ENQUEUE_LATENCY, &[], 0_u64);
        scrape.sample(&TIMER_DEQUEUE_LAG, &[], timers.all_waiting());
        scrape.sample(&TIMER_DEQUEUE_LATENCY, &[], timers.behind_ms / 1_000);
    }

    /// The revive log is read as it is written. What lags are check points whose messages are due, and not brought back yet.
    fn pop_figures_of(&self, scrape: &mut Scrape, now_ms: u64) {
        let in_flight = &self.pops.in_flight;
        let overdue = in_flight.overdue(now_ms, MAX_OVERDUE);
        for queue in 0..REVIVE_QUEUES {
            let of_queue = overdue
                .iter()
                .filter(|(_, place)| place.revive_queue == queue);
            let oldest_ms = of_queue.clone().map(|(due_ms, _)| *due_ms).min();
            let latency_ms = oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
            let queue_id = queue.to_string();
            let labels = [("queue_id", &*queue_id)];
            scrape.sample(&POP_REVIVE_LAG, &labels, of_queue.count());
            scrape.sample(&POP_REVIVE_LATENCY, &labels, latency_ms);
        }
        scrape.sample(&POP_OFFSET_BUFFER, &[], 0_u64);
        scrape.sample(&POP_CHECKPOINT_BUFFER, &[], in_flight.len());
    }
}
