//! Cleaning ahead of its time (306, 316, 329), answered at once and carried out behind the answer, the last one as in RocketMQ; and
//! what RocketMQ's slaves ask: the timers' check point (60), how many messages of each topic wait (61), and how groups get messages (402).

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::rows::{Json, Now, Rows, Sliced};
use crate::broker::step::Step;
use crate::broker::store_view::StoreView;
use crate::broker::system_topics::is_system;
use crate::broker::timer::WaitingRows;
use crate::broker::{Broker, Effect, Refusal};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::loose_json;

impl Broker {
    pub(super) fn clean(&mut self, effect: Effect) -> Result<Reply, Refusal> {
        self.effects.push(effect);
        Ok(Reply::ok())
    }

    /// Whether queues of this topic have no reason to be (RocketMQ: `ConsumeQueueStore.cleanUnusedTopic`).
    pub fn is_unused(&self, topic: &str) -> bool {
        !self.topics.contains(topic) && !is_system(topic, &self.config)
    }

    pub(super) fn timer_check_point(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let figures = store
            .timers()
            .ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, "The checkpoint is null"))?;
        Ok(Reply {
            body: figures.check_point(store.log_end()),
            ..Reply::ok()
        })
    }

    pub(super) fn timer_metrics(&self, store: &dyn StoreView) -> Result<Step, Refusal> {
        let figures = store.timers().ok_or_else(|| {
            Refusal::new(response::SYSTEM_ERROR, "The timer message store is null")
        })?;
        let version = loose_json::to_vec(&figures.version);
        let version = String::from_utf8_lossy(&version);
        let head = format!(r#"{{"dataVersion":{version},"timingCount":{{"#);
        Ok(Sliced::step(head, WaitingRows::of(figures.waiting)))
    }

    /// GET_ALL_MESSAGE_REQUEST_MODE (402).
    pub(in crate::broker) fn all_request_modes(&self) -> Step {
        Sliced::step(r#"{"messageRequestModeMap":{"#, ModeRows { last: None })
    }
}

impl Rows for WaitingRows {
    fn slice(&mut self, _: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        self.write_some(|topic, waiting| out.member(topic, waiting))
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("}}");
        Reply::ok()
    }
}

/// How groups get messages, by topic and group.
#[derive(Clone, Debug)]
struct ModeRows {
    /// The last topic and group that are written.
    last: Option<(String, String)>,
}

impl Rows for ModeRows {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let last = self.last.take();
        let mut last = last.as_ref().map(|(topic, group)| (&**topic, &**group));
        let (rows, mut count) = (at.broker.pops.modes.rows_after(last), 0);
        for (topic, group, mode) in rows.take(ROWS_PER_TURN) {
            if last.is_none_or(|(open, _)| open != topic) {
                if last.is_some() {
                    out.text("}");
                    out.go_on();
                }
                out.comma();
                out.value(topic);
                out.text(":{");
            }
            out.member(group, mode)?;
            (last, count) = (Some((topic, group)), count + 1);
        }
        self.last = last.map(|(topic, group)| (topic.into(), group.into()));
        Ok(count < ROWS_PER_TURN)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text(if self.last.is_some() { "}}}" } else { "}}" });
        Reply::ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;
    use crate::broker::step::Progress;
    use crate::broker::store_view::{At, ShardFigures};
    use crate::broker::timer::{MetricsReader, TimerFigures, Waiting, WaitingTable};
    use crate::store::QueueBounds;
    use crate::wire::loose_json::members::BYTES_PER_TURN;

    const TOPICS: u64 = 3_000;

    /// A message of each topic waits for its time.
    #[derive(Default)]
    struct WithTimers(WaitingTable);

    impl StoreView for WithTimers {
        fn bounds(&self, _: &str, _: u32) -> QueueBounds {
            unreachable!("no queue is asked for")
        }

        fn store_time_ms(&self, _: &str, _: u32, _: u64) -> Option<i64> {
            None
        }

        fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
            false
        }

        fn figures(&self) -> ShardFigures {
            ShardFigures::default()
        }

        fn timers(&self) -> Option<TimerFigures> {
            Some(TimerFigures {
                waiting: self.0.clone(),
                ..TimerFigures::default()
            })
        }
    }

    /// Answered in slices, and read so by a slave.
    #[test]
    fn how_many_messages_of_each_topic_wait() {
        let mut broker = Broker::new(BrokerConfig::default(), 0);
        let waiting = (0..TOPICS).map(|count| {
            let waiting = Waiting {
                count,
                changed_ms: 7,
            };
            (format!("T{count}"), waiting)
        });
        let store = WithTimers(waiting.collect());
        let Ok(Step::Work(mut work)) = broker.timer_metrics(&store) else {
            panic!("it is made in slices");
        };
        let at = At {
            now_ms: 0,
            store: &store,
        };
        let mut turns = 1;
        let reply = loop {
            match work.turn(&mut broker, at).unwrap() {
                Progress::Done(reply) => break reply,
                _ => turns += 1,
            }
        };
        assert!(turns > TOPICS as usize / ROWS_PER_TURN, "{turns} turns");
        let fewest = reply.body.len() / BYTES_PER_TURN;
        let mut reader = MetricsReader::new(reply.body);
        let mut turns = 0;
        let read = loop {
            match reader.turn().unwrap() {
                Some(read) => break read,
                None => turns += 1,
            }
        };
        assert_eq!((turns, read.timing_count), (fewest, store.0));
    }
}
