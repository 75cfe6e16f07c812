//! The text of `auth.json`: all users, with their secrets, and all policies.
//!
//! ```text
//! {"version":1,"crc32":"xxxxxxxx","content":{"acls":[...],"users":[...]}}
//! ```
//!
//! The CRC is over the bytes of `content`. The members of the two lists are those of requests 3005 and 3010. A signature needs the secret itself, so no hash of it would do; the
//! file is for its owner only.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::accounts::{User, UserStatus, UserType};
use super::directory::Directory;
use super::policy::Acl;
use super::requests::{name_of_subject, subject_of, user_info};
use super::secret::Secret;
use crate::wire::auth::{AclInfo, UserInfo};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileError {
    #[error("it does not begin as a file of users of version 1")]
    Version,
    #[error("it is damaged: its CRC is {got}, and of its content {computed}")]
    Crc { got: String, computed: String },
    #[error("{0}")]
    Content(String),
}

#[derive(Serialize, Deserialize)]
struct Content {
    acls: Vec<AclInfo>,
    users: Vec<UserInfo>,
}

const HEAD: &str = r#"{"version":1,"crc32":""#;
const MIDDLE: &str = r#"","content":"#;
const TAIL: &str = "}\n";

impl Directory {
    pub fn to_text(&self) -> Zeroizing<String> {
        let users = self.users.iter().map(|(name, user)| {
            let secret = Some(user.secret.reveal());
            user_info(name, user, secret)
        });
        let acls = self.acls.iter();
        let content = Content {
            acls: acls
                .filter_map(|(name, acl)| acl.info(subject_of(name), ""))
                .collect(),
            users: users.collect(),
        };
        let content = json_of(&content);
        let crc = format!("{:08x}", crc32fast::hash(&content));
        let content = std::str::from_utf8(&content).expect("JSON is UTF-8");
        let parts = [HEAD, &crc, MIDDLE, content, TAIL];
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(bytes));
        parts.iter().for_each(|part| text.push_str(part));
        text
    }

    pub fn from_text(text: &str) -> Result<Self, FileError> {
        let parts = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.strip_suffix(TAIL))
            .and_then(|rest| rest.split_once(MIDDLE));
        let (got, content) = parts.ok_or(FileError::Version)?;
        let computed = format!("{:08x}", crc32fast::hash(content.as_bytes()));
        if got != computed {
            let got = got.into();
            return Err(FileError::Crc { got, computed });
        }
        let content: Content =
            serde_json::from_str(content).map_err(|error| FileError::Content(error.to_string()))?;
        let mut directory = Self::default();
        for user in content.users {
            let (name, user) = read_user(user).ok_or_else(|| wrong("a user"))?;
            let created = directory.create_user(&name, user);
            created.map_err(|error| FileError::Content(format!("user {name}: {error}")))?;
        }
        for info in content.acls {
            let name = info.subject.as_deref().and_then(name_of_subject);
            let name = name.ok_or_else(|| wrong("a subject"))?;
            let put = Acl::parse(&info).map_err(str::to_owned).and_then(|acl| {
                let put = directory.put_acl(name, &acl);
                put.map_err(|error| error.to_string())
            });
            put.map_err(|error| FileError::Content(format!("policies of {name}: {error}")))?;
        }
        Ok(directory)
    }
}

/// In a buffer that has its size from the beginning: one that grows leaves copies of the secrets behind.
fn json_of(content: &Content) -> Zeroizing<Vec<u8>> {
    struct Counted(usize);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, content).expect("texts and lists are JSON");
    let mut bytes = Zeroizing::new(Vec::with_capacity(counted.0));
    serde_json::to_writer(&mut *bytes, content).expect("texts and lists are JSON");
    bytes
}

fn wrong(what: &str) -> FileError {
    FileError::Content(format!("{what} of it cannot be read"))
}

fn read_user(mut info: UserInfo) -> Option<(String, User)> {
    let user = User {
        secret: Secret::new(info.password.take()?),
        kind: UserType::parse(info.user_type.as_deref()?)?,
        status: UserStatus::parse(info.user_status.as_deref()?)?,
    };
    Some((info.username.take()?, user))
}
