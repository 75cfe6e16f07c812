//! Bodies of the name server's requests and replies, between JSON and the tables.
//!
//! Written as fastjson writes them: fields sorted by name, absent ones left out. A map by brokerId has bare numbers for keys
//! (`{0:"10.0.0.1:10911"}`), unless the client reads standard JSON only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::kv_config;
use super::route::{BrokerGroup, Queues, Route};
use super::route_table::{DataVersion, RouteTable};
use crate::wire::loose_json;

/// TopicRouteData, the answer to GET_ROUTEINFO_BY_TOPIC.
pub fn route(route: &Route, order_conf: Option<&str>, is_standard: bool) -> Vec<u8> {
    let body = TopicRouteData {
        broker_datas: route
            .brokers
            .iter()
            .map(|(name, group)| BrokerData::of(name, group))
            .collect(),
        filter_server_table: BTreeMap::new(),
        order_topic_conf: order_conf,
        queue_datas: route
            .queues
            .iter()
            .map(|(name, queues)| QueueData::of(name, queues))
            .collect(),
    };
    if is_standard {
        loose_json::to_standard_vec(&body)
    } else {
        loose_json::to_vec(&body)
    }
}

/// ClusterInfo: always in fastjson's own dialect, whoever asks.
pub fn cluster_info(table: &RouteTable) -> Vec<u8> {
    loose_json::to_vec(&ClusterInfo {
        broker_addr_table: table
            .brokers()
            .map(|(name, group)| (name, BrokerData::of(name, group)))
            .collect(),
        cluster_addr_table: table.clusters().collect(),
    })
}

pub fn member_group(cluster: &str, broker_name: &str, group: Option<&BrokerGroup>) -> Vec<u8> {
    let none = BTreeMap::new();
    let broker_addrs = group.map_or(&none, |group| &group.addrs);
    let broker_member_group = BrokerMemberGroup {
        broker_addrs,
        broker_name,
        cluster,
    };
    loose_json::to_vec(&MemberGroupBody {
        broker_member_group,
    })
}

pub fn topic_list<'a>(topics: impl Iterator<Item = &'a str>, broker_addr: Option<&str>) -> Vec<u8> {
    loose_json::to_vec(&TopicList {
        broker_addr,
        topic_list: topics.collect(),
    })
}

pub fn kv_table(table: &kv_config::Table) -> Vec<u8> {
    loose_json::to_vec(&KvTable { table })
}

pub fn data_version_body(version: DataVersion) -> Vec<u8> {
    let DataVersion {
        state_version,
        timestamp_ms: timestamp,
        counter,
    } = version;
    loose_json::to_vec(&DataVersionBody {
        counter,
        state_version,
        timestamp,
    })
}

pub fn data_version(body: &[u8]) -> Result<DataVersion, String> {
    parse::<DataVersionBody>(body, "DataVersion").map(DataVersion::from)
}

/// The queues of a TopicRouteData, by brokerName.
pub fn queues_of_route(body: &[u8]) -> Result<Vec<(String, Queues)>, String> {
    let route: RouteBody = parse(body, "TopicRouteData")?;
    Ok(route
        .queue_datas
        .into_iter()
        .map(|data| (data.broker_name.clone(), data.queues()))
        .collect())
}

/// What REGISTER_BROKER reports. `is_compressed` is the header's word, which RocketMQ 5.3 sends wrongly; a zlib stream and a
/// JSON text are told apart by their first byte.
pub fn report(
    body: &[u8],
    is_compressed: bool,
) -> Result<(DataVersion, Vec<(String, Queues)>), String> {
    match body.first() {
        None => Ok(Default::default()),
        Some(b'{') => plain_report(body),
        Some(0x78) => compressed_report(body),
        Some(first) => Err(format!(
            "body begins with {first:#04x}, compressed={is_compressed}: neither JSON nor zlib"
        )),
    }
}

/// `{"topicConfigSerializeWrapper":{"dataVersion":{},"topicConfigTable":{}},...}`, or that wrapper alone (before 3.0.11).
fn plain_report(body: &[u8]) -> Result<(DataVersion, Vec<(String, Queues)>), String> {
    let report: ReportBody = parse(body, "RegisterBrokerBody")?;
    let wrapper = report
        .topic_config_serialize_wrapper
        .unwrap_or(WrapperBody {
            data_version: report.data_version,
            topic_config_table: report.topic_config_table,
        });
    let topics = wrapper.topic_config_table.into_iter().map(|(key, config)| {
        let topic = if config.topic_name.is_empty() {
            key
        } else {
            config.topic_name.clone()
        };
        (topic, config.queues())
    });
    Ok((wrapper.data_version.into(), topics.collect()))
}

/// A zlib stream of
///
/// ```text
/// i32 length, DataVersion as JSON
/// i32 count, count x (i32 length, "name read write perm filterType attributes")
/// i32 length, list of filter servers as JSON, and more that routes do not need
/// ```
fn compressed_report(body: &[u8]) -> Result<(DataVersion, Vec<(String, Queues)>), String> {
    let mut plain = Vec::new();
    let mut inflate = flate2::read::ZlibDecoder::new(body).take(INFLATED_LIMIT_BYTES + 1);
    inflate
        .read_to_end(&mut plain)
        .map_err(|error| format!("RegisterBrokerBody does not inflate: {error}"))?;
    if plain.len() as u64 > INFLATED_LIMIT_BYTES {
        return Err(format!(
            "RegisterBrokerBody inflates to more than {INFLATED_LIMIT_BYTES} bytes"
        ));
    }
    let mut rest = plain.as_slice();
    let version = data_version(take_part(&mut rest)?)?;
    let count = take_i32(&mut rest)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let line = take_part(&mut rest)?;
        let line = std::str::from_utf8(line)
            .map_err(|error| format!("TopicConfig is not UTF-8: {error}"))?;
        topics.push(
            topic_line(line)
                .ok_or_else(|| format!("TopicConfig is not `name read write perm ...`: {line}"))?,
        );
    }
    Ok((version, topics))
}

/// 10,000 topics with long names and attributes are some megabytes; a stream that goes on is not a report.
const INFLATED_LIMIT_BYTES: u64 = if cfg!(test) { 1 << 16 } else { 64 << 20 };

fn take_i32(rest: &mut &[u8]) -> Result<i32, String> {
    let (number, tail) = rest
        .split_first_chunk::<4>()
        .ok_or("RegisterBrokerBody ends in a length")?;
    *rest = tail;
    Ok(i32::from_be_bytes(*number))
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = take_i32(rest)?;
    let part = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len));
    let (part, tail) = part.ok_or_else(|| {
        format!(
            "RegisterBrokerBody has a part of {len} bytes, {} are left",
            rest.len()
        )
    })?;
    *rest = tail;
    Ok(part)
}

fn topic_line(line: &str) -> Option<(String, Queues)> {
    let mut fields = line.split(' ');
    let topic = fields.next().filter(|topic| !topic.is_empty())?;
    let mut number = || fields.next()?.parse::<i32>().ok();
    let queues = Queues {
        read: number()?,
        write: number()?,
        perm: number()?,
        topic_sys_flag: 0,
    };
    Some((topic.to_owned(), queues))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReportBody {
    topic_config_serialize_wrapper: Option<WrapperBody>,
    data_version: DataVersionBody,
    topic_config_table: BTreeMap<String, QueuesBody>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrapperBody {
    data_version: DataVersionBody,
    topic_config_table: BTreeMap<String, QueuesBody>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct DataVersionBody {
    counter: i64,
    state_version: i64,
    timestamp: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteBody {
    queue_datas: Vec<QueuesBody>,
}

/// The common part of TopicConfig and QueueData.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueuesBody {
    topic_name: String,
    broker_name: String,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

impl Default for QueuesBody {
    /// RocketMQ's defaults of a TopicConfig.
    fn default() -> Self {
        Self {
            topic_name: String::new(),
            broker_name: String::new(),
            read_queue_nums: 16,
            write_queue_nums: 16,
            perm: 6,
            topic_sys_flag: 0,
        }
    }
}

impl QueuesBody {
    fn queues(&self) -> Queues {
        Queues {
            read: self.read_queue_nums,
            write: self.write_queue_nums,
            perm: self.perm,
            topic_sys_flag: self.topic_sys_flag,
        }
    }
}

impl From<DataVersionBody> for DataVersion {
    fn from(body: DataVersionBody) -> Self {
        Self {
            state_version: body.state_version,
            timestamp_ms: body.timestamp,
            counter: body.counter,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRouteData<'a> {
    broker_datas: Vec<BrokerData<'a>>,
    /// Filter servers are gone since 4.9; Java clients still look here.
    filter_server_table: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_topic_conf: Option<&'a str>,
    queue_datas: Vec<QueueData<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData<'a> {
    broker_addrs: &'a BTreeMap<i64, String>,
    broker_name: &'a str,
    cluster: &'a str,
    enable_acting_master: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueData<'a> {
    broker_name: &'a str,
    perm: i32,
    read_queue_nums: i32,
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterInfo<'a> {
    broker_addr_table: BTreeMap<&'a str, BrokerData<'a>>,
    cluster_addr_table: BTreeMap<&'a str, &'a BTreeSet<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberGroupBody<'a> {
    broker_member_group: BrokerMemberGroup<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerMemberGroup<'a> {
    broker_addrs: &'a BTreeMap<i64, String>,
    broker_name: &'a str,
    cluster: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicList<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    broker_addr: Option<&'a str>,
    topic_list: Vec<&'a str>,
}

#[derive(Serialize)]
struct KvTable<'a> {
    table: &'a kv_config::Table,
}

impl<'a> BrokerData<'a> {
    fn of(broker_name: &'a str, group: &'a BrokerGroup) -> Self {
        Self {
            broker_addrs: &group.addrs,
            broker_name,
            cluster: &group.cluster,
            enable_acting_master: group.acting_master,
            zone_name: group.zone.as_deref(),
        }
    }
}

impl<'a> QueueData<'a> {
    fn of(broker_name: &'a str, queues: &Queues) -> Self {
        let Queues {
            read,
            write,
            perm,
            topic_sys_flag,
        } = *queues;
        Self {
            broker_name,
            perm,
            read_queue_nums: read,
            topic_sys_flag,
            write_queue_nums: write,
        }
    }
}

fn parse<T: DeserializeOwned + Default>(body: &[u8], name: &str) -> Result<T, String> {
    if body.is_empty() {
        return Ok(T::default());
    }
    loose_json::from_slice(body).map_err(|error| format!("{name} cannot be read: {error}"))
}
