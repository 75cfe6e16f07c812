//! The numbers of the protocol with their names.

pub mod request;
pub mod response;
mod version;

pub use version::version_name;

/// One constant a code, all of them as a table, and [`name`](request::name) for logs.
macro_rules! codes {
    ($($name:ident = $value:literal,)*) => {
        $(pub const $name: i32 = $value;)*

        /// Every code with RocketMQ's name of it.
        pub const ALL: &[(i32, &str)] = &[$(($value, stringify!($name)),)*];

        /// RocketMQ's name of a code.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}
use codes;

/// What controllers of ringmq say to each other (`quorum/rpc.rs`): far above RocketMQ's codes.
pub const CONTROLLER_TO_CONTROLLER: i32 = 931_001;

/// The version in all headers that ringmq sends: the ordinal of V5_5_0 in `MQVersion.java`. Java clients read it from the heartbeat's
/// reply and refuse SQL92 pulls below V4_1_0, so it must never be 0.
pub const CURRENT_VERSION: i32 = 513;

/// V4_9_4: clients from here on parse the route as standard JSON.
pub const V4_9_4: i32 = 401;

/// V5_0_0: brokers from here on append the queue mappings to a compressed registration.
pub const V5_0_0: i32 = 413;

/// V3_0_11: brokers before it register without a filter server list.
pub const V3_0_11: i32 = 37;

/// V3_1_8_SNAPSHOT: clients from here on answer what a broker relays (307, 309).
pub const V3_1_8_SNAPSHOT: i32 = 62;

/// V3_4_9: `maxReconsumeTimes` of clients from here on is valid.
pub const V3_4_9: i32 = 121;

/// The remark of [`response::REQUEST_CODE_NOT_SUPPORTED`], with the leading space that Java's has.
pub fn not_supported_remark(code: i32) -> String {
    format!(" request type {code} not supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(request::name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(request::name(-5), None);
        assert_eq!(response::name(-1006), Some("RPC_TIME_OUT"));
        assert_eq!(response::name(0), Some("SUCCESS"));
        assert_eq!(not_supported_remark(9), " request type 9 not supported");
    }
}
