//! Values by namespace and key that administrators keep at the name server (`mqadmin updateKvConfig`, ordered topics).
//!
//! Kept as RocketMQ's `kvConfig.json`: `{"configTable":{"namespace":{"key":"value"}}}`.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Deserialize;

use crate::wire::loose_json;

/// Where `mqadmin updateOrderConf` keeps the queues of ordered topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Keys that are written in one turn.
pub const KEYS_PER_TURN: usize = 256;

pub type Table = BTreeMap<String, String>;

/// The text of the file in the making.
#[derive(Debug)]
pub struct KvText {
    out: Vec<u8>,
    /// The namespace that is being written, and the last key of it that is.
    at: Option<(String, Option<String>)>,
}

impl KvText {
    pub fn into_string(self) -> String {
        String::from_utf8(self.out).expect("JSON of texts is a text")
    }

    fn name(&mut self, name: &str, is_first: bool) {
        if !is_first {
            self.out.push(b',');
        }
        loose_json::write(&mut self.out, name);
        self.out.push(b':');
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KvConfig {
    #[serde(default)]
    config_table: BTreeMap<String, Table>,
}

impl KvConfig {
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Begins the text of the file, which [`Self::write_some`] goes on with. What changes meanwhile may be in it or not.
    pub fn begin_text() -> KvText {
        KvText {
            out: br#"{"configTable":{"#.to_vec(),
            at: None,
        }
    }

    /// Writes the next keys; whether there may be more.
    pub fn write_some(&self, text: &mut KvText) -> bool {
        (0..KEYS_PER_TURN).all(|_| self.write_next(text))
    }

    /// A key, or the beginning of a namespace; `false` if there is none.
    fn write_next(&self, text: &mut KvText) -> bool {
        let at = text.at.take();
        if let Some((namespace, last)) = &at {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let keys = self.config_table.get(namespace).into_iter();
            let mut keys = keys.flat_map(|keys| keys.range::<str, _>((from, Bound::Unbounded)));
            if let Some((key, value)) = keys.next() {
                text.name(key, last.is_none());
                loose_json::write(&mut text.out, value);
                text.at = Some((namespace.clone(), Some(key.clone())));
                return true;
            }
            text.out.push(b'}');
        }
        let last = at.as_ref().map(|(namespace, _)| &**namespace);
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut namespaces = self.config_table.range::<str, _>((from, Bound::Unbounded));
        let Some((namespace, _)) = namespaces.next() else {
            text.out.extend_from_slice(b"}}");
            return false;
        };
        text.name(namespace, last.is_none());
        text.out.push(b'{');
        text.at = Some((namespace.clone(), None));
        true
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

    /// With the number of turns.
    fn text_of(kv: &KvConfig) -> (String, usize) {
        let (mut text, mut turns) = (KvConfig::begin_text(), 1);
        while kv.write_some(&mut text) {
            turns += 1;
        }
        (text.into_string(), turns)
    }

    #[test]
    fn many_keys_are_written_in_slices() {
        let mut kv = KvConfig::default();
        for n in 0..2_000 {
            kv.put("N\"", &format!("k{n}"), "a \"value\"");
            kv.put("O", &format!("k{n}"), "");
        }
        kv.put("P", "k", "v");
        kv.delete("P", "k");
        let (text, turns) = text_of(&kv);
        assert_eq!(turns, 4_003 / KEYS_PER_TURN + 1);
        assert_eq!(
            KvConfig::from_json(&text).unwrap().config_table,
            kv.config_table
        );
    }

    #[test]
    fn the_file_is_rocketmqs() {
        let text = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#;
        let kv = KvConfig::from_json(text).unwrap();
        assert_eq!(kv.find(ORDER_TOPIC_CONFIG, "T"), Some("broker-a:4"));
        assert_eq!(text_of(&kv), (text.into(), 1));
        assert_eq!(
            text_of(&KvConfig::default()),
            (r#"{"configTable":{}}"#.into(), 1)
        );
        assert!(
            KvConfig::from_json("{}").is_ok() && KvConfig::from_json("{\"configTable\":").is_err()
        );
    }
}
