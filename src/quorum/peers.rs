//! The engine's way to the other controllers: one connection to each, one request at a time on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use super::access::Links;
use super::rpc::{Door, MAX_FRAME_BYTES, PeerError, PeerReply, PeerRequest, decode, encode};
use super::secured::{Connected, connect};
use super::types::Types;
use crate::wire::codes::{CONTROLLER_TO_CONTROLLER, response};
use crate::wire::exchange::{Answer, Exchange};

/// A peer that could not be reached is tried again after this time.
const RETRY: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 64 << 10;
/// Connections to one peer that wait for the next request.
const MAX_IDLE: usize = 4;

#[derive(Clone)]
pub struct Peers {
    door: Arc<Door>,
    links: Links,
    /// Connections that are not in use. The engine asks for a new client of a peer for each read that it makes sure of.
    idle: Arc<Mutex<BTreeMap<u64, Vec<Connection>>>>,
    unreachable: Arc<Mutex<BTreeSet<u64>>>,
}

pub struct Peer {
    peers: Peers,
    id: u64,
}

struct Connection {
    stream: Connected,
    exchange: Exchange,
}

impl Peers {
    pub fn new(door: Arc<Door>, links: Links) -> Self {
        Self {
            door,
            links,
            idle: Arc::default(),
            unreachable: Arc::default(),
        }
    }

    /// Logs a change only: the engine asks again and again.
    fn note(&self, id: u64, failure: Option<&PeerError>) {
        let mut unreachable = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(error) if unreachable.insert(id) => {
                warn!(peer = id, %error, "another controller cannot be reached")
            }
            None if unreachable.remove(&id) => {
                info!(peer = id, "another controller is reached again")
            }
            _ => {}
        }
    }

    fn with_idle<T>(&self, id: u64, work: impl FnOnce(&mut Vec<Connection>) -> T) -> T {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        work(idle.entry(id).or_default())
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, id: u64, _: &()) -> Peer {
        let peers = self.clone();
        Peer { peers, id }
    }
}

impl Peer {
    async fn call(
        &mut self,
        request: &PeerRequest,
        option: &RPCOption,
    ) -> Result<PeerReply, PeerError> {
        let limit = option.hard_ttl();
        let answered = tokio::time::timeout(limit, self.exchange(request)).await;
        let answered = answered.unwrap_or(Err(PeerError::Silent(limit.as_millis())));
        if answered.is_err() {
            // The others were made before this failure, and may be of a process that is gone.
            self.peers.with_idle(self.id, Vec::clear);
        }
        self.peers.note(self.id, answered.as_ref().err());
        answered
    }

    /// On a connection that was idle, and once more on a new one: the peer may have closed the idle one long ago. The engine's requests may
    /// be repeated.
    async fn exchange(&self, request: &PeerRequest) -> Result<PeerReply, PeerError> {
        if let Some(idle) = self.peers.with_idle(self.id, Vec::pop) {
            match self.exchange_on(idle, request).await {
                Err(PeerError::Io(_)) => self.peers.with_idle(self.id, Vec::clear),
                other => return other,
            }
        }
        let connection = self.connect().await?;
        self.exchange_on(connection, request).await
    }

    /// The connection is kept only after a whole answer: when this future is dropped half-way, it goes with it.
    async fn exchange_on(
        &self,
        mut connection: Connection,
        request: &PeerRequest,
    ) -> Result<PeerReply, PeerError> {
        let (body, crc) = encode(request);
        let (fields, mut signature) = (self.peers.door.fields(crc), String::new());
        let fields = self.peers.links.signed(&fields, &body, &mut signature);
        let code = CONTROLLER_TO_CONTROLLER;
        let bytes = connection.exchange.request(code, &fields, &body);
        connection.stream.write_all(&bytes).await?;
        let answer = connection.answer().await?;
        if answer.code != response::SUCCESS {
            return Err(PeerError::Refused {
                code: answer.code,
                remark: answer.remark.unwrap_or_default(),
            });
        }
        let reply = decode(&answer.body, answer.field("crc"))?;
        self.peers.with_idle(self.id, |idle| {
            if idle.len() < MAX_IDLE {
                idle.push(connection);
            }
        });
        Ok(reply)
    }

    async fn connect(&self) -> Result<Connection, PeerError> {
        let address = self.peers.door.addresses.get(&self.id);
        let address = address.ok_or_else(|| PeerError::Stranger {
            got: self.id.to_string(),
        })?;
        Ok(Connection {
            stream: connect(address, &self.peers.links.security).await?,
            exchange: Exchange::default(),
        })
    }
}

impl Connection {
    async fn answer(&mut self) -> Result<Answer, PeerError> {
        let mut received = 0;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let answer = self.exchange.answer();
            if let Some(answer) = answer.map_err(|error| PeerError::Body(error.to_string()))? {
                return Ok(answer);
            }
            let read = self.stream.read(&mut buffer).await?;
            received += read;
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            if received > MAX_FRAME_BYTES {
                return Err(PeerError::Body(format!(
                    "an answer of more than {MAX_FRAME_BYTES} bytes"
                )));
            }
            self.exchange.received(&buffer[..read]);
        }
    }
}

type Outcome<T, E = openraft::error::Infallible> = Result<T, RPCError<u64, (), RaftError<u64, E>>>;

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Outcome<AppendEntriesResponse<u64>> {
        match self.call(&PeerRequest::Append(request), &option).await {
            Ok(PeerReply::Append(reply)) => {
                reply.map_err(|error| RemoteError::new(self.id, error).into())
            }
            other => Err(Self::failed(other)),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Outcome<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        match self.call(&PeerRequest::Snapshot(request), &option).await {
            Ok(PeerReply::Snapshot(reply)) => {
                reply.map_err(|error| RemoteError::new(self.id, error).into())
            }
            other => Err(Self::failed(other)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Outcome<VoteResponse<u64>> {
        match self.call(&PeerRequest::Vote(request), &option).await {
            Ok(PeerReply::Vote(reply)) => {
                reply.map_err(|error| RemoteError::new(self.id, error).into())
            }
            other => Err(Self::failed(other)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY))
    }
}

impl Peer {
    fn failed<E: std::error::Error>(outcome: Result<PeerReply, PeerError>) -> RPCError<u64, (), E> {
        match outcome {
            Ok(_) => {
                NetworkError::new(&PeerError::Body("the answer to another request".to_owned()))
                    .into()
            }
            Err(error) => Unreachable::new(&error).into(),
        }
    }
}
