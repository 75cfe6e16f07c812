//! broker.conf and flags, merged into one validated [`Config`].
//!
//! The file is Java properties text with RocketMQ's names, so an existing broker.conf can be used as it is. Flags win over the
//! file, the file over the defaults. A bad value is an error that says where it stands and what is allowed; a name that
//! nobody knows is a warning; a name that RocketMQ knows and this broker has no use for is mentioned once.

mod known;
pub mod properties;
mod rule;
mod surroundings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use rule::{Addresses, Cores, Reachable, Rule};
pub use surroundings::Surroundings;

use rule::{Address, Blocks, Delays, Directory, FlushName, Hours, Name, Switch};

/// When a send is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Once its bytes are on the device and the device's cache is flushed.
    Sync,
    /// Once its bytes are written to the device; the flush follows within `flush_interval_ms`.
    Async,
}

/// Declares each property once: its field, type, default, name in broker.conf and rule; the comment gives the reason.
macro_rules! config {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $name:literal, $rule:expr;)*) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        const PROPERTIES: &[Property] = &[$(Property {
            name: $name,
            read: |config, text| {
                config.$field = Rule::<$type>::read(&$rule, text)?;
                Ok(())
            },
            show: |config| Rule::<$type>::show(&$rule, &config.$field),
        },)*];
    };
}

struct Property {
    name: &'static str,
    read: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

config! {
    /// Port of the first core's broker; each further core's is 10 higher. 10911 is what RocketMQ's broker starts with.
    /// Clients with the VIP channel on use the port 2 below.
    listen_port: u16 = 10911, "listenPort", 3..=65535;
    /// Where the broker and the name server listen: everywhere, as a client's address is not known beforehand.
    bind_address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED), "bindAddress", Address;
    /// The address in routes and message ids, which clients dial exactly as it is. At start: that of the interface
    /// which the default route leaves by.
    advertise: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "brokerIP1", Reachable;
    /// Name servers to register with. None: the built-in one, so that one process is a working cluster.
    namesrv: Vec<String> = Vec::new(), "namesrvAddr", Addresses;
    /// Port of the built-in name server; RocketMQ's.
    namesrv_port: u16 = 9876, "namesrvPort", 1..=65535;
    /// Registered with name servers this often: well within the 120 s after which they forget a broker.
    register_interval_ms: u64 = 30_000, "registerNameServerPeriod", 10_000..=60_000;
    /// In routes; with several cores each adds its number. At start: the host's name, so that two hosts with defaults do
    /// not take each other's place at a shared name server.
    broker_name: String = "broker-a".into(), "brokerName", Name;
    cluster_name: String = "DefaultCluster".into(), "brokerClusterName", Name;
    /// What the broker as a whole allows: 2 writing, 4 reading, 6 both.
    broker_permission: i32 = 6, "brokerPermission", 0..=7;
    /// Goes into replies for message traces; RocketMQ's name.
    region_id: String = "DefaultRegion".into(), "regionId", Name;
    /// One reactor is pinned to each; a core named twice carries two. At start: all that the process may run on.
    cores: Vec<usize> = vec![0], "cores", Cores;
    /// A connection without traffic for this long is closed; clients send a heartbeat every 30 s.
    connection_idle_s: u64 = 120, "serverChannelMaxIdleTimeSeconds", 1..=86_400;

    /// At start: `store` in the home directory, as RocketMQ.
    store_dir: PathBuf = PathBuf::from("store"), "storePathRootDir", Directory;
    /// For the log on a device of its own. None: `commitlog` in the store directory.
    commit_log_dir: Option<PathBuf> = None, "storePathCommitLog", Directory;
    /// Async is RocketMQ's default, and ours is never weaker: acknowledged after the write to the device.
    flush: Flush = Flush::Async, "flushDiskType", FlushName;
    /// Upper bound of what a power loss may take in async mode; 500 ms is RocketMQ's promise.
    flush_interval_ms: u64 = 500, "flushIntervalCommitLog", 1..=60_000;
    /// A sync send that waits longer is answered FLUSH_DISK_TIMEOUT; below the time after which clients with RocketMQ's
    /// longer settings give up.
    sync_flush_timeout_ms: u64 = 5_000, "syncFlushTimeout", 1..=600_000;
    /// One CommitLog file. Another size cannot open an existing store, as a file's name is its offset.
    segment_bytes: u64 = 1 << 30, "mappedFileSizeCommitLog", Blocks(65_536..=(2 << 30) - 4096);
    /// One ConsumeQueue file: 300,000 entries of 20 bytes.
    consume_queue_file_bytes: u64 = 300_000 * 20, "mappedFileSizeConsumeQueue", 20..=(2 << 30) - 20;
    /// The recent log that is kept in memory, per core: it absorbs a stalled disk and serves consumers that keep up.
    log_buffer_bytes: u64 = 64 << 20, "logBufferBytes", Blocks(1 << 20..=16 << 30);
    /// Bound of the ConsumeQueue entries in memory, per core. Enough for 100,000 queues with a chunk each.
    consume_queue_memory_bytes: u64 = 256 << 20, "consumeQueueMemoryBytes", Blocks(2 << 20..=1 << 40);
    /// How long messages are kept at least, if the disk does not fill up: three days.
    retention_hours: u64 = 72, "fileReservedTime", 1..=876_000;
    /// Hours of the day in which expired files are deleted: at night.
    delete_when_hours: Vec<u8> = vec![4], "deleteWhen", Hours;
    /// From this share of the disk on, expired files are deleted at any hour.
    disk_max_used_percent: u8 = 75, "diskMaxUsedSpaceRatio", 10..=95;

    /// Largest body. The frame limit of 16 MiB bounds it, header and properties included.
    max_message_bytes: u64 = 4 << 20, "maxMessageSize", 1024..=(16 << 20) - HEADROOM_BYTES;
    /// A send to an unknown topic creates it through TBW102: convenient on a first day, often switched off in production.
    auto_create_topic: bool = true, "autoCreateTopicEnable", Switch;
    /// An unknown consumer group is created at its first heartbeat.
    auto_create_group: bool = true, "autoCreateSubscriptionGroup", Switch;
    /// A topic with the cluster's name exists, for mqadmin clusterRT.
    cluster_topic: bool = true, "clusterTopicEnable", Switch;
    /// A topic with the broker's name exists, for mqadmin's checks.
    broker_topic: bool = true, "brokerTopicEnable", Switch;
    /// Queues of a topic that is created automatically, per broker; the client's own wish (4) is the lower bound of both.
    default_topic_queues: u32 = 8, "defaultTopicQueueNums", 1..=65_536;
    /// Delays of the levels 1, 2, ... in milliseconds; RocketMQ's 18.
    delay_levels_ms: Vec<u64> = DELAY_LEVELS_MS.to_vec(), "messageDelayLevel", Delays;
    /// Creates the trace topic at start; otherwise traces create it like any other topic.
    trace_topic: bool = false, "traceTopicEnable", Switch;
    trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".into(), "msgTraceTopicName", Name;

    /// A pull that finds nothing waits for a message, up to the time the client gave. Off: answered within
    /// `short_polling_ms`.
    long_polling: bool = true, "longPollingEnable", Switch;
    short_polling_ms: u64 = 1_000, "shortPollingTimeMills", 1..=30_000;
    /// Messages in one pull reply while they are in memory; 32 is also what clients ask for by default.
    max_pull_messages_hot: u32 = 32, "maxTransferCountOnMessageInMemory", 1..=65_536;
    max_pull_bytes_hot: u64 = 256 << 10, "maxTransferBytesOnMessageInMemory", 1024..=8 << 20;
    /// Fewer and smaller from disk, so that one cold reader's turn stays short.
    max_pull_messages_cold: u32 = 8, "maxTransferCountOnMessageInDisk", 1..=65_536;
    max_pull_bytes_cold: u64 = 64 << 10, "maxTransferBytesOnMessageInDisk", 1024..=8 << 20;
    /// Consumers hear at once that their group changed; otherwise they find out within their 20 s rebalance.
    notify_consumer_ids_changed: bool = true, "notifyConsumerIdsChangedEnable", Switch;
    /// A client without heartbeat for this long is forgotten: four missed ones.
    client_expiry_ms: u64 = 120_000, "channelExpiredTimeout", 10_000..=86_400_000;
    /// Consumer offsets are saved this often when they changed; a crash repeats at most so much.
    save_offsets_interval_ms: u64 = 5_000, "flushConsumerOffsetInterval", 100..=600_000;
    /// A send that waited longer for room in the log buffer is answered SYSTEM_BUSY, well before the client's 3 s pass.
    send_wait_ms: u64 = 200, "waitTimeMillsInSendQueue", 1..=60_000;
}

/// What a record or frame has around a body: properties (32,767 bytes at most), topic, fixed fields, header.
const HEADROOM_BYTES: u64 = 128 << 10;

/// 1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
const DELAY_LEVELS_MS: [u64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// What the command line says; whatever is absent is left to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config_file: Option<PathBuf>,
    pub store_dir: Option<PathBuf>,
    pub flush: Option<Flush>,
    pub cores: Option<Vec<usize>>,
    pub listen_port: Option<u16>,
    pub advertise: Option<IpAddr>,
    pub namesrv_port: Option<u16>,
    pub namesrv: Option<Vec<String>>,
}

/// A word to whoever starts the broker, about something that does not keep it from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{place}{property}={value}: allowed is {allowed}")]
    Value {
        place: Place,
        property: &'static str,
        value: String,
        allowed: String,
    },
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Line { file: PathBuf, line: usize },
    Flag(&'static str),
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}: ", file.display()),
            Self::Flag(flag) => write!(f, "{flag}: "),
            Self::Default => Ok(()),
        }
    }
}

impl Config {
    /// Reads the file that `flags` names, if any, and merges it with them. Notes come in the order of the file.
    pub fn load(
        flags: &Flags,
        surroundings: &Surroundings,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        let text = match &flags.config_file {
            // Old files are often in some other encoding, in comments only.
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(source) => {
                    return Err(ConfigError::Unreadable {
                        path: path.clone(),
                        source,
                    });
                }
            },
            None => String::new(),
        };
        Self::merge(&text, flags, surroundings)
    }

    /// The defaults of these surroundings, then the file's text, then the flags.
    pub fn merge(
        text: &str,
        flags: &Flags,
        surroundings: &Surroundings,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        let mut config = Self {
            advertise: surroundings.address,
            store_dir: surroundings.home.join("store"),
            cores: surroundings.cores.clone(),
            ..Self::default()
        };
        if let Ok(host_name) = Name.read(&surroundings.host_name) {
            config.broker_name = host_name;
        }
        let mut places = Places::new();
        let file = flags
            .config_file
            .as_deref()
            .unwrap_or(Path::new("broker.conf"));
        let notes = config.follow_file(file, text, &mut places)?;
        config.follow_flags(flags, &mut places);
        config.settle(&surroundings.cores, &places)?;
        Ok((config, notes))
    }

    /// The current values as broker.conf would give them: the body of GET_BROKER_CONFIG.
    pub fn properties_text(&self) -> String {
        let ours = PROPERTIES
            .iter()
            .map(|property| (property.name, (property.show)(self)));
        let fixed = known::UNKEPT
            .iter()
            .map(|unkept| (unkept.name, unkept.accepted.to_owned()));
        let mut all: Vec<(&str, String)> = ours.chain(fixed).collect();
        all.sort_unstable();
        let mut text = String::new();
        for (name, value) in all {
            properties::write(&mut text, name, &value);
        }
        text
    }

    /// One shard, and so one broker in the route, for each core.
    pub fn shards(&self) -> usize {
        self.cores.len()
    }

    /// The shard's port: 10 apart, which leaves room for the VIP port (2 below) and the replication port (1 above).
    pub fn shard_port(&self, shard: usize) -> u16 {
        assert!(shard < self.shards(), "shard {shard} of {}", self.shards());
        let port = port_of(self.listen_port, shard);
        u16::try_from(port).expect("ports were settled at start")
    }

    /// The shard's brokerName. A single one carries the plain name, as RocketMQ's broker does.
    pub fn shard_name(&self, shard: usize) -> String {
        assert!(shard < self.shards(), "shard {shard} of {}", self.shards());
        if self.shards() == 1 {
            self.broker_name.clone()
        } else {
            format!("{}-{shard}", self.broker_name)
        }
    }

    pub fn has_builtin_namesrv(&self) -> bool {
        self.namesrv.is_empty()
    }

    fn follow_file(
        &mut self,
        file: &Path,
        text: &str,
        places: &mut Places,
    ) -> Result<Vec<Note>, ConfigError> {
        let mut notes = Vec::new();
        let mut without_effect = Vec::new();
        for properties::Entry { line, key, value } in properties::parse(text) {
            let place = Place::Line {
                file: file.to_owned(),
                line,
            };
            if let Some(property) = PROPERTIES.iter().find(|property| property.name == key) {
                match (property.read)(self, &value) {
                    Ok(()) => places.insert(property.name, place),
                    Err(allowed) => {
                        return Err(ConfigError::Value {
                            place,
                            property: property.name,
                            value,
                            allowed,
                        });
                    }
                };
            } else if let Some(unkept) = known::UNKEPT.iter().find(|unkept| unkept.name == key) {
                if !value.eq_ignore_ascii_case(unkept.accepted) {
                    let allowed = format!("{} ({})", unkept.accepted, unkept.why);
                    return Err(ConfigError::Value {
                        place,
                        property: unkept.name,
                        value,
                        allowed,
                    });
                }
            } else if known::is_known(&key) {
                without_effect.push(key);
            } else {
                let ours = PROPERTIES.iter().map(|property| property.name);
                let meant =
                    known::nearest(&key, ours).map(|name| format!("; did you mean {name}?"));
                let text = format!(
                    "{place}unknown property {key} is ignored{}",
                    meant.unwrap_or_default()
                );
                notes.push(Note {
                    level: Level::Warning,
                    text,
                });
            }
        }
        if !without_effect.is_empty() {
            let text = format!(
                "{}: RocketMQ's, without effect here: {}",
                file.display(),
                without_effect.join(", ")
            );
            notes.push(Note {
                level: Level::Info,
                text,
            });
        }
        Ok(notes)
    }

    fn follow_flags(&mut self, flags: &Flags, places: &mut Places) {
        macro_rules! follow {
            ($($flag:ident => $field:ident, $name:literal, $property:literal;)*) => {$(
                if let Some(value) = &flags.$flag {
                    self.$field = value.clone();
                    places.insert($property, Place::Flag($name));
                }
            )*};
        }
        follow! {
            store_dir => store_dir, "--store", "storePathRootDir";
            flush => flush, "--flush", "flushDiskType";
            cores => cores, "--cores", "cores";
            listen_port => listen_port, "--port", "listenPort";
            advertise => advertise, "--advertise", "brokerIP1";
            namesrv_port => namesrv_port, "--namesrv-port", "namesrvPort";
        }
        match (&flags.namesrv, flags.namesrv_port) {
            (Some(namesrv), _) => self.namesrv = namesrv.clone(),
            // Whoever names a port for the built-in name server wants that one, whatever the file says.
            (None, Some(_)) => self.namesrv.clear(),
            (None, None) => {}
        }
    }

    /// The rules between several values, and between them and the machine.
    fn settle(&mut self, available: &[usize], places: &Places) -> Result<(), ConfigError> {
        let refuse = |property: &'static str, value: String, allowed: String| {
            let place = places.get(property).cloned().unwrap_or(Place::Default);
            Err(ConfigError::Value {
                place,
                property,
                value,
                allowed,
            })
        };
        if self.cores.is_empty() || self.cores.iter().any(|core| !available.contains(core)) {
            let allowed = format!(
                "some of the cores that this process may run on: {}",
                Cores.show(&available.to_vec())
            );
            return refuse("cores", Cores.show(&self.cores), allowed);
        }
        let highest = port_of(self.listen_port, self.shards() - 1);
        if highest > usize::from(u16::MAX) {
            let allowed = format!(
                "a port that leaves room for {} brokers, 10 apart, below 65536",
                self.shards()
            );
            return refuse("listenPort", self.listen_port.to_string(), allowed);
        }
        let taken = (0..self.shards())
            .map(|shard| self.shard_port(shard))
            .any(|port| {
                self.has_builtin_namesrv()
                    && (port == self.namesrv_port || port - 2 == self.namesrv_port)
            });
        if taken {
            let allowed = format!(
                "a port that none of the brokers from port {} on uses",
                self.listen_port
            );
            return refuse("namesrvPort", self.namesrv_port.to_string(), allowed);
        }
        let record_bytes = self.max_message_bytes + HEADROOM_BYTES;
        if self.segment_bytes < record_bytes {
            let allowed =
                format!("at least {record_bytes}, as one message of maxMessageSize has to fit in");
            return refuse(
                "mappedFileSizeCommitLog",
                self.segment_bytes.to_string(),
                allowed,
            );
        }
        if self.log_buffer_bytes < 2 * record_bytes {
            let allowed = format!("at least {}, twice the largest message", 2 * record_bytes);
            return refuse("logBufferBytes", self.log_buffer_bytes.to_string(), allowed);
        }
        // A queue file holds whole entries; RocketMQ rounds up as well.
        self.consume_queue_file_bytes = self.consume_queue_file_bytes.next_multiple_of(20);
        Ok(())
    }
}

/// Where each property was given, to point there when it turns out not to fit the others.
type Places = BTreeMap<&'static str, Place>;

fn port_of(first: u16, shard: usize) -> usize {
    usize::from(first) + 10 * shard
}

#[cfg(test)]
mod tests;
