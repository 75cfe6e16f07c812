//! Connections, and the clients behind them as members of a group.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;

use crate::wire::Language;

/// A connection, by a number that is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// The client that sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub conn: ConnId,
    pub addr: SocketAddr,
    pub language: Language,
    /// As in its headers.
    pub version: i32,
}

/// A client in a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub client_id: String,
    pub addr: SocketAddr,
    pub language: Language,
    pub version: i32,
    pub heartbeat_ms: u64,
}

pub(super) fn after(
    members: &BTreeMap<ConnId, Member>,
    conn: Option<ConnId>,
) -> impl Iterator<Item = (ConnId, &Member)> {
    let from = conn.map_or(Bound::Unbounded, Bound::Excluded);
    let members = members.range((from, Bound::Unbounded));
    members.map(|(conn, member)| (*conn, member))
}

/// Whether the peer is a member already, which has sent a heartbeat now.
pub(super) fn renew(
    members: &mut BTreeMap<ConnId, Member>,
    client_id: &str,
    peer: &Peer,
    now_ms: u64,
) -> bool {
    let Some(member) = members.get_mut(&peer.conn) else {
        return false;
    };
    if member.client_id != client_id {
        member.client_id = client_id.into();
    }
    member.heartbeat_ms = now_ms;
    true
}

pub(super) fn member(client_id: &str, peer: &Peer, now_ms: u64) -> Member {
    Member {
        client_id: client_id.into(),
        addr: peer.addr,
        language: peer.language,
        version: peer.version,
        heartbeat_ms: now_ms,
    }
}
