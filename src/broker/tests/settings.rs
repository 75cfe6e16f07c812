//! Settings, and the figures that tools read.

use super::*;
use crate::wire::codes::request;

#[test]
fn settings() {
    let mut broker = broker();
    let text = ask(&mut broker, request::GET_BROKER_CONFIG, &[], "");
    assert!(body(&text).contains("brokerName=broker-a\n"));
    assert_eq!(text.ext[0].0, "version");
    let mut change = |text: &str| ask(&mut broker, request::UPDATE_BROKER_CONFIG, &[], text).code;
    assert_eq!(
        change("# comment\nautoCreateTopicEnable=false\nmaxMessageSize = 1024\n"),
        0
    );
    assert_eq!(change("brokerName=x"), 16);
    assert_eq!(change("longPollingEnable=false\nnone=1"), 1);
    assert_eq!(change("longPollingEnable=maybe"), 1);
    assert_eq!(change("longPollingEnable"), 1);
    assert!(!broker.config.auto_create_topic && broker.config.long_polling);
    assert_eq!(broker.config.max_message_bytes, 1024);
}

#[test]
fn what_is_kept_is_told_to_the_store() {
    let mut broker = broker();
    let text = ask(&mut broker, request::GET_BROKER_CONFIG, &[], "");
    for expected in [
        "fileReservedTime=72\n",
        "deleteWhen=04\n",
        "diskMaxUsedSpaceRatio=75\n",
        "diskSpaceCleanForciblyRatio=85\n",
        "diskSpaceWarningLevelRatio=90\n",
        "cleanFileForciblyEnable=true\n",
    ] {
        assert!(body(&text).contains(expected), "{expected}");
    }
    let mut change = |text: &str| ask(&mut broker, request::UPDATE_BROKER_CONFIG, &[], text).code;
    for bad in [
        "deleteWhen=24",
        "deleteWhen=",
        "fileReservedTime=-1",
        "diskMaxUsedSpaceRatio=0",
        "diskMaxUsedSpaceRatio=100",
    ] {
        assert_eq!(change(bad), 1, "{bad}");
    }
    assert_eq!(change("fileReservedTime=2\ndeleteWhen=02;14\n"), 0);
    assert_eq!(change("timerWheelEnable=true"), 16);
    let kept = broker.config.retention.clone();
    assert_eq!(
        (kept.reserved_ms, &*kept.delete_hours),
        (7_200_000, &[2, 14][..])
    );
    for code in [
        request::DELETE_EXPIRED_COMMITLOG,
        request::CLEAN_EXPIRED_CONSUMEQUEUE,
        request::CLEAN_UNUSED_TOPIC,
    ] {
        assert_eq!(ask(&mut broker, code, &[], "").code, 0);
    }
    let mut effects = Vec::new();
    broker.take_effects(&mut effects);
    let expected = [
        Effect::KeepBy(kept),
        Effect::Persist(ConfigFile::Settings),
        Effect::CleanLog,
        Effect::CleanQueues,
        Effect::CleanUnusedTopics,
    ];
    assert_eq!(effects, expected);
    assert!(broker.is_unused("Gone") && !broker.is_unused("TBW102"));
}

/// As in RocketMQ, which puts it into each message and each reply.
#[test]
fn traces_are_switched_while_the_broker_runs() {
    let mut broker = broker();
    let trace_on = |broker: &mut Broker| {
        let request = sends::request("T", "");
        let plan = sends::admit(broker, &request).unwrap();
        plan.properties().find("TRACE_ON").map(str::to_owned)
    };
    assert_eq!(trace_on(&mut broker).as_deref(), Some("true"));
    let changed = ask(
        &mut broker,
        request::UPDATE_BROKER_CONFIG,
        &[],
        "traceOn=false\n",
    );
    assert_eq!((changed.code, changed.remark), (0, None));
    assert_eq!(trace_on(&mut broker).as_deref(), Some("false"));
    let mut effects = Vec::new();
    broker.take_effects(&mut effects);
    assert!(effects.contains(&Effect::SayTraceOn(false)), "{effects:?}");
}

#[test]
fn runtime_info_has_what_tools_parse() {
    let mut broker = broker();
    broker.delays.advance(3, 8, 0);
    broker.stored("T", None, 2, 10, 0);
    let reply = ask(&mut broker, request::GET_BROKER_RUNTIME_INFO, &[], "");
    for expected in [
        r#""putTps":"2.0 2.0 2.0""#,
        r#""getTransferredTps":"0.0 0.0 0.0""#,
        r#""earliestMessageTimeStamp":"100""#,
        r#""commitLogDiskRatio":"0.5""#,
        r#""commitLogDiskRatio_/store/commitlog":"0.5""#,
        r#""commitLogMaxOffset":"4096""#,
        r#""timerReadBehind":"0""#,
        r#""timerEnqueueTps":"0.0""#,
        r#""scheduleMessageOffset_3":"8,0""#,
        r#""msgPutTotalTodayNow":"2""#,
        r#""putMessageAverageSize":"5.0""#,
        r#""sendThreadPoolQueueHeadWaitTimeMills":"0""#,
        r#""fenced":"true""#,
        r#""ringmqFenceReason":"cannot flush it""#,
        r#""ringmqNoSpaceReason":"""#,
        r#""ringmqMissingAtStartMessages":"3""#,
        // Without one of these rocketmq-exporter drops all figures of the broker. The version is `MQVersion.Version` of V5_5_0.
        r#""brokerVersionDesc":"V5_5_0""#,
        r#""brokerVersion":"513""#,
        &format!(r#""ringmqVersion":"{}""#, env!("CARGO_PKG_VERSION")),
        r#""putMessageDistributeTime":"[<=0ms]:1 [0~10ms]:2 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:4 ""#,
    ] {
        assert!(
            body(&reply).contains(expected),
            "{expected} in {}",
            body(&reply)
        );
    }
}
