//! Brokers at the name server: REGISTER_BROKER (103), UNREGISTER_BROKER (104), QUERY_DATA_VERSION (322), BROKER_HEARTBEAT (904).

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

use super::codes::{V3_0_11, V5_0_0};
use super::loose_json::{self, BodyError};
use super::request::header_fields;
use super::topic::{TopicConfig, TopicConfigTable};

header_fields! {
    pub struct RegisterBroker<'a> {
        "brokerId" => broker_id: i64,
        /// [`body_crc`] of the body; 0 is unchecked.
        "bodyCrc32" => body_crc32: Option<i32>,
        "clusterName" => cluster_name: &'a str,
        "brokerAddr" => broker_addr: &'a str,
        "heartbeatTimeoutMillis" => heartbeat_timeout_ms: Option<i64>,
        "enableActingMaster" => enable_acting_master: Option<bool>,
        "haServerAddr" => ha_server_addr: &'a str,
        /// Not to be relied upon: see [`RegisterBrokerBody::decode`].
        "compressed" => compressed: bool,
        "brokerName" => broker_name: &'a str,
        "__ZONE_NAME" => zone_name: Option<&'a str>,
    }
}

header_fields! {
    /// For replicas: where the primary is.
    pub struct RegisterBrokerReply<'a> {
        "haServerAddr" => ha_server_addr: Option<&'a str>,
        "masterAddr" => master_addr: Option<&'a str>,
    }
}

header_fields! {
    /// 104 and 322
    pub struct BrokerIdentity<'a> {
        "brokerId" => broker_id: i64,
        "clusterName" => cluster_name: &'a str,
        "brokerAddr" => broker_addr: &'a str,
        "brokerName" => broker_name: &'a str,
    }
}

header_fields! {
    /// The reply to 322; its body is the [`DataVersion`](super::data_version::DataVersion) that is known, if any.
    pub struct DataVersionReply {
        "changed" => changed: bool,
    }
}

header_fields! {
    pub struct BrokerHeartbeat<'a> {
        "clusterName" => cluster_name: &'a str,
        "brokerAddr" => broker_addr: &'a str,
        "brokerName" => broker_name: &'a str,
        "brokerId" => broker_id: Option<i64>,
        "epoch" => epoch: Option<i32>,
        "maxOffset" => max_offset: Option<i64>,
        "confirmOffset" => confirm_offset: Option<i64>,
        "heartbeatTimeoutMills" => heartbeat_timeout_ms: Option<i64>,
        "electionPriority" => election_priority: Option<i32>,
    }
}

/// What a broker has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    #[serde(rename = "topicConfigSerializeWrapper")]
    pub topics: TopicConfigTable,
}

/// The CRC in a registration's header: without the sign bit, as everywhere in RocketMQ.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// More than any cluster's topics; bounds a decompression bomb.
const MAX_INFLATED_BYTES: u64 = if cfg!(test) { 1 << 16 } else { 64 << 20 };

impl RegisterBrokerBody {
    /// Reads a body of either form, by its first byte: brokers of 5.x compress it (`compressedRegister`) although their header
    /// denies it. An empty body is a broker without topics.
    pub fn decode(body: &[u8], broker_version: i32) -> Result<Self, BodyError> {
        const ZLIB: u8 = 0x78;
        match body.first() {
            None => Ok(Self::default()),
            Some(&ZLIB) => Self::decode_compressed(body, broker_version),
            Some(_) if broker_version < V3_0_11 => Ok(Self {
                topics: loose_json::from_slice(body)?,
                filter_server_list: Vec::new(),
            }),
            Some(_) => loose_json::from_slice(body),
        }
    }

    /// A broker of ours sends it as it is.
    pub fn encode(&self) -> Vec<u8> {
        loose_json::to_vec(self)
    }

    /// Inside, after zlib, each part after its length:
    ///
    /// ```text
    /// DataVersion as JSON | number of topics | a line per topic | filter servers as JSON
    ///     | from V5_0_0 on: number of mappings | JSON per mapping
    /// ```
    fn decode_compressed(body: &[u8], broker_version: i32) -> Result<Self, BodyError> {
        let mut inflated = Vec::new();
        let read = ZlibDecoder::new(body)
            .take(MAX_INFLATED_BYTES + 1)
            .read_to_end(&mut inflated);
        read.map_err(|error| bad(format!("inflating failed: {error}")))?;
        if inflated.len() as u64 > MAX_INFLATED_BYTES {
            return Err(bad(format!(
                "inflates to more than {MAX_INFLATED_BYTES} bytes"
            )));
        }
        let mut parts = Parts { bytes: &inflated };
        let mut topics = TopicConfigTable {
            data_version: loose_json::from_slice(parts.next()?)?,
            ..Default::default()
        };
        for _ in 0..parts.number()? {
            let line = String::from_utf8_lossy(parts.next()?);
            let config = TopicConfig::decode_line(&line)
                .ok_or_else(|| bad(format!("{line:?} is no topic")))?;
            topics
                .topic_config_table
                .insert(config.topic_name.clone(), config);
        }
        let filter_server_list = loose_json::from_slice(parts.next()?).unwrap_or_default();
        if broker_version >= V5_0_0 {
            for _ in 0..parts.number()? {
                let mapping: serde_json::Value = loose_json::from_slice(parts.next()?)?;
                let topic = mapping
                    .get("topic")
                    .and_then(|topic| topic.as_str())
                    .unwrap_or_default()
                    .to_owned();
                topics.topic_queue_mapping_info_map.insert(topic, mapping);
            }
        }
        Ok(Self {
            filter_server_list,
            topics,
        })
    }
}

struct Parts<'a> {
    bytes: &'a [u8],
}

impl<'a> Parts<'a> {
    fn number(&mut self) -> Result<u32, BodyError> {
        let (first, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| bad("ends within a number".into()))?;
        self.bytes = rest;
        Ok(u32::from_be_bytes(*first))
    }

    fn next(&mut self) -> Result<&'a [u8], BodyError> {
        let need = self.number()? as usize;
        let have = self.bytes.len();
        let (part, rest) = self
            .bytes
            .split_at_checked(need)
            .ok_or_else(|| bad(format!("a part of {need} bytes, {have} are left")))?;
        self.bytes = rest;
        Ok(part)
    }
}

fn bad(reason: String) -> BodyError {
    BodyError::Content { reason }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::data_version::DataVersion;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As `RegisterBrokerBody.encode(true)` does.
    fn compressed(body: &RegisterBrokerBody, with_mappings: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let part = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        part(&mut out, &loose_json::to_vec(&body.topics.data_version));
        out.extend_from_slice(&(body.topics.topic_config_table.len() as u32).to_be_bytes());
        for config in body.topics.topic_config_table.values() {
            part(&mut out, config.encode_line().as_bytes());
        }
        part(&mut out, &loose_json::to_vec(&body.filter_server_list));
        if with_mappings {
            out.extend_from_slice(
                &(body.topics.topic_queue_mapping_info_map.len() as u32).to_be_bytes(),
            );
            for mapping in body.topics.topic_queue_mapping_info_map.values() {
                part(&mut out, mapping.to_string().as_bytes());
            }
        }
        out
    }

    fn sample() -> RegisterBrokerBody {
        let data_version = DataVersion {
            counter: 7,
            state_version: 0,
            timestamp_ms: 9,
        };
        let config = TopicConfig {
            topic_name: "t".into(),
            perm: 4,
            ..TopicConfig::default()
        };
        let mapping = serde_json::json!({"topic": "s", "totalQueues": 3});
        let topics = TopicConfigTable {
            data_version,
            topic_config_table: [("t".into(), config)].into(),
            topic_queue_mapping_info_map: [("s".into(), mapping)].into(),
            ..TopicConfigTable::default()
        };
        RegisterBrokerBody {
            filter_server_list: vec!["f:1".into()],
            topics,
        }
    }

    #[test]
    fn every_form() {
        let body = sample();
        assert_eq!(
            RegisterBrokerBody::decode(&body.encode(), 513).as_ref(),
            Ok(&body)
        );
        assert_eq!(
            RegisterBrokerBody::decode(&deflate(&compressed(&body, true)), V5_0_0).as_ref(),
            Ok(&body)
        );
        let old =
            RegisterBrokerBody::decode(&deflate(&compressed(&body, false)), V5_0_0 - 1).unwrap();
        assert_eq!(
            old.topics.topic_config_table,
            body.topics.topic_config_table
        );
        let oldest =
            RegisterBrokerBody::decode(&loose_json::to_vec(&body.topics), V3_0_11 - 1).unwrap();
        assert_eq!(oldest.topics, body.topics);
        assert_eq!(
            RegisterBrokerBody::decode(b"", 513),
            Ok(RegisterBrokerBody::default())
        );
    }

    #[test]
    fn cut_off() {
        let inflated = compressed(&sample(), true);
        for len in 0..inflated.len() {
            assert!(RegisterBrokerBody::decode(&deflate(&inflated[..len]), 513).is_err());
        }
        let deflated = deflate(&inflated);
        assert!(RegisterBrokerBody::decode(&deflated[..deflated.len() / 2], 513).is_err());
        let bomb = deflate(&vec![0; MAX_INFLATED_BYTES as usize + 1]);
        assert!(RegisterBrokerBody::decode(&bomb, 513).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, version: i32) {
            let _ = RegisterBrokerBody::decode(&bytes, version);
            let _ = RegisterBrokerBody::decode(&deflate(&bytes), version);
        }
    }
}
