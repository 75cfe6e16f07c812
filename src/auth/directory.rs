//! All users and policies of the process, and how they are changed. There is one directory; what the shards ask is made from it.

use std::collections::BTreeMap;

use super::accounts::{MAX_NAME_BYTES, User, UserStatus, UserType};
use super::book::Book;
use super::credentials::Credentials;
use super::plain_acl::PlainAcl;
use super::policy::{Acl, Entry, PolicyType};
use super::resource::Resource;
use super::secret::Secret;

/// Everything that requests can make grow has its limit here, and names theirs with [`MAX_NAME_BYTES`].
pub(super) const MAX_USERS: usize = 65_536;
/// Of the policies of a user.
pub(super) const MAX_ENTRIES: usize = 4_096;
/// Addresses and blocks that an entry is limited to.
pub(super) const MAX_SOURCES: usize = 256;
const MAX_SECRET_BYTES: usize = 255;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    pub(super) users: BTreeMap<String, User>,
    pub(super) acls: BTreeMap<String, Acl>,
}

/// Why a change is refused, in RocketMQ's words where it has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    #[error("username can not be blank")]
    BlankName,
    #[error("password can not be blank")]
    BlankSecret,
    #[error("The user is existed")]
    UserExists,
    #[error("The user is not exist")]
    NoUser,
    #[error("The subject of User:{0} is not exist.")]
    NoSubjectOf(String),
    #[error("The subject is not exist.")]
    NoSubject,
    #[error("The acl is not exist.")]
    NoAcl,
    #[error("{what}: at most {limit}")]
    TooMuch { what: &'static str, limit: usize },
}

/// What changes of a user; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub secret: Option<Secret>,
    pub kind: Option<UserType>,
    pub status: Option<UserStatus>,
}

type Changed = Result<(), DirectoryError>;

impl Directory {
    pub fn users(&self) -> usize {
        self.users.len()
    }

    pub fn find(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    pub fn acl(&self, name: &str) -> Option<&Acl> {
        self.acls.get(name)
    }

    /// For the shards.
    pub fn book(&self) -> Book {
        let users = self.users.iter();
        Book::of(users.map(|(name, user)| (name.as_str(), user, self.acls.get(name))))
    }

    pub fn create_user(&mut self, name: &str, user: User) -> Changed {
        if name.trim().is_empty() {
            return Err(DirectoryError::BlankName);
        }
        if user.secret.is_blank() {
            return Err(DirectoryError::BlankSecret);
        }
        within("bytes of a username", MAX_NAME_BYTES, name.len())?;
        secret_within(&user.secret)?;
        if self.users.contains_key(name) {
            return Err(DirectoryError::UserExists);
        }
        within("users", MAX_USERS, self.users.len() + 1)?;
        self.users.insert(name.into(), user);
        Ok(())
    }

    /// A blank password is none: the old one stays, as at RocketMQ.
    pub fn update_user(&mut self, name: &str, change: UserChange) -> Changed {
        let user = self.users.get_mut(name).ok_or(DirectoryError::NoUser)?;
        if let Some(secret) = change.secret.filter(|secret| !secret.is_blank()) {
            secret_within(&secret)?;
            user.secret = secret;
        }
        user.kind = change.kind.unwrap_or(user.kind);
        user.status = change.status.unwrap_or(user.status);
        Ok(())
    }

    /// With its policies. One that is not there is gone.
    pub fn delete_user(&mut self, name: &str) -> Changed {
        if name.trim().is_empty() {
            return Err(DirectoryError::BlankName);
        }
        self.users.remove(name);
        self.acls.remove(name);
        Ok(())
    }

    /// Each entry takes the place of the one for the same resource.
    pub fn put_acl(&mut self, name: &str, changed: &Acl) -> Changed {
        if !self.users.contains_key(name) {
            return Err(DirectoryError::NoSubjectOf(name.into()));
        }
        let mut acl = self.acls.get(name).cloned().unwrap_or_default();
        for policy in changed.policies() {
            for entry in &policy.entries {
                entry_within(entry)?;
                acl.put(policy.kind, entry.clone());
            }
        }
        within("policy entries of a user", MAX_ENTRIES, acl.entries())?;
        self.acls.insert(name.into(), acl);
        Ok(())
    }

    /// Of one resource, or of all.
    pub fn delete_acl(
        &mut self,
        name: &str,
        kind: PolicyType,
        resource: Option<&Resource>,
    ) -> Changed {
        if !self.users.contains_key(name) {
            return Err(DirectoryError::NoSubject);
        }
        let acl = self.acls.get_mut(name).ok_or(DirectoryError::NoAcl)?;
        let is_left = resource.is_some_and(|resource| acl.remove(kind, resource));
        if !is_left {
            self.acls.remove(name);
        }
        Ok(())
    }

    /// A super user that the settings name, if there is no user of that name.
    pub fn ensure_super(&mut self, credentials: &Credentials) -> Changed {
        let user = User {
            secret: credentials.secret.clone(),
            kind: UserType::Super,
            status: UserStatus::Enable,
        };
        match self.create_user(&credentials.name, user) {
            Err(DirectoryError::UserExists) => Ok(()),
            created => created,
        }
    }

    /// The accounts of which there is no user yet; returns their names.
    pub fn import(&mut self, accounts: &PlainAcl) -> Result<Vec<String>, DirectoryError> {
        let mut imported = Vec::new();
        for account in accounts.accounts() {
            match self.create_user(&account.name, account.user.clone()) {
                Ok(()) => {}
                Err(DirectoryError::UserExists) => continue,
                Err(error) => return Err(error),
            }
            if account.acl.entries() > 0 {
                self.put_acl(&account.name, &account.acl)?;
            }
            imported.push(account.name.clone());
        }
        Ok(imported)
    }
}

fn within(what: &'static str, limit: usize, got: usize) -> Changed {
    match got <= limit {
        true => Ok(()),
        false => Err(DirectoryError::TooMuch { what, limit }),
    }
}

fn secret_within(secret: &Secret) -> Changed {
    let bytes = secret.reveal().len();
    within("bytes of a password", MAX_SECRET_BYTES, bytes)
}

fn entry_within(entry: &Entry) -> Changed {
    let bytes = entry.resource.name().len();
    within("bytes of a resource's name", MAX_NAME_BYTES, bytes)?;
    within("source ips of an entry", MAX_SOURCES, entry.sources.len())
}
