//! Brokers at the name server: REGISTER_BROKER (103), UNREGISTER_BROKER (104), QUERY_DATA_VERSION (322), BROKER_HEARTBEAT (904).

mod reading;

pub use reading::{RegistrationReader, Row};

use serde::{Deserialize, Serialize};

use super::loose_json::{self, BodyError};
use super::request::header_fields;
use super::topic::TopicConfigTable;

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
    without_sign(crc32fast::hash(body))
}

/// The same of a CRC that was computed piece by piece.
pub fn without_sign(crc: u32) -> i32 {
    (crc & 0x7FFF_FFFF) as i32
}

impl RegisterBrokerBody {
    /// Reads a body of either form, at once; [`RegistrationReader`] reads it in turns. An empty body is a broker without topics.
    pub fn decode(body: &[u8], broker_version: i32) -> Result<Self, BodyError> {
        RegistrationReader::new(body.to_vec(), broker_version).read_all()
    }

    /// A broker of ours sends it as it is.
    pub fn encode(&self) -> Vec<u8> {
        loose_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::reading::MAX_INFLATED_BYTES;
    use super::*;
    use crate::wire::codes::{V3_0_11, V5_0_0};
    use crate::wire::data_version::DataVersion;
    use crate::wire::loose_json::members::BYTES_PER_TURN;
    use crate::wire::topic::TopicConfig;

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
        let mut whole = body.clone();
        whole.topics.mapping_data_version.counter = 5;
        let detail = serde_json::json!({"bname": "b"});
        let details = &mut whole.topics.topic_queue_mapping_detail_map;
        details.insert("s".into(), detail);
        let decoded = RegisterBrokerBody::decode(&whole.encode(), 513);
        assert_eq!(decoded.as_ref(), Ok(&whole), "JSON has more members");
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
        let mut bomb = compressed(&sample(), false);
        let old = V5_0_0 - 1;
        assert!(RegisterBrokerBody::decode(&deflate(&bomb), old).is_ok());
        bomb.resize(MAX_INFLATED_BYTES as usize + 1, 0);
        assert!(RegisterBrokerBody::decode(&deflate(&bomb), old).is_err());
    }

    #[test]
    fn a_large_body_is_read_in_turns() {
        let topics = (0..400).map(|n| {
            let config = TopicConfig {
                topic_name: format!("T{n}"),
                ..TopicConfig::default()
            };
            (config.topic_name.clone(), config)
        });
        let body = RegisterBrokerBody {
            topics: TopicConfigTable {
                topic_config_table: topics.collect(),
                ..TopicConfigTable::default()
            },
            ..RegisterBrokerBody::default()
        };
        let (json, inflated) = (body.encode(), compressed(&body, true));
        for (bytes, len) in [
            (json.clone(), json.len()),
            (deflate(&inflated), inflated.len()),
        ] {
            let mut reader = RegistrationReader::new(bytes, 513);
            let (mut turns, mut topics) = (1, BTreeMap::new());
            while !reader
                .turn(&mut |row| match row {
                    Row::Topic(key, config) => drop(topics.insert(key, config)),
                    other => panic!("{other:?}"),
                })
                .unwrap()
            {
                turns += 1;
            }
            let fewest = len / BYTES_PER_TURN;
            assert!((fewest..fewest + 2).contains(&(turns - 1)), "{turns} turns");
            assert_eq!(topics, body.topics.topic_config_table);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, version: i32) {
            let _ = RegisterBrokerBody::decode(&bytes, version);
            let _ = RegisterBrokerBody::decode(&deflate(&bytes), version);
        }
    }
}
