//! The memory limit of the control group, read at the start: the kernel kills a broker that exceeds it without notice.
//!
//! It is a warning; the buffers are not made smaller. Their sizes are promises: `logBufferBytes` bounds the largest message,
//! `consumeQueueMemoryBytes` the queues that can be written, `connectionMemoryBytes` the connections that are served. A broker
//! that chose them by the limit would refuse after a move to a smaller machine what it accepted before. The limit
//! may also be raised while the broker runs, and most of the memory is touched only under load.

use std::fs;
use std::path::Path;

use crate::config::Config;

/// Code, stacks, index entries and the rest of a process, beside the configured buffers.
const BASE_BYTES: u64 = 64 << 20;

/// What to log if the configured buffers do not fit into the limit.
pub fn warning(config: &Config) -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit_bytes = limit(&groups, |path| fs::read_to_string(path).ok())?;
    too_small(config, limit_bytes)
}

fn too_small(config: &Config, limit_bytes: u64) -> Option<String> {
    let shards = config.shards() as u64;
    let log = shards * config.log_buffer_bytes;
    let queues = shards * config.consume_queue_memory_bytes;
    let connections = shards * config.connection_memory_bytes;
    let needed = BASE_BYTES + log + queues + connections;
    let mib = |bytes: u64| bytes >> 20;
    (needed > limit_bytes).then(|| {
        format!(
            "the memory limit of this control group is {} MiB, the configuration allows up to {} MiB on {shards} core(s): \
             logBufferBytes {} MiB, consumeQueueMemoryBytes {} MiB, connectionMemoryBytes {} MiB, the rest {} MiB; \
             the kernel kills a process that exceeds its limit: raise the limit or lower these properties in broker.conf",
            mib(limit_bytes),
            mib(needed),
            mib(log),
            mib(queues),
            mib(connections),
            mib(BASE_BYTES),
        )
    })
}

/// The lowest limit of the group and its ancestors, of either version of control groups (cgroups(7)).
fn limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut lowest = None::<u64>;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
            let path = Path::new(mount).join(ancestor).join(file);
            // "max" is no number.
            let found = read(&path).and_then(|text| text.trim().parse().ok());
            lowest = lowest.into_iter().chain(found).min();
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_ancestors_counts() {
        let read = |path: &Path| match path.to_str().unwrap() {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("134217728\n".to_owned()),
            "/sys/fs/cgroup/memory.max" => Some("268435456\n".to_owned()),
            "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => Some("67108864".to_owned()),
            _ => None,
        };
        assert_eq!(limit("0::/a/b\n", read), Some(128 << 20));
        assert_eq!(limit("0::/other\n", read), Some(256 << 20));
        assert_eq!(
            limit("4:cpu:/a\n3:hugetlb,memory:/x\n", read),
            Some(64 << 20)
        );
        assert_eq!(limit("4:cpu:/a\n", read), None);
        assert_eq!(limit("nonsense", read), None);
    }

    #[test]
    fn a_limit_below_the_configured_buffers_is_a_warning() {
        let config = Config::default();
        let text = too_small(&config, 128 << 20).unwrap();
        assert!(
            text.contains("is 128 MiB") && text.contains("logBufferBytes"),
            "{text}"
        );
        assert_eq!(too_small(&config, 4 << 30), None);
    }
}
