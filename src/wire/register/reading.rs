//! Reads the body of a registration a piece in each turn: there may be ten thousands of topics.
//!
//! A body has one of two forms. Brokers of 5.x compress it (`compressedRegister`) although their header denies it, so the first byte
//! decides. Inside, after zlib, each part after its length:
//!
//! ```text
//! DataVersion as JSON | number of topics | a line per topic | filter servers as JSON
//!     | from V5_0_0 on: number of mappings | JSON per mapping
//! ```

use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use serde_json::Value;

use super::RegisterBrokerBody;
use crate::wire::DataVersion;
use crate::wire::codes::{V3_0_11, V5_0_0};
use crate::wire::loose_json::members::{BYTES_PER_TURN, MAX_VALUE_BYTES, Members, Next, Want};
use crate::wire::loose_json::{self, BodyError};
use crate::wire::topic::TopicConfig;

/// More than any cluster's topics; bounds a decompression bomb.
pub(super) const MAX_INFLATED_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// A registration's body that is being read.
#[derive(Debug)]
pub struct RegistrationReader {
    pub data_version: DataVersion,
    /// Of static topics, as what follows.
    mapping_version: DataVersion,
    filter_servers: Vec<String>,
    form: Form,
}

/// What there is many of.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Under its key, which may differ from its name.
    Topic(String, TopicConfig),
    /// Of a static topic.
    Mapping(String, Value),
    /// The same in full.
    MappingDetail(String, Value),
}

#[derive(Debug)]
enum Form {
    /// A broker without topics.
    Empty,
    Json {
        members: Members,
        /// Before V3_0_11 the body is the table itself.
        is_table: bool,
    },
    Compressed(Box<Inflating>),
}

impl RegistrationReader {
    pub fn new(body: Vec<u8>, broker_version: i32) -> Self {
        const ZLIB: u8 = 0x78;
        let form = match body.first() {
            None => Form::Empty,
            Some(&ZLIB) => Form::Compressed(Box::new(Inflating::new(body, broker_version))),
            Some(_) => Form::Json {
                members: Members::of(body),
                is_table: broker_version < V3_0_11,
            },
        };
        Self {
            data_version: DataVersion::default(),
            mapping_version: DataVersion::default(),
            filter_servers: Vec::new(),
            form,
        }
    }

    /// Reads on, [`BYTES_PER_TURN`] or little more; whether that was the end.
    pub fn turn(&mut self, each: &mut impl FnMut(Row)) -> Result<bool, BodyError> {
        let (version, servers) = (&mut self.data_version, &mut self.filter_servers);
        match &mut self.form {
            Form::Empty => Ok(true),
            Form::Json { members, is_table } => {
                let versions = [version, &mut self.mapping_version];
                read_json(members, *is_table, versions, servers, each)
            }
            Form::Compressed(inflating) => inflating.turn(version, servers, each),
        }
    }

    /// Reads all that is left, in one turn.
    pub(super) fn read_all(mut self) -> Result<RegisterBrokerBody, BodyError> {
        let mut body = RegisterBrokerBody::default();
        let mut take = |row| match row {
            Row::Topic(key, config) => drop(body.topics.topic_config_table.insert(key, config)),
            Row::Mapping(topic, mapping) => {
                let mappings = &mut body.topics.topic_queue_mapping_info_map;
                mappings.insert(topic, mapping);
            }
            Row::MappingDetail(topic, detail) => {
                let details = &mut body.topics.topic_queue_mapping_detail_map;
                details.insert(topic, detail);
            }
        };
        while !self.turn(&mut take)? {}
        body.topics.data_version = self.data_version;
        body.topics.mapping_data_version = self.mapping_version;
        body.filter_server_list = self.filter_servers;
        Ok(body)
    }
}

const TABLE: &str = "topicConfigSerializeWrapper";
const TOPICS: &str = "topicConfigTable";
const MAPPINGS: &str = "topicQueueMappingInfoMap";
const DETAILS: &str = "topicQueueMappingDetailMap";
const VERSION: &str = "dataVersion";
const MAPPING_VERSION: &str = "mappingDataVersion";

fn read_json(
    members: &mut Members,
    is_table: bool,
    [version, mapping_version]: [&mut DataVersion; 2],
    servers: &mut Vec<String>,
    each: &mut impl FnMut(Row),
) -> Result<bool, BodyError> {
    loop {
        match members.next(|path| want(path, is_table))? {
            Next::TurnEnds => return Ok(false),
            Next::End => return Ok(true),
            Next::Value => {}
        }
        match members.path() {
            [.., table, _] if table == TOPICS => {
                let config: Option<TopicConfig> = members.value()?;
                if let (Some(key), Some(config)) = (members.path().last(), config) {
                    each(Row::Topic(key.clone(), config));
                }
            }
            [.., table, _] if table == MAPPINGS || table == DETAILS => {
                let row = match table == MAPPINGS {
                    true => Row::Mapping,
                    false => Row::MappingDetail,
                };
                let mapping: Option<Value> = members.value()?;
                if let (Some(key), Some(mapping)) = (members.path().last(), mapping) {
                    each(row(key.clone(), mapping));
                }
            }
            [.., name] if name == VERSION => {
                *version = members.value::<Option<_>>()?.unwrap_or_default();
            }
            [.., name] if name == MAPPING_VERSION => {
                *mapping_version = members.value::<Option<_>>()?.unwrap_or_default();
            }
            _ => *servers = members.value::<Option<_>>()?.unwrap_or_default(),
        }
    }
}

fn want(path: &[String], is_table: bool) -> Want {
    let inside = match path {
        _ if is_table => path,
        [name] if name == "filterServerList" => return Want::Value,
        [name, inside @ ..] if name == TABLE => inside,
        _ => return Want::Nothing,
    };
    let is_table = |name: &String| [TOPICS, MAPPINGS, DETAILS].contains(&&**name);
    match inside {
        [] => Want::Members,
        [name] if name == VERSION || name == MAPPING_VERSION => Want::Value,
        [name] if is_table(name) => Want::Members,
        [name, _] if is_table(name) => Want::Value,
        _ => Want::Nothing,
    }
}

/// A compressed body.
#[derive(Debug)]
struct Inflating {
    decoder: ZlibDecoder<Cursor<Vec<u8>>>,
    /// What is inflated; read up to `at`.
    inflated: Vec<u8>,
    at: usize,
    /// Nothing is left to inflate.
    is_whole: bool,
    next: Part,
    has_mappings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Version,
    TopicCount,
    Topics(u32),
    FilterServers,
    MappingCount,
    Mappings(u32),
    End,
}

impl Inflating {
    fn new(body: Vec<u8>, broker_version: i32) -> Self {
        Self {
            decoder: ZlibDecoder::new(Cursor::new(body)),
            inflated: Vec::new(),
            at: 0,
            is_whole: false,
            next: Part::Version,
            has_mappings: broker_version >= V5_0_0,
        }
    }

    fn turn(
        &mut self,
        version: &mut DataVersion,
        servers: &mut Vec<String>,
        each: &mut impl FnMut(Row),
    ) -> Result<bool, BodyError> {
        self.inflate()?;
        loop {
            self.next = match self.next {
                Part::Topics(0) => Part::FilterServers,
                Part::Mappings(0) => Part::End,
                // The end of the stream has a checksum.
                Part::End => return Ok(self.is_whole),
                Part::TopicCount | Part::MappingCount => match self.number()? {
                    None => return Ok(false),
                    Some(count) if self.next == Part::TopicCount => Part::Topics(count),
                    Some(count) => Part::Mappings(count),
                },
                part => {
                    let Some(bytes) = self.part()? else {
                        return Ok(false);
                    };
                    match part {
                        Part::Version => {
                            *version = loose_json::from_slice(bytes)?;
                            Part::TopicCount
                        }
                        Part::Topics(left) => {
                            let config = topic(bytes)?;
                            each(Row::Topic(config.topic_name.clone(), config));
                            Part::Topics(left - 1)
                        }
                        Part::FilterServers => {
                            *servers = loose_json::from_slice(bytes).unwrap_or_default();
                            match self.has_mappings {
                                true => Part::MappingCount,
                                false => Part::End,
                            }
                        }
                        Part::Mappings(left) => {
                            let mapping: Value = loose_json::from_slice(bytes)?;
                            let topic = mapping.get("topic").and_then(Value::as_str);
                            each(Row::Mapping(topic.unwrap_or_default().to_owned(), mapping));
                            Part::Mappings(left - 1)
                        }
                        Part::TopicCount | Part::MappingCount | Part::End => {
                            unreachable!("{part:?} is no text")
                        }
                    }
                }
            };
        }
    }

    fn inflate(&mut self) -> Result<(), BodyError> {
        self.inflated.drain(..self.at);
        self.at = 0;
        if self.next == Part::End {
            self.inflated.clear();
        }
        let most = BYTES_PER_TURN as u64;
        let read = (&mut self.decoder)
            .take(most)
            .read_to_end(&mut self.inflated);
        let read = read.map_err(|error| bad(format!("inflating failed: {error}")))?;
        self.is_whole = (read as u64) < most;
        if self.decoder.total_out() > MAX_INFLATED_BYTES {
            let reason = format!("inflates to more than {MAX_INFLATED_BYTES} bytes");
            return Err(bad(reason));
        }
        Ok(())
    }

    /// `None`: it is not inflated yet.
    fn number(&mut self) -> Result<Option<u32>, BodyError> {
        let rest = self.inflated.get(self.at..).unwrap_or_default();
        match rest.first_chunk() {
            Some(number) => {
                self.at += number.len();
                Ok(Some(u32::from_be_bytes(*number)))
            }
            None if self.is_whole => Err(bad("ends within a number".into())),
            None => Ok(None),
        }
    }

    fn part(&mut self) -> Result<Option<&[u8]>, BodyError> {
        let start = self.at;
        let Some(need) = self.number()? else {
            return Ok(None);
        };
        let need = need as usize;
        let have = self.inflated.len() - self.at;
        if have < need {
            self.at = start;
            return match need {
                _ if self.is_whole => Err(bad(format!("a part of {need} bytes, {have} are left"))),
                _ if need > MAX_VALUE_BYTES => Err(bad(format!(
                    "a part of {need} bytes; the limit is {MAX_VALUE_BYTES}"
                ))),
                _ => Ok(None),
            };
        }
        let part = self.at..self.at + need;
        self.at = part.end;
        Ok(Some(self.inflated.get(part).unwrap_or_default()))
    }
}

fn topic(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let line = String::from_utf8_lossy(line);
    TopicConfig::decode_line(&line).ok_or_else(|| bad(format!("{line:?} is no topic")))
}

fn bad(reason: String) -> BodyError {
    BodyError::Content { reason }
}
