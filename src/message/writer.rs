//! Fields of a record, written one behind the other.

use std::net::{IpAddr, SocketAddr};

pub(super) struct Writer<'a> {
    pub(super) rest: &'a mut [u8],
}

impl Writer<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let (dst, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        dst.copy_from_slice(bytes);
        self.rest = rest;
    }

    pub(super) fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}
