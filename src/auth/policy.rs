//! Policies of a user: as they are kept, and as requests 3006 to 3010 and the file have them.

use super::resource::{Actions, Resource};
use super::source::Source;
use crate::wire::auth::{AclInfo, PolicyEntryInfo, PolicyInfo};

/// Those of the second kind count only where none of the first fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyType {
    Custom,
    Default,
}

impl PolicyType {
    /// Anything else is Custom, as at RocketMQ.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some(text) if text.eq_ignore_ascii_case("Default") => Self::Default,
            _ => Self::Custom,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Custom => "Custom",
            Self::Default => "Default",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub resource: Resource,
    pub actions: Actions,
    /// None: from everywhere.
    pub sources: Vec<Source>,
    pub allows: bool,
}

impl Entry {
    /// From everywhere.
    pub fn new(resource: Resource, actions: Actions, allows: bool) -> Self {
        Self {
            resource,
            actions,
            sources: Vec::new(),
            allows,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyType,
    pub entries: Vec<Entry>,
}

/// All policies of a user. Of one kind there is one, and in it one entry for a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<Policy>);

impl Acl {
    /// What a request says, or what is wrong with it, in RocketMQ's words.
    pub fn parse(info: &AclInfo) -> Result<Self, &'static str> {
        let mut acl = Self::default();
        let policies = info.policies.iter();
        for policy in policies.filter(|policy| !policy.entries.is_empty()) {
            let kind = PolicyType::parse(policy.policy_type.as_deref());
            for entry in &policy.entries {
                acl.put(kind, parse_entry(entry)?);
            }
        }
        match acl.0.is_empty() {
            true => Err("The policies is empty."),
            false => Ok(acl),
        }
    }

    pub fn policies(&self) -> &[Policy] {
        &self.0
    }

    pub fn entries(&self) -> usize {
        self.0.iter().map(|policy| policy.entries.len()).sum()
    }

    /// In the place of the one for the same resource, or behind all.
    pub fn put(&mut self, kind: PolicyType, entry: Entry) {
        let at = self.0.iter().position(|policy| policy.kind == kind);
        let at = at.unwrap_or_else(|| {
            let entries = Vec::new();
            self.0.push(Policy { kind, entries });
            self.0.len() - 1
        });
        let entries = &mut self.0[at].entries;
        match entries
            .iter()
            .position(|old| old.resource == entry.resource)
        {
            Some(old) => entries[old] = entry,
            None => entries.push(entry),
        }
    }

    /// Returns whether something is left.
    pub fn remove(&mut self, kind: PolicyType, resource: &Resource) -> bool {
        for policy in self.0.iter_mut().filter(|policy| policy.kind == kind) {
            policy.entries.retain(|entry| entry.resource != *resource);
        }
        self.0.retain(|policy| !policy.entries.is_empty());
        !self.0.is_empty()
    }

    /// With the entries whose resource contains `filter`; `None`: there is none.
    pub fn info(&self, subject: String, filter: &str) -> Option<AclInfo> {
        let fits =
            |entry: &&Entry| filter.is_empty() || entry.resource.to_string().contains(filter);
        let policies = self.0.iter().map(|policy| PolicyInfo {
            entries: policy.entries.iter().filter(fits).map(entry_info).collect(),
            policy_type: Some(policy.kind.name().into()),
        });
        let policies: Vec<_> = policies
            .filter(|policy| !policy.entries.is_empty())
            .collect();
        (!policies.is_empty()).then_some(AclInfo {
            policies,
            subject: Some(subject),
        })
    }
}

fn parse_entry(info: &PolicyEntryInfo) -> Result<Entry, &'static str> {
    let resource = info.resource.as_deref().and_then(Resource::parse);
    let resource = resource.ok_or("The resource is null.")?;
    let actions = info.actions.iter().filter_map(|name| Actions::parse(name));
    let actions = actions.fold(Actions::NONE, Actions::or);
    if actions.is_empty() {
        return Err("The actions is empty.");
    }
    if actions.has_any_of(Actions::ANY) {
        return Err("The actions can not be Any.");
    }
    let sources = info.source_ips.iter().flatten().map(|text| {
        if text.trim().is_empty() {
            return Err("The source ip is empty.");
        }
        Source::parse(text).ok_or("The source ip is invalid.")
    });
    let sources = sources.collect::<Result<_, _>>()?;
    let allows = match info.decision.as_deref() {
        Some(text) if text.eq_ignore_ascii_case("Allow") => true,
        Some(text) if text.eq_ignore_ascii_case("Deny") => false,
        _ => return Err("The decision is null or illegal."),
    };
    Ok(Entry {
        resource,
        actions,
        sources,
        allows,
    })
}

fn entry_info(entry: &Entry) -> PolicyEntryInfo {
    let sources: Vec<_> = entry.sources.iter().map(Source::to_string).collect();
    PolicyEntryInfo {
        actions: entry.actions.names().map(String::from).collect(),
        decision: Some(if entry.allows { "Allow" } else { "Deny" }.into()),
        resource: Some(entry.resource.to_string()),
        source_ips: (!sources.is_empty()).then_some(sources),
    }
}
