//! What RocketMQ has several of and this broker one: replicas (906, 907, 1007), kinds of queue files (354, 355), timers (5001).

use crate::broker::store_view::{ReplicaView, ReplicationView, StoreView};
use crate::broker::{Broker, Effect, Refusal, RoleDecision, files};
use crate::wire::admin::{
    EpochCache, EpochRange, HaClient, HaConnection, HaStatus, QueueComparison,
};
use crate::wire::codes::{request, response};
use crate::wire::controller::{RoleChanged, SyncStateSet};
use crate::wire::{Ext, Reply, loose_json};

impl Broker {
    pub(super) fn all_delay_offsets(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let answer = files::DelaysFile::answer(&self.delays, store.log_end());
        Ok(Reply::json(&answer))
    }

    /// The answer to a slave: this master's addresses.
    pub(in crate::broker) fn exchange_ha_info(
        &self,
        ext: &Ext<'_>,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        if ext.find("masterHaAddress").is_some() {
            return Ok(Reply::ok());
        }
        let advertise = self.config.advertise;
        let port = match store.replication() {
            ReplicationView::Slave(_) => return Ok(Reply::ok()),
            ReplicationView::Master { port, .. } => port,
            ReplicationView::Alone => advertise.port() + 1,
        };
        let ha = format!("{}:{port}", advertise.ip());
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
            ReplicationView::Master { replicas, .. } => ha_status_of_master(log_max, &replicas),
        }))
    }

    /// Which master wrote which part of the log; without a controller RocketMQ's refusal.
    pub(in crate::broker) fn epochs(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let Some(view) = store.epochs() else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "this request only for controllerMode ",
            ));
        };
        let epochs = view.epochs.iter().map(|&(epoch, start, end)| EpochRange {
            epoch,
            start_offset: start as i64,
            end_offset: end as i64,
        });
        Ok(Reply::json(&EpochCache {
            cluster_name: self.config.cluster_name.clone(),
            broker_name: self.config.broker_name.clone(),
            broker_id: view.broker_id,
            epoch_list: epochs.collect(),
            max_offset: store.figures().log_max as i64,
        }))
    }

    /// A controller states the master (1008).
    pub(super) fn role_changed(&mut self, ext: &Ext<'_>, body: &[u8]) -> Result<Reply, Refusal> {
        if !self.config.settings.controller_mode {
            return Err(super::unsupported(request::NOTIFY_BROKER_ROLE_CHANGED));
        }
        let changed = RoleChanged::decode(ext)?;
        let set: SyncStateSet = loose_json::from_slice(body)?;
        let master = changed.master_broker_id.zip(changed.master_address);
        // As RocketMQ: without these it reports nothing.
        let (Some((master_id, addr)), Some(epoch)) = (master, changed.master_epoch) else {
            return Ok(Reply::ok());
        };
        let master_addr = addr.parse().map_err(|_| {
            Refusal::new(
                response::INVALID_PARAMETER,
                format!("masterAddress={addr}: an IP address and a port are expected"),
            )
        })?;
        self.effects.push(Effect::RoleChanged(RoleDecision {
            master_id,
            master_addr,
            epoch,
            set: set.sync_state_set,
            set_epoch: set.sync_state_set_epoch,
        }));
        Ok(Reply::ok())
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
