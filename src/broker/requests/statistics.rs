//! Counters by name and key (315).

use crate::broker::meter::Amount;
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
}
