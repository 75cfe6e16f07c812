//! A controller's configuration: RocketMQ's property names, `controller.conf` as `mqcontroller -c` takes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::controller::Settings;

/// All that a controller starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// `controllerDLegerGroup`
    pub group: String,
    /// `controllerDLegerPeers`: `n0-host:port;n1-host:port`, by their numbers.
    pub peers: BTreeMap<u64, Node>,
    /// `controllerDLegerSelfId`
    pub self_id: u64,
    /// `controllerStorePath`
    pub dir: PathBuf,
    /// `bindAddress`
    pub bind: IpAddr,
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As it is written: `n0`.
    pub id: String,
    /// `host:port`: what brokers and the other controllers connect to.
    pub address: String,
}

impl Setup {
    pub fn own(&self) -> &Node {
        &self.peers[&self.self_id]
    }

    /// The port that this controller listens on: the one that its peers know.
    pub fn port(&self) -> u16 {
        let (_, port) = split_address(&self.own().address).expect("checked when it was read");
        port
    }

    pub fn addresses(&self) -> BTreeMap<u64, String> {
        self.peers
            .iter()
            .map(|(number, node)| (*number, node.address.clone()))
            .collect()
    }

    /// `n0:host:port;n1:host:port;`, as 1005 gives them.
    pub fn peers_text(&self) -> String {
        self.peers
            .values()
            .map(|node| format!("{}:{};", node.id, node.address))
            .collect()
    }

    /// The settings that cannot change in a running controller, a line each.
    pub fn fixed_text(&self) -> String {
        let peers = self
            .peers
            .values()
            .map(|node| format!("{}-{}", node.id, node.address));
        let peers: Vec<_> = peers.collect();
        let lines = [
            ("bindAddress", self.bind.to_string()),
            ("controllerDLegerGroup", self.group.clone()),
            ("controllerDLegerPeers", peers.join(";")),
            ("controllerDLegerSelfId", self.own().id.clone()),
            ("controllerStorePath", self.dir.display().to_string()),
            ("controllerType", "ringmq".to_owned()),
            ("listenPort", self.port().to_string()),
        ];
        lines
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()
    }
}

/// `n0-host:port;n1-host:port`
pub fn read_peers(text: &str) -> Result<BTreeMap<u64, Node>, String> {
    let mut peers = BTreeMap::new();
    for part in text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (id, address) = part
            .split_once('-')
            .ok_or_else(|| format!("{part:?} is not like n0-127.0.0.1:9878"))?;
        split_address(address).ok_or_else(|| format!("{address:?} is not like 127.0.0.1:9878"))?;
        let node = Node {
            id: id.to_owned(),
            address: address.to_owned(),
        };
        if peers
            .values()
            .any(|other: &Node| other.address == node.address)
        {
            return Err(format!("two controllers have the address {address}"));
        }
        if peers.insert(read_id(id)?, node).is_some() {
            return Err(format!("two controllers have the number of {id:?}"));
        }
    }
    match peers.is_empty() {
        true => Err("no controller is named".to_owned()),
        false => Ok(peers),
    }
}

/// The number of `n0`.
pub fn read_id(id: &str) -> Result<u64, String> {
    let digits = id.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits
        .parse()
        .ok()
        .filter(|number| is_number && *number <= u64::from(u32::MAX));
    number.ok_or_else(|| format!("{id:?} is not like n0"))
}

fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers() {
        let peers = read_peers("n0-127.0.0.1:9878; n12-some-host:9868;").unwrap();
        let read: Vec<_> = peers
            .iter()
            .map(|(number, node)| (*number, &*node.id, &*node.address))
            .collect();
        assert_eq!(
            read,
            [(0, "n0", "127.0.0.1:9878"), (12, "n12", "some-host:9868")]
        );
        for wrong in [
            "",
            ";",
            "n0",
            "n0-host",
            "n0-:1",
            "n0-h:0",
            "n0-h:x",
            "x-h:1",
            "-h:1",
            "n0-h:1;n0-i:1",
            "n0-h:1;a0-i:1",
            "n0-h:1;n1-h:1",
            "n-h:1",
            "n4294967296-h:1",
        ] {
            assert!(read_peers(wrong).is_err(), "{wrong:?}");
        }
    }
}
