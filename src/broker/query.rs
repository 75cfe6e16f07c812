//! Asking for messages by key: QUERY_MESSAGE (RocketMQ: `QueryMessageProcessor.queryMessage`).

use super::{Broker, Refusal};
use crate::store::{KeyMatches, KeyQuery, Wanted};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::query::QueryMessage;

/// A reply's frame must not be larger than what Java clients take: 16 MiB.
const MAX_BYTES: usize = 15 << 20;

/// The `indexType` of tags (`MessageConst.INDEX_TAG_TYPE`); all others are of keys.
const TAG_TYPE: &str = "T";

/// What is to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPlan {
    topic: String,
    text: String,
    is_tag: bool,
    max_messages: usize,
    begin_ms: i64,
    end_ms: i64,
}

impl QueryPlan {
    pub fn query(&self) -> KeyQuery<'_> {
        KeyQuery {
            topic: &self.topic,
            wanted: match self.is_tag {
                true => Wanted::Tag(&self.text),
                false => Wanted::Key(&self.text),
            },
            max_messages: self.max_messages,
            max_bytes: MAX_BYTES,
            begin_ms: self.begin_ms,
            end_ms: self.end_ms,
        }
    }
}

impl Broker {
    /// There may be messages of a topic that is no longer there.
    pub fn plan_query(&self, request: &QueryMessage<'_>) -> QueryPlan {
        let is_unique_key = request.unique_key_query == Some(true);
        // A unique key has more than one message where it was sent again or came back.
        let wish = match is_unique_key {
            true => self.config.default_query_messages,
            false => u32::try_from(request.max_num).unwrap_or(0),
        };
        QueryPlan {
            topic: request.topic.into(),
            text: request.key.into(),
            is_tag: !is_unique_key && request.index_type == Some(TAG_TYPE),
            max_messages: wish.min(self.config.max_query_messages) as usize,
            begin_ms: request.begin_timestamp_ms,
            end_ms: request.end_timestamp_ms,
        }
    }
}

/// The reply, whose body the records are.
pub fn answer(found: &KeyMatches) -> Result<Reply, Refusal> {
    if found.records.is_empty() {
        return Err(Refusal::new(
            response::QUERY_NOT_FOUND,
            "can not find message, maybe time range not correct",
        ));
    }
    Ok(Reply::ok()
        .with("indexLastUpdatePhyoffset", found.last_physical_offset)
        .with("indexLastUpdateTimestamp", found.last_store_time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;

    fn request(max_num: i32) -> QueryMessage<'static> {
        QueryMessage {
            max_num,
            begin_timestamp_ms: 7,
            key: "k",
            unique_key_query: None,
            topic: "A",
            end_timestamp_ms: i64::MAX,
            index_type: None,
        }
    }

    fn plan(request: &QueryMessage<'_>) -> QueryPlan {
        Broker::new(BrokerConfig::default(), 1).plan_query(request)
    }

    #[test]
    fn as_many_as_were_asked_for_within_the_limit() {
        for (asked, granted) in [(-1, 0), (0, 0), (5, 5), (64, 64), (65, 64), (i32::MAX, 64)] {
            assert_eq!(plan(&request(asked)).query().max_messages, granted);
        }
    }

    #[test]
    fn a_unique_key_has_a_limit_of_its_own_and_is_no_tag() {
        let unique = QueryMessage {
            unique_key_query: Some(true),
            index_type: Some("T"),
            ..request(1)
        };
        let plan = plan(&unique);
        let query = plan.query();
        assert_eq!((query.max_messages, query.wanted), (32, Wanted::Key("k")));
        assert_eq!((query.begin_ms, query.end_ms), (7, i64::MAX));
    }

    #[test]
    fn a_tag_is_asked_for_by_its_type() {
        for (kind, wanted) in [
            (None, Wanted::Key("k")),
            (Some("K"), Wanted::Key("k")),
            (Some("T"), Wanted::Tag("k")),
        ] {
            let request = QueryMessage {
                index_type: kind,
                ..request(1)
            };
            assert_eq!(plan(&request).query().wanted, wanted);
        }
    }

    #[test]
    fn nothing_found_is_said_as_rocketmq_says_it() {
        let refusal = answer(&KeyMatches::default()).err().unwrap();
        assert_eq!(refusal.code, response::QUERY_NOT_FOUND);
        assert_eq!(
            refusal.remark,
            "can not find message, maybe time range not correct"
        );
    }
}
