//! How one property is parsed and shown, and the error for a refused value.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

pub trait Rule<T> {
    /// The value, or what would have been allowed.
    fn read(&self, text: &str) -> Result<T, String>;
    fn show(&self, value: &T) -> String;
}

/// A whole number inside a range.
impl<T: FromStr + PartialOrd + Display> Rule<T> for RangeInclusive<T> {
    fn read(&self, text: &str) -> Result<T, String> {
        let number = text
            .parse::<T>()
            .ok()
            .filter(|number| self.contains(number));
        number.ok_or_else(|| format!("a whole number from {} to {}", self.start(), self.end()))
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A whole number inside a range, of 4 KiB blocks: what O_DIRECT can write.
pub struct Blocks(pub RangeInclusive<u64>);

impl Rule<u64> for Blocks {
    fn read(&self, text: &str) -> Result<u64, String> {
        let bytes = self
            .0
            .read(text)
            .ok()
            .filter(|bytes| bytes.is_multiple_of(4096));
        bytes.ok_or_else(|| {
            format!(
                "a multiple of 4096 from {} to {}",
                self.0.start(),
                self.0.end()
            )
        })
    }

    fn show(&self, value: &u64) -> String {
        value.to_string()
    }
}

/// `true` or `false`. Java takes everything else for false; here a typing error is refused.
pub struct Switch;

impl Rule<bool> for Switch {
    fn read(&self, text: &str) -> Result<bool, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err("true or false".into())
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// Nothing: what it is depends on other settings.
impl Rule<Option<bool>> for Switch {
    fn read(&self, text: &str) -> Result<Option<bool>, String> {
        match text.is_empty() {
            true => Ok(None),
            false => Rule::<bool>::read(self, text).map(Some),
        }
    }

    fn show(&self, value: &Option<bool>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
}

/// One of a few words.
pub struct OneOf(pub &'static [&'static str]);

impl Rule<String> for OneOf {
    fn read(&self, text: &str) -> Result<String, String> {
        match self.0.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err(self.0.join(" or ")),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// When a send is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Once its bytes are on the device and the device's cache is flushed.
    Sync,
    /// Once its bytes are written to the device; the flush follows within `flush_interval_ms`.
    Async,
}

/// The names of `flushDiskType`.
pub struct FlushName;

impl Rule<Flush> for FlushName {
    fn read(&self, text: &str) -> Result<Flush, String> {
        match text {
            "SYNC_FLUSH" => Ok(Flush::Sync),
            "ASYNC_FLUSH" => Ok(Flush::Async),
            _ => Err("SYNC_FLUSH or ASYNC_FLUSH".into()),
        }
    }

    fn show(&self, value: &Flush) -> String {
        match value {
            Flush::Sync => "SYNC_FLUSH".into(),
            Flush::Async => "ASYNC_FLUSH".into(),
        }
    }
}

/// What a broker is among the replicas of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRole {
    /// A send waits for this broker's disk.
    AsyncMaster,
    /// A send waits for replicas, too.
    SyncMaster,
    /// A copy of a master.
    Slave,
}

/// The names of `brokerRole`. A master whose role is not set takes no replicas.
pub struct RoleName;

impl Rule<Option<BrokerRole>> for RoleName {
    fn read(&self, text: &str) -> Result<Option<BrokerRole>, String> {
        match text {
            "" => Ok(None),
            "ASYNC_MASTER" => Ok(Some(BrokerRole::AsyncMaster)),
            "SYNC_MASTER" => Ok(Some(BrokerRole::SyncMaster)),
            "SLAVE" => Ok(Some(BrokerRole::Slave)),
            _ => Err("ASYNC_MASTER, SYNC_MASTER or SLAVE, or nothing".into()),
        }
    }

    fn show(&self, value: &Option<BrokerRole>) -> String {
        match value {
            None => String::new(),
            Some(BrokerRole::AsyncMaster) => "ASYNC_MASTER".into(),
            Some(BrokerRole::SyncMaster) => "SYNC_MASTER".into(),
            Some(BrokerRole::Slave) => "SLAVE".into(),
        }
    }
}

/// A name that goes into routes: RocketMQ's characters, so that no client's parser stumbles over it (old Go clients split
/// the route's text at `,` and `:`).
pub struct Name;

impl Rule<String> for Name {
    fn read(&self, text: &str) -> Result<String, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._%|-".contains(c);
        if (1..=127).contains(&text.len()) && text.chars().all(legal) {
            Ok(text.to_owned())
        } else {
            Err("1 to 127 characters out of letters, digits and . _ - % |".into())
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// An address to listen on.
pub struct Address;

impl Rule<IpAddr> for Address {
    fn read(&self, text: &str) -> Result<IpAddr, String> {
        text.parse()
            .map_err(|_| "an IP address, such as 0.0.0.0".into())
    }

    fn show(&self, value: &IpAddr) -> String {
        value.to_string()
    }
}

/// An address that others can dial.
pub struct Reachable;

impl Rule<IpAddr> for Reachable {
    fn read(&self, text: &str) -> Result<IpAddr, String> {
        let address = text
            .parse::<IpAddr>()
            .ok()
            .filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
        address.ok_or_else(|| {
            "the IP address under which clients reach this machine, such as 192.0.2.7".into()
        })
    }

    fn show(&self, value: &IpAddr) -> String {
        value.to_string()
    }
}

/// An address and a port that several brokers may have in turn, or nothing.
pub struct OwnedBySome;

impl Rule<Option<SocketAddr>> for OwnedBySome {
    fn read(&self, text: &str) -> Result<Option<SocketAddr>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse::<SocketAddr>().ok();
        let address = address.filter(|address| {
            !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() > 2
        });
        address
            .map(Some)
            .ok_or_else(|| "IP:PORT, such as 192.0.2.100:10911, or nothing".into())
    }

    fn show(&self, value: &Option<SocketAddr>) -> String {
        value.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// `host:port` pairs with `;` between them.
pub struct Addresses;

impl Rule<Vec<String>> for Addresses {
    fn read(&self, text: &str) -> Result<Vec<String>, String> {
        let addresses: Vec<String> = text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(String::from)
            .collect();
        let complete = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty()
                    && !host.contains(char::is_whitespace)
                    && port.parse::<u16>().is_ok_and(|port| port != 0)
            })
        };
        if addresses.iter().all(complete) {
            Ok(addresses)
        } else {
            Err(
                "HOST:PORT, several with ; between them, such as 192.0.2.7:9876;192.0.2.8:9876"
                    .into(),
            )
        }
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(";")
    }
}

pub struct Directory;

impl Rule<PathBuf> for Directory {
    fn read(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.contains('\0') {
            Err("a directory".into())
        } else {
            Ok(PathBuf::from(text))
        }
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }
}

impl Rule<Option<PathBuf>> for Directory {
    fn read(&self, text: &str) -> Result<Option<PathBuf>, String> {
        if text.is_empty() {
            Ok(None)
        } else if text.contains(',') {
            // RocketMQ's MULTI_PATH_SPLITTER
            Err("one directory: the log is not spread over several".into())
        } else {
            Rule::<PathBuf>::read(self, text).map(Some)
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        value
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

/// Core numbers: `0,1` or `0-3` or both; the form of the kernel's own `Cpus_allowed_list`.
pub struct Cores;

impl Rule<Vec<usize>> for Cores {
    fn read(&self, text: &str) -> Result<Vec<usize>, String> {
        core_list(text).ok_or_else(|| "core numbers such as 0,1 or 0-3".into())
    }

    fn show(&self, value: &Vec<usize>) -> String {
        value
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// No machine has more. Bounds the length of a range.
const HIGHEST_CORE: usize = 4095;

pub fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (
            first.trim().parse::<usize>().ok()?,
            last.trim().parse::<usize>().ok()?,
        );
        if first > last || last > HIGHEST_CORE {
            return None;
        }
        cores.extend(first..=last);
    }
    (cores.len() <= HIGHEST_CORE).then_some(cores)
}

/// Hours of the day with `;` between them: `04` or `02;14`.
pub struct Hours;

impl Rule<Vec<u8>> for Hours {
    fn read(&self, text: &str) -> Result<Vec<u8>, String> {
        let hours: Option<Vec<u8>> = text
            .split(';')
            .map(|hour| hour.trim().parse().ok().filter(|hour| *hour < 24))
            .collect();
        hours.ok_or_else(|| "hours from 00 to 23 with ; between them, such as 04 or 02;14".into())
    }

    fn show(&self, value: &Vec<u8>) -> String {
        let hours: Vec<String> = value.iter().map(|hour| format!("{hour:02}")).collect();
        hours.join(";")
    }
}

/// Delay levels 1, 2, ...: a number and one of s m h d each, kept in milliseconds.
pub struct Delays;

const UNITS_MS: [(char, u64); 4] = [
    ('d', 86_400_000),
    ('h', 3_600_000),
    ('m', 60_000),
    ('s', 1_000),
];

impl Rule<Vec<u64>> for Delays {
    fn read(&self, text: &str) -> Result<Vec<u64>, String> {
        let levels: Option<Vec<u64>> = text.split_whitespace().map(delay_ms).collect();
        levels.filter(|levels| !levels.is_empty()).ok_or_else(|| {
            "delays with a unit of s, m, h or d and blanks between them, such as 1s 5s 10m 2h"
                .into()
        })
    }

    fn show(&self, value: &Vec<u64>) -> String {
        value
            .iter()
            .map(|ms| show_delay(*ms))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn delay_ms(text: &str) -> Option<u64> {
    let (_, unit_ms) = UNITS_MS
        .into_iter()
        .find(|(unit, _)| text.ends_with(*unit))?;
    let number = text.get(..text.len() - 1)?.parse::<u64>().ok()?;
    number.checked_mul(unit_ms)
}

fn show_delay(ms: u64) -> String {
    let fits = UNITS_MS
        .into_iter()
        .find(|(_, unit_ms)| ms != 0 && ms.is_multiple_of(*unit_ms));
    let (unit, unit_ms) = fits.unwrap_or(('s', 1_000));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        assert_eq!(core_list("0,1"), Some(vec![0, 1]));
        assert_eq!(core_list("0-3, 7"), Some(vec![0, 1, 2, 3, 7]));
        assert_eq!(core_list("0,0"), Some(vec![0, 0]));
        for bad in ["", "a", "3-1", "0,", "-1", "0-999999999"] {
            assert_eq!(core_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn delays_come_back_as_they_were_written() {
        let levels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        let ms = Delays.read(levels).unwrap();
        assert_eq!((ms.len(), ms[4], ms[17]), (18, 60_000, 7_200_000));
        assert_eq!(Delays.show(&ms), levels);
        for bad in ["", "1", "s", "1x", "1s 5", "99999999999999999999d"] {
            assert!(Delays.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_come_back_as_they_were_written() {
        assert_eq!(Hours.read("04"), Ok(vec![4]));
        assert_eq!(Hours.read("2; 14"), Ok(vec![2, 14]));
        assert_eq!(Hours.show(&vec![2, 14]), "02;14");
        for bad in ["", "24", "4,5", "4;", "four"] {
            assert!(Hours.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_need_host_and_port() {
        assert_eq!(Addresses.read("a:1;b:2;").unwrap(), ["a:1", "b:2"]);
        assert!(Addresses.read("").unwrap().is_empty());
        for bad in ["a", "a:", ":1", "a:0", "a:70000", "a:1 b:2;c"] {
            assert!(Addresses.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_say_their_range() {
        assert_eq!(
            (1u16..=65535).read("70000").unwrap_err(),
            "a whole number from 1 to 65535"
        );
        assert_eq!(
            Blocks(4096..=8192).read("5000").unwrap_err(),
            "a multiple of 4096 from 4096 to 8192"
        );
        assert!(Rule::<bool>::read(&Switch, "yes").is_err());
        assert_eq!(Switch.read("TRUE"), Ok(true));
        assert_eq!(Switch.read(""), Ok(None::<bool>));
    }
}
