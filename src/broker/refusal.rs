//! A request that is refused, and how a refusal becomes a reply.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::wire::codes::response;
use crate::wire::{BodyError, FieldError, Reply};

/// RocketMQ's code, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub remark: Cow<'static, str>,
    /// `forbiddenType` of a refused pull.
    pub forbidden_type: Option<i32>,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            remark: remark.into(),
            forbidden_type: None,
        }
    }

    /// Of a pull, with its `forbiddenType`.
    pub(super) fn forbidden(forbidden_type: i32, remark: String) -> Self {
        Self {
            forbidden_type: Some(forbidden_type),
            ..Self::new(response::NO_PERMISSION, remark)
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let reply = Self {
            code: refusal.code,
            remark: Some(refusal.remark),
            ..Self::ok()
        };
        match refusal.forbidden_type {
            Some(forbidden) => reply.with("forbiddenType", forbidden),
            None => reply,
        }
    }
}

/// A field or body that cannot be decoded is answered as RocketMQ answers an exception.
impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

pub fn missing_topic(topic: &str) -> Refusal {
    Refusal::new(
        response::TOPIC_NOT_EXIST,
        format!("topic[{topic}] not exist, apply first please!"),
    )
}

/// A topic of this name cannot be made before all of the old one is removed.
pub fn topic_is_leaving(topic: &str) -> Refusal {
    Refusal::new(
        response::SYSTEM_BUSY,
        format!("topic[{topic}] is being deleted, try again"),
    )
}

pub fn missing_group(group: &str) -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{group}] does not exist"),
    )
}

/// The broker has no write permission.
pub(super) fn sending_forbidden(broker_ip: IpAddr) -> Refusal {
    Refusal::new(
        response::NO_PERMISSION,
        format!("the broker[{broker_ip}] sending message is forbidden"),
    )
}
