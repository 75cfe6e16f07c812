//! What a user may do, in the form in which it is asked for each request.
//!
//! RocketMQ 5.5.0 takes all entries that fit resource, action and address, Custom ones first, puts the narrowest in front (literal, longer prefix, shorter prefix, any
//! of the kind, any), and among equals the one that denies; the first decides. Here the levels are looked up from the narrowest on: a name costs as many look-ups as
//! there are lengths of prefixes, however many entries a user has.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::policy::{Acl, Entry, PolicyType};
use super::resource::{Actions, Kind, Pattern, Resource, Target};
use super::source::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied,
    /// No entry fits, which is a denial, too.
    Unmatched,
}

/// Of one user.
#[derive(Debug, Default)]
pub struct Rights {
    custom: Layer,
    default: Layer,
}

/// The entries of one kind of policy.
#[derive(Debug, Default)]
struct Layer {
    kinds: [OfKind; Kind::ALL.len()],
    everything: Vec<Rule>,
}

#[derive(Debug, Default)]
struct OfKind {
    literal: HashMap<Box<str>, Vec<Rule>>,
    prefixed: HashMap<Box<str>, Vec<Rule>>,
    /// Of the prefixes, in bytes, the longest first.
    lengths: Vec<usize>,
    any: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    actions: Actions,
    sources: Vec<Source>,
    allows: bool,
}

impl Rights {
    pub fn of(acl: &Acl) -> Self {
        let mut rights = Self::default();
        for policy in acl.policies() {
            let layer = match policy.kind {
                PolicyType::Custom => &mut rights.custom,
                PolicyType::Default => &mut rights.default,
            };
            policy.entries.iter().for_each(|entry| layer.add(entry));
        }
        for kind in rights
            .custom
            .kinds
            .iter_mut()
            .chain(&mut rights.default.kinds)
        {
            kind.lengths = kind.prefixed.keys().map(|prefix| prefix.len()).collect();
            kind.lengths.sort_unstable_by(|left, right| right.cmp(left));
            kind.lengths.dedup();
        }
        rights
    }

    /// Whether one of the actions may be done, from this address.
    pub fn decide(&self, target: Target<'_>, any_of: Actions, from: IpAddr) -> Verdict {
        let decided = self.custom.decide(target, any_of, from);
        let decided = decided.or_else(|| self.default.decide(target, any_of, from));
        match decided {
            Some(true) => Verdict::Allowed,
            Some(false) => Verdict::Denied,
            None => Verdict::Unmatched,
        }
    }
}

impl Layer {
    fn add(&mut self, entry: &Entry) {
        let rules = match &entry.resource {
            Resource::Everything => &mut self.everything,
            Resource::Of(kind, pattern) => {
                let kind = &mut self.kinds[*kind as usize];
                match pattern {
                    Pattern::Any => &mut kind.any,
                    Pattern::Prefixed(prefix) => {
                        kind.prefixed.entry_ref(prefix.as_str()).or_default()
                    }
                    Pattern::Literal(name) => kind.literal.entry_ref(name.as_str()).or_default(),
                }
            }
        };
        rules.push(Rule {
            actions: entry.actions,
            sources: entry.sources.clone(),
            allows: entry.allows,
        });
    }

    /// Whether it is allowed; `None`: nothing fits.
    fn decide(&self, target: Target<'_>, any_of: Actions, from: IpAddr) -> Option<bool> {
        let kind = &self.kinds[target.kind as usize];
        let of_name = target.name.and_then(|name| {
            let literal = kind.literal.get(name).map_or(&[][..], |rules| rules);
            decided(literal, any_of, from).or_else(|| kind.by_prefix(name, any_of, from))
        });
        of_name
            .or_else(|| decided(&kind.any, any_of, from))
            .or_else(|| decided(&self.everything, any_of, from))
    }
}

impl OfKind {
    fn by_prefix(&self, name: &str, any_of: Actions, from: IpAddr) -> Option<bool> {
        let prefixes = self.lengths.iter().filter_map(|length| name.get(..*length));
        let rules = prefixes.filter_map(|prefix| self.prefixed.get(prefix));
        rules
            .filter_map(|rules| decided(rules, any_of, from))
            .next()
    }
}

/// Among entries for the same resource one that denies decides.
fn decided(rules: &[Rule], any_of: Actions, from: IpAddr) -> Option<bool> {
    let fitting = rules.iter().filter(|rule| {
        let is_from = |source: &Source| source.contains(from);
        rule.actions.covers(any_of) && (rule.sources.is_empty() || rule.sources.iter().any(is_from))
    });
    fitting.map(|rule| rule.allows).min()
}
