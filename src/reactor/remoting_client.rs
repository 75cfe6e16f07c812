//! Asking another process: one connection, one request at a time, each with a deadline.
//!
//! For the broker's own questions to name servers, controllers and its master, over [`Io`]: so the simulator has them. `client/` is for applications, over
//! tokio, with many requests at a time. Both read and write frames with `wire/`.

use std::io;
use std::net::SocketAddr;

use super::name_server::NameServer;
use crate::auth::{Credentials, Signer, signed};
use crate::io::{Either, Io, Stream, select};
use crate::wire::Value;
use crate::wire::codes::response;
use crate::wire::exchange::{Answer, Exchange};

pub(super) struct RemotingClient<I: Io> {
    io: I,
    stream: I::Stream,
    exchange: Exchange,
    /// `None`: what is asked is not signed.
    signer: Option<Signer>,
}

/// No answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error("code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

impl<I: Io> RemotingClient<I> {
    /// To what is known by its address. With credentials every request is signed.
    pub async fn connect(
        io: &I,
        addr: SocketAddr,
        credentials: Option<&Credentials>,
        patience_ns: u64,
    ) -> io::Result<Self> {
        let host = addr.ip().to_string();
        Self::connect_to(io, addr, &host, credentials, patience_ns).await
    }

    /// The same to a name server, by its name.
    pub async fn connect_to_names(
        io: &I,
        server: &NameServer,
        credentials: Option<&Credentials>,
        patience_ns: u64,
    ) -> io::Result<Self> {
        let addr = server.addr()?;
        Self::connect_to(io, addr, server.host(), credentials, patience_ns).await
    }

    async fn connect_to(
        io: &I,
        addr: SocketAddr,
        host: &str,
        credentials: Option<&Credentials>,
        patience_ns: u64,
    ) -> io::Result<Self> {
        let stream = within(io, patience_ns, io.connect_remoting(addr, host)).await?;
        Ok(Self {
            io: io.clone(),
            stream,
            exchange: Exchange::default(),
            signer: credentials.map(Signer::new),
        })
    }

    /// After an error of the connection it is of no more use. An answer with another code than success is an error.
    pub async fn ask(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
        patience_ns: u64,
    ) -> Result<Answer, AskError> {
        successful(self.call(code, ext, body, patience_ns).await?)
    }

    /// As [`Self::ask`], with a body that may have megabytes: it is sent without a copy.
    pub async fn ask_with(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: Vec<u8>,
        patience_ns: u64,
    ) -> Result<Answer, AskError> {
        let mut signature = String::new();
        let signed = signed(self.signer.as_ref(), ext, &body, &mut signature);
        let head = self.exchange.request_head(code, &signed, body.len());
        successful(self.exchanged([head, body], patience_ns).await?)
    }

    /// The answer, whatever its code.
    pub async fn call(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
        patience_ns: u64,
    ) -> io::Result<Answer> {
        let mut signature = String::new();
        let signed = signed(self.signer.as_ref(), ext, body, &mut signature);
        let request = self.exchange.request(code, &signed, body);
        self.exchanged([request, Vec::new()], patience_ns).await
    }

    /// The answer to a request in two parts.
    async fn exchanged(&mut self, request: [Vec<u8>; 2], patience_ns: u64) -> io::Result<Answer> {
        let (io, stream, exchange) = (&self.io, &self.stream, &mut self.exchange);
        let asked = async {
            for part in request {
                if !part.is_empty() {
                    stream.send(part).await.0?;
                }
            }
            loop {
                if let Some(answer) = exchange.answer().map_err(io::Error::other)? {
                    return Ok(answer);
                }
                let chunk = stream.recv().await?;
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                exchange.received(&chunk);
            }
        };
        within(io, patience_ns, asked).await
    }

    /// Done when the other side has closed the connection.
    pub async fn until_closed(&mut self) {
        while let Ok(chunk) = self.stream.recv().await {
            if chunk.is_empty() {
                return;
            }
            self.exchange.received(&chunk);
        }
    }
}

fn successful(answer: Answer) -> Result<Answer, AskError> {
    match answer.code {
        response::SUCCESS => Ok(answer),
        code => Err(AskError::Refused {
            code,
            remark: answer.remark.unwrap_or_else(|| "no remark".into()),
        }),
    }
}

/// An error: it is not done within this time.
pub(super) async fn within<T, I: Io>(
    io: &I,
    patience_ns: u64,
    done: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = io.sleep_until(io.now().mono_ns + patience_ns);
    match select(done, late).await {
        Either::Left(done) => done,
        Either::Right(()) => {
            let waited = patience_ns / 1_000_000;
            let reason = format!("nothing came within {waited} ms");
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        }
    }
}
