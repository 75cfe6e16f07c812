//! Users and access control lists of a broker: 3001 to 3010.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::request::header_fields;

/// The field with the name of the user that asks.
pub const ACCESS_KEY: &str = "AccessKey";

/// Fields of a signed request that say who asks: they are for nobody but who is asked.
pub const OF_SIGNATURE: [&str; 3] = [ACCESS_KEY, "Signature", "SecurityToken"];

header_fields! {
    /// AUTH_CREATE_USER (3001), AUTH_UPDATE_USER (3002), AUTH_DELETE_USER (3003), AUTH_GET_USER (3004)
    pub struct OfUser<'a> {
        "username" => username: Option<&'a str>,
    }
}

header_fields! {
    /// AUTH_LIST_USER (3005)
    pub struct ListUsers<'a> {
        "filter" => filter: Option<&'a str>,
    }
}

header_fields! {
    /// AUTH_CREATE_ACL (3006), AUTH_UPDATE_ACL (3007), AUTH_DELETE_ACL (3008), AUTH_GET_ACL (3009). The last two fields are those of 3008.
    pub struct OfSubject<'a> {
        /// `User:name`
        "subject" => subject: Option<&'a str>,
        "policyType" => policy_type: Option<&'a str>,
        "resource" => resource: Option<&'a str>,
    }
}

header_fields! {
    /// AUTH_LIST_ACL (3010)
    pub struct ListAcls<'a> {
        "subjectFilter" => subject_filter: Option<&'a str>,
        "resourceFilter" => resource_filter: Option<&'a str>,
    }
}

/// The body of 3001 and 3002, the reply's of 3004, and a member of the reply's of 3005. It shows no password in a dump, and overwrites it when it is dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// The body of 3006 and 3007, the reply's of 3009, and a member of the reply's of 3010.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclInfo {
    pub policies: Vec<PolicyInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    pub entries: Vec<PolicyEntryInfo>,
    /// Custom or Default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntryInfo {
    pub actions: Vec<String>,
    /// Allow or Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ips: Option<Vec<String>>,
}

impl Drop for UserInfo {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl std::fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserInfo")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
