//! Requests and their answers over one connection, matched by opaque.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Inbound};
use super::stream::{Dial, Endpoint, Transport};
use super::{ClientError, Response};
use crate::auth::Signer;
use crate::tls::host_of;
use crate::wire::frame::{self, Frame};
use crate::wire::header::{self, Ext};
use crate::wire::{Codec, FLAG_ONEWAY, FLAG_RESPONSE, Head, Scratch, Value};

pub struct Remote {
    connection: Connection<Calls>,
    codec: Codec,
    next_opaque: Cell<i32>,
    signer: Option<Signer>,
}

impl Remote {
    /// On the runtime of [`Transport::fastest`]; requests of the peer are ignored.
    pub async fn connect(addr: SocketAddr, codec: Codec) -> Result<Self, ClientError> {
        Self::connect_by(&Transport::fastest().into(), &addr.into(), codec).await
    }

    /// On the runtime of the transport.
    pub async fn connect_by(dial: &Dial, to: &Endpoint, codec: Codec) -> Result<Self, ClientError> {
        Self::connect_over(dial, to, codec, None).await
    }

    /// Requests that the peer sends are passed to `asked`.
    pub(super) async fn connect_over(
        dial: &Dial,
        to: &Endpoint,
        codec: Codec,
        asked: Option<mpsc::UnboundedSender<Asked>>,
    ) -> Result<Self, ClientError> {
        let addr = to.addr;
        let calls = Calls {
            peer: addr,
            waiting: HashMap::new(),
            scratch: Scratch::default(),
            asked,
        };
        let connection = Connection::open(to, dial, calls)
            .await
            .map_err(|error| ClientError::Connect { addr, error })?;
        Ok(Self {
            connection,
            codec,
            next_opaque: Cell::new(1),
            signer: dial.credentials.as_ref().map(Signer::new),
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.connection.peer()
    }

    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    pub async fn call(
        &self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let addr = self.addr();
        if self.is_closed() {
            return Err(ClientError::closed(addr, "closed before the request"));
        }
        let opaque = self.opaque();
        let (answer, answered) = oneshot::channel();
        self.connection.send(|calls, output| {
            calls.waiting.insert(opaque, answer);
            self.write(output, &self.head(code, opaque, 0), ext, body);
        });
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer.map_err(|reason| ClientError::Closed { addr, reason }),
            Ok(Err(_)) => Err(ClientError::closed(addr, "closed while waiting")),
            Err(_) => {
                self.connection
                    .inbound(|calls| calls.waiting.remove(&opaque));
                Err(ClientError::Timeout {
                    addr,
                    code,
                    timeout,
                })
            }
        }
    }

    /// A request without an answer.
    pub fn one_way(
        &self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> Result<(), ClientError> {
        if self.is_closed() {
            return Err(ClientError::closed(
                self.addr(),
                "closed before the request",
            ));
        }
        let head = self.head(code, self.opaque(), FLAG_ONEWAY);
        self.connection
            .send(|_, output| self.write(output, &head, ext, body));
        Ok(())
    }

    /// Answers a request of the peer.
    pub(super) fn answer(&self, asked: &Asked, code: i32, remark: Option<&str>, body: &[u8]) {
        let head = Head {
            remark,
            ..self.head(code, asked.opaque, FLAG_RESPONSE)
        };
        self.connection
            .send(|_, output| frame::write(output, &head, &[], body));
    }

    fn write(&self, output: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)], body: &[u8]) {
        match &self.signer {
            None => frame::write(output, head, ext, body),
            Some(signer) => {
                let mut signature = String::new();
                let signed = signer.signed(ext, body, &mut signature);
                frame::write(output, head, &signed, body);
            }
        }
    }

    fn opaque(&self) -> i32 {
        let opaque = self.next_opaque.get();
        self.next_opaque.set(opaque.checked_add(1).unwrap_or(1));
        opaque
    }

    fn head(&self, code: i32, opaque: i32, flag: i32) -> Head<'static> {
        Head {
            flag,
            ..Head::request(self.codec, code, opaque)
        }
    }
}

/// A request of the peer: a broker notifies of a changed group, or asks for a transaction's state.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub peer: SocketAddr,
    pub code: i32,
    pub opaque: i32,
    pub is_one_way: bool,
    pub ext: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn find(&self, key: &str) -> Option<&str> {
        let field = self.ext.iter().find(|(name, _)| name == key)?;
        Some(&field.1)
    }
}

/// The requests in flight.
struct Calls {
    peer: SocketAddr,
    waiting: HashMap<i32, oneshot::Sender<Result<Response, String>>>,
    scratch: Scratch,
    asked: Option<mpsc::UnboundedSender<Asked>>,
}

impl Inbound for Calls {
    fn frame(&mut self, frame: &Frame<'_>, _output: &mut Vec<u8>) {
        let Ok(header) = header::decode(frame, &mut self.scratch) else {
            return;
        };
        if !header.is_response() {
            if let Some(asked) = &self.asked {
                // The receiver ends with the client.
                let _ = asked.send(Asked {
                    peer: self.peer,
                    code: header.code,
                    opaque: header.opaque,
                    is_one_way: header.is_oneway(),
                    ext: owned(header.ext),
                    body: frame.body.to_vec(),
                });
            }
            return;
        }
        if let Some(answer) = self.waiting.remove(&header.opaque) {
            let response = Response {
                code: header.code,
                remark: header.remark.map(str::to_owned),
                ext: owned(header.ext),
                body: frame.body.to_vec(),
            };
            let _ = answer.send(Ok(response));
        }
    }

    fn closed(&mut self, reason: &str) {
        for (_, answer) in self.waiting.drain() {
            let _ = answer.send(Err(reason.to_owned()));
        }
    }
}

fn owned(ext: Ext<'_>) -> Vec<(String, String)> {
    ext.iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The first address that a `host:port` resolves to.
pub fn resolve(text: &str) -> Result<Endpoint, ClientError> {
    use std::net::ToSocketAddrs;
    let unresolved = |error: io::Error| ClientError::Address {
        text: text.to_owned(),
        error,
    };
    let mut found = text.to_socket_addrs().map_err(unresolved)?;
    let addr = found.next();
    let addr = addr.ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))?;
    let host = host_of(text).to_owned();
    Ok(Endpoint { addr, host })
}
