//! The decision against a naive model: all entries that fit, sorted as RocketMQ 5.5.0 sorts them, and the first one.

use proptest::prelude::*;

use super::LOCAL;
use crate::auth::policy::{Acl, Entry, PolicyType};
use crate::auth::resource::{Actions, Kind, Pattern, Resource, Target};
use crate::auth::rights::{Rights, Verdict};
use crate::auth::source::Source;

fn fits(entry: &Entry, target: Target<'_>, asked: Actions) -> bool {
    let is_resource = match (&entry.resource, target.name) {
        (Resource::Everything, _) => true,
        (Resource::Of(kind, pattern), name) if *kind == target.kind => match (pattern, name) {
            (Pattern::Any, _) => true,
            (Pattern::Literal(text), Some(name)) => text == name,
            (Pattern::Prefixed(text), Some(name)) => name.starts_with(text.as_str()),
            (_, None) => false,
        },
        _ => false,
    };
    let is_source =
        entry.sources.is_empty() || entry.sources.iter().any(|source| source.contains(LOCAL));
    is_resource && is_source && entry.actions.covers(asked)
}

/// Smaller is first.
fn order(entry: &Entry) -> (bool, u8, std::cmp::Reverse<usize>, bool) {
    let (is_everything, rank, length) = match &entry.resource {
        Resource::Everything => (true, 3, 0),
        Resource::Of(_, Pattern::Literal(_)) => (false, 0, 0),
        Resource::Of(_, Pattern::Prefixed(text)) => (false, 1, text.len()),
        Resource::Of(_, Pattern::Any) => (false, 2, 0),
    };
    (is_everything, rank, std::cmp::Reverse(length), entry.allows)
}

fn naive(acl: &Acl, target: Target<'_>, asked: Actions) -> Verdict {
    for kind in [PolicyType::Custom, PolicyType::Default] {
        let policies = acl.policies().iter().filter(|policy| policy.kind == kind);
        let entries = policies.flat_map(|policy| &policy.entries);
        let fitting = entries.filter(|entry| fits(entry, target, asked));
        if let Some(first) = fitting.min_by_key(|entry| order(entry)) {
            return match first.allows {
                true => Verdict::Allowed,
                false => Verdict::Denied,
            };
        }
    }
    Verdict::Unmatched
}

fn name() -> impl Strategy<Value = String> {
    "[ab]{1,3}"
}

fn actions() -> impl Strategy<Value = Actions> {
    let some = [
        Actions::ALL,
        Actions::PUB,
        Actions::SUB,
        Actions::PUB.or(Actions::GET),
    ];
    prop::sample::select(some.to_vec())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Topic, Kind::Group])
}

fn resource() -> impl Strategy<Value = Resource> {
    let pattern = prop_oneof![
        Just(Pattern::Any),
        name().prop_map(Pattern::Prefixed),
        name().prop_map(Pattern::Literal),
    ];
    prop_oneof![
        1 => Just(Resource::Everything),
        9 => (kind(), pattern).prop_map(|(kind, pattern)| Resource::Of(kind, pattern)),
    ]
}

fn entry() -> impl Strategy<Value = (PolicyType, Entry)> {
    let sources = prop::sample::select(vec!["", "127.0.0.0/8", "10.0.0.1"]);
    let policy = prop::sample::select(vec![PolicyType::Custom, PolicyType::Default]);
    (policy, resource(), actions(), any::<bool>(), sources).prop_map(
        |(policy, resource, actions, allows, source)| {
            let sources = Source::parse(source).into_iter().collect();
            let entry = Entry {
                resource,
                actions,
                sources,
                allows,
            };
            (policy, entry)
        },
    )
}

proptest! {
    #[test]
    fn as_rocketmq_decides(
        entries in prop::collection::vec(entry(), 0..12),
        kind in kind(),
        name in prop::option::of(name()),
        asked in prop::sample::select(vec![Actions::PUB, Actions::SUB, Actions::SUB.or(Actions::GET)]),
    ) {
        let mut acl = Acl::default();
        for (policy, entry) in entries {
            acl.put(policy, entry);
        }
        let target = Target { kind, name: name.as_deref() };
        prop_assert_eq!(Rights::of(&acl).decide(target, asked, LOCAL), naive(&acl, target, asked));
    }

    #[test]
    fn a_resource_is_shown_as_it_is_read(resource in resource()) {
        prop_assert_eq!(Resource::parse(&resource.to_string()), Some(resource));
    }
}

#[test]
fn resources_as_they_are_written() {
    let literal = |kind, name: &str| Some(Resource::Of(kind, Pattern::Literal(name.into())));
    assert_eq!(Resource::parse("topic:t"), literal(Kind::Topic, "t"));
    assert_eq!(Resource::parse("Group:%RETRY%g"), literal(Kind::Group, "g"));
    assert_eq!(Resource::parse("Topic:a:b"), literal(Kind::Topic, "a:b"));
    assert_eq!(Resource::parse("*"), Some(Resource::Everything));
    assert_eq!(
        Resource::parse("Topic:*"),
        Some(Resource::Of(Kind::Topic, Pattern::Any))
    );
    for nothing in ["", "t", "Topik:t", "Topic:", "Topic:*a", ":"] {
        assert_eq!(Resource::parse(nothing), None, "{nothing}");
    }
}
