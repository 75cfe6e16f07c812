//! Every setting once: its field, type, default with the reason, name in broker.conf, rule, and whether it can be changed in the
//! running broker (`hot`). broker.conf's check, requests 25 and 26, the broker's own configuration and the page
//! `settings.md` all derive from these rows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::access::{
    CodeList, InnerCredentials, NamesrvAuth, NamesrvAuthName, Sources, UserCredentials,
};
use super::io_choice::{IoChoice, IoName};
use super::metrics::{ExporterName, MetricsExporter, MetricsLabels, PORTS};
use super::push::{BATCH_POINTS, CollectorAddress, INTERVALS_MS, PushHeaders, TIMEOUTS_MS};
use super::rule::{
    Address, Addresses, Blocks, BrokerRole, Cores, Delays, Directory, Flush, FlushName, Hours,
    Name, OneOf, OwnedBySome, Reachable, RoleName, Rule, Switch,
};
use super::tls::{
    FilePath, NameList, Password, TlsClientAuth, TlsClientAuthName, TlsMode, TlsModeName,
};

use crate::auth::{CodeSet, Credentials, Secret, Source};

macro_rules! config {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $name:literal, $rule:expr $(, $hot:ident)?;)*) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        pub(super) const PROPERTIES: &[Property] = &[$(Property {
            name: $name,
            read: |config, text| {
                config.$field = Rule::<$type>::read(&$rule, text)?;
                Ok(())
            },
            show: |config| Rule::<$type>::show(&$rule, &config.$field),
            is_hot: config!(@is_hot $($hot)?),
            doc: concat!($($doc,)*),
        },)*];
    };
    (@is_hot hot) => { true };
    (@is_hot) => { false };
}

impl Property {
    pub fn find(name: &str) -> Option<&'static Self> {
        PROPERTIES.iter().find(|property| property.name == name)
    }

    /// The allowed values in words. No value contains a NUL.
    pub fn allowed(&self) -> String {
        (self.read)(&mut Config::default(), "\0")
            .err()
            .unwrap_or_default()
    }
}

/// How one setting is read and shown. An error names the allowed values.
pub(super) struct Property {
    pub name: &'static str,
    pub read: fn(&mut Config, &str) -> Result<(), String>,
    pub show: fn(&Config) -> String,
    /// Can be changed in the running broker.
    pub is_hot: bool,
    /// What it means, for the page and for operators.
    pub doc: &'static str,
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
    /// An address that clients always find the master at, whichever broker of the name that is: a virtual address or a load balancer's, at
    /// `listenPort`; with another port the master listens at that port, too. It is in routes instead of the master's own, so no client needs a new
    /// route after a failover. The same at all brokers of the name; with several cores each further one's port is 10 higher.
    master_address: Option<SocketAddr> = None, "masterAddress", OwnedBySome;
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
    broker_permission: i32 = 6, "brokerPermission", 0..=7, hot;
    /// Goes into replies for message traces; RocketMQ's name.
    region_id: String = "DefaultRegion".into(), "regionId", Name;
    /// Bound of what the connections of a core hold together: requests that have not come whole, and replies that their
    /// clients have not taken; a half each. Enough for 32 messages of 4 MiB on their way in.
    connection_memory_bytes: u64 = 256 << 20, "connectionMemoryBytes", (64 << 20)..=1 << 40;
    /// One reactor is pinned to each; a core named twice carries two. At start: all that the process may run on.
    cores: Vec<usize> = vec![0], "cores", Cores;
    /// How files and sockets are reached: by io_uring (`uring`) or by epoll and threads (`portable`), which takes more CPU. `auto` is io_uring where
    /// this process may use it.
    io: IoChoice = IoChoice::Auto, "ioBackend", IoName;
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
    /// A sync send that is not durable after this time is answered FLUSH_DISK_TIMEOUT; below the time after which clients with RocketMQ's
    /// longer settings give up.
    sync_flush_timeout_ms: u64 = 5_000, "syncFlushTimeout", 1..=600_000;
    /// A send is late if it is not written after this time.
    send_wait_limit_ms: u64 = 200, "waitTimeMillsInSendQueue", 1..=600_000, hot;
    /// When sends have been late for this time, further sends that would be late are refused at once (SYSTEM_BUSY). With the
    /// defaults, RocketMQ's, a stall of 1.2 s is ridden out: longer than a disk's hiccups, and well below the 3 s after which
    /// a producer gives up and sends again.
    stall_limit_ms: u64 = 1_000, "osPageCacheBusyTimeOutMills", 0..=600_000, hot;
    /// What the broker is among the replicas of its name. A master whose role is not set opens no port for replicas.
    broker_role: Option<BrokerRole> = None, "brokerRole", RoleName;
    /// 0 is a master, a slave has 1 to 15: clients take some slaves with larger numbers for masters. Under a controller it has no effect, and -1 is
    /// allowed.
    broker_id: i32 = 0, "brokerId", -1..=15;
    /// Port for replicas; 0: the broker's port + 1. With several cores each further one's is 10 higher.
    ha_listen_port: u16 = 0, "haListenPort", 0..=65535;
    /// Where a slave gets the log from: its master's port for replicas. Empty: as the name server says.
    ha_master: Vec<String> = Vec::new(), "haMasterAddress", Addresses;
    /// How many brokers have a message before a sync master acknowledges it, itself included. RocketMQ's default is 1, with which no
    /// send waits for a slave.
    in_sync_replicas: u32 = 2, "inSyncReplicas", 1..=10;
    /// A send that its replicas do not have after this time is answered FLUSH_SLAVE_TIMEOUT. RocketMQ's default is 3,000, when its
    /// clients have given up.
    slave_timeout_ms: u64 = 2_000, "slaveTimeout", 1..=600_000;
    /// A slave that is further behind is not waited for: SLAVE_NOT_AVAILABLE.
    ha_max_gap_bytes: u64 = 256 << 20, "haMaxGapNotInSync", 0..=u64::MAX;
    /// Master and slave say something at least so often.
    ha_heartbeat_ms: u64 = 5_000, "haSendHeartbeatInterval", 10..=600_000;
    /// A connection between them over which nothing came for so long is closed.
    ha_silence_ms: u64 = 20_000, "haHousekeepingInterval", 100..=600_000;
    /// Most bytes of the log that a frame to a replica has.
    ha_batch_bytes: u64 = 32_768, "haTransferBatchSize", 1_024..=1 << 20;
    /// The link between master and slave is secured as all connections are: the master's port takes what `tls.server.mode` says, and a slave with `tls.enable=true` comes
    /// over TLS. The same at both. False: plain text, as RocketMQ's always is.
    ha_tls: bool = false, "haTlsEnable", Switch;
    /// Consumers may read from this slave.
    slave_read: bool = false, "slaveReadEnable", Switch;
    /// A controller decides which broker of this name is the master; `brokerRole` and `brokerId` have no effect.
    controller_mode: bool = false, "enableControllerMode", Switch;
    /// All controllers, `ringmq controller` or RocketMQ's. Host names are resolved when the broker starts; in the running broker it can be changed to
    /// IP addresses.
    controllers: Vec<String> = Vec::new(), "controllerAddr", Addresses, hot;
    /// A message is acknowledged when every broker of the in-sync set has it: true if not set, with a controller. RocketMQ's default is false, with
    /// which an elected broker may lack what was acknowledged. False: `inSyncReplicas` brokers have it.
    all_ack_in_set: Option<bool> = None, "allAckInSyncStateSet", Switch;
    /// With fewer brokers in the in-sync set no message is taken. 2 or more: what is acknowledged survives the loss of a machine at any time.
    min_in_sync_replicas: u32 = 1, "minInSyncReplicas", 1..=15;
    /// Of brokers with equally long logs the one with the smallest is elected.
    election_priority: i32 = i32::MAX, "brokerElectionPriority", 0..=i32::MAX;
    /// The broker gets the log and never belongs to the in-sync set.
    async_learner: bool = false, "asyncLearner", Switch;
    /// A heartbeat goes to each controller this often. RocketMQ's default is 1,000. A controller of ringmq takes a broker for dead after 1.5 s of
    /// silence, and three of these intervals at least.
    broker_heartbeat_ms: u64 = 500, "brokerHeartbeatInterval", 100..=60_000;
    /// What a broker states in them: silent for longer, it is dead. A controller of ringmq may take less.
    controller_timeout_ms: u64 = 10_000, "controllerHeartBeatTimeoutMills", 2_000..=600_000;
    /// How often the controller is asked for the master and the in-sync set, besides its notices.
    sync_broker_metadata_ms: u64 = 5_000, "syncBrokerMetadataPeriod", 100..=600_000;
    /// How often it is asked which controller leads.
    sync_controller_metadata_ms: u64 = 10_000, "syncControllerMetadataPeriod", 100..=600_000;
    /// A broker that did not have all of the log for so long leaves the in-sync set. One whose reported position does not advance leaves after 1.5 s, one that
    /// is not connected at once.
    not_caught_up_ms: u64 = 15_000, "haMaxTimeSlaveNotCatchup", 1_000..=600_000;
    /// One CommitLog file. Another size cannot open an existing store, as a file's name is its offset.
    segment_bytes: u64 = 1 << 30, "mappedFileSizeCommitLog", Blocks(65_536..=(2 << 30) - 4096);
    /// The recent log that is kept in memory, per core: it absorbs a stalled disk and serves consumers that keep up.
    log_buffer_bytes: u64 = 64 << 20, "logBufferBytes", Blocks(1 << 20..=16 << 30);
    /// Retention of messages in hours.
    file_reserved_hours: u32 = 72, "fileReservedTime", 0..=876_000, hot;
    /// Hours of the day at which expired files are removed.
    delete_when: Vec<u8> = vec![4], "deleteWhen", Hours, hot;
    /// Above this disk usage they are removed at any hour.
    disk_max_used_percent: u8 = 75, "diskMaxUsedSpaceRatio", 10..=99, hot;
    /// Above this disk usage the oldest files are removed, whatever their age.
    disk_forcible_percent: u8 = 85, "diskSpaceCleanForciblyRatio", 30..=99, hot;
    /// Above this disk usage no message is accepted.
    disk_warning_percent: u8 = 90, "diskSpaceWarningLevelRatio", 35..=99, hot;
    /// Whether unexpired messages may be removed to make room for new ones.
    clean_forcibly: bool = true, "cleanFileForciblyEnable", Switch, hot;
    /// Upper bound of each core's log besides its age. 0: none.
    max_log_bytes: u64 = 0, "commitLogMaxBytes", 0..=u64::MAX, hot;
    clean_interval_ms: u64 = 10_000, "cleanResourceInterval", 100..=3_600_000;
    /// Bound of the ConsumeQueue entries in memory, per core. Enough for 100,000 queues with a chunk each.
    consume_queue_memory_bytes: u64 = 256 << 20, "consumeQueueMemoryBytes", Blocks(2 << 20..=1 << 40);

    /// How fast each core's log is read through for damage, once a day. 0: not at all. A TiB takes three days.
    scrub_bytes_per_s: u64 = 4 << 20, "scrubBytesPerSecond", 0..=1 << 30;
    /// A damaged log is opened without what cannot be read. Off: the start is refused with the place.
    skip_damaged: bool = false, "skipDamagedLog", Switch;
    /// A task that keeps a core from all others for longer is counted (`ringmqStalls`, `ringmqStallMaxMs` of the runtime
    /// figures) and logged with its CPU time. `ringmqStallsOwn` leaves out those in which the core was taken by another
    /// process or by the host.
    stall_warn_ms: u64 = 5, "stallWarnMillis", 1..=600_000;
    /// A request that takes longer is logged, one a second at most; of a send the line tells how long it has waited for its turn, for the writes
    /// before its own, for its write and for its release, and how many bytes were ahead of it. A pull that waits for messages is not slow. 0: none is logged.
    slow_request_ms: u64 = 500, "slowRequestMillis", 0..=600_000, hot;
    /// Answers `GET /live`, `GET /ready` and `GET /master`. 0: off.
    health_port: u16 = 0, "healthPort", 0..=65535;

    /// Every request has to be signed by a user (page `security` of the manual).
    authentication: bool = false, "authenticationEnabled", Switch;
    /// A user may do what its policies allow, and nothing else. Off: every user may do everything.
    authorization: bool = false, "authorizationEnabled", Switch;
    /// A super user that is made at a start if there is none of its name: `{"username":"...","password":"..."}`, or `file:PATH` of a file with that.
    init_user: Option<Credentials> = None, "initAuthenticationUser", UserCredentials;
    /// Signs what this broker asks of name servers, masters and controllers, and is made a super user in the same way:
    /// `{"accessKey":"...","secretKey":"..."}`, or `file:PATH`.
    inner_credentials: Option<Credentials> = None, "innerClientAuthenticationCredentials", InnerCredentials;
    /// Request codes that anybody may send.
    unauthenticated: CodeSet = CodeSet::default(), "authenticationWhitelist", CodeList;
    /// Request codes that every user may send.
    unauthorized: CodeSet = CodeSet::default(), "authorizationWhitelist", CodeList;
    /// Addresses from which a broker and its name server take requests that change them or are about users, with or without authentication: addresses and blocks
    /// between commas. None: all.
    admin_from: Vec<Source> = Vec::new(), "adminFrom", Sources;
    /// Addresses of proxies in front of a broker and its name server: addresses and blocks between commas. A connection from one of them may begin with a header of
    /// the PROXY protocol (version 1 or 2), and then counts as one of the address in it. From others such a header ends the connection. None: it always does.
    proxies: Vec<Source> = Vec::new(), "proxyProtocolFrom", Sources;
    /// Where `auth.json` is, with all users and policies. None: `config` in the store directory.
    auth_dir: Option<PathBuf> = None, "authConfigPath", Directory;
    /// ACL 1 of RocketMQ up to 5.3.2. True: its accounts are imported, and the two settings above have to be on.
    acl_1: bool = false, "aclEnable", Switch;
    /// The accounts of ACL 1 are imported at a start: `conf/plain_acl.yml` and `conf/acl/` below `rocketmqHome`, or `$ROCKETMQ_HOME`.
    import_acl_1: bool = false, "migrateAuthFromV1Enabled", Switch;
    rocketmq_home: Option<PathBuf> = None, "rocketmqHome", Directory;
    /// What the built-in name server checks: nothing (`off`), registrations and changes (`registrations`), or reading as well (`all`). Not set:
    /// registrations, if authentication is on and this broker has credentials to register with.
    namesrv_auth: Option<NamesrvAuth> = None, "namesrvAuth", NamesrvAuthName;

    /// What the ports for the remoting protocol take: `permissive` TLS and plain text on the same port, once there is a certificate; `enforcing` TLS only;
    /// `disabled` plain text only (page `security` of the manual). This and all of `tls.` may also be given as `-D` in the environment's JAVA_OPT or JAVA_OPT_EXT.
    tls_mode: TlsMode = TlsMode::Permissive, "tls.server.mode", TlsModeName;
    /// A file of these settings, which count more than those of broker.conf. None: `/etc/rocketmq/tls.properties`, if it is there.
    tls_file: Option<PathBuf> = None, "tls.config.file", FilePath;
    /// The certificate that clients get, PEM, with those between it and the root behind it. All files of TLS are read again when they change.
    tls_certificate: Option<PathBuf> = None, "tls.server.certPath", FilePath;
    /// Its key, PEM: PKCS#8, with a password or without, PKCS#1 or SEC1.
    tls_key: Option<PathBuf> = None, "tls.server.keyPath", FilePath;
    /// Or `file:PATH`.
    tls_key_password: Option<Secret> = None, "tls.server.keyPassword", Password;
    /// Whether clients show a certificate. One that is shown is always checked.
    tls_client_auth: TlsClientAuth = TlsClientAuth::None, "tls.server.need.client.auth", TlsClientAuthName;
    /// The certificates that sign those of clients.
    tls_trusted: Option<PathBuf> = None, "tls.server.trustCertPath", FilePath;
    /// RocketMQ's switch for checking what clients show; here that is always checked.
    tls_checks_client: bool = false, "tls.server.authClient", Switch;
    /// Without a certificate one is made at each start that nobody can check. RocketMQ's default is true; not with `enforcing`.
    tls_test_mode: bool = false, "tls.test.mode.enable", Switch;
    /// What this process asks of name servers, masters and controllers goes over TLS.
    tls_enable: bool = false, "tls.enable", Switch;
    /// Whether the certificate of the other side is checked then. Not set as at RocketMQ: anybody who is in between can read.
    tls_checks_server: bool = false, "tls.client.authServer", Switch;
    /// The certificates that sign those of servers.
    tls_client_trusted: Option<PathBuf> = None, "tls.client.trustCertPath", FilePath;
    /// With `tls.client.authServer`: the certificate has to be of the host name or address that is connected to. RocketMQ's clients never check that.
    tls_checks_host: bool = true, "tls.client.verifyHost", Switch;
    /// What this process shows where a certificate is asked for.
    tls_client_certificate: Option<PathBuf> = None, "tls.client.certPath", FilePath;
    tls_client_key: Option<PathBuf> = None, "tls.client.keyPath", FilePath;
    /// Or `file:PATH`.
    tls_client_key_password: Option<Secret> = None, "tls.client.keyPassword", Password;
    /// Empty: TLSv1.3 and TLSv1.2.
    tls_protocols: String = String::new(), "tls.protocols", NameList;
    /// Names as Java's, such as TLS_AES_128_GCM_SHA256. Empty: all that are good.
    tls_ciphers: String = String::new(), "tls.ciphers", NameList;

    /// How metrics, with RocketMQ's names and some of ours, leave the broker. PROM: served for Prometheus at `http://HOST:PORT/metrics`. OTLP_GRPC: pushed
    /// to an OpenTelemetry collector. LOG: logged.
    metrics_exporter: MetricsExporter = MetricsExporter::Disable, "metricsExporterType", ExporterName;
    /// One port, whatever the number of cores: each core's broker has a `node_id` of its own.
    metrics_port: u16 = 5557, "metricsPromExporterPort", PORTS;
    /// Where it listens. Empty: at brokerIP1, as RocketMQ does.
    metrics_host: Option<IpAddr> = None, "metricsPromExporterHost", Address;
    /// Labels of every sample.
    metrics_labels: Vec<(String, String)> = Vec::new(), "metricsLabel", MetricsLabels::OfBroker;
    /// The collector of OTLP_GRPC.
    push_target: String = String::new(), "metricsGrpcExporterTarget", CollectorAddress;
    /// Headers of each push. Their values, which may be secrets, are not shown.
    push_headers: Vec<(String, String)> = Vec::new(), "metricsGrpcExporterHeader", PushHeaders;
    /// A push that the collector has not taken after this time is given up.
    push_timeout_ms: u64 = 3_000, "metricGrpcExporterTimeOutInMills", TIMEOUTS_MS;
    push_interval_ms: u64 = 60_000, "metricGrpcExporterIntervalInMills", INTERVALS_MS;
    metrics_log_interval_ms: u64 = 10_000, "metricLoggingExporterIntervalInMills", INTERVALS_MS;
    /// Counters and histograms of OTLP_GRPC and LOG say what was added since the last push that was taken, and have a label `aggregation`.
    metrics_in_delta: bool = false, "metricsInDelta", Switch;
    /// A push with more points is sent in several requests.
    push_batch_points: usize = 1_000, "metricsExportBatchMaxDataPoints", BATCH_POINTS;
    /// Watermarks, the numbers of topics and groups.
    stats_metrics: bool = true, "enableStatsMetrics", Switch;
    /// Messages in and out, by topic and group.
    request_metrics: bool = true, "enableRequestMetrics", Switch;
    /// Connected producers and consumers.
    connection_metrics: bool = true, "enableConnectionMetrics", Switch;
    /// What groups have not consumed, and dead letters.
    lag_metrics: bool = true, "enableLagAndDlqMetrics", Switch;
    transaction_metrics: bool = true, "enableTransactionMetrics", Switch;
    /// How long requests take.
    remoting_metrics: bool = true, "enableRemotingMetrics", Switch;
    /// Disk and timers.
    store_metrics: bool = true, "enableMessageStoreMetrics", Switch;
    pop_metrics: bool = true, "enablePopMetrics", Switch;

    /// Messages can be found by their keys, at some CPU and disk space for each key.
    message_index: bool = true, "messageIndexEnable", Switch;
    /// Slots and entries of an index file; of another size RocketMQ's tools and a later start take it for damaged.
    max_hash_slots: u32 = 5_000_000, "maxHashSlotNum", 1..=100_000_000;
    max_index_entries: u32 = 20_000_000, "maxIndexNum", 2..=100_000_000;

    /// Largest body. The frame limit of 16 MiB bounds it, header and properties included.
    max_message_bytes: u64 = 4 << 20, "maxMessageSize", 1024..=(16 << 20) - HEADROOM_BYTES, hot;
    /// A send to an unknown topic creates it through TBW102: convenient on a first day, often switched off in production.
    auto_create_topic: bool = true, "autoCreateTopicEnable", Switch, hot;
    /// An unknown consumer group is created at its first heartbeat.
    auto_create_group: bool = true, "autoCreateSubscriptionGroup", Switch, hot;
    /// A topic with the cluster's name exists, for mqadmin clusterRT.
    cluster_topic: bool = true, "clusterTopicEnable", Switch;
    /// A topic with the broker's name exists, for mqadmin's checks.
    broker_topic: bool = true, "brokerTopicEnable", Switch;
    /// Queues of a topic that is created automatically, per broker; the client's own wish (4) is the lower bound of both.
    default_topic_queues: u32 = 8, "defaultTopicQueueNums", 1..=65_536, hot;
    /// Delays of the levels 1, 2, ... in milliseconds; RocketMQ's 18.
    delay_levels_ms: Vec<u64> = DELAY_LEVELS_MS.to_vec(), "messageDelayLevel", Delays;
    /// Interval at which producers are asked for the state of unfinished transactions.
    transaction_check_interval_ms: u64 = 30_000, "transactionCheckInterval", 100..=86_400_000, hot;
    /// Minimum age of a half message before its producer is asked, unless the message sets its own.
    transaction_timeout_ms: u64 = 6_000, "transactionTimeOut", 0..=86_400_000, hot;
    /// Number of times that a producer is asked before the message moves to TRANS_CHECK_MAX_TIME_TOPIC.
    transaction_check_max: i32 = 15, "transactionCheckMax", 1..=1_000_000, hot;
    /// The ends of transactions are written in batches of up to this size, at the latest after the interval. A crash in between costs
    /// one more check of the producer and possibly a duplicate.
    transaction_op_max_bytes: u64 = 4_096, "transactionOpMsgMaxSize", 1..=65_536, hot;
    transaction_op_batch_interval_ms: u64 = 3_000, "transactionOpBatchInterval", 0..=600_000, hot;
    /// Transactional messages are refused.
    reject_transaction_message: bool = false, "rejectTransactionMessage", Switch, hot;
    /// Messages with a time of their own (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS); otherwise they are refused.
    timer_wheel: bool = true, "timerWheelEnable", Switch;
    /// Longest delay of a timed message. 0: no limit, as timers beyond the retention are rewritten; RocketMQ's default is 3 days.
    timer_max_delay_s: u64 = 0, "timerMaxDelaySec", 0..=1_000_000_000_000, hot;
    /// Timers with a longer delay are rewritten at this interval: well within the default retention of 72 h.
    timer_roll_window_s: u64 = 172_800, "timerRollWindowSlot", 2..=604_740;
    /// Timers kept in memory, per core, 32 bytes each; the others stay on disk until shortly before they are due.
    timer_memory_entries: u64 = 1 << 20, "timerMemoryEntries", 262_144..=1 << 30;
    /// Timed messages can be recalled. RocketMQ's default.
    recall: bool = false, "recallMessageEnable", Switch, hot;
    recall_when_not_writeable: bool = true, "allowRecallWhenBrokerNotWriteable", Switch, hot;
    /// Clients of this broker write message traces, if they are set up for it; each send's reply states the setting.
    trace_on: bool = true, "traceOn", Switch, hot;
    /// Creates the trace topic at start; otherwise traces create it like any other topic.
    trace_topic: bool = false, "traceTopicEnable", Switch;
    trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".into(), "msgTraceTopicName", Name;

    /// SQL92 subscriptions. Off as in RocketMQ: each message is looked at for each group.
    property_filter: bool = false, "enablePropertyFilter", Switch, hot;
    /// Messages that come back are filtered again if the subscription to the retry topic is an SQL92 one.
    filter_support_retry: bool = false, "filterSupportRetry", Switch, hot;

    /// Pulls of consumers that choose their queues themselves (`LITE_PULL_MESSAGE`) are answered.
    lite_pull: bool = true, "litePullMessageEnable", Switch, hot;
    /// A pull that finds no message is parked for the client's suspend time. Off: it is answered within
    /// `short_polling_ms`.
    long_polling: bool = true, "longPollingEnable", Switch, hot;
    short_polling_ms: u64 = 1_000, "shortPollingTimeMills", 1..=30_000, hot;
    /// Messages in one pull reply; 32 is also the default of clients.
    max_pull_messages: u32 = 32, "maxTransferCountOnMessageInMemory", 1..=65_536, hot;
    max_pull_bytes: u64 = 256 << 10, "maxTransferBytesOnMessageInMemory", 1024..=8 << 20, hot;
    /// Messages in a reply to a query by key, and by unique key.
    max_query_messages: u32 = 64, "maxMsgsNumBatch", 1..=65_536;
    default_query_messages: u32 = 32, "defaultQueryMaxNum", 1..=65_536;
    /// Percentage of pops that read the retry topic first; the others read it if their batch is not full.
    pop_retry_first_percent: u32 = 20, "popFromRetryProbability", 0..=100, hot;
    /// Redelivered messages of POP groups go to `%RETRY%group+topic` instead of `%RETRY%group_topic`. Both are read.
    retry_topic_v2: bool = false, "enableRetryTopicV2", Switch, hot;
    /// Parked pops of one queue (or of all queues of a topic), and of all.
    pop_polls_of_queue: u32 = 1024, "popPollingSize", 1..=1_000_000, hot;
    pop_polls: u32 = 100_000, "maxPopPollingSize", 1..=10_000_000, hot;
    /// A group with more messages of a queue in flight than the limit gets no further ones.
    pop_limits_in_flight: bool = false, "enablePopMessageThreshold", Switch, hot;
    pop_in_flight_limit: u64 = 10_000, "popInflightMessageThreshold", 1..=1_000_000_000, hot;
    /// Redelivered messages are shown with their retry topic instead of the requested topic.
    pop_shows_retry_topic: bool = false, "popResponseReturnActualRetryTopic", Switch, hot;
    /// Request mode of groups for which none was set.
    request_mode: String = "PULL".into(), "defaultMessageRequestMode", OneOf(&["PULL", "POP"]), hot;
    /// Number of further members that pop from a member's queues; 0 or less: all pop from all.
    pop_share_queues: i32 = -1, "defaultPopShareQueueNum", -1..=65_536, hot;
    /// The broker divides queues among the members of a group that query it; otherwise each gets all.
    divides_queues: bool = true, "serverLoadBalancerEnable", Switch, hot;
    /// Consumers are notified of changes of their group; otherwise they notice at their rebalance, every 20 s.
    notify_consumer_ids_changed: bool = true, "notifyConsumerIdsChangedEnable", Switch, hot;
    /// Consumers are notified of each change of their group. Off: of all changes of 15 s at once.
    notify_consumer_changes_at_once: bool = true, "realTimeNotifyConsumerChange", Switch, hot;
    /// Offset resets are carried out by the broker. Off: by the group's clients, which must be online.
    server_side_reset: bool = true, "useServerSideResetOffset", Switch, hot;
    /// Replies to requests (`producer.request`) are stored, besides being forwarded to the requester.
    store_replies: bool = true, "storeReplyMessageEnable", Switch, hot;
    /// A client without a heartbeat for this time is removed: four missed heartbeats.
    client_expiry_ms: u64 = 120_000, "channelExpiredTimeout", 10_000..=86_400_000, hot;
    /// Consumer offsets are saved this often when they changed; a crash repeats at most so much (RocketMQ: 5 s).
    save_offsets_interval_ms: u64 = 1_000, "flushConsumerOffsetInterval", 100..=600_000;
}

/// What a record or frame has around a body: properties (32,767 bytes at most), topic, fixed fields, header.
pub(super) const HEADROOM_BYTES: u64 = 128 << 10;

/// 1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
const DELAY_LEVELS_MS: [u64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];
