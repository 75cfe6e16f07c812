//! Limits of the process: locked memory, huge pages, descriptors.

use super::finding::{Fault, Finding, Severity};
use crate::message::size;

pub struct LimitFacts {
    /// The process, or the running broker.
    pub subject: String,
    /// `None`: no limit.
    pub memlock_bytes: Option<u64>,
    /// It has CAP_IPC_LOCK, which the limit does not hold.
    pub locks_anything: bool,
    /// The log buffers of all shards.
    pub log_buffer_bytes: u64,
    /// Free ones of the administrator's (`vm.nr_hugepages`).
    pub huge_bytes: u64,
    /// `always`, `madvise` or `never`; `None`: the kernel has none.
    pub transparent: Option<String>,
    /// The entries of the queues of all shards.
    pub queue_bytes: u64,
    pub descriptors: u64,
    /// Of a running broker.
    pub open_descriptors: Option<u64>,
    /// What the limit of descriptors leaves to the clients of one shard.
    pub connections: u64,
}

/// A chosen bound: brokers of small clusters have fewer clients.
const FEW_CONNECTIONS: u64 = 1_000;

pub fn findings(facts: &LimitFacts) -> Vec<Finding> {
    [memlock(facts), huge_pages(facts), descriptors(facts)]
        .into_iter()
        .flatten()
        .collect()
}

fn memlock(facts: &LimitFacts) -> Option<Finding> {
    let limit = facts.memlock_bytes.filter(|_| !facts.locks_anything)?;
    (limit < facts.log_buffer_bytes).then(|| {
        Finding::new(
            Fault::Memlock,
            &*facts.subject,
            format!(
                "the limit of locked memory is {}, the log buffers take {}",
                size::show(limit),
                size::show(facts.log_buffer_bytes)
            ),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1)",
        )
    })
}

fn huge_pages(facts: &LimitFacts) -> Option<Finding> {
    let makes_them = facts
        .transparent
        .as_deref()
        .is_some_and(|mode| mode != "never");
    if makes_them || facts.huge_bytes >= facts.queue_bytes {
        return None;
    }
    let mode = facts.transparent.as_deref().unwrap_or("not in this kernel");
    Some(Finding::new(
        Fault::HugePages,
        "this host",
        format!(
            "transparent_hugepage is {mode}, {} of reserved huge pages are free, the entries of queues may take {}",
            size::show(facts.huge_bytes),
            size::show(facts.queue_bytes)
        ),
        format!(
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or sysctl -w vm.nr_hugepages={}",
            facts.queue_bytes.div_ceil(2 << 20)
        ),
    ))
}

fn descriptors(facts: &LimitFacts) -> Option<Finding> {
    let todo = "ulimit -n 655350 (systemd: LimitNOFILE=655350; docker: --ulimit nofile=655350), then restart the broker";
    let finding = |seen: String| Finding::new(Fault::Descriptors, &*facts.subject, seen, todo);
    if let Some(open) = facts.open_descriptors
        && open.saturating_mul(10) >= facts.descriptors.saturating_mul(9)
    {
        let seen = format!("{open} of {} descriptors are open", facts.descriptors);
        return Some(finding(seen).at(Severity::Error));
    }
    (facts.connections < FEW_CONNECTIONS).then(|| {
        finding(format!(
            "the limit of open files is {}, which leaves {} connections to each core",
            facts.descriptors, facts.connections
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy() -> LimitFacts {
        LimitFacts {
            subject: "this process".into(),
            memlock_bytes: None,
            locks_anything: false,
            log_buffer_bytes: 64 << 20,
            huge_bytes: 0,
            transparent: Some("madvise".into()),
            queue_bytes: 256 << 20,
            descriptors: 655_350,
            open_descriptors: Some(100),
            connections: 500_000,
        }
    }

    fn faults(facts: &LimitFacts) -> Vec<(Fault, Severity)> {
        let found = findings(facts);
        found
            .iter()
            .map(|found| (found.fault, found.severity))
            .collect()
    }

    #[test]
    fn locked_memory_is_too_little_unless_the_limit_does_not_hold() {
        assert_eq!(faults(&roomy()), []);
        let facts = LimitFacts {
            memlock_bytes: Some(64 << 10),
            ..roomy()
        };
        assert_eq!(faults(&facts), [(Fault::Memlock, Severity::Warning)]);
        let seen = &findings(&facts)[0].seen;
        assert!(
            seen.contains("64.0 KiB") && seen.contains("64.0 MiB"),
            "{seen}"
        );
        let privileged = LimitFacts {
            locks_anything: true,
            ..facts
        };
        assert_eq!(faults(&privileged), []);
        let enough = LimitFacts {
            memlock_bytes: Some(64 << 20),
            ..roomy()
        };
        assert_eq!(faults(&enough), []);
    }

    #[test]
    fn huge_pages_are_the_kernels_or_the_administrators() {
        for (transparent, huge_bytes, is_found) in [
            (Some("never"), 0, true),
            (None, 0, true),
            (Some("never"), 256 << 20, false),
            (Some("always"), 0, false),
        ] {
            let facts = LimitFacts {
                transparent: transparent.map(str::to_owned),
                huge_bytes,
                ..roomy()
            };
            assert_eq!(!faults(&facts).is_empty(), is_found, "{transparent:?}");
        }
    }

    #[test]
    fn descriptors_are_few_or_nearly_all_open() {
        let few = LimitFacts {
            descriptors: 1_024,
            connections: 672,
            ..roomy()
        };
        assert_eq!(faults(&few), [(Fault::Descriptors, Severity::Warning)]);
        let open = LimitFacts {
            open_descriptors: Some(600_000),
            ..roomy()
        };
        assert_eq!(faults(&open), [(Fault::Descriptors, Severity::Error)]);
    }
}
