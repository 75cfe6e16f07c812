//! The process's limits, the kernel's version, and the core of a thread.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises soft limits to the hard ones: descriptors for connections, locked memory for the log buffer. A call that needs more
/// than the hard limit fails with its own error.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let mut limit = getrlimit(resource);
        limit.current = limit.maximum;
        let _ = setrlimit(resource, limit);
    }
}

/// How many descriptors the process may have once the soft limit is raised.
pub fn descriptor_limit() -> u32 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    maximum.map_or(u32::MAX, |most| most.try_into().unwrap_or(u32::MAX))
}

/// How many bytes the process may lock once the soft limit is raised; `None`: as many as there are.
pub fn memlock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).maximum
}

pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|release| release.trim().to_owned())
        .unwrap_or_else(|_| "of unknown version".to_owned())
}

/// Keeps the calling thread on a core; `false` if the machine has no such core or does not let it.
pub fn pin_to(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}
