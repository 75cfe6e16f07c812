//! The accounts of ACL 1: `plain_acl.yml`, which RocketMQ had up to 5.3.2.
//!
//! What this model does not have is refused with a reason and not left out: an address that needs no signature, or an administrator with limits. Scalars are taken as they are
//! written: YAML would make a number of the secret `00123456`.

use saphyr::{Yaml, YamlLoader};
use saphyr_parser::Parser;

use super::accounts::{User, UserStatus, UserType};
use super::policy::{Acl, Entry, PolicyType};
use super::resource::{Actions, Kind, Pattern, Resource};
use super::secret::Secret;
use crate::message::names;

/// The accounts of a file.
#[derive(Debug, Default)]
pub struct PlainAcl(Vec<Account>);

#[derive(Debug)]
pub struct Account {
    pub name: String,
    pub user: User,
    pub acl: Acl,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlainAclError {
    #[error("it is no YAML: {0}")]
    Yaml(String),
    #[error("{0} is not what it should be")]
    Shape(&'static str),
    #[error(
        "globalWhiteRemoteAddresses has entries: there are no addresses here whose requests need no signature. Remove them"
    )]
    GlobalWhiteAddresses,
    #[error(
        "account {0}: whiteRemoteAddress is set: there are no addresses here whose requests need no signature. Remove it"
    )]
    WhiteAddress(String),
    #[error(
        "account {0}: an admin with permissions of its own. A super user has no limits: remove one of the two"
    )]
    LimitedAdmin(String),
    #[error("account {account}: {what} cannot be {got:?}")]
    Permission {
        account: String,
        what: &'static str,
        got: String,
    },
    #[error(
        "account {account}: {what} has {got:?}: it has to be a name without *, as ACL 1 has no patterns"
    )]
    Name {
        account: String,
        what: &'static str,
        got: String,
    },
    #[error("account {0}: an accessKey and a secretKey have more than 6 characters each")]
    TooShort(String),
}

impl PlainAcl {
    pub fn parse(text: &str) -> Result<Self, PlainAclError> {
        let yaml = |error: &dyn std::fmt::Display| PlainAclError::Yaml(error.to_string());
        let mut loader = YamlLoader::<Yaml<'_>>::default();
        loader.early_parse(false);
        let mut parser = Parser::new_from_str(text);
        parser
            .load(&mut loader, true)
            .map_err(|error| yaml(&error))?;
        if let Some(error) = loader.error() {
            return Err(yaml(error));
        }
        let documents = loader.into_documents();
        let Some(all) = documents.first() else {
            return Ok(Self::default());
        };
        let white = list(all, "globalWhiteRemoteAddresses")?;
        if white
            .iter()
            .any(|address| !text_of(address).is_some_and(str::is_empty))
        {
            return Err(PlainAclError::GlobalWhiteAddresses);
        }
        let accounts = list(all, "accounts")?.iter().map(account);
        Ok(Self(accounts.collect::<Result<_, _>>()?))
    }

    pub fn accounts(&self) -> &[Account] {
        &self.0
    }
}

fn account(yaml: &Yaml<'_>) -> Result<Account, PlainAclError> {
    let text = |name: &'static str| scalar(yaml, name);
    let name = text("accessKey")?.ok_or(PlainAclError::Shape("accessKey"))?;
    let secret = text("secretKey")?.ok_or(PlainAclError::Shape("secretKey"))?;
    if name.chars().count() <= 6 || secret.chars().count() <= 6 {
        return Err(PlainAclError::TooShort(name.into()));
    }
    if text("whiteRemoteAddress")?.is_some_and(|address| !address.trim().is_empty()) {
        return Err(PlainAclError::WhiteAddress(name.into()));
    }
    let is_admin = match text("admin")? {
        None => false,
        Some(value) if value.eq_ignore_ascii_case("true") => true,
        Some(value) if value.eq_ignore_ascii_case("false") || value.is_empty() => false,
        Some(_) => return Err(PlainAclError::Shape("admin")),
    };
    let acl = permissions(yaml, name)?;
    if is_admin && acl.entries() > 0 {
        return Err(PlainAclError::LimitedAdmin(name.into()));
    }
    Ok(Account {
        name: name.into(),
        user: User {
            secret: Secret::new(secret),
            kind: if is_admin {
                UserType::Super
            } else {
                UserType::Normal
            },
            status: UserStatus::Enable,
        },
        acl,
    })
}

fn permissions(yaml: &Yaml<'_>, account: &str) -> Result<Acl, PlainAclError> {
    let mut acl = Acl::default();
    let rows = [
        (Kind::Topic, "topicPerms", "defaultTopicPerm"),
        (Kind::Group, "groupPerms", "defaultGroupPerm"),
    ];
    for (kind, list_name, default_name) in rows {
        let wrong = |what, got: &str| PlainAclError::Permission {
            account: account.into(),
            what,
            got: got.into(),
        };
        for row in list(yaml, list_name)? {
            let text = text_of(row).ok_or(PlainAclError::Shape(list_name))?;
            let (name, perm) = text.split_once('=').ok_or_else(|| wrong(list_name, text))?;
            let (name, perm) = (name.trim(), perm.trim());
            let (actions, allows) = permission(perm).ok_or_else(|| wrong(list_name, text))?;
            let resource = literal(kind, name).ok_or_else(|| PlainAclError::Name {
                account: account.into(),
                what: list_name,
                got: text.into(),
            })?;
            acl.put(PolicyType::Custom, Entry::new(resource, actions, allows));
        }
        if let Some(perm) = scalar(yaml, default_name)?.filter(|perm| !perm.is_empty()) {
            let (actions, allows) = permission(perm).ok_or_else(|| wrong(default_name, perm))?;
            let resource = Resource::Of(kind, Pattern::Any);
            acl.put(PolicyType::Default, Entry::new(resource, actions, allows));
        }
    }
    Ok(acl)
}

/// As it will be read from the file of users. ACL 1 takes a star for a part of the name, and here it would be a pattern. A retry topic is its group's, as in ACL 1.
fn literal(kind: Kind, name: &str) -> Option<Resource> {
    let kind = names::retry_group(name).map_or(kind, |_| Kind::Group);
    let resource = Resource::parse(&format!("{}:{name}", kind.name()));
    resource.filter(|resource| matches!(resource, Resource::Of(_, Pattern::Literal(_))))
}

/// RocketMQ takes every other word for DENY.
fn permission(text: &str) -> Option<(Actions, bool)> {
    Some(match text {
        "PUB" => (Actions::PUB, true),
        "SUB" => (Actions::SUB, true),
        "PUB|SUB" | "SUB|PUB" => (Actions::PUB.or(Actions::SUB), true),
        "DENY" => (Actions::ALL, false),
        _ => return None,
    })
}

fn member<'y>(yaml: &'y Yaml<'_>, name: &str) -> Option<&'y Yaml<'y>> {
    let Yaml::Mapping(members) = yaml else {
        return None;
    };
    let mut found = members.iter().filter(|(key, _)| text_of(key) == Some(name));
    found.next().map(|(_, value)| value)
}

/// A list may be missing, or be nothing.
fn list<'y>(yaml: &'y Yaml<'_>, name: &'static str) -> Result<&'y [Yaml<'y>], PlainAclError> {
    match member(yaml, name) {
        None => Ok(&[]),
        Some(Yaml::Sequence(all)) => Ok(all),
        Some(other) if text_of(other).is_some_and(is_nothing) => Ok(&[]),
        Some(_) => Err(PlainAclError::Shape(name)),
    }
}

fn scalar<'y>(yaml: &'y Yaml<'_>, name: &'static str) -> Result<Option<&'y str>, PlainAclError> {
    match member(yaml, name) {
        None => Ok(None),
        Some(value) => text_of(value).map(Some).ok_or(PlainAclError::Shape(name)),
    }
}

fn text_of<'y>(yaml: &'y Yaml<'_>) -> Option<&'y str> {
    match yaml {
        Yaml::Representation(text, ..) => Some(text),
        _ => None,
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}
