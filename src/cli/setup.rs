//! What the configuration means for each room of a shard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::name_servers;
use crate::broker::BrokerConfig;
use crate::config::{BrokerRole, Config, Flush};
use crate::reactor::{
    ControllerSetup, IoBackend, NameServer, NamesrvSetup, ReplicationSetup, Role, ShardSetup,
};
use crate::ring::linux::descriptor_limit;
use crate::store::{self, IndexShape, StoreConfig};

/// Descriptors that connections leave to each shard's store.
const KEPT_DESCRIPTORS: usize = 256;

pub fn shard_setup(
    config: &Config,
    shard: usize,
    namesrv: &[NameServer],
    io: IoBackend,
) -> Result<ShardSetup> {
    let port = config.shard_port(shard);
    let broker = BrokerConfig::of(config.of_shard(shard));
    let builtin = config.has_builtin_namesrv();
    let connections = max_connections(config.shards());
    Ok(ShardSetup {
        listen: SocketAddr::new(config.bind_address, port),
        vip_listen: SocketAddr::new(config.bind_address, port - 2),
        store: store_config(config, shard, &broker),
        namesrv: namesrv.to_vec(),
        register_interval_ms: config.register_interval_ms,
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        connection_idle_s: config.connection_idle_s,
        max_connections: connections.shard,
        connection_memory_bytes: config.connection_memory_bytes as usize,
        admission: broker.admission,
        broker,
        save_offsets_interval_ms: config.save_offsets_interval_ms,
        replication: replication(config, shard)?,
        io,
        builtin_namesrv: (builtin && shard == 0).then(|| NamesrvSetup {
            listen: SocketAddr::new(config.bind_address, config.namesrv_port),
            dir: config.store_dir.join("config"),
            max_connections: connections.namesrv,
            settings: Default::default(),
            keeps_settings: true,
            check: None,
        }),
    })
}

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxConnections {
    /// Of one shard.
    pub shard: usize,
    /// Of the built-in name server.
    pub namesrv: usize,
}

/// What the limit of open files allows.
pub fn max_connections(shards: usize) -> MaxConnections {
    share_descriptors(descriptor_limit() as usize, shards)
}

/// The files of the store and what is being accepted keep some of the descriptors, the name server has an eighth of the others.
pub fn share_descriptors(descriptors: usize, shards: usize) -> MaxConnections {
    let kept = (KEPT_DESCRIPTORS * shards).min(descriptors / 2);
    let left = descriptors - kept;
    MaxConnections {
        shard: (left - left / 8) / shards.max(1),
        namesrv: left / 8,
    }
}

/// With one shard RocketMQ's own layout, with several a store for each.
pub fn shard_dir(config: &Config, shard: usize) -> PathBuf {
    if config.shards() == 1 {
        config.store_dir.clone()
    } else {
        config.store_dir.join(format!("shard-{shard}"))
    }
}

fn commit_log_dir(config: &Config, shard: usize) -> Option<PathBuf> {
    let dir = config.commit_log_dir.as_ref()?;
    Some(if config.shards() == 1 {
        dir.clone()
    } else {
        dir.join(format!("shard-{shard}"))
    })
}

pub fn store_config(config: &Config, shard: usize, broker: &BrokerConfig) -> StoreConfig {
    StoreConfig {
        dir: shard_dir(config, shard),
        commit_log_dir: commit_log_dir(config, shard),
        flush: match config.flush {
            Flush::Sync => store::Flush::Sync,
            Flush::Async => store::Flush::Async,
        },
        segment_bytes: config.segment_bytes,
        log_buffer_bytes: config.log_buffer_bytes as usize,
        // The broker judges by `maxMessageSize`, which may be raised while it runs, up to here.
        max_message_bytes: config.largest_message_bytes() as usize,
        flush_interval_ms: config.flush_interval_ms,
        retention: broker.retention.clone(),
        consume_queue_memory_bytes: config.consume_queue_memory_bytes as usize,
        delay_levels_ms: config.delay_levels_ms.clone(),
        index: config.message_index.then_some(IndexShape {
            slots: config.max_hash_slots,
            entries: config.max_index_entries,
        }),
        scrub_bytes_per_s: config.scrub_bytes_per_s,
        follows: config.controller_mode || config.broker_role == Some(BrokerRole::Slave),
        skip_damaged: config.skip_damaged,
        store_host: broker.advertise,
        ..StoreConfig::default()
    }
}

/// `None`: the broker is alone.
fn replication(config: &Config, shard: usize) -> Result<Option<ReplicationSetup>> {
    let role = match config.broker_role {
        // Until the controller has decided.
        _ if config.controller_mode => Role::Slave,
        None => return Ok(None),
        Some(BrokerRole::AsyncMaster) => Role::AsyncMaster,
        Some(BrokerRole::SyncMaster) => Role::SyncMaster,
        Some(BrokerRole::Slave) => Role::Slave,
    };
    let step = config.shard_port(shard) - config.shard_port(0);
    let port = match config.ha_listen_port {
        0 => config.shard_port(shard) + 1,
        port => port + step,
    };
    let master = match config.ha_master.first() {
        _ if config.controller_mode => None,
        None => None,
        Some(address) => {
            let mut master = resolve(address, "the master")?;
            master.set_port(master.port() + step);
            Some(master)
        }
    };
    Ok(Some(ReplicationSetup {
        role,
        broker_id: config.broker_id.into(),
        listen: SocketAddr::new(config.bind_address, port),
        master,
        in_sync_replicas: config.in_sync_replicas as usize,
        slave_timeout_ms: config.slave_timeout_ms,
        max_gap_bytes: config.ha_max_gap_bytes,
        heartbeat_ms: config.ha_heartbeat_ms,
        silence_ms: config.ha_silence_ms,
        batch_bytes: config.ha_batch_bytes as usize,
        slave_reads: config.slave_read,
        is_secured: config.ha_tls,
        controller: match config.controller_mode {
            true => Some(controller(config)?),
            false => None,
        },
    }))
}

fn controller(config: &Config) -> Result<ControllerSetup> {
    let controllers = config.controllers.iter();
    let controllers = controllers.map(|address| resolve(address, "the controller"));
    Ok(ControllerSetup {
        controllers: controllers.collect::<Result<_>>()?,
        heartbeat_ms: config.broker_heartbeat_ms,
        timeout_ms: config.controller_timeout_ms,
        decision_ms: config.sync_broker_metadata_ms,
        leader_ms: config.sync_controller_metadata_ms,
        behind_ms: config.not_caught_up_ms,
        all_ack: config.all_ack_in_set != Some(false),
        min_in_sync: config.min_in_sync_replicas as usize,
        priority: config.election_priority,
        is_learner: config.async_learner,
    })
}

fn resolve(address: &str, what: &str) -> Result<SocketAddr> {
    let mut found = address
        .to_socket_addrs()
        .with_context(|| format!("{what} {address} cannot be resolved"))?;
    found
        .next()
        .with_context(|| format!("{what} {address} has no address"))
}

/// Those that the configuration names, or the built-in one.
pub fn name_servers(config: &Config) -> Result<Vec<NameServer>> {
    if config.has_builtin_namesrv() {
        let own: IpAddr = if config.bind_address.is_unspecified() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            config.bind_address
        };
        return Ok(vec![SocketAddr::new(own, config.namesrv_port).into()]);
    }
    name_servers::resolved(&config.namesrv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_store() {
        for descriptors in [0, 64, 256, 1_024, 65_536, 1 << 20] {
            for shards in [1, 2, 16] {
                let MaxConnections { shard, namesrv } = share_descriptors(descriptors, shards);
                let left = descriptors - (shard * shards + namesrv);
                assert!(left >= (KEPT_DESCRIPTORS * shards).min(descriptors / 2));
            }
        }
        let MaxConnections { shard, namesrv } = share_descriptors(1_024, 1);
        assert_eq!((shard, namesrv), (672, 96));
    }
}
