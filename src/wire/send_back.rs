//! CONSUMER_SEND_MSG_BACK (36): a consumer could not process a message; it is redelivered later.

use super::request::header_fields;

header_fields! {
    pub struct SendBack<'a> {
        /// Physical.
        "offset" => offset: i64,
        "group" => group: &'a str,
        /// Negative: to the dead letters; 0: the broker chooses.
        "delayLevel" => delay_level: i32,
        "originMsgId" => origin_msg_id: Option<&'a str>,
        "originTopic" => origin_topic: Option<&'a str>,
        "unitMode" => unit_mode: bool,
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
    }
}
