//! All users and their rights, as a shard asks them: made from the directory, and never changed.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::accounts::{MAX_NAME_BYTES, User, UserStatus, UserType};
use super::policy::Acl;
use super::rights::Rights;
use super::signature::Key;

/// Which of all books of the process this is. A verdict that was kept is of one edition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition(u64);

impl Edition {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(1 + LAST.fetch_add(1, Ordering::Relaxed))
    }
}

pub struct Book {
    edition: Edition,
    accounts: Vec<Account>,
    by_name: HashMap<Box<str>, usize>,
    /// Checks what is sent under a name that nobody has, so that this takes as long as any other check.
    nobody: Key,
}

pub struct Account {
    pub key: Key,
    pub is_super: bool,
    pub is_enabled: bool,
    pub rights: Rights,
}

impl Book {
    pub(super) fn of<'a>(
        users: impl Iterator<Item = (&'a str, &'a User, Option<&'a Acl>)>,
    ) -> Self {
        let (mut accounts, mut by_name) = (Vec::new(), HashMap::new());
        for (name, user, acl) in users {
            by_name.insert(name.into(), accounts.len());
            accounts.push(Account {
                key: Key::new(user.secret.reveal()),
                is_super: user.kind == UserType::Super,
                is_enabled: user.status == UserStatus::Enable,
                rights: acl.map(Rights::of).unwrap_or_default(),
            });
        }
        Self {
            edition: Edition::next(),
            accounts,
            by_name,
            nobody: Key::new(""),
        }
    }

    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// Where the user stands in this edition. A name that no user can have is not even hashed: it may be as long as a header.
    pub fn find(&self, name: &str) -> Option<usize> {
        let is_name = name.len() <= MAX_NAME_BYTES;
        is_name.then(|| self.by_name.get(name).copied()).flatten()
    }

    /// What signatures of the user are checked with, or those under a name that nobody has.
    pub fn key(&self, user: Option<usize>) -> &Key {
        user.map_or(&self.nobody, |at| &self.account(at).key)
    }

    pub fn account(&self, at: usize) -> &Account {
        &self.accounts[at]
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book")
            .field("edition", &self.edition)
            .field("users", &self.accounts.len())
            .finish_non_exhaustive()
    }
}
