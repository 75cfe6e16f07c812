//! Certificates and keys out of PEM text.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::{Decode, SecretDocument};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::SecurityError;

/// The PEM label of a PKCS#8 key with a password.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A line of older keys with a password, which are another format.
const ENCRYPTED_BEFORE_PKCS_8: &str = "Proc-Type: 4,ENCRYPTED";

/// Text of a file, with its name for errors.
#[derive(Clone, Default)]
pub struct PemFile {
    pub path: String,
    pub text: Zeroizing<Vec<u8>>,
}

impl PemFile {
    fn error(&self, what: impl Into<String>) -> SecurityError {
        SecurityError::File {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    /// One at least: the leaf first, then those up to the one that is trusted.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        let read = read.map_err(|error| self.error(format!("is no PEM text: {error}")))?;
        match read.is_empty() {
            true => Err(self.error("has no certificate (BEGIN CERTIFICATE)")),
            false => Ok(read),
        }
    }

    /// Those whose signatures are believed.
    pub fn roots(&self) -> Result<RootCertStore, SecurityError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            let added = roots.add(certificate);
            added.map_err(|error| {
                self.error(format!(
                    "has a certificate that cannot be trusted as a root: {error}"
                ))
            })?;
        }
        Ok(roots)
    }

    /// PKCS#8, with a password or without, PKCS#1 or SEC1.
    pub fn key(&self, password: Option<&str>) -> Result<PrivateKeyDer<'static>, SecurityError> {
        let text = str::from_utf8(&self.text).map_err(|_| self.error("is no PEM text"))?;
        if text.contains(ENCRYPTED) {
            let password = password.filter(|password| !password.is_empty());
            let password = password.ok_or_else(|| {
                self.error("has a key with a password, and there is no keyPassword")
            })?;
            return self.encrypted_key(text, password);
        }
        if text.contains(ENCRYPTED_BEFORE_PKCS_8) {
            return Err(self.error(
                "has a key with a password in the format before PKCS#8; `openssl pkcs8 -topk8` converts it",
            ));
        }
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| {
            self.error(format!(
                "has no private key (BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY): {error}"
            ))
        })
    }

    fn encrypted_key(
        &self,
        text: &str,
        password: &str,
    ) -> Result<PrivateKeyDer<'static>, SecurityError> {
        let begin = text.find(&format!("-----BEGIN {ENCRYPTED}")).unwrap_or(0);
        let end_line = format!("-----END {ENCRYPTED}-----");
        let end = text
            .find(&end_line)
            .map_or(text.len(), |at| at + end_line.len());
        let wrong = |error: &dyn std::fmt::Display| {
            self.error(format!(
                "has a key that cannot be decrypted (PBES2 with PBKDF2 or scrypt and AES is supported, as `openssl pkcs8 -topk8` of OpenSSL 1.1 and later writes it): {error}"
            ))
        };
        let (_, document) =
            SecretDocument::from_pem(&text[begin..end]).map_err(|error| wrong(&error))?;
        let key = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes());
        let key = key.map_err(|error| wrong(&error))?;
        let key = key.decrypt(password).map_err(|error| wrong(&error))?;
        Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
    }
}
