//! Certificates of tests, made as they are needed.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use zeroize::Zeroizing;

use crate::tls::PemFile;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: PemFile,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    pub certificate: PemFile,
    pub key: PemFile,
}

pub fn pem(path: &str, text: impl Into<Vec<u8>>) -> PemFile {
    PemFile {
        path: path.into(),
        text: Zeroizing::new(text.into()),
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: pem("ca.pem", certificate.pem()),
            issuer: Issuer::new(params, key),
        }
    }

    /// Good now, for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, 3000)
    }

    pub fn issue_until(&self, names: &[&str], year: i32) -> Identity {
        let names: Vec<_> = names.iter().map(|name| String::from(*name)).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: pem("server.pem", certificate.pem()),
            key: pem("server.key", key.serialize_pem()),
        }
    }
}
