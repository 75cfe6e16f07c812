//! For `#[serde(with = ...)]` on a map whose keys are structs.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;
    let texts = map
        .iter()
        .map(|(key, value)| Ok((serde_json::to_string(key)?, value)));
    let texts: Vec<(String, &V)> = texts
        .collect::<serde_json::Result<_>>()
        .map_err(S::Error::custom)?;
    serializer.collect_map(texts)
}

pub fn deserialize<'de, K: DeserializeOwned + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error> {
    let texts: BTreeMap<String, V> = BTreeMap::deserialize(deserializer)?;
    texts
        .into_iter()
        .map(|(text, value)| {
            Ok((
                super::from_slice(text.as_bytes()).map_err(D::Error::custom)?,
                value,
            ))
        })
        .collect()
}
