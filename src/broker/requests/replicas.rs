//! What RocketMQ has several of and this broker one: replicas (906, 907, 1007), kinds of queue files (354, 355), timers (5001).

use crate::broker::store_view::{ReplicaView, ReplicationView, StoreView};
use crate::broker::{Broker, Refusal, files};
use crate::wire::Ext;
use crate::wire::Reply;
use crate::wire::admin::{HaClient, HaConnection, HaStatus, QueueComparison};
use crate::wire::codes::response;

impl Broker {
    pub(super) fn all_delay_offsets(&self) -> Result<Reply, Refusal> {
        Ok(Reply::json(&files::DelaysFile::of(&self.delays)))
    }

    /// The answer to a slave: this broker's addresses.
    pub(super) fn exchange_ha_info(
        &self,
        ext: &Ext<'_>,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        if ext.find("masterHaAddress").is_some() {
            return Ok(Reply::ok());
        }
        let advertise = self.config.advertise;
        let ha = format!("{}:{}", advertise.ip(), advertise.port() + 1);
        Ok(Reply::ok()
            .with("masterHaAddress", ha)
            .with("masterFlushOffset", store.figures().log_max)
            .with("masterAddress", advertise))
    }

    /// The links to the replicas, or to the master.
    pub(super) fn ha_status(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let log_max = store.figures().log_max;
        Ok(Reply::json(&match store.replication() {
            ReplicationView::Slave(slave) => HaStatus {
                ha_client_runtime_info: HaClient {
                    activated: !slave.master_addr.is_empty(),
                    master_addr: slave.master_addr,
                    last_read_timestamp_ms: slave.last_read_ms,
                    last_write_timestamp_ms: slave.last_write_ms,
                    max_offset: log_max as i64,
                    transferred_bytes_per_s: slave.bytes_per_s as i64,
                    ..HaClient::default()
                },
                ..HaStatus::default()
            },
            ReplicationView::Alone => ha_status_of_master(log_max, &[]),
            ReplicationView::Master { replicas } => ha_status_of_master(log_max, &replicas),
        }))
    }

    /// As RocketMQ answers without a controller.
    pub(super) fn epochs(&self) -> Result<Reply, Refusal> {
        Err(Refusal::new(
            response::SYSTEM_ERROR,
            "this request only for controllerMode ",
        ))
    }

    /// There is one kind of ConsumeQueue, so there is nothing to compare: RocketMQ finds the same, later, in its log.
    pub(super) fn compare_queues(&self) -> Result<Reply, Refusal> {
        const CHECK_OK: i32 = 0;
        Ok(Reply::json(&QueueComparison {
            check_result: "ConsumeQueues are files, not RocksDB: nothing to check".into(),
            check_status: CHECK_OK,
        }))
    }

    /// `config/` holds JSON already.
    pub(super) fn export_config(&self) -> Result<Reply, Refusal> {
        Ok(Reply::ok().remark("export done."))
    }

    /// There is one kind of timer, which stands for RocketMQ's file time wheel.
    pub(super) fn switch_timer_engine(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let invalid = |remark| Err(Refusal::new(response::INVALID_PARAMETER, remark));
        match ext.find("E_T") {
            Some("F") => Ok(Reply::ok().remark("switch timer engine success")),
            Some("R") => invalid("timerRocksDBEnable must be configured true when broker start"),
            Some(_) => invalid("param error"),
            None => invalid("param error, extFields is null"),
        }
    }
}

fn ha_status_of_master(log_max: u64, replicas: &[ReplicaView]) -> HaStatus {
    let infos = replicas.iter().map(|replica| HaConnection {
        addr: replica.addr.clone(),
        diff: log_max as i64 - replica.has as i64,
        in_sync: replica.is_in_sync,
        slave_ack_offset: replica.has as i64,
        transfer_from_where: replica.has as i64,
        transferred_bytes_per_s: replica.bytes_per_s as i64,
    });
    let in_sync = replicas.iter().filter(|replica| replica.is_in_sync);
    HaStatus {
        master: true,
        log_max: log_max as i64,
        in_sync_slave_nums: in_sync.count() as i32,
        ha_connection_info: infos.collect(),
        ..HaStatus::default()
    }
}
