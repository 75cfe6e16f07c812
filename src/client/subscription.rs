//! Which messages of a topic a consumer subscribes to (`FilterAPI`, `ExpressionType`).

use super::received::Received;
use super::{ClientError, unix_ms};
use crate::message::java_hash;
use crate::message::names::check_topic;
use crate::wire::heartbeat::SubscriptionData;

const ALL: &str = "*";
const TAG: &str = "TAG";
const SQL92: &str = "SQL92";

/// A topic and which of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription(SubscriptionData);

impl Subscription {
    /// Every message of the topic.
    pub fn all(topic: impl Into<String>) -> Self {
        Self::tags(topic, ALL)
    }

    /// Messages with one of the tags in `expression`: `created || paid`.
    pub fn tags(topic: impl Into<String>, expression: &str) -> Self {
        let mut tags: Vec<String> = expression
            .split("||")
            .map(|tag| tag.trim().to_owned())
            .filter(|tag| !tag.is_empty())
            .collect();
        if tags.is_empty() || tags.iter().any(|tag| tag == ALL) {
            tags.clear();
        }
        tags.sort();
        tags.dedup();
        Self(SubscriptionData {
            code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
            sub_string: match tags.is_empty() {
                true => ALL.to_owned(),
                false => expression.to_owned(),
            },
            tags_set: tags,
            ..of_type(topic, TAG)
        })
    }

    /// Messages whose properties satisfy an SQL92 expression: `region = 'north' AND amount > 10`. The broker must allow it
    /// (`enablePropertyFilter`).
    pub fn sql(topic: impl Into<String>, expression: impl Into<String>) -> Self {
        Self(SubscriptionData {
            sub_string: expression.into(),
            ..of_type(topic, SQL92)
        })
    }

    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    pub(super) fn data(&self) -> &SubscriptionData {
        &self.0
    }

    pub(super) fn is_by_tag(&self) -> bool {
        self.0.expression_type == TAG
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        check_topic(&self.0.topic).map_err(ClientError::illegal)
    }

    /// The broker compares hashes of tags; this compares the tags.
    pub(super) fn wants(&self, message: &Received) -> bool {
        if self.0.tags_set.is_empty() {
            return true;
        }
        let is_it = |tag: &str| self.0.tags_set.iter().any(|wanted| wanted == tag);
        message.tag().is_some_and(is_it)
    }
}

fn of_type(topic: impl Into<String>, expression_type: &str) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        expression_type: expression_type.to_owned(),
        sub_version: unix_ms(),
        ..SubscriptionData::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_taken_apart_as_in_java() {
        let some = Subscription::tags("T", "TagA ||b|| ||TagA");
        assert_eq!(some.data().tags_set, ["TagA", "b"]);
        assert_eq!(some.data().code_set, [2_598_919, 98]);
        assert_eq!(some.data().sub_string, "TagA ||b|| ||TagA");
        for all in ["*", "", "a || *"] {
            let all = Subscription::tags("T", all);
            assert_eq!(
                (all.data().sub_string.as_str(), all.is_by_tag()),
                ("*", true)
            );
            assert!(all.data().tags_set.is_empty());
        }
        let sql = Subscription::sql("T", "a > 1");
        assert_eq!(
            (sql.data().sub_string.as_str(), sql.is_by_tag()),
            ("a > 1", false)
        );
    }
}
