//! RocketMQ's other properties, which have no effect here, and suggestions for misspelt names.
//!
//! The names are those of RocketMQ 5.x (`BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`, `NettyClientConfig`,
//! `AuthConfig`), so that an existing broker.conf is accepted, and only an unknown name causes a warning.

use super::properties;
use super::rule::{Rule, Switch};

/// A property whose effect operators rely on (access control, replication) and which is not supported: only the value that turns it
/// off is accepted: ignoring another one would suggest that it takes effect.
pub struct Unsupported {
    pub name: &'static str,
    pub accepted: &'static str,
    pub why: &'static str,
}

pub const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "aclEnable",
        accepted: "false",
        why: "there is no access control yet",
    },
    Unsupported {
        name: "authenticationEnabled",
        accepted: "false",
        why: "there is no access control yet",
    },
    Unsupported {
        name: "authorizationEnabled",
        accepted: "false",
        why: "there is no access control yet",
    },
    Unsupported {
        name: "enableAutoInSyncReplicas",
        accepted: "false",
        why: "a send waits for as many replicas as inSyncReplicas says",
    },
    Unsupported {
        name: "enableDLegerCommitLog",
        accepted: "false",
        why: "replicas follow a master instead",
    },
    Unsupported {
        name: "isBrokerContainer",
        accepted: "false",
        why: "one process holds one broker per core instead",
    },
    Unsupported {
        name: "mappedFileSizeConsumeQueue",
        accepted: "6000000",
        why: "ConsumeQueue files have 300,000 entries, RocketMQ's default",
    },
    Unsupported {
        name: "storePathBrokerIdentity",
        accepted: "",
        why: "brokerIdentity is in storePathRootDir",
    },
    Unsupported {
        name: "storePathEpochFile",
        accepted: "",
        why: "epochFileCheckpoint is in storePathRootDir",
    },
    Unsupported {
        name: "storeType",
        accepted: "default",
        why: "ConsumeQueues are files, not RocksDB",
    },
    Unsupported {
        name: "syncFromLastFile",
        accepted: "false",
        why: "a new replica copies the whole log",
    },
];

impl Unsupported {
    pub fn accepts(&self, value: &str) -> bool {
        value.eq_ignore_ascii_case(self.accepted)
    }

    pub fn allowed(&self) -> String {
        format!("{} ({})", self.accepted, self.why)
    }
}

pub fn unsupported(name: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED
        .iter()
        .find(|unsupported| unsupported.name == name)
}

/// RocketMQ's name for a controller in the process of a name server; here also in that of a broker.
const CONTROLLER_INSIDE: &str = "enableControllerInNamesrv";

/// Properties of a controller in the same process, which reads them itself (`cli/controller.rs`).
const OF_CONTROLLER: [&str; 10] = [
    CONTROLLER_INSIDE,
    "controllerDLegerGroup",
    "controllerDLegerPeers",
    "controllerDLegerSelfId",
    "controllerStorePath",
    "controllerType",
    "enableElectUncleanMaster",
    "notifyBrokerRoleChanged",
    "ringmqBrokerSilenceLimitMillis",
    "scanNotActiveBrokerInterval",
];

pub fn is_of_controller(name: &str) -> bool {
    OF_CONTROLLER.contains(&name)
}

/// Whether the file starts a controller in the process that reads it: the last line of that name counts.
pub fn asks_for_controller(text: &str) -> Result<bool, String> {
    let of_name = |entry: &properties::Entry| entry.key == CONTROLLER_INSIDE;
    let Some(properties::Entry { value, .. }) = properties::parse(text).into_iter().rfind(of_name)
    else {
        return Ok(false);
    };
    let read: Result<bool, String> = Switch.read(&value);
    read.map_err(|allowed| format!("{CONTROLLER_INSIDE}={value}: {allowed}"))
}

pub fn is_known(name: &str) -> bool {
    WITHOUT_EFFECT
        .split_ascii_whitespace()
        .any(|known| known == name)
}

/// The name nearest to `name`, if it is near enough to be what was meant.
pub fn nearest(name: &str, ours: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Bounds the distance's cost; no property has a longer name.
    if name.len() > 64 {
        return None;
    }
    let candidates = ours
        .chain(UNSUPPORTED.iter().map(|unsupported| unsupported.name))
        .chain(WITHOUT_EFFECT.split_ascii_whitespace());
    let (distance, nearest) = candidates
        .map(|known| (distance(name, known), known))
        .min()?;
    (distance <= 1 + name.len() / 6).then_some(nearest)
}

/// Levenshtein's distance, with upper and lower case taken for the same.
fn distance(left: &str, right: &str) -> usize {
    strsim::levenshtein(&left.to_lowercase(), &right.to_lowercase())
}

#[rustfmt::skip]
const WITHOUT_EFFECT: &str = "\
    maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk abortFile accessMessageInMemoryHotRatio accessMessageInMemoryMaxRatio accountStatsEnable \
    accountStatsPrintZeroValues ackMessageThreadPoolNums ackThreadPoolQueueCapacity \
    aclCacheExpiredSecond aclCacheMaxNum aclCacheRefreshSecond adminBrokerThreadPoolNums \
    adminBrokerThreadPoolQueueCapacity \
    appendAckAsync appendCkAsync asyncSendEnable authConfigPath \
    authenticationMetadataProvider authenticationProvider authenticationStrategy \
    authenticationWhitelist authorizationMetadataProvider authorizationProvider \
    authorizationStrategy authorizationWhitelist autoDeleteUnusedStats \
    autoMessageVersionOnTopicLen batchDispatchRequestThreadPoolNums bitMapLengthConsumeQueueExt \
    bottomMostCompressionTypeForConsumeQueueStore broadcastOffsetExpireMaxSecond \
    broadcastOffsetExpireSecond brokerConfigPath brokerFastFailureEnable \
    brokerIP2 brokerNotActiveTimeoutMillis cgColdReadThreshold \
    channelNotActiveInterval checkCRCOnRecover checkSyncStateSetPeriod \
    checkTransactionMessageEnable cleanOfflineBrokerInterval \
    cleanRocksDBDirtyCQIntervalMin cleanSwapedMapInterval \
    clearRetryTopicWhenDeleteTopic clientAsyncSemaphoreValue clientCallbackExecutorThreads \
    clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout \
    clientManagerThreadPoolQueueCapacity clientManageThreadPoolNums clientOnewaySemaphoreValue \
    clientPooledByteBufAllocatorEnable clientSocketRcvBufSize clientSocketSndBufSize \
    clientWorkerThreads clusterName coldCtrStrategyEnable coldDataFlowControlEnable \
    coldDataScanEnable combineAssignOffsetCQType combineCQEnableCheckSelf \
    combineCQLoadingCQTypes combineCQMaxExtraSearchCommitLogFiles combineCQPreferCQType \
    commercialBaseCount commercialSizePerMsg commitCommitLogLeastPages \
    commitCommitLogThoroughInterval commitIntervalCommitLog commitLogForceSwapMapInterval \
    commitLogSwapMapInterval commitLogSwapMapReserveFileNum compactionCqMappedFileSize \
    compactionMappedFileSize compactionScheduleInternal compactionThreadNum \
    compatibleWithOldNameSrv compressedRegister configBlackList configManagerVersion configName \
    connectTimeoutMillis consumerFallbehindThreshold consumerManagerThreadPoolQueueCapacity \
    consumerManageThreadPoolNums consumerOffsetUpdateVersionStep \
    correctLogicMinOffsetForceInterval \
    correctLogicMinOffsetSleepInterval dataReadAheadEnable debugLockEnable \
    delayOffsetUpdateVersionStep deleteCommitLogFilesInterval deleteConsumeQueueFilesInterval \
    deleteFileBatchMax destroyMapedFileIntervalForcibly disableCallbackExecutor \
    disableConsumeIfConsumerReadSlowly disableNettyWorkerGroup disappearTimeAfterStart \
    diskFallRecorded dispatchCqCacheNum \
    dispatchCqThreads dispatchFromSenderThread dLegerGroup dLegerPeers dLegerSelfId \
    duplicationEnable enableAcceleratedRecovery enableAsyncReput \
    enableBatchPush enableBroadcastOffsetStore enableBuildConsumeQueueConcurrently \
    enableCalcFilterBitMap enableCleanExpiredOffset enableCompaction \
    enableConsumeQueueExt enableCreateSysGroup enabledAppendPropCRC enableDetailStat \
    enableFastChannelEventProcess enableLmq enableLmqStats \
    enableLogConsumeQueueRepeatedlyBuildWhenRecover \
    enableMixedMessageType enableMultiDispatch enableNetWorkFlowControl \
    enableNotifyAfterPopOrderLockRelease enableNotifyBeforePopCalculateLag enablePopBatchAck \
    enablePopBufferMerge enablePopLog \
    enableReconnectForGoAway enableRegisterProducer enableRemoteEscape \
    enableRocksDBLog \
    enableRunningFlagsInFlush enableScheduleAsyncDeliver enableScheduleMessageStats \
    enableShutdownGracefully enableSingleTopicRegister enableSkipLongAwaitingAck \
    enableSlaveActingMaster enableSplitMetadata enableSplitRegistration \
    endTransactionPoolQueueCapacity endTransactionThreadPoolNums \
    estimateAccumulation expectConsumerNumUseFilter fastFailIfNoBufferInStorePool \
    fetchControllerAddrByDnsLookup fetchNamesrvAddrByAddressServer fetchNameSrvAddrByDnsLookup \
    fetchNamesrvAddrInterval filterDataCleanTimeSpan \
    flushCommitLogLeastPages flushCommitLogThoroughInterval flushCommitLogTimed \
    flushConsumeQueueLeastPages flushConsumeQueueThoroughInterval \
    flushConsumerOffsetHistoryInterval flushIntervalConsumeQueue \
    flushLeastPagesWhenWarmMapedFile forceRegister forceVerifyPropCRC forwardTimeout \
    globalColdReadThreshold haFlowControlEnable \
    \
    heartbeatThreadPoolNums heartbeatThreadPoolQueueCapacity highSpeedMode \
    initAuthenticationUser initPopOffsetByCheckMsgInMem innerClientAuthenticationCredentials \
    isInBrokerContainer isolateLogEnable isScanAvailableNameSrv \
    litePullMessageThreadPoolNums litePullThreadPoolQueueCapacity \
    loadBalancePollNameServerInterval loadBalanceProcessorThreadPoolNums \
    loadBalanceThreadPoolQueueCapacity lockInStrictMode logicalDiskSpaceCleanForciblyThreshold \
    logicQueueForceSwapMapInterval logicQueueSwapMapInterval logicQueueSwapMapReserveFileNum \
    mappedFileSizeConsumeQueueExt mappedFileSizeTimerLog mappedFileSwapEnable \
    mapperFileSizeBatchConsumeQueue maxAsyncPutMessageRequests maxBatchDeleteFilesNum \
    maxChecksumRange maxConsumeQueueScan maxErrorRateOfBloomFilter maxFilterMessageSize \
    maxHaTransferByteInSecond maxLmqConsumeQueueNum \
    maxOffsetMapSize maxReconnectIntervalTimeSeconds \
    maxRecoveryCommitlogFiles maxSlaveResendLength maxStatsIdleTimeInMinutes maxTopicLength \
    memTableFlushIntervalMs messageIndexSafe messageStorePlugIn \
    metricGrpcExporterIntervalInMills metricGrpcExporterTimeOutInMills \
    metricLoggingExporterIntervalInMills metricsGrpcExporterHeader \
    metricsGrpcExporterTarget metricsInDelta metricsOtelCardinalityLimit \
    migrateAuthFromV1Enabled \
    offsetCheckInSlave popCkMaxBufferSize popCkOffsetMaxQueueSize \
    popCkStayBufferTime popCkStayBufferTimeOut popConsumerFSServiceInit \
    popConsumerKVServiceEnable popConsumerKVServiceInit popConsumerKVServiceLog \
    popLongPollingForceNotifyInterval \
    popPollingMapExpireTimeSeconds popPollingMapSize \
    popReviveMaxAttemptTimes popReviveMaxReturnSizePerRead \
    preferredLeaderId printChannelGroups printChannelGroupsMinNum \
    processReplyMessageThreadPoolNums pullBatchMaxMessageCount pullMessageThreadPoolNums \
    pullThreadPoolQueueCapacity putConsumeQueueDataByFileChannel putMessageFutureThreadPoolNums \
    putMessageTimeout putMsgIndexHightWater putThreadPoolQueueCapacity \
    queryMessageThreadPoolNums queryThreadPoolQueueCapacity readOnlyCommitLogStorePaths \
    readUnCommitted realTimePersistRocksDBConfig \
    recheckReputOffsetFromCq recoverConcurrently recoverThreadPoolNums \
    redeleteHangedFileInterval registerBrokerTimeoutMills rejectPullConsumerEnable \
    replicasPerDiskPartition replyThreadPoolQueueCapacity \
    retrieveMessageFromPopRetryTopicV1 reviveAckWaitMs reviveInterval reviveMaxSlow \
    reviveQueueNum reviveScanTime rocketmqHome rocksdbCompressionType \
    rocksdbCQDoubleWriteEnable rocksdbFlushWalFrequency rocksdbWalFileRollingThreshold \
    sampleCountThreshold sampleSteps scheduleAsyncDeliverMaxPendingLimit \
    scheduleAsyncDeliverMaxResendNum2Blocked searchBcqByCacheEnable sendHeartbeatTimeoutMillis \
    sendMessageThreadPoolNums sendThreadPoolQueueCapacity serverAsyncSemaphoreValue \
    serverCallbackExecutorThreads serverNettyWorkerGroupEnable \
    serverOnewaySemaphoreValue serverPooledByteBufAllocatorEnable serverSelectorThreads \
    serverSocketBacklog serverSocketRcvBufSize serverSocketSndBufSize serverWorkerThreads \
    shutdownWaitTimeSeconds skipPreOnline skipWhenCKRePutReachMaxTimes \
    socksProxyConfig spinLockCollisionRetreatOptimalDegree splitMetadataSize \
    splitRegistrationSize startAcceptSendRequestTimeStamp \
    statefulAuthenticationCacheExpiredSecond statefulAuthenticationCacheMaxNum \
    statefulAuthorizationCacheExpiredSecond statefulAuthorizationCacheMaxNum \
    statRocksDBCQIntervalSec storeCheckpoint storePathConsumeQueue \
    storePathDLedgerCommitLog storePathIndex \
    subscriptionExpiredTimeout syncBrokerMemberGroupPeriod \
    syncMasterFlushOffsetWhenStartup \
    tieredBackendServiceProvider tieredStorageLevel tieredStoreFilePath \
    tieredStoreFileReservedTime timerCheckMetricsWhen timerColdDataCheckIntervalMs \
    timerCongestNumEachSlot timerEnableCheckMetrics timerEnableDisruptor \
    timerEnableRetryUntilSuccess timerFlushIntervalMs timerGetMessageThreadNum \
    timerInterceptDelayLevel timerMetricSmallThreshold timerPrecisionMs \
    timerProgressLogIntervalMs timerPutMessageThreadNum \
    timerSkipUnknownError timerStopDequeue timerStopEnqueue timerWarmEnable \
    topicQueueLockNum totalReplicas transactionMetricFlushInterval transferMsgByHeap \
    transientStorePoolEnable transientStorePoolSize \
    travelCqFileNumWhenGetMessage updateNameServerAddrPeriod useABSLock useEpollNativeSelector \
    usePIDColdCtrStrategy userCacheExpiredSecond userCacheMaxNum userCacheRefreshSecond \
    useReentrantLockWhenPutMessage useStaticSubscription useTLS \
    validateSystemTopicWhenUpdateTopic waitTimeMillsInAckQueue waitTimeMillsInAdminBrokerQueue \
    waitTimeMillsInHeartbeatQueue waitTimeMillsInLitePullQueue waitTimeMillsInPullQueue \
    waitTimeMillsInTransactionQueue wakeCommitWhenPutMessage wakeFlushWhenPutMessage \
    warmMapedFileEnable writeBufferHighWaterMark writeBufferLowWaterMark writeWithoutMmap";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("listenPort", "listenport"), 0);
        assert_eq!(distance("lisenPort", "listenPort"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_name() {
        let ours = || ["listenPort", "brokerName"].into_iter();
        assert_eq!(nearest("lisenPort", ours()), Some("listenPort"));
        assert_eq!(
            nearest("sendMessageThreadPoolNum", ours()),
            Some("sendMessageThreadPoolNums")
        );
        assert_eq!(nearest("somethingElseEntirely", ours()), None);
        assert_eq!(nearest(&"x".repeat(100_000), ours()), None);
    }

    #[test]
    fn names_are_listed_once() {
        let mut names: Vec<&str> = WITHOUT_EFFECT.split_ascii_whitespace().collect();
        names.extend(UNSUPPORTED.iter().map(|unsupported| unsupported.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
