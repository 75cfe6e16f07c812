//! Requests to name servers and brokers. Each has a deadline.

use std::time::Duration;

use crate::auth::Credentials;
use crate::cli::doctor::failure::Failure;
use crate::client::{ClientError, Dial, Remote, Response, Transport, resolve};
use crate::tls::Connector;
use crate::wire::codes::response;
use crate::wire::{Codec, Value};

/// A broker that works answers within milliseconds.
pub const ANSWER: Duration = Duration::from_millis(1_000);

/// Works in every place, also where io_uring is forbidden.
pub const TRANSPORT: Transport = Transport::Epoll;

/// With credentials every request is signed.
pub async fn connect(
    addr: &str,
    tls: Option<&Connector>,
    credentials: Option<&Credentials>,
) -> Result<Remote, Failure> {
    let text = addr.to_owned();
    // Names are resolved by a call that blocks.
    let resolving = tokio::task::spawn_blocking(move || resolve(&text));
    let to = match tokio::time::timeout(ANSWER, resolving).await {
        Ok(Ok(resolved)) => resolved.map_err(away)?,
        _ => {
            let why = format!("the name {addr} was not resolved within {ANSWER:?}");
            return Err(Failure::Away(why));
        }
    };
    let dial = Dial {
        transport: TRANSPORT,
        tls: tls.cloned(),
        credentials: credentials.cloned(),
    };
    let connecting = Remote::connect_by(&dial, &to, Codec::Json);
    match tokio::time::timeout(ANSWER, connecting).await {
        Ok(connected) => connected.map_err(away),
        Err(_) => {
            let why = format!("no connection to {addr} within {ANSWER:?}");
            Err(Failure::Away(why))
        }
    }
}

/// An answer with success.
pub async fn ask(
    remote: &Remote,
    code: i32,
    ext: &[(&str, Value<'_>)],
) -> Result<Response, Failure> {
    let answer = remote.call(code, ext, &[], ANSWER).await.map_err(away)?;
    match answer.code {
        response::SUCCESS => Ok(answer),
        code => Err(Failure::Refused {
            code,
            remark: answer.remark.unwrap_or_default(),
        }),
    }
}

fn away(error: ClientError) -> Failure {
    Failure::Away(error.to_string())
}
