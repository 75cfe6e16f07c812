//! Pulling: PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361). The reply's body is records, one after the other.

use super::request::header_fields;

/// Bits of [`PullRequest::sys_flag`] (`PullSysFlag.java`).
pub mod pull_sys_flag {
    /// `commit_offset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 1;
    /// Wait up to `suspend_timeout_ms` for a message.
    pub const SUSPEND: i32 = 2;
    /// The subscription is in the header.
    pub const SUBSCRIPTION: i32 = 4;
    pub const CLASS_FILTER: i32 = 8;
    pub const LITE_PULL: i32 = 16;
}

header_fields! {
    pub struct PullRequest<'a> {
        "consumerGroup" => consumer_group: &'a str,
        "topic" => topic: &'a str,
        "queueId" => queue_id: i32,
        "queueOffset" => queue_offset: i64,
        "maxMsgNums" => max_msg_nums: i32,
        "sysFlag" => sys_flag: i32,
        "commitOffset" => commit_offset: i64,
        "suspendTimeoutMillis" => suspend_timeout_ms: i64,
        "subscription" => subscription: Option<&'a str>,
        "subVersion" => sub_version: i64,
        /// None is TAG: C++ never sends it.
        "expressionType" => expression_type: Option<&'a str>,
        "maxMsgBytes" => max_msg_bytes: Option<i32>,
        "requestSource" => request_source: Option<i32>,
    }
}

impl PullRequest<'_> {
    pub const fn commits(&self) -> bool {
        self.sys_flag & pull_sys_flag::COMMIT_OFFSET != 0
    }

    pub const fn suspends(&self) -> bool {
        self.sys_flag & pull_sys_flag::SUSPEND != 0
    }

    pub const fn brings_subscription(&self) -> bool {
        self.sys_flag & pull_sys_flag::SUBSCRIPTION != 0
    }
}

header_fields! {
    /// The remark goes with it: the name of RocketMQ's `GetMessageStatus`.
    pub struct PullReply {
        "suggestWhichBrokerId" => suggest_which_broker_id: i64,
        "groupSysFlag" => group_sys_flag: Option<i32>,
        "nextBeginOffset" => next_begin_offset: i64,
        "maxOffset" => max_offset: i64,
        "minOffset" => min_offset: i64,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "offsetDelta" => offset_delta: Option<i64>,
        "forbiddenType" => forbidden_type: Option<i32>,
    }
}
