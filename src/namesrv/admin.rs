//! What administrators do: permissions, deletions, key-value configuration, settings.

use super::reply::{Refused, Reply, required};
use super::settings::UpdateError;
use super::{Effect, NameServer, bodies};
use crate::wire::codes::response;
use crate::wire::header::Header;

impl NameServer {
    pub(super) fn delete_topic(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        let cluster = header
            .ext
            .find("clusterName")
            .filter(|cluster| !cluster.is_empty());
        self.routes
            .delete_topic(required(&header.ext, "topic")?, cluster);
        Ok(Reply::success())
    }

    pub(super) fn wipe_write_perm(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        let count = self
            .routes
            .wipe_write_perm(required(&header.ext, "brokerName")?);
        Ok(Reply::success().with("wipeTopicCount", count))
    }

    pub(super) fn add_write_perm(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        let count = self
            .routes
            .add_write_perm(required(&header.ext, "brokerName")?);
        Ok(Reply::success().with("addTopicCount", count))
    }

    pub(super) fn put_kv(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        let ext = &header.ext;
        self.kv.put(
            required(ext, "namespace")?,
            required(ext, "key")?,
            required(ext, "value")?,
        );
        self.effects.push(Effect::SaveKvConfig(self.kv.to_json()));
        Ok(Reply::success())
    }

    pub(super) fn find_kv(&self, header: &Header<'_>) -> Result<Reply, Refused> {
        let namespace = required(&header.ext, "namespace")?;
        let key = required(&header.ext, "key")?;
        let value = self.kv.find(namespace, key).ok_or_else(|| {
            let remark = format!("No config item, Namespace: {namespace} Key: {key}");
            Refused::new(response::QUERY_NOT_FOUND, remark)
        })?;
        Ok(Reply::success().with("value", value))
    }

    pub(super) fn delete_kv(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        self.kv.delete(
            required(&header.ext, "namespace")?,
            required(&header.ext, "key")?,
        );
        self.effects.push(Effect::SaveKvConfig(self.kv.to_json()));
        Ok(Reply::success())
    }

    pub(super) fn list_kv(&self, header: &Header<'_>) -> Result<Reply, Refused> {
        let namespace = required(&header.ext, "namespace")?;
        let table = self.kv.list(namespace).ok_or_else(|| {
            Refused::new(
                response::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            )
        })?;
        Ok(Reply::success().with_body(bodies::kv_table(table)))
    }

    pub(super) fn update_settings(&mut self, body: &[u8]) -> Result<Reply, Refused> {
        self.settings
            .update(&String::from_utf8_lossy(body))
            .map_err(|error| match error {
                UpdateError::Forbidden => Refused::new(
                    response::NO_PERMISSION,
                    "Can not update config in black list.",
                ),
                UpdateError::Value { property, value } => {
                    Refused::error(format!("{property}={value}: allowed is true or false"))
                }
            })?;
        self.effects
            .push(Effect::SaveSettings(self.settings.properties_text()));
        Ok(Reply::success())
    }

    pub(super) fn show_settings(&self) -> Reply {
        Reply::success().with_body(self.settings.properties_text())
    }
}
