//! Why something that was asked is not known: nothing answers, or the answer is no.

use std::fmt;

use super::finding::{Fault, Finding};
use crate::wire::codes::response::NO_PERMISSION;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer came.
    Away(String),
    /// An answer came, with this code instead of success.
    Refused { code: i32, remark: String },
}

impl Failure {
    /// What there is to say of an answer that is no.
    pub fn refusal(&self, subject: impl Into<String>) -> Option<Finding> {
        let Self::Refused { code, .. } = self else {
            return None;
        };
        let todo = match *code {
            NO_PERMISSION => {
                "name a user with --access-key and --secret-key-file; the user needs the right to get the cluster's figures"
            }
            _ => {
                "look at its log; and is it what the address is used as, a broker or a name server?"
            }
        };
        let seen = self.to_string();
        Some(Finding::new(Fault::Denied, subject, seen, todo))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Refused { code, remark } => write!(f, "it answers with code {code}: {remark}"),
        }
    }
}
