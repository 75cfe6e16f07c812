//! Bodies of the name server's requests and replies, between JSON and the tables.
//!
//! Written as fastjson writes them: fields sorted by name, absent ones left out. A map by brokerId has bare numbers for keys
//! (`{0:"10.0.0.1:10911"}`), unless the client reads standard JSON only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;

use serde::Deserialize;
use serde_json::json;

use super::kv_config;
use super::route::{BrokerGroup, Queues, Route};
use super::route_table::{DataVersion, RouteTable};

/// TopicRouteData, the answer to GET_ROUTEINFO_BY_TOPIC.
pub fn route(route: &Route, order_conf: Option<&str>, is_standard: bool) -> String {
    let mut out = String::from("{\"brokerDatas\":[");
    for (at, (broker_name, group)) in route.brokers.iter().enumerate() {
        separate(&mut out, at);
        write_group(&mut out, broker_name, group, is_standard);
    }
    out.push_str("],\"filterServerTable\":{}");
    if let Some(order_conf) = order_conf {
        out.push_str(",\"orderTopicConf\":");
        quote(&mut out, order_conf);
    }
    out.push_str(",\"queueDatas\":[");
    for (at, (broker_name, queues)) in route.queues.iter().enumerate() {
        separate(&mut out, at);
        let Queues {
            read,
            write,
            perm,
            topic_sys_flag,
        } = queues;
        out.push_str("{\"brokerName\":");
        quote(&mut out, broker_name);
        append(
            &mut out,
            format_args!(
                ",\"perm\":{perm},\"readQueueNums\":{read},\"topicSysFlag\":{topic_sys_flag},\"writeQueueNums\":{write}}}"
            ),
        );
    }
    out.push_str("]}");
    if is_standard {
        escape_non_ascii(out)
    } else {
        out
    }
}

/// ClusterInfo: always in fastjson's own dialect, whoever asks.
pub fn cluster_info(table: &RouteTable) -> String {
    let mut out = String::from("{\"brokerAddrTable\":{");
    for (at, (broker_name, group)) in table.brokers().enumerate() {
        separate(&mut out, at);
        quote(&mut out, broker_name);
        out.push(':');
        write_group(&mut out, broker_name, group, false);
    }
    out.push_str("},\"clusterAddrTable\":{");
    for (at, (cluster, broker_names)) in table.clusters().enumerate() {
        separate(&mut out, at);
        quote(&mut out, cluster);
        out.push(':');
        write_list(&mut out, broker_names.iter().map(String::as_str));
    }
    out.push_str("}}");
    out
}

pub fn member_group(cluster: &str, broker_name: &str, group: Option<&BrokerGroup>) -> String {
    let mut out = String::from("{\"brokerMemberGroup\":{\"brokerAddrs\":");
    let addrs = group.map(|group| group.addrs.iter());
    write_addrs(&mut out, addrs.into_iter().flatten(), false);
    out.push_str(",\"brokerName\":");
    quote(&mut out, broker_name);
    out.push_str(",\"cluster\":");
    quote(&mut out, cluster);
    out.push_str("}}");
    out
}

pub fn topic_list<'a>(topics: impl Iterator<Item = &'a str>, broker_addr: Option<&str>) -> String {
    let mut out = String::from("{");
    if let Some(broker_addr) = broker_addr {
        out.push_str("\"brokerAddr\":");
        quote(&mut out, broker_addr);
        out.push(',');
    }
    out.push_str("\"topicList\":");
    write_list(&mut out, topics);
    out.push('}');
    out
}

pub fn kv_table(table: &kv_config::Table) -> String {
    json!({ "table": table }).to_string()
}

pub fn data_version_text(version: DataVersion) -> String {
    let DataVersion {
        state_version,
        timestamp_ms,
        counter,
    } = version;
    format!(
        "{{\"counter\":{counter},\"stateVersion\":{state_version},\"timestamp\":{timestamp_ms}}}"
    )
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

#[derive(Default, Deserialize)]
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

fn parse<'a, T: Deserialize<'a> + Default>(body: &'a [u8], name: &str) -> Result<T, String> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| format!("{name} cannot be read: {error}"))
}

fn write_group(out: &mut String, broker_name: &str, group: &BrokerGroup, is_standard: bool) {
    out.push_str("{\"brokerAddrs\":");
    write_addrs(out, group.addrs.iter(), is_standard);
    out.push_str(",\"brokerName\":");
    quote(out, broker_name);
    out.push_str(",\"cluster\":");
    quote(out, &group.cluster);
    append(
        out,
        format_args!(",\"enableActingMaster\":{}", group.acting_master),
    );
    if let Some(zone) = &group.zone {
        out.push_str(",\"zoneName\":");
        quote(out, zone);
    }
    out.push('}');
}

fn write_addrs<'a>(
    out: &mut String,
    addrs: impl Iterator<Item = (&'a i64, &'a String)>,
    is_standard: bool,
) {
    out.push('{');
    for (at, (id, addr)) in addrs.enumerate() {
        separate(out, at);
        if is_standard {
            append(out, format_args!("\"{id}\":"));
        } else {
            append(out, format_args!("{id}:"));
        }
        quote(out, addr);
    }
    out.push('}');
}

fn write_list<'a>(out: &mut String, names: impl Iterator<Item = &'a str>) {
    out.push('[');
    for (at, name) in names.enumerate() {
        separate(out, at);
        quote(out, name);
    }
    out.push(']');
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

fn quote(out: &mut String, text: &str) {
    append(out, format_args!("{}", serde_json::Value::from(text)));
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every text");
}

/// fastjson's BrowserCompatible: what is not ASCII as \uXXXX, in UTF-16.
fn escape_non_ascii(text: String) -> String {
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| append(&mut out, format_args!("\\u{unit:04X}")));
        }
    }
    out
}
