//! Counters by name and key (315).

use crate::broker::meter::Amount;
use crate::broker::stats::Windows;
use crate::broker::{Broker, Refusal};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::stats::{BrokerStatsData, BrokerStatsItem, BrokerStatsRequest};

impl Broker {
    pub(super) fn statistics(
        &self,
        asked: BrokerStatsRequest<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let (name, key) = (asked.stats_name, asked.stats_key);
        let cluster = &self.config.cluster_name;
        let windows = match name {
            "TOPIC_PUT_LATENCY" => self.send_latency(key, now_ms),
            _ => self.stats.windows(name, key, cluster, now_ms),
        };
        let Some(windows) = windows else {
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

    /// The key is `queueId@topic`.
    fn send_latency(&self, key: &str, now_ms: u64) -> Option<Windows> {
        let (queue_id, topic) = key.split_once('@')?;
        let queue = self.known_queue(topic, queue_id.parse().ok()?)?;
        self.stats.send_latency(queue, now_ms)
    }
}
