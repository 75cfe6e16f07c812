//! What administrators do: permissions, deletions, key-value configuration, settings.

use super::passes::PermChange;
use super::settings::UpdateError;
use super::{Answer, Effect, NameServer};
use crate::wire::Reply;
use crate::wire::codes::{request, response};
use crate::wire::header::Header;
use crate::wire::kv_config::{KvKey, KvNamespace, KvReply, PutKv};
use crate::wire::route::{BrokerNameRequest, DeleteTopicInNamesrv};
use crate::wire::stats::KvTable;

/// `None`: the request is another one.
pub(super) fn perm_change(header: &Header<'_>) -> Option<Result<PermChange, Reply>> {
    let is_given = match header.code {
        request::WIPE_WRITE_PERM_OF_BROKER => false,
        request::ADD_WRITE_PERM_OF_BROKER => true,
        _ => return None,
    };
    let asked = BrokerNameRequest::decode(&header.ext);
    Some(
        asked
            .map(|asked| PermChange::new(asked.broker_name, is_given))
            .map_err(Reply::from),
    )
}

impl NameServer {
    pub(super) fn delete_topic(&mut self, header: &Header<'_>) -> Answer {
        let request = DeleteTopicInNamesrv::decode(&header.ext)?;
        self.routes
            .delete_topic(request.topic, request.cluster_name);
        Ok(Reply::ok())
    }

    pub(super) fn put_kv(&mut self, header: &Header<'_>) -> Answer {
        let PutKv {
            namespace,
            key,
            value,
        } = PutKv::decode(&header.ext)?;
        self.kv.put(namespace, key, value);
        self.effects.push(Effect::SaveKvConfig);
        Ok(Reply::ok())
    }

    pub(super) fn find_kv(&self, header: &Header<'_>) -> Answer {
        let KvKey { namespace, key } = KvKey::decode(&header.ext)?;
        let value = self.kv.find(namespace, key).ok_or_else(|| {
            let remark = format!("No config item, Namespace: {namespace} Key: {key}");
            Reply::refused(response::QUERY_NOT_FOUND, remark)
        })?;
        let reply = KvReply { value: Some(value) };
        Ok(Reply::ok().with_fields(&reply.ext()))
    }

    pub(super) fn delete_kv(&mut self, header: &Header<'_>) -> Answer {
        let KvKey { namespace, key } = KvKey::decode(&header.ext)?;
        self.kv.delete(namespace, key);
        self.effects.push(Effect::SaveKvConfig);
        Ok(Reply::ok())
    }

    pub(super) fn list_kv(&self, header: &Header<'_>) -> Answer {
        let KvNamespace { namespace } = KvNamespace::decode(&header.ext)?;
        let table = self.kv.list(namespace).ok_or_else(|| {
            Reply::refused(
                response::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            )
        })?;
        let table = table.clone();
        Ok(Reply::json(&KvTable { table }))
    }

    pub(super) fn update_settings(&mut self, body: &[u8]) -> Answer {
        self.settings
            .update(&String::from_utf8_lossy(body))
            .map_err(|error| match error {
                UpdateError::Forbidden => Reply::refused(
                    response::NO_PERMISSION,
                    "Can not update config in black list.",
                ),
                UpdateError::Value { property, value } => {
                    Reply::error(format!("{property}={value}: allowed is true or false"))
                }
            })?;
        self.effects
            .push(Effect::SaveSettings(self.settings.properties_text()));
        Ok(Reply::ok())
    }

    pub(super) fn show_settings(&self) -> Reply {
        Reply::ok().with_body(self.settings.shown())
    }
}
