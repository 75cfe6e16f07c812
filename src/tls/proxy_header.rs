//! The header that a proxy (a load balancer) puts in front of what it passes on: the PROXY protocol of HAProxy, version 1 (a line of text) and 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What a line of version 1 begins with, ...
const TEXT: &[u8] = b"PROXY ";
/// ... and its longest length.
const MAX_TEXT: usize = 107;
/// What a header of version 2 begins with; behind it are version and command, family and transport, and the length of the rest.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_HEAD: usize = BINARY.len() + 4;

/// Bytes of a header. Behind the addresses proxies add a few hundred at most (names of certificates and of networks).
pub const MAX_PROXY_HEADER: usize = 4 << 10;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// No header.
    Other,
    /// A part of one.
    Incomplete,
    /// A header of `len` bytes. `source` has connected to the proxy; `None`: the connection is the proxy's own, or of no address.
    Header {
        len: usize,
        source: Option<SocketAddr>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("its PROXY header is too long")]
    TooLong,
    #[error("its PROXY header is none of version 1 or 2")]
    Version,
    #[error("its PROXY header has a command that does not exist")]
    Command,
    #[error("its PROXY header is not of TCP over IPv4 or IPv6")]
    Family,
    #[error("its PROXY header has no addresses that can be read")]
    Addresses,
}

impl Beginning {
    /// Of what has come so far. More bytes change nothing but what is incomplete.
    pub fn of(bytes: &[u8]) -> Result<Self, ProxyHeaderError> {
        if begins(bytes, TEXT) {
            text(bytes)
        } else if begins(bytes, BINARY) {
            binary(bytes)
        } else {
            Ok(Self::Other)
        }
    }

    /// Whether these bytes, which may be few, are the beginning of a header. A frame and a record of TLS begin in another way.
    pub fn is_header(bytes: &[u8]) -> bool {
        !bytes.is_empty() && (begins(bytes, TEXT) || begins(bytes, BINARY))
    }
}

fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let len = bytes.len().min(with.len());
    bytes[..len] == with[..len]
}

fn text(bytes: &[u8]) -> Result<Beginning, ProxyHeaderError> {
    let looked_at = &bytes[..bytes.len().min(MAX_TEXT)];
    let end = looked_at.windows(2).position(|two| two == b"\r\n");
    let Some(end) = end else {
        return match looked_at.len() {
            MAX_TEXT => Err(ProxyHeaderError::TooLong),
            _ => Ok(Beginning::Incomplete),
        };
    };
    let line = std::str::from_utf8(&looked_at[TEXT.len()..end]);
    let line = line.map_err(|_| ProxyHeaderError::Addresses)?;
    Ok(Beginning::Header {
        len: end + 2,
        source: source_of(line)?,
    })
}

/// Of what stands behind `PROXY `: `TCP4 SOURCE DESTINATION PORT PORT`, the same with TCP6, or UNKNOWN and anything.
fn source_of(line: &str) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut words = line.split(' ');
    let source = match words.next() {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => pair::<Ipv4Addr>(&mut words),
        Some("TCP6") => pair::<Ipv6Addr>(&mut words),
        _ => return Err(ProxyHeaderError::Family),
    };
    let ports = [words.next().and_then(port), words.next().and_then(port)];
    match (source, ports, words.next()) {
        (Some(source), [Some(port), Some(_)], None) => Ok(Some(SocketAddr::new(source, port))),
        _ => Err(ProxyHeaderError::Addresses),
    }
}

/// The first of two addresses.
fn pair<'a, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<IpAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    Some(source.into())
}

/// Digits only: the standard library's would be `+80`, too.
fn port(word: &str) -> Option<u16> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| is_number)
}

fn binary(bytes: &[u8]) -> Result<Beginning, ProxyHeaderError> {
    let Some((head, rest)) = bytes.split_first_chunk::<BINARY_HEAD>() else {
        return Ok(Beginning::Incomplete);
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(ProxyHeaderError::Version);
    }
    if BINARY_HEAD + length > MAX_PROXY_HEADER {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(Beginning::Incomplete);
    };
    let source = match command & 0xf {
        0 => None,
        1 => source_in(family, rest)?,
        _ => return Err(ProxyHeaderError::Command),
    };
    Ok(Beginning::Header {
        len: BINARY_HEAD + length,
        source,
    })
}

/// Both addresses, then both ports. What is behind them is not needed.
fn source_in(family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    const UNSPECIFIED: u8 = 0x00;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    const UNIX_STREAM: u8 = 0x31;
    let (ip, port) = match family {
        UNSPECIFIED | UNIX_STREAM => return Ok(None),
        TCP_OVER_IPV4 => {
            let addresses: &[u8; 12] = first(rest)?;
            let [a, b, c, d, ..] = *addresses;
            (IpAddr::from([a, b, c, d]), [addresses[8], addresses[9]])
        }
        TCP_OVER_IPV6 => {
            let addresses: &[u8; 36] = first(rest)?;
            let source: &[u8; 16] = first(addresses)?;
            (IpAddr::from(*source), [addresses[32], addresses[33]])
        }
        _ => return Err(ProxyHeaderError::Family),
    };
    Ok(Some(SocketAddr::new(ip, u16::from_be_bytes(port))))
}

fn first<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], ProxyHeaderError> {
    bytes.first_chunk().ok_or(ProxyHeaderError::Addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(header: &[u8]) -> Option<SocketAddr> {
        match Beginning::of(header) {
            Ok(Beginning::Header { len, source }) if len == header.len() => source,
            other => panic!("{other:?}"),
        }
    }

    /// Version 2, as a proxy writes it.
    fn written(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = BINARY.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    #[test]
    fn headers_of_both_versions() {
        let source = |header: &[u8]| source(header).map(|source| source.to_string());
        let some = |text: &str| Some(text.to_owned());
        let text = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        assert_eq!(source(text), some("192.168.0.1:56324"));
        let text = b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n";
        assert_eq!(source(text), some("[2001:db8::1]:65535"));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(
            source(b"PROXY UNKNOWN ffff::1 ffff::2 1 2 and so on\r\n"),
            None
        );

        let v4 = [10, 1, 2, 3, 10, 0, 0, 1, 0x30, 0x39, 0x2a, 0x9f];
        assert_eq!(source(&written(1, 0x11, &v4)), some("10.1.2.3:12345"));
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[33]) = (0xfd, 7, 80);
        assert_eq!(source(&written(1, 0x21, &v6)), some("[fd00::7]:80"));
        // With more behind the addresses.
        let with_more = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
        assert_eq!(
            source(&written(1, 0x11, &with_more)),
            some("10.1.2.3:12345")
        );
        // A proxy that looks whether the port is there.
        assert_eq!(source(&written(0, 0x00, &[])), None);
        assert_eq!(source(&written(0, 0x11, &v4)), None);
        // No address of a network.
        assert_eq!(source(&written(1, 0x00, &[])), None);
        assert_eq!(source(&written(1, 0x31, &[0; 216])), None);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        use ProxyHeaderError::*;
        for (line, error) in [
            ("TCP4 1.2.3.4 5.6.7.8 1", Addresses),
            ("TCP4 1.2.3.4 5.6.7.8 1 2 3", Addresses),
            ("TCP4 1.2.3.4 5.6.7.8 1 65536", Addresses),
            ("TCP4 1.2.3.4 5.6.7.8 +1 2", Addresses),
            ("TCP4 1.2.3.4 5.6.7.8  1 2", Addresses),
            ("TCP4 ::1 ::1 1 2", Addresses),
            ("TCP6 1.2.3.4 5.6.7.8 1 2", Addresses),
            ("TCP4 localhost 5.6.7.8 1 2", Addresses),
            ("UDP4 1.2.3.4 5.6.7.8 1 2", Family),
            ("", Family),
        ] {
            let header = format!("PROXY {line}\r\n");
            assert_eq!(Beginning::of(header.as_bytes()), Err(error), "{line}");
        }
        let v4 = [0; 12];
        for (header, error) in [
            (written(0x12, 0x11, &v4), Version),
            (written(2, 0x11, &v4), Command),
            (written(1, 0x12, &v4), Family),
            (written(1, 0x41, &v4), Family),
            (written(1, 0x11, &v4[..11]), Addresses),
            (written(1, 0x21, &[0; 35]), Addresses),
            (written(1, 0x11, &[0; MAX_PROXY_HEADER]), TooLong),
        ] {
            assert_eq!(Beginning::of(&header), Err(error));
        }
        let endless = [TEXT, &[b'x'; MAX_TEXT]].concat();
        assert_eq!(Beginning::of(&endless), Err(TooLong));
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert!(longest.len() < MAX_TEXT && source(longest.as_bytes()).is_some());
    }

    #[test]
    fn a_frame_a_record_of_tls_and_a_page_are_no_header() {
        for bytes in [
            &[0, 0, 1, 0, 0, 0][..],
            &[0x16, 3, 1, 0, 0],
            b"POST / HTTP/1.1\r\n",
            b"\r\n\r\n",
            b"",
        ] {
            let is_part = b"\r\n\r\n" == bytes;
            let expected = match is_part || bytes.is_empty() {
                true => Beginning::Incomplete,
                false => Beginning::Other,
            };
            assert_eq!(Beginning::of(bytes), Ok(expected));
            assert_eq!(Beginning::is_header(bytes), is_part);
        }
    }

    /// A header of either version with any addresses, and its source.
    fn any_header() -> impl Strategy<Value = (Vec<u8>, SocketAddr)> {
        let rest = prop::collection::vec(any::<u8>(), 0..300);
        (any::<SocketAddr>(), any::<[u8; 16]>(), any::<bool>(), rest).prop_map(
            |(source, other, is_text, more)| {
                // Without what only this machine knows of an address.
                let source = SocketAddr::new(source.ip(), source.port());
                let v6 = source.is_ipv6();
                let destination = match v6 {
                    true => IpAddr::from(other),
                    false => IpAddr::from([other[0], other[1], other[2], other[3]]),
                };
                let (ip, port) = (source.ip(), source.port());
                if is_text {
                    let family = if v6 { "TCP6" } else { "TCP4" };
                    let line = format!("PROXY {family} {ip} {destination} {port} 9\r\n");
                    return (line.into_bytes(), source);
                }
                let mut rest = Vec::new();
                for ip in [ip, destination] {
                    match ip {
                        IpAddr::V4(ip) => rest.extend(ip.octets()),
                        IpAddr::V6(ip) => rest.extend(ip.octets()),
                    }
                }
                rest.extend(port.to_be_bytes());
                rest.extend([0, 9]);
                rest.extend(more);
                let family = if v6 { 0x21 } else { 0x11 };
                (written(1, family, &rest), source)
            },
        )
    }

    proptest! {
        /// Whatever comes behind it, and in whatever pieces: incomplete until it is whole, and then as long as it is.
        #[test]
        fn what_a_proxy_writes_is_read((header, source) in any_header(), behind: Vec<u8>) {
            let expected = Beginning::Header { len: header.len(), source: Some(source) };
            let whole = [&header[..], &behind].concat();
            prop_assert_eq!(Beginning::of(&whole), Ok(expected));
            for len in 0..header.len() {
                prop_assert_eq!(Beginning::of(&header[..len]), Ok(Beginning::Incomplete));
                prop_assert_eq!(Beginning::is_header(&header[..len]), len > 0);
            }
        }

        /// What has been decided stays, and no more bytes than a header may have are waited for.
        #[test]
        fn more_bytes_change_no_decision(
            (mut header, _) in any_header(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            behind in prop::collection::vec(any::<u8>(), MAX_PROXY_HEADER),
        ) {
            for (at, byte) in changes {
                let at = at.index(header.len());
                header[at] = byte;
            }
            let whole = [header, behind].concat();
            let mut decided = None;
            for len in 0..whole.len() {
                let now = Beginning::of(&whole[..len]);
                match decided {
                    None if now == Ok(Beginning::Incomplete) => {}
                    None => decided = Some(now),
                    Some(before) => prop_assert_eq!(before, now),
                }
            }
            prop_assert!(decided.is_some());
        }
    }
}
