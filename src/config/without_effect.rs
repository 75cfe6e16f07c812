//! RocketMQ's properties that have no effect here, by the reason.

/// Properties that are accepted and have no effect, whatever their value.
pub struct WithoutEffect {
    pub why: &'static str,
    /// With white space between them.
    names: &'static str,
}

impl WithoutEffect {
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.split_ascii_whitespace()
    }
}

pub fn find(name: &str) -> Option<&'static WithoutEffect> {
    let mut all = ALL.iter();
    all.find(|group| group.names().any(|known| known == name))
}

pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(WithoutEffect::names)
}

#[rustfmt::skip]
const ALL: &[WithoutEffect] = &[
    WithoutEffect {
        why: "verdicts are kept with their connection, and end when a user or a policy changes",
        names: "aclCacheExpiredSecond aclCacheMaxNum aclCacheRefreshSecond statefulAuthenticationCacheExpiredSecond \
              statefulAuthenticationCacheMaxNum statefulAuthorizationCacheExpiredSecond statefulAuthorizationCacheMaxNum \
              userCacheExpiredSecond userCacheMaxNum userCacheRefreshSecond",
    },
    WithoutEffect {
        why: "nothing is kept in RocksDB",
        names: "bottomMostCompressionTypeForConsumeQueueStore cleanRocksDBDirtyCQIntervalMin combineAssignOffsetCQType \
              combineCQEnableCheckSelf combineCQLoadingCQTypes combineCQMaxExtraSearchCommitLogFiles combineCQPreferCQType \
              combineCQUseRocksdbForLmq configManagerVersion enableRocksDBLog indexRocksDBEnable iteratorWhenUseRocksdbConsumeQueue \
              maxRocksDBIndexQueryDays memTableFlushIntervalMs persistConsumerOffsetIncrementally popConsumerFSServiceInit \
              popConsumerKVServiceEnable popConsumerKVServiceInit popConsumerKVServiceLog realTimePersistRocksDBConfig \
              rocksdbCompressionType rocksdbCQDoubleWriteEnable rocksdbFlushWalFrequency rocksdbWalFileRollingThreshold \
              statRocksDBCQIntervalSec timerRocksDBEnable timerRocksDBPrecisionMs timerRocksDBRollIntervalHours \
              timerRocksDBRollMaxTps timerRocksDBRollRangeHours timerRocksDBStopScan timerRocksDBTimeExpiredMaxTps \
              transactionCheckRocksdbCoreThreads transactionCheckRocksdbMaxThreads transactionCheckRocksdbQueueCapacity \
              transRocksDBEnable transWriteOriginTransHalfEnable useSeparateStorePathForRocksdbCQ useSingleRocksDBForAllConfigs",
    },
    WithoutEffect {
        why: "topics are not compacted",
        names: "compactionCqMappedFileSize compactionMappedFileSize compactionScheduleInternal compactionThreadNum enableCompaction \
              maxOffsetMapSize",
    },
    WithoutEffect {
        why: "there is no tiered storage",
        names: "tieredBackendServiceProvider tieredStorageLevel tieredStoreFilePath tieredStoreFileReservedTime",
    },
    WithoutEffect {
        why: "light topics and light queues (LMQ) are not supported",
        names: "enableLiteEventMode enableLitePopLog enableLmq enableLmqQuota enableLmqStats enableMultiDispatch \
              liteEventCheckInterval liteEventFullDispatchDelayTime liteEventFullDispatchDelayTimeForWildcardGroup \
              liteLagCountMetricsEnable liteLagLatencyCollectEnable liteLagLatencyMetricsEnable liteLagLatencyTopK \
              liteSubscriptionCheckInterval liteSubscriptionCheckTimeoutMills liteTtlCheckInterval maxClientEventCount \
              maxLiteSubscriptionCount maxLmqConsumeQueueNum maxMessageFilterNumForNotification minLiteTTl \
              useMessageFilterForNotification waitTimeMillsInLitePullQueue",
    },
    WithoutEffect {
        why: "there is no DLedger",
        names: "dLegerGroup dLegerPeers dLegerSelfId preferredLeaderId storePathDLedgerCommitLog",
    },
    WithoutEffect {
        why: "each core has one thread, which does all work of its queues",
        names: "ackMessageThreadPoolNums ackThreadPoolQueueCapacity adminBrokerThreadPoolNums adminBrokerThreadPoolQueueCapacity \
              asyncSendEnable batchDispatchRequestThreadPoolNums clientCallbackExecutorThreads clientManagerThreadPoolQueueCapacity \
              clientManageThreadPoolNums clientWorkerThreads consumerManagerThreadPoolQueueCapacity consumerManageThreadPoolNums \
              disableCallbackExecutor dispatchCqCacheNum dispatchCqThreads dispatchFromSenderThread enableAsyncReput \
              enableBuildConsumeQueueConcurrently enableFastChannelEventProcess endTransactionPoolQueueCapacity \
              endTransactionThreadPoolNums heartbeatThreadPoolNums heartbeatThreadPoolQueueCapacity litePullMessageThreadPoolNums \
              litePullThreadPoolQueueCapacity loadBalanceProcessorThreadPoolNums loadBalanceThreadPoolQueueCapacity \
              popReviveConcurrency processReplyMessageThreadPoolNums pullMessageThreadPoolNums pullThreadPoolQueueCapacity \
              putMessageFutureThreadPoolNums putThreadPoolQueueCapacity queryMessageThreadPoolNums queryThreadPoolQueueCapacity \
              recoverConcurrently recoverThreadPoolNums replyThreadPoolQueueCapacity sendMessageThreadPoolNums \
              sendThreadPoolQueueCapacity serverCallbackExecutorThreads serverSelectorThreads serverWorkerThreads \
              timerGetMessageThreadNum timerPutMessageThreadNum timerReputServiceCorePoolSize timerReputServiceMaxPoolSize \
              timerReputServiceQueueCapacity topicQueueLockNum transientStorePoolSize",
    },
    WithoutEffect {
        why: "the network is io_uring's or epoll's, with buffers of its own",
        names: "channelNotActiveInterval clientAsyncSemaphoreValue clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout \
              clientOnewaySemaphoreValue clientPooledByteBufAllocatorEnable clientSocketRcvBufSize clientSocketSndBufSize \
              connectTimeoutMillis disableNettyWorkerGroup enableNetWorkFlowControl enableReconnectForGoAway \
              enableShutdownGracefully isScanAvailableNameSrv maxReconnectIntervalTimeSeconds scanAvailableNameSrv \
              serverAsyncSemaphoreValue serverNettyWorkerGroupEnable serverOnewaySemaphoreValue serverPooledByteBufAllocatorEnable \
              serverSocketBacklog serverSocketRcvBufSize serverSocketSndBufSize socksProxyConfig transferMsgByHeap \
              useEpollNativeSelector writeBufferHighWaterMark writeBufferLowWaterMark",
    },
    WithoutEffect {
        why: "the log is not a mapped file, and writes do not pass the page cache",
        names: "accessMessageInMemoryHotRatio accessMessageInMemoryMaxRatio cgColdReadThreshold cleanSwapedMapInterval \
              coldCtrStrategyEnable coldDataFlowControlEnable coldDataScanEnable commitCommitLogLeastPages \
              commitCommitLogThoroughInterval commitIntervalCommitLog commitLogForceSwapMapInterval commitLogSwapMapInterval \
              commitLogSwapMapReserveFileNum dataReadAheadEnable debugLockEnable destroyMapedFileIntervalForcibly \
              fastFailIfNoBufferInStorePool flushLeastPagesWhenWarmMapedFile globalColdReadThreshold lockInStrictMode \
              logicQueueForceSwapMapInterval logicQueueSwapMapInterval logicQueueSwapMapReserveFileNum mappedFileSwapEnable \
              maxAsyncPutMessageRequests putConsumeQueueDataByFileChannel putMessageTimeout putMsgIndexHightWater \
              sharedByteBufferNum spinLockCollisionRetreatOptimalDegree transientStorePoolEnable useABSLock usePIDColdCtrStrategy \
              useReentrantLockWhenPutMessage wakeCommitWhenPutMessage wakeFlushWhenPutMessage warmMapedFileEnable writeWithoutMmap",
    },
    WithoutEffect {
        why: "flushes have a rhythm of their own (page durability)",
        names: "enableRunningFlagsInFlush flushCommitLogLeastPages flushCommitLogThoroughInterval flushCommitLogTimed \
              flushConsumeQueueLeastPages flushConsumeQueueThoroughInterval flushConsumerOffsetHistoryInterval \
              flushDelayOffsetInterval flushIntervalConsumeQueue syncMasterFlushOffsetWhenStartup",
    },
    WithoutEffect {
        why: "a start decides itself what it reads of the log (ARCHITECTURE.md, A start)",
        names: "abortFile checkCommitLogOffsetOnRecover checkCRCOnRecover commitLogRecoverMaxNum duplicationEnable \
              enableAcceleratedRecovery enabledAppendPropCRC enableLogConsumeQueueRepeatedlyBuildWhenRecover forceVerifyPropCRC \
              indexFileReadEnable indexFileWriteEnable maxChecksumRange maxRecoveryCommitlogFiles messageIndexSafe readUnCommitted \
              recheckReputOffsetFromCq storeCheckpoint",
    },
    WithoutEffect {
        why: "files are removed as retention goes on, a bounded number at a time",
        names: "cleanOfflineBrokerInterval correctLogicMinOffsetForceInterval correctLogicMinOffsetSleepInterval \
              deleteCommitLogFilesInterval deleteConsumeQueueFilesInterval deleteFileBatchMax logicalDiskSpaceCleanForciblyThreshold \
              maxBatchDeleteFilesNum readOnlyCommitLogStorePaths redeleteHangedFileInterval replicasPerDiskPartition",
    },
    WithoutEffect {
        why: "files are where RocketMQ has them by default",
        names: "bitMapLengthConsumeQueueExt brokerConfigPath clusterName configName enableCalcFilterBitMap enableConsumeQueueExt \
              mappedFileSizeConsumeQueueExt mappedFileSizeTimerLog mapperFileSizeBatchConsumeQueue maxErrorRateOfBloomFilter \
              searchBcqByCacheEnable storePathConsumeQueue storePathIndex",
    },
    WithoutEffect {
        why: "timers are kept in memory and in sorted runs",
        names: "appendTopicForTimerDeleteKey timerCheckMetricsWhen timerColdDataCheckIntervalMs timerCongestNumEachSlot \
              timerEnableCheckMetrics timerEnableDisruptor timerEnableRetryUntilSuccess timerFlushIntervalMs \
              timerInterceptDelayLevel timerMetricSmallThreshold timerPrecisionMs timerProgressLogIntervalMs \
              timerRecallToTimelineEnable timerRecallToTimeWheelEnable timerSkipUnknownError timerStopDequeue timerStopEnqueue \
              timerWarmEnable timerWheelSnapshotFlush timerWheelSnapshotIntervalMs",
    },
    WithoutEffect {
        why: "delays are delivered by one task, in order",
        names: "delayOffsetUpdateVersionStep enableScheduleAsyncDeliver enableScheduleMessageStats scheduleAsyncDeliverMaxPendingLimit \
              scheduleAsyncDeliverMaxResendNum2Blocked",
    },
    WithoutEffect {
        why: "transactions are checked by one task",
        names: "checkTransactionMessageEnable transactionMetricFlushInterval waitTimeMillsInTransactionQueue",
    },
    WithoutEffect {
        why: "pops are kept in memory, with a revive log of 8 queues",
        names: "appendAckAsync appendCkAsync enableNotifyAfterPopOrderLockRelease enableNotifyBeforePopCalculateLag enablePopBatchAck \
              enablePopBufferMerge enablePopLog enableSkipLongAwaitingAck initPopOffsetByCheckMsgInMem popCkMaxBufferSize \
              popCkOffsetMaxQueueSize popCkStayBufferTime popCkStayBufferTimeOut popFromRetryProbabilityForPriority \
              popLongPollingForceNotifyInterval popPollingMapExpireTimeSeconds popPollingMapSize popReviveMaxAttemptTimes \
              popReviveMaxReturnSizePerRead popReviveSkipIfGroupAbsent priorityOrderAsc retrieveMessageFromPopRetryTopicV1 \
              reviveAckWaitMs reviveInterval reviveMaxSlow reviveQueueNum reviveScanTime skipWhenCKRePutReachMaxTimes \
              useSeparateRetryQueue",
    },
    WithoutEffect {
        why: "replicas: see page replication for what is supported",
        names: "brokerIP2 brokerNotActiveTimeoutMillis checkSyncStateSetPeriod enableBatchPush enableRemoteEscape \
              enableSlaveActingMaster fetchControllerAddrByDnsLookup haFlowControlEnable inBrokerContainer isInBrokerContainer \
              maxHaTransferByteInSecond maxSlaveResendLength offsetCheckInSlave skipPreOnline syncBrokerMemberGroupPeriod \
              totalReplicas",
    },
    WithoutEffect {
        why: "registration is whole each time, compressed for many topics",
        names: "compatibleWithOldNameSrv compressedRegister enableRegisterProducer enableSingleTopicRegister enableSplitMetadata \
              enableSplitRegistration fetchNamesrvAddrByAddressServer fetchNameSrvAddrByDnsLookup fetchNamesrvAddrInterval \
              forceRegister loadBalancePollNameServerInterval registerBrokerTimeoutMills splitMetadataSize splitRegistrationSize \
              updateNameServerAddrPeriod",
    },
    WithoutEffect {
        why: "statistics are always kept",
        names: "accountStatsEnable accountStatsPrintZeroValues autoDeleteUnusedStats commercialBaseCount commercialSizePerMsg \
              configBlackList diskFallRecorded enableDetailStat estimateAccumulation maxStatsIdleTimeInMinutes printChannelGroups \
              printChannelGroupsMinNum sampleCountThreshold sampleSteps",
    },
    WithoutEffect {
        why: "a limit of its own bounds it (ARCHITECTURE.md, Limits)",
        names: "broadcastOffsetExpireMaxSecond broadcastOffsetExpireSecond brokerFastFailureEnable consumerFallbehindThreshold \
              disableConsumeIfConsumerReadSlowly disappearTimeAfterStart enableBroadcastOffsetStore expectConsumerNumUseFilter \
              filterDataCleanTimeSpan forwardTimeout highSpeedMode maxConsumeQueueScan maxFilterMessageSize maxTopicLength \
              maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk pullBatchMaxMessageCount rejectPullConsumerEnable \
              sendHeartbeatTimeoutMillis shutdownWaitTimeSeconds startAcceptSendRequestTimeStamp subscriptionExpiredTimeout \
              travelCqFileNumWhenGetMessage waitTimeMillsInAckQueue waitTimeMillsInAdminBrokerQueue waitTimeMillsInHeartbeatQueue \
              waitTimeMillsInPullQueue",
    },
    WithoutEffect {
        why: "topics and groups, which are limited, bound the number of points",
        names: "metricsOtelCardinalityLimit",
    },
    WithoutEffect {
        why: "what RocketMQ does by default is done always",
        names: "autoMessageVersionOnTopicLen clearRetryTopicWhenDeleteTopic consumerOffsetUpdateVersionStep enableCleanExpiredOffset \
              enableCreateSysGroup enableMixedMessageType useStaticSubscription validateSystemTopicWhenUpdateTopic",
    },
    WithoutEffect {
        why: "there are no plug-ins, and one log for all",
        names: "isolateLogEnable messageStorePlugIn",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::explain::{NotExplained, one};

    /// Of RocketMQ 4.x and of 5.x before 5.5, and two that its broker.conf knows by their getters' names.
    const OLDER: &[&str] = &[
        "abortFile",
        "checkTransactionMessageEnable",
        "isInBrokerContainer",
        "isScanAvailableNameSrv",
        "storeCheckpoint",
        "storePathConsumeQueue",
        "storePathIndex",
        "tieredBackendServiceProvider",
        "tieredStorageLevel",
        "tieredStoreFilePath",
        "tieredStoreFileReservedTime",
        "timerCheckMetricsWhen",
        "timerEnableDisruptor",
        "timerStopDequeue",
        "timerWarmEnable",
    ];

    /// The settings of RocketMQ's broker 5.5.0, from its classes (`tests/clients/record/settings.sh`).
    fn rocketmqs() -> Vec<&'static str> {
        include_str!("../../tests/golden/settings.txt")
            .lines()
            .collect()
    }

    /// Each has an effect, or a reason why it has none.
    #[test]
    fn no_setting_of_rocketmq_is_unknown() {
        let all = rocketmqs();
        assert!(all.len() > 500 && all.contains(&"litePullMessageEnable"));
        let is_unknown = |name: &&str| matches!(one(name), Err(NotExplained::Unknown { .. }));
        let unknown: Vec<_> = all.into_iter().filter(is_unknown).collect();
        assert_eq!(unknown, [] as [&str; 0]);
    }

    #[test]
    fn what_has_no_effect_is_rocketmqs() {
        let all = rocketmqs();
        let is_foreign = |name: &&str| !all.contains(name) && !OLDER.contains(name);
        let foreign: Vec<_> = names().filter(is_foreign).collect();
        assert_eq!(foreign, [] as [&str; 0]);
        assert!(OLDER.iter().all(|name| !all.contains(name)));
        assert!(ALL.iter().all(|group| !group.why.is_empty()));
    }
}
