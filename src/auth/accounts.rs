//! Users: their kind, their state, and the words that RocketMQ has for both.

use super::Secret;

/// Of names: of users, and of resources in policies. RocketMQ's longest topic has as many.
pub const MAX_NAME_BYTES: usize = 255;

/// What is shown of a name that a request states: all of it, if anybody could have it.
pub fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// A super user may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserType {
    Super,
    Normal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    Enable,
    Disable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub secret: Secret,
    pub kind: UserType,
    pub status: UserStatus,
}

impl UserType {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Super, Self::Normal]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Super => "Super",
            Self::Normal => "Normal",
        }
    }
}

impl UserStatus {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enable, Self::Disable]
            .into_iter()
            .find(|status| status.name().eq_ignore_ascii_case(text))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}
