//! Settings of TLS: how they are read and shown.

use std::path::PathBuf;

use super::rule::Rule;
use crate::auth::{MASK, Secret};

/// What the ports for the remoting protocol take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disabled,
    /// TLS and plain text.
    Permissive,
    /// TLS only.
    Enforcing,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsClientAuth {
    None,
    Optional,
    Require,
}

pub struct TlsModeName;

impl Rule<TlsMode> for TlsModeName {
    fn read(&self, text: &str) -> Result<TlsMode, String> {
        match text {
            "disabled" => Ok(TlsMode::Disabled),
            "permissive" => Ok(TlsMode::Permissive),
            "enforcing" => Ok(TlsMode::Enforcing),
            _ => Err("disabled, permissive or enforcing".into()),
        }
    }

    fn show(&self, value: &TlsMode) -> String {
        match value {
            TlsMode::Disabled => "disabled",
            TlsMode::Permissive => "permissive",
            TlsMode::Enforcing => "enforcing",
        }
        .into()
    }
}

pub struct TlsClientAuthName;

impl Rule<TlsClientAuth> for TlsClientAuthName {
    fn read(&self, text: &str) -> Result<TlsClientAuth, String> {
        match text {
            "none" => Ok(TlsClientAuth::None),
            "optional" => Ok(TlsClientAuth::Optional),
            "require" => Ok(TlsClientAuth::Require),
            _ => Err("none, optional or require".into()),
        }
    }

    fn show(&self, value: &TlsClientAuth) -> String {
        match value {
            TlsClientAuth::None => "none",
            TlsClientAuth::Optional => "optional",
            TlsClientAuth::Require => "require",
        }
        .into()
    }
}

/// The path of a file, or nothing.
pub struct FilePath;

impl Rule<Option<PathBuf>> for FilePath {
    fn read(&self, text: &str) -> Result<Option<PathBuf>, String> {
        match text.contains('\0') {
            true => Err("a file, or nothing".into()),
            false => Ok(Some(text)
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        let shown = value.as_ref().map(|path| path.display().to_string());
        shown.unwrap_or_default()
    }
}

/// The password of a key, which is shown to nobody.
pub struct Password;

impl Rule<Option<Secret>> for Password {
    fn read(&self, text: &str) -> Result<Option<Secret>, String> {
        const ALLOWED: &str = "a password, or file:PATH of a file with it, or nothing";
        if text.contains('\0') {
            return Err(ALLOWED.into());
        }
        let from_file = |path: &str| {
            let read = std::fs::read_to_string(path).map(Secret::new);
            read.map_err(|error| format!("{ALLOWED}; {path}: {error}"))
        };
        let secret = match text.strip_prefix("file:") {
            None => Secret::new(text),
            Some(path) => Secret::new(from_file(path)?.reveal().trim_end_matches(['\r', '\n'])),
        };
        Ok(Some(secret).filter(|secret| !secret.is_empty()))
    }

    fn show(&self, value: &Option<Secret>) -> String {
        value.as_ref().map_or(String::new(), |_| MASK.into())
    }
}

/// Names between commas, which what makes the connections checks.
pub struct NameList;

impl Rule<String> for NameList {
    fn read(&self, text: &str) -> Result<String, String> {
        match text.contains('\0') {
            true => Err("names between commas, or nothing".into()),
            false => Ok(text.to_owned()),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}
