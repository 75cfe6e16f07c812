//! Every family at once: whatever a peer sends never panics, and what we write reads back as the same.

use proptest::prelude::*;

use super::admin::*;
use super::consumer::*;
use super::controller::*;
use super::group::*;
use super::heartbeat::*;
use super::kv_config::*;
use super::lock::*;
use super::offset::*;
use super::pop::*;
use super::pull::*;
use super::query::*;
use super::register::*;
use super::route::*;
use super::send::*;
use super::send_back::*;
use super::stats::*;
use super::topic::*;
use super::transaction::*;
use super::{Codec, Ext, Frame, Head, Language, Scratch, Value, frame, header, loose_json};

/// Runs `$check!(Family)` for each request and reply.
macro_rules! for_each_family {
    ($check:ident) => {
        $check!(SendRequest SendReply RecallRequest RecallReply PushReply PullRequest PullReply QueryConsumerOffset UpdateConsumerOffset
            SearchOffset QueueRequest OffsetReply TimestampReply ResetOffset ConsumerStatusRequest CloneGroupOffset SendBack
            EndTransaction CheckTransactionState ResumeCheckHalfMessage HeartbeatReply UnregisterClient ConsumerGroup
            ConsumerRunningInfo ConsumeMessageDirectly CreateTopic TopicRequest AllTopicConfigRequest AllTopicConfigReply
            AllSubscriptionGroupRequest AllSubscriptionGroupReply DeleteGroup GroupRequest GroupForbiddenRequest RouteRequest
            ClusterRequest MemberGroupRequest BrokerNameRequest WipeWritePermReply AddWritePermReply DeleteTopicInNamesrv
            RegisterBroker RegisterBrokerReply BrokerIdentity DataVersionReply BrokerHeartbeat ConsumeStatsRequest
            BrokerConsumeStatsRequest ProducerGroup GroupAndTopic BrokerStatsRequest QueryMessage QueryMessageReply ViewMessage ViewAgain
            PutKv KvKey KvReply KvNamespace PopRequest PopReply AckRequest ChangeInvisibleTime ChangeInvisibleTimeReply PeekRequest
            NotificationRequest NotificationReply PollingInfoRequest PollingInfoReply QueryConsumeQueue
            AlterSyncStateSet AlterSyncStateSetReply ElectMaster ElectMasterReply RegisterReplica RegisterReplicaReply
            ReplicaInfoRequest ReplicaInfoReply ControllerMetadata RoleChanged CleanBrokerData NextBrokerId NextBrokerIdReply
            ApplyBrokerId ApplyBrokerIdReply LogLoss)
    };
}

/// A frame with these fields, as both codecs write it.
fn frames(ext: &[(&str, Value<'_>)]) -> [Vec<u8>; 2] {
    [Codec::Json, Codec::Rocketmq].map(|codec| {
        let head = Head {
            codec,
            code: 1,
            language: Language::Java,
            version: 513,
            opaque: 9,
            flag: 0,
            remark: None,
        };
        let mut out = Vec::new();
        frame::write(&mut out, &head, ext, b"");
        out
    })
}

fn with_ext(bytes: &[u8], check: impl FnOnce(&Ext<'_>)) {
    let frame = frame::split(bytes).unwrap().unwrap();
    check(&header::decode(&frame, &mut Scratch::default()).unwrap().ext);
}

/// Fields that suit every family in part: numbers where most want numbers.
const SAMPLE: [(&str, Value<'static>); 8] = [
    ("topic", Value::Str("%RETRY%g")),
    ("queueId", Value::I64(3)),
    ("attributes", Value::Str("+a=\u{1}\u{2}\"\\ü")),
    ("order", Value::Bool(true)),
    ("maxReconsumeTimes", Value::I64(-1)),
    ("j", Value::I64(16)),
    ("i", Value::Str("KEYS\u{1}k\u{2}")),
    ("boundaryType", Value::Str("UPPER")),
];

#[test]
fn what_is_written_reads_back() {
    macro_rules! check {
        ($($family:ident)*) => {$({
            // Missing fields are filled in one by one, as the errors name them.
            let mut fields = SAMPLE.to_vec();
            loop {
                let mut missing = None;
                with_ext(&frames(&fields)[0], |ext| match $family::decode(ext) {
                    Ok(family) => for bytes in frames(&family.ext()) {
                        with_ext(&bytes, |again| assert_eq!($family::decode(again).as_ref(), Ok(&family)));
                    },
                    Err(error) => {
                        assert_eq!(error.got, None, "{}", error.field);
                        missing = Some(error.field);
                    }
                });
                let Some(field) = missing else { break };
                fields.push((field.split('|').next().unwrap_or_default(), Value::I64(7)));
            }
        })*};
    }
    for_each_family!(check);
}

/// Keys that families know, and others.
fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "a",
        "b",
        "e",
        "g",
        "i",
        "m",
        "topic",
        "group",
        "consumerGroup",
        "queueId",
        "offset",
        "timestamp",
        "brokerId",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i8>().prop_map(|number| number.to_string()),
        any::<String>()
    ]
}

proptest! {
    #[test]
    fn arbitrary_fields_never_panic(fields in prop::collection::vec((any_key(), any_value()), 0..20)) {
        let ext: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), Value::Str(value))).collect();
        for bytes in frames(&ext) {
            with_ext(&bytes, |ext| {
                macro_rules! check {
                    ($($family:ident)*) => {$(let _ = $family::decode(ext).map(|family| family.ext().len());)*};
                }
                for_each_family!(check);
            });
        }
    }

    #[test]
    fn arbitrary_headers_never_panic(header in prop::collection::vec(any::<u8>(), 0..200)) {
        for codec in [Codec::Json, Codec::Rocketmq] {
            let frame = Frame { codec, header: &header, body: &[], len: 8 + header.len() };
            if let Ok(header) = header::decode(&frame, &mut Scratch::default()) {
                let _ = SendRequest::decode(&header.ext);
            }
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        body in prop_oneof![
            any::<String>(),
            "\\{\"(topic|queueId|offsetTable|mqSet|clientID|producerDataSet|consumerDataSet|table)\":[{}\\[\\]\"a:,0-9.null]{0,20}\\}",
        ],
        bytes: Vec<u8>,
    ) {
        for body in [body.as_bytes(), &bytes] {
            macro_rules! check {
                ($($body:ident)*) => {$(let _ = loose_json::from_slice::<$body>(body);)*};
            }
            check!(HeartbeatData LockBatch LockedQueues ConsumerList CheckClientConfig TopicConfig TopicConfigList TopicConfigTable
                SubscriptionGroupConfig SubscriptionGroupList SubscriptionGroupTable GroupForbidden TopicRouteData ClusterInfo TopicList
                MemberGroupReply RegisterBrokerBody KvTable TopicStatsTable ConsumeStats ConsumeStatsList ConsumerConnection
                ProducerConnection ProducerTableInfo GroupList QuerySubscriptionReply ConsumeTimeSpans BrokerStatsData ResetOffsetBody
                ConsumerStatusBody SyncStateSet ElectMasterBody ReplicasInfoTable);
        }
    }
}
