//! The settings of metrics that are pushed to an OpenTelemetry collector, or logged.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::rule::Rule;

/// Milliseconds from one push to the next.
pub const INTERVALS_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;

/// Milliseconds that one request to the collector may take.
pub const TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 1..=600_000;

/// Points in one request to the collector.
pub const BATCH_POINTS: std::ops::RangeInclusive<usize> = 1..=100_000;

const MASK: &str = "******";

/// Where metrics go when nobody asks for them, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub to: PushedTo,
    pub interval: Duration,
    /// Counters and histograms say what was added since the last time, and not since the start.
    pub in_delta: bool,
    /// Points at a time.
    pub batch_points: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedTo {
    Collector {
        address: String,
        headers: Vec<(String, String)>,
        timeout: Duration,
    },
    Log,
}

/// Of a collector that speaks OTLP over gRPC, or nothing. RocketMQ's client of it takes an address without a scheme for https.
pub struct CollectorAddress;

pub(super) const COLLECTOR: &str =
    "http://HOST:PORT of an OpenTelemetry collector, such as http://192.0.2.9:4317";

impl Rule<String> for CollectorAddress {
    fn read(&self, text: &str) -> Result<String, String> {
        let is_plain = |uri: &Uri| {
            uri.scheme_str() == Some("http")
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
        };
        let is_address = text.parse::<Uri>().is_ok_and(|uri| is_plain(&uri));
        match text.is_empty() || is_address {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "{COLLECTOR}; https, which RocketMQ takes an address without http:// for, is not supported"
            )),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// Sent with each request: `name:value` with `,` between them.
pub struct PushHeaders;

impl Rule<Vec<(String, String)>> for PushHeaders {
    fn read(&self, text: &str) -> Result<Vec<(String, String)>, String> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        let headers: Option<Vec<_>> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once(':')?;
                let (name, value) = (name.trim(), value.trim());
                let is_legal = HeaderName::try_from(name).is_ok()
                    && HeaderValue::try_from(value).is_ok_and(|value| value.to_str().is_ok());
                // gRPC's headers with this ending are binary.
                let is_text = !name.to_ascii_lowercase().ends_with("-bin");
                (is_legal && is_text).then(|| (name.to_ascii_lowercase(), value.to_owned()))
            })
            .collect();
        headers.ok_or_else(|| {
            "NAME:VALUE, several with , between them, such as authorization:Bearer abc,tenant:orders".into()
        })
    }

    /// Values may be secrets.
    fn show(&self, value: &Vec<(String, String)>) -> String {
        let pairs = value.iter().map(|(name, _)| format!("{name}:{MASK}"));
        pairs.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_an_address_without_tls() {
        for address in [
            "",
            "http://127.0.0.1:4317",
            "http://otel:4317/",
            "http://[::1]:1",
        ] {
            assert_eq!(CollectorAddress.read(address).as_deref(), Ok(address));
        }
        for other in [
            "otel:4317",
            "https://otel:4317",
            "http://",
            "http://a/v1/metrics",
            "http://a b:1",
        ] {
            let refused = CollectorAddress.read(other).unwrap_err();
            assert!(refused.contains("https"), "{other}");
        }
    }

    #[test]
    fn headers_are_shown_without_their_values() {
        let headers = PushHeaders
            .read("Authorization: Bearer a:b,tenant:orders")
            .unwrap();
        assert_eq!(headers[0], ("authorization".into(), "Bearer a:b".into()));
        assert_eq!(
            PushHeaders.show(&headers),
            "authorization:******,tenant:******"
        );
        assert_eq!(PushHeaders.read(""), Ok(Vec::new()));
        for wrong in ["a", ":b", "a b:c", "x-bin:AA", "a:\u{7f}", "a:é"] {
            assert!(PushHeaders.read(wrong).is_err(), "{wrong}");
        }
    }
}
