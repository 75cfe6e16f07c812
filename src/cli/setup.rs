//! What the configuration means for each room of a shard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::broker::BrokerConfig;
use crate::broker::admission::AdmissionLimits;
use crate::broker::pop::PopConfig;
use crate::config::{Config, Flush, properties};
use crate::reactor::{NamesrvSetup, ShardSetup};
use crate::ring;
use crate::store::{self, IndexShape, Retention, StoreConfig};

/// Descriptors that connections leave to each shard's store.
const KEPT_DESCRIPTORS: usize = 256;

pub fn shard_setup(config: &Config, shard: usize) -> Result<ShardSetup> {
    let port = config.shard_port(shard);
    let builtin = config.has_builtin_namesrv();
    let connections = max_connections(config.shards());
    Ok(ShardSetup {
        listen: SocketAddr::new(config.bind_address, port),
        vip_listen: SocketAddr::new(config.bind_address, port - 2),
        store: store_config(config, shard),
        broker: broker_config(config, shard),
        namesrv: namesrv_addresses(config)?,
        register_interval_ms: config.register_interval_ms,
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        connection_idle_s: config.connection_idle_s,
        max_connections: connections.shard,
        connection_memory_bytes: config.connection_memory_bytes as usize,
        admission: AdmissionLimits {
            wait_ms: config.send_wait_limit_ms,
            stall_ms: config.stall_limit_ms,
        },
        save_offsets_interval_ms: config.save_offsets_interval_ms,
        builtin_namesrv: (builtin && shard == 0).then(|| NamesrvSetup {
            listen: SocketAddr::new(config.bind_address, config.namesrv_port),
            dir: config.store_dir.join("config"),
            max_connections: connections.namesrv,
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
    share_descriptors(ring::descriptor_limit() as usize, shards)
}

/// The files of the store and what is being accepted keep some of the descriptors, the name server has an eighth of the others.
fn share_descriptors(descriptors: usize, shards: usize) -> MaxConnections {
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

fn advertise(config: &Config, shard: usize) -> SocketAddr {
    SocketAddr::new(config.advertise, config.shard_port(shard))
}

fn store_config(config: &Config, shard: usize) -> StoreConfig {
    StoreConfig {
        dir: shard_dir(config, shard),
        commit_log_dir: commit_log_dir(config, shard),
        flush: match config.flush {
            Flush::Sync => store::Flush::Sync,
            Flush::Async => store::Flush::Async,
        },
        segment_bytes: config.segment_bytes,
        log_buffer_bytes: config.log_buffer_bytes as usize,
        max_message_bytes: config.max_message_bytes as usize,
        flush_interval_ms: config.flush_interval_ms,
        retention: retention(config),
        consume_queue_memory_bytes: config.consume_queue_memory_bytes as usize,
        delay_levels_ms: config.delay_levels_ms.clone(),
        index: config.message_index.then_some(IndexShape {
            slots: config.max_hash_slots,
            entries: config.max_index_entries,
        }),
        scrub_bytes_per_s: config.scrub_bytes_per_s,
        skip_damaged: config.skip_damaged,
        store_host: advertise(config, shard),
        ..StoreConfig::default()
    }
}

fn retention(config: &Config) -> Retention {
    Retention {
        reserved_ms: u64::from(config.file_reserved_hours) * 3_600_000,
        delete_hours: config.delete_when.clone(),
        max_used_percent: config.disk_max_used_percent,
        forcible_percent: config.disk_forcible_percent,
        warning_percent: config.disk_warning_percent,
        clean_forcibly: config.clean_forcibly,
        max_log_bytes: config.max_log_bytes,
        interval_ms: config.clean_interval_ms,
    }
}

fn broker_config(config: &Config, shard: usize) -> BrokerConfig {
    BrokerConfig {
        broker_name: config.shard_name(shard),
        cluster_name: config.cluster_name.clone(),
        advertise: advertise(config, shard),
        region_id: config.region_id.clone(),
        broker_permission: config.broker_permission,
        auto_create_topic: config.auto_create_topic,
        default_topic_queue_nums: config.default_topic_queues,
        auto_create_group: config.auto_create_group,
        cluster_topic: config.cluster_topic,
        broker_topic: config.broker_topic,
        trace_topic: config.trace_topic,
        trace_topic_name: config.trace_topic_name.clone(),
        max_message_bytes: config.max_message_bytes as usize,
        delay_levels_ms: config.delay_levels_ms.clone(),
        retention: retention(config),
        transaction_check_interval_ms: config.transaction_check_interval_ms,
        transaction_timeout_ms: config.transaction_timeout_ms,
        transaction_check_max: config.transaction_check_max,
        transaction_op_max_bytes: config.transaction_op_max_bytes as usize,
        transaction_op_batch_interval_ms: config.transaction_op_batch_interval_ms,
        reject_transaction_message: config.reject_transaction_message,
        property_filter: config.property_filter,
        filter_support_retry: config.filter_support_retry,
        timer_wheel: config.timer_wheel,
        timer_max_delay_s: config.timer_max_delay_s,
        timer_roll_window_ms: timer_roll_window_ms(config),
        timer_memory_entries: config.timer_memory_entries as usize,
        recall: config.recall,
        recall_when_not_writeable: config.recall_when_not_writeable,
        long_polling: config.long_polling,
        short_polling_ms: config.short_polling_ms,
        max_pull_messages: config.max_pull_messages,
        max_pull_bytes: config.max_pull_bytes as u32,
        max_query_messages: config.max_query_messages,
        default_query_messages: config.default_query_messages,
        notify_consumer_ids_changed: config.notify_consumer_ids_changed,
        server_side_reset: config.server_side_reset,
        store_replies: config.store_replies,
        client_expiry_ms: config.client_expiry_ms,
        pop: pop_config(config),
        start_properties: start_properties(config),
        ..BrokerConfig::default()
    }
}

/// Messages kept for less than twice the window are written anew sooner.
fn timer_roll_window_ms(config: &Config) -> u64 {
    let half_reserved_ms = u64::from(config.file_reserved_hours) * 1_800_000;
    (config.timer_roll_window_s * 1000).min(half_reserved_ms.max(60_000))
}

fn pop_config(config: &Config) -> PopConfig {
    PopConfig {
        retry_first_percent: config.pop_retry_first_percent,
        retry_topic_v2: config.retry_topic_v2,
        max_polls_of_queue: config.pop_polls_of_queue as usize,
        max_polls: config.pop_polls as usize,
        limits_in_flight: config.pop_limits_in_flight,
        in_flight_limit: config.pop_in_flight_limit,
        shows_retry_topic: config.pop_shows_retry_topic,
        divides_queues: config.divides_queues,
        default_mode: config.request_mode.clone(),
        default_share_queues: config.pop_share_queues,
    }
}

fn start_properties(config: &Config) -> Vec<(String, String)> {
    let entries = properties::parse(&config.properties_text()).into_iter();
    entries.map(|entry| (entry.key, entry.value)).collect()
}

fn namesrv_addresses(config: &Config) -> Result<Vec<SocketAddr>> {
    if config.has_builtin_namesrv() {
        let own: IpAddr = if config.bind_address.is_unspecified() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            config.bind_address
        };
        return Ok(vec![SocketAddr::new(own, config.namesrv_port)]);
    }
    let mut resolved = Vec::new();
    for address in &config.namesrv {
        let mut found = address
            .to_socket_addrs()
            .with_context(|| format!("the name server {address} cannot be resolved"))?;
        resolved.push(
            found
                .next()
                .with_context(|| format!("the name server {address} has no address"))?,
        );
    }
    Ok(resolved)
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
