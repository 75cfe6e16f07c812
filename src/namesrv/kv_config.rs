//! Values by namespace and key that administrators keep at the name server (`mqadmin updateKvConfig`, ordered topics).
//!
//! Kept as RocketMQ's `kvConfig.json`: `{"configTable":{"namespace":{"key":"value"}}}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where `mqadmin updateOrderConf` keeps the queues of ordered topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

pub type Table = BTreeMap<String, String>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvConfig {
    #[serde(default)]
    config_table: BTreeMap<String, Table>,
}

impl KvConfig {
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings by strings are always JSON")
    }

    pub fn put(&mut self, namespace: &str, key: &str, value: &str) {
        self.config_table
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
    }

    pub fn find(&self, namespace: &str, key: &str) -> Option<&str> {
        self.config_table
            .get(namespace)?
            .get(key)
            .map(String::as_str)
    }

    /// An emptied namespace stays, as in RocketMQ: its list is empty then, not missing.
    pub fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(table) = self.config_table.get_mut(namespace) {
            table.remove(key);
        }
    }

    pub fn list(&self, namespace: &str) -> Option<&Table> {
        self.config_table.get(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_and_go() {
        let mut kv = KvConfig::default();
        assert_eq!((kv.find("N", "k"), kv.list("N")), (None, None));
        kv.put("N", "k", "v");
        kv.put("N", "k", "w");
        assert_eq!(kv.find("N", "k"), Some("w"));
        kv.delete("N", "k");
        kv.delete("M", "k");
        assert_eq!(
            (kv.find("N", "k"), kv.list("N")),
            (None, Some(&Table::new()))
        );
    }

    #[test]
    fn the_file_is_rocketmqs() {
        let text = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#;
        let kv = KvConfig::from_json(text).unwrap();
        assert_eq!(kv.find(ORDER_TOPIC_CONFIG, "T"), Some("broker-a:4"));
        assert_eq!(kv.to_json(), text);
        assert!(
            KvConfig::from_json("{}").is_ok() && KvConfig::from_json("{\"configTable\":").is_err()
        );
    }
}
