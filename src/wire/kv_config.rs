//! The name server's small store: PUT_KV_CONFIG (100), GET_KV_CONFIG (101), DELETE_KV_CONFIG (102), GET_KVLIST_BY_NAMESPACE (219), whose
//! reply is a [`KvTable`](super::stats::KvTable).

use super::request::header_fields;

header_fields! {
    pub struct PutKv<'a> {
        "namespace" => namespace: &'a str,
        "key" => key: &'a str,
        "value" => value: &'a str,
    }
}

header_fields! {
    /// 101 and 102
    pub struct KvKey<'a> {
        "namespace" => namespace: &'a str,
        "key" => key: &'a str,
    }
}

header_fields! {
    pub struct KvReply<'a> {
        "value" => value: Option<&'a str>,
    }
}

header_fields! {
    pub struct KvNamespace<'a> {
        "namespace" => namespace: &'a str,
    }
}
