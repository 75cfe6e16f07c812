//! The master and the in-sync set, as the controllers state them, and the lines for a change.

use std::collections::BTreeSet;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::plan::{BROKER_NAME, Plan};
use crate::wire::codes::{request, response};
use crate::wire::controller::{ReplicaIdentity, ReplicasInfoTable};
use crate::wire::{Codec, Head, Scratch, frame, header, loose_json};

const PATIENCE: Duration = Duration::from_millis(500);

/// A group as the leading controller has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub master: Option<String>,
    pub epoch: i32,
    pub in_sync: BTreeSet<String>,
}

impl Status {
    /// `None`: no controller leads.
    pub fn ask(plan: &Plan) -> Option<Self> {
        let mut tables = plan.controllers.iter().filter_map(|addr| table(addr).ok());
        let table = tables.next()?;
        let group = table.replicas_info_table.get(BROKER_NAME);
        let Some(group) = group else {
            return Some(Self::default());
        };
        let name = |address: &str| plan.name_of(address).unwrap_or(address).to_owned();
        let living = |replica: &&ReplicaIdentity| replica.alive;
        Some(Self {
            master: group.master_address.as_deref().map(name),
            epoch: group.master_epoch,
            in_sync: group
                .in_sync_replicas
                .iter()
                .filter(living)
                .map(|replica| name(&replica.broker_address))
                .collect(),
        })
    }

    /// What has changed since; nothing if that is not worth a line.
    pub fn since(&self, before: &Self) -> Option<String> {
        let in_sync = self
            .in_sync
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        match &self.master {
            _ if self == before => None,
            None if before.master.is_none() => None,
            None => Some(format!("{BROKER_NAME} has no master")),
            Some(master) if before.master.as_ref() != Some(master) => Some(format!(
                "{master} is the master of {BROKER_NAME}, epoch {}; in sync: {in_sync}",
                self.epoch
            )),
            Some(_) => Some(format!("in sync: {in_sync}")),
        }
    }
}

/// What the leading controller knows; another one refuses.
fn table(controller: &str) -> Result<ReplicasInfoTable> {
    let invalid = |what: String| Error::other(format!("{controller}: {what}"));
    let addr: SocketAddr = controller
        .parse()
        .map_err(|_| invalid("no address".into()))?;
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = Head::request(Codec::Json, request::CONTROLLER_GET_SYNC_STATE_DATA, 1);
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, &[], &loose_json::to_vec(&[BROKER_NAME]));
    stream.write_all(&bytes)?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(invalid("closed".into()));
        }
        received.extend_from_slice(&chunk[..count]);
        let whole = frame::split(&received).map_err(|error| invalid(error.to_string()))?;
        let Some(reply) = whole else { continue };
        let mut scratch = Scratch::default();
        let head =
            header::decode(&reply, &mut scratch).map_err(|error| invalid(error.to_string()))?;
        if head.code != response::SUCCESS {
            return Err(invalid(head.remark.unwrap_or_default().to_owned()));
        }
        return loose_json::from_slice(reply.body).map_err(|error| invalid(error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(master: Option<&str>, epoch: i32, in_sync: &[&str]) -> Status {
        Status {
            master: master.map(String::from),
            epoch,
            in_sync: in_sync.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_line_for_each_change() {
        let none = Status::default();
        let first = status(Some("broker0"), 1, &["broker0"]);
        let whole = status(Some("broker0"), 1, &["broker0", "broker1"]);
        let dead = status(None, 2, &["broker1"]);
        let second = status(Some("broker1"), 2, &["broker1"]);
        assert_eq!(none.since(&none), None);
        assert_eq!(
            first.since(&none).unwrap(),
            "broker0 is the master of broker-a, epoch 1; in sync: broker0"
        );
        assert_eq!(whole.since(&first).unwrap(), "in sync: broker0, broker1");
        assert_eq!(whole.since(&whole), None);
        assert_eq!(dead.since(&whole).unwrap(), "broker-a has no master");
        assert_eq!(status(None, 3, &[]).since(&dead), None);
        assert!(
            second
                .since(&whole)
                .unwrap()
                .starts_with("broker1 is the master of broker-a, epoch 2")
        );
    }
}
