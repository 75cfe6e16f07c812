//! A name and its secret, as settings and clients have them.

use serde_json::Value;

use super::secret::{MASK, Secret};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// RocketMQ's access key.
    pub name: String,
    pub secret: Secret,
}

impl Credentials {
    pub fn new(name: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            secret: Secret::new(secret),
        }
    }

    /// A JSON object with these two members. Others are ignored, as by RocketMQ (`securityToken`).
    pub fn from_json(text: &str, name: &str, secret: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let member = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let credentials = Self::new(member(name)?, member(secret)?);
        let is_whole = !credentials.name.trim().is_empty() && !credentials.secret.is_empty();
        is_whole.then_some(credentials)
    }

    /// The same with a mask for the secret.
    pub fn to_masked_json(&self, name: &str, secret: &str) -> String {
        let of_name = Value::from(self.name.as_str());
        format!(r#"{{"{name}":{of_name},"{secret}":"{MASK}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_rocketmqs_settings() {
        let read = |text| Credentials::from_json(text, "accessKey", "secretKey");
        let inner = read(r#"{"accessKey":"a","secretKey":"s","securityToken":"t"}"#).unwrap();
        assert_eq!(inner, Credentials::new("a", "s"));
        assert_eq!(
            inner.to_masked_json("accessKey", "secretKey"),
            r#"{"accessKey":"a","secretKey":"******"}"#
        );
        assert!(!format!("{inner:?}").contains("\"s\""));
        for wrong in [
            "",
            "a",
            "[]",
            r#"{"accessKey":"a"}"#,
            r#"{"accessKey":" ","secretKey":"s"}"#,
            r#"{"accessKey":"a","secretKey":""}"#,
            r#"{"accessKey":"a","secretKey":5}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
