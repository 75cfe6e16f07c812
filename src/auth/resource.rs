//! What rights are about: resources by kind and name, and actions on them.

use std::fmt;

use super::accounts::cut;
use crate::message::names::RETRY_PREFIX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Cluster,
    Namespace,
    Topic,
    Group,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Namespace, Self::Topic, Self::Group];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Namespace => "Namespace",
            Self::Topic => "Topic",
            Self::Group => "Group",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
    }
}

/// A resource of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `*`
    Everything,
    Of(Kind, Pattern),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `Topic:*`
    Any,
    /// `Topic:abc*`, without the star.
    Prefixed(String),
    Literal(String),
}

impl Resource {
    /// `None`: RocketMQ's null resource.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::Everything);
        }
        let (kind, name) = text.split_once(':')?;
        let kind = Kind::parse(kind)?;
        let name = match kind {
            Kind::Group => name.strip_prefix(RETRY_PREFIX).unwrap_or(name),
            _ => name,
        };
        let pattern = match name.split_once('*') {
            _ if name.is_empty() => return None,
            Some(("", "")) => Pattern::Any,
            // Not RocketMQ's, which takes it for everything of the kind.
            Some(("", _)) => return None,
            Some((prefix, _)) => Pattern::Prefixed(prefix.into()),
            None => Pattern::Literal(name.into()),
        };
        Some(Self::Of(kind, pattern))
    }

    /// Without its star.
    pub fn name(&self) -> &str {
        match self {
            Self::Everything | Self::Of(_, Pattern::Any) => "",
            Self::Of(_, Pattern::Prefixed(name) | Pattern::Literal(name)) => name,
        }
    }
}

/// As `Resource::parse` reads it.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Of(kind, Pattern::Any) => write!(f, "{}:*", kind.name()),
            Self::Of(kind, Pattern::Prefixed(prefix)) => write!(f, "{}:{prefix}*", kind.name()),
            Self::Of(kind, Pattern::Literal(name)) => write!(f, "{}:{name}", kind.name()),
        }
    }
}

/// What a request touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub kind: Kind,
    /// `None`: all of the kind, as in a list of all topics.
    pub name: Option<&'a str>,
}

impl Target<'_> {
    /// As it is shown, with no more of its name than a name may have.
    pub fn cut(&self) -> String {
        format!("{}:{}", self.kind.name(), self.name.map_or("*", cut))
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u16);

impl Actions {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(1);
    pub const ANY: Self = Self(1 << 1);
    pub const PUB: Self = Self(1 << 2);
    pub const SUB: Self = Self(1 << 3);
    pub const CREATE: Self = Self(1 << 4);
    pub const UPDATE: Self = Self(1 << 5);
    pub const DELETE: Self = Self(1 << 6);
    pub const GET: Self = Self(1 << 7);
    pub const LIST: Self = Self(1 << 8);

    /// In the order in which they are shown.
    const NAMES: [(Self, &'static str); 9] = [
        (Self::ALL, "All"),
        (Self::ANY, "Any"),
        (Self::PUB, "Pub"),
        (Self::SUB, "Sub"),
        (Self::CREATE, "Create"),
        (Self::GET, "Get"),
        (Self::UPDATE, "Update"),
        (Self::DELETE, "Delete"),
        (Self::LIST, "List"),
    ];

    /// One action by its name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::NAMES.into_iter();
        all.find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(action, _)| action)
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Self::NAMES.into_iter();
        all.filter(move |(action, _)| self.has_any_of(*action))
            .map(|(_, name)| name)
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has_any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a policy with these actions is about a request that takes one of `asked`.
    pub const fn covers(self, asked: Self) -> bool {
        self.has_any_of(Self::ALL) || self.has_any_of(asked)
    }
}
