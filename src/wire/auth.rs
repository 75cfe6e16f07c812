//! Users of a broker: 3004.

use super::request::header_fields;

header_fields! {
    /// AUTH_GET_USER (3004)
    pub struct GetUser<'a> {
        "username" => username: &'a str,
    }
}
