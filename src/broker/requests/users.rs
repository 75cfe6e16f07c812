//! Users: 3004, while authentication is off (`authenticationEnabled`). There are none then: the answer is RocketMQ's without it.

use crate::broker::Refusal;
use crate::wire::Reply;
use crate::wire::auth::OfUser;
use crate::wire::codes::response;

pub(super) fn user(asked: &OfUser<'_>) -> Result<Reply, Refusal> {
    Err(match asked.username.unwrap_or_default().trim().is_empty() {
        true => Refusal::new(response::INVALID_PARAMETER, "The username is blank"),
        false => Refusal::new(
            response::SYSTEM_ERROR,
            "An system error occurred, please try again later.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use crate::broker::tests::{ask, broker};
    use crate::wire::codes::request;

    #[test]
    fn as_rocketmq_without_authentication() {
        let mut broker = broker();
        let mut ask = |name: &str| {
            let fields = [("username", name)];
            let reply = ask(&mut broker, request::AUTH_GET_USER, &fields, "");
            (reply.code, reply.remark.unwrap().into_owned())
        };
        assert_eq!(ask(" "), (29, "The username is blank".into()));
        let failed = "An system error occurred, please try again later.";
        assert_eq!(ask("u"), (1, failed.into()));
    }
}
