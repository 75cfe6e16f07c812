//! Versions and cipher suites, as `tls.protocols` and `tls.ciphers` name them.

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use super::SecurityError;

/// Names between commas. None: all that rustls has, which are all good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    pub versions: String,
    pub ciphers: String,
}

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];

impl Protocols {
    pub fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, SecurityError> {
        let find = |name: &str| VERSIONS.iter().find(|(known, _)| *known == name);
        let named = chosen(&self.versions, find).ok_or_else(|| SecurityError::Name {
            setting: "tls.protocols",
            allowed: VERSIONS.map(|(name, _)| name).join(", "),
        })?;
        Ok(match named.is_empty() {
            true => VERSIONS.map(|(_, version)| version).to_vec(),
            false => named.into_iter().map(|(_, version)| *version).collect(),
        })
    }

    pub fn provider(&self) -> Result<CryptoProvider, SecurityError> {
        let mut provider = ring::default_provider();
        let all = std::mem::take(&mut provider.cipher_suites);
        let find = |name: &str| all.iter().find(|suite| iana_name(suite) == name);
        let named = chosen(&self.ciphers, find).ok_or_else(|| SecurityError::Name {
            setting: "tls.ciphers",
            allowed: all.iter().map(iana_name).collect::<Vec<_>>().join(", "),
        })?;
        provider.cipher_suites = match named.is_empty() {
            true => all,
            false => named.into_iter().copied().collect(),
        };
        Ok(provider)
    }
}

/// `None`: one of the names is not known.
fn chosen<T>(names: &str, find: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let names = names.split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(find).collect()
}

/// rustls has the version in all of its names.
fn iana_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(versions: &str, ciphers: &str) -> Protocols {
        Protocols {
            versions: versions.into(),
            ciphers: ciphers.into(),
        }
    }

    #[test]
    fn names_of_java() {
        let all = of("", "");
        assert_eq!(all.versions().unwrap().len(), 2);
        assert!(all.provider().unwrap().cipher_suites.len() > 5);
        let some = of(
            "TLSv1.2",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256",
        );
        assert_eq!(some.versions().unwrap(), [&version::TLS12]);
        assert_eq!(some.provider().unwrap().cipher_suites.len(), 2);
        let old = of("TLSv1.1,TLSv1.2", "TLS_RSA_WITH_AES_128_CBC_SHA");
        let error = old.versions().unwrap_err().to_string();
        assert!(error.contains("tls.protocols") && error.contains("TLSv1.3"));
        let error = old.provider().unwrap_err().to_string();
        assert!(error.contains("TLS_AES_256_GCM_SHA384"), "{error}");
    }
}
