//! What this broker does not do, and why: with RocketMQ's code for a request that it does not know.

use crate::broker::Refusal;
use crate::wire::codes::{not_supported_remark, request, response};

pub fn unsupported(code: i32) -> Refusal {
    let mut remark = not_supported_remark(code);
    if let Some(reason) = reason(code) {
        remark.push_str(": ");
        remark.push_str(reason);
    }
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark)
}

fn reason(code: i32) -> Option<&'static str> {
    use request::*;
    Some(match code {
        UPDATE_AND_CREATE_STATIC_TOPIC => {
            "there are no static topics here, whose queues move between brokers; create a plain one (updateTopic)"
        }
        UPDATE_COLD_DATA_FLOW_CTR_CONFIG
        | REMOVE_COLD_DATA_FLOW_CTR_CONFIG
        | GET_COLD_DATA_FLOW_CTR_INFO => {
            "consumers that are far behind read past the page cache here, so there is no flow of cold data to control"
        }
        SET_COMMITLOG_READ_MODE => {
            "the log is read with O_DIRECT here, so the kernel does not read ahead"
        }
        AUTH_CREATE_USER..=AUTH_LIST_ACL => "there are no users, as authenticationEnabled is off",
        CONTROLLER_ALTER_SYNC_STATE_SET..=CONTROLLER_GET_SYNC_STATE_DATA
        | NOTIFY_BROKER_ROLE_CHANGED..=CONTROLLER_APPLY_BROKER_ID => "there is no controller here",
        ADD_BROKER | REMOVE_BROKER => {
            "there is no broker container; one process holds a broker per core"
        }
        NOTIFY_MIN_BROKER_ID_CHANGE => "there are no replicas here",
        POP_LITE_MESSAGE..=TRIGGER_LITE_DISPATCH => "there are no lite topics here",
        REGISTER_FILTER_SERVER | REGISTER_MESSAGE_FILTER_CLASS => {
            "filter servers have gone with RocketMQ 4.x"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_behind_rocketmqs_words() {
        let refusal = unsupported(request::AUTH_LIST_ACL);
        assert_eq!(refusal.code, 3);
        assert!(
            refusal
                .remark
                .starts_with(" request type 3010 not supported: there are no users")
        );
        let static_topic = unsupported(request::UPDATE_AND_CREATE_STATIC_TOPIC);
        assert_eq!(
            (static_topic.code, &*static_topic.remark),
            (
                3,
                " request type 513 not supported: there are no static topics here, whose queues move between brokers; create a plain one (updateTopic)"
            )
        );
        assert_eq!(unsupported(77).remark, " request type 77 not supported");
    }
}
