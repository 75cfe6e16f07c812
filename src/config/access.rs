//! Settings of authentication and authorization: how they are read and shown.

use crate::auth::{CodeSet, Credentials, Source};

use super::rule::Rule;

/// Text of a setting that names a file with the value.
const FILE: &str = "file:";

/// The value of `initAuthenticationUser`.
pub struct UserCredentials;

/// The value of `innerClientAuthenticationCredentials`.
pub struct InnerCredentials;

impl Rule<Option<Credentials>> for UserCredentials {
    fn read(&self, text: &str) -> Result<Option<Credentials>, String> {
        read(text, ["username", "password"])
    }

    fn show(&self, value: &Option<Credentials>) -> String {
        show(value, ["username", "password"])
    }
}

impl Rule<Option<Credentials>> for InnerCredentials {
    fn read(&self, text: &str) -> Result<Option<Credentials>, String> {
        read(text, ["accessKey", "secretKey"])
    }

    fn show(&self, value: &Option<Credentials>) -> String {
        show(value, ["accessKey", "secretKey"])
    }
}

fn read(text: &str, [name, secret]: [&str; 2]) -> Result<Option<Credentials>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let allowed =
        || format!(r#"{{"{name}":"...","{secret}":"..."}}, or file:PATH of a file with it"#);
    let from_file = match text.strip_prefix(FILE) {
        None => None,
        Some(path) => {
            let read = std::fs::read_to_string(path);
            Some(read.map_err(|error| format!("{}; {path}: {error}", allowed()))?)
        }
    };
    let text = from_file.as_deref().unwrap_or(text).trim();
    let credentials = Credentials::from_json(text, name, secret);
    credentials.map(Some).ok_or_else(allowed)
}

/// Without the secret: it is in the answers to requests, and in what is printed.
fn show(value: &Option<Credentials>, [name, secret]: [&str; 2]) -> String {
    let shown = value
        .as_ref()
        .map(|value| value.to_masked_json(name, secret));
    shown.unwrap_or_default()
}

/// Request codes between commas.
pub struct CodeList;

impl Rule<CodeSet> for CodeList {
    fn read(&self, text: &str) -> Result<CodeSet, String> {
        CodeSet::parse(text).ok_or_else(|| "request codes between commas, as 105,34".into())
    }

    fn show(&self, value: &CodeSet) -> String {
        value.show()
    }
}

/// Addresses and blocks of them, between commas.
pub struct Sources;

impl Rule<Vec<Source>> for Sources {
    fn read(&self, text: &str) -> Result<Vec<Source>, String> {
        let words = text.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty());
        let sources: Option<Vec<_>> = words.map(Source::parse).collect();
        sources.ok_or_else(|| "addresses and blocks between commas, as 127.0.0.1,10.0.0.0/8".into())
    }

    fn show(&self, value: &Vec<Source>) -> String {
        let words: Vec<_> = value.iter().map(Source::to_string).collect();
        words.join(",")
    }
}

/// What a name server checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesrvAuth {
    Off,
    /// What changes something: registrations, settings, keys and values.
    Registrations,
    /// Routes and lists as well.
    All,
}

pub struct NamesrvAuthName;

impl Rule<Option<NamesrvAuth>> for NamesrvAuthName {
    fn read(&self, text: &str) -> Result<Option<NamesrvAuth>, String> {
        Ok(Some(match text {
            "" => return Ok(None),
            "off" => NamesrvAuth::Off,
            "registrations" => NamesrvAuth::Registrations,
            "all" => NamesrvAuth::All,
            _ => return Err("off, registrations or all, or nothing".into()),
        }))
    }

    fn show(&self, value: &Option<NamesrvAuth>) -> String {
        match value {
            None => "",
            Some(NamesrvAuth::Off) => "off",
            Some(NamesrvAuth::Registrations) => "registrations",
            Some(NamesrvAuth::All) => "all",
        }
        .into()
    }
}
