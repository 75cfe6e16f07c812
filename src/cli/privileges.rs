//! What a server keeps of root's rights. It is called while the process has one thread: the others inherit what that has.

use std::io;
use std::sync::OnceLock;

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};
use tracing::{info, warn};

/// With the reason for each.
const KEPT: [(&str, CapabilitySet); 6] = [
    // Buffers of io_uring and of the log that stay in memory, whatever RLIMIT_MEMLOCK says.
    ("IPC_LOCK", CapabilitySet::IPC_LOCK),
    // A higher limit of descriptors.
    ("SYS_RESOURCE", CapabilitySet::SYS_RESOURCE),
    // A store and files of another user.
    ("DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("DAC_READ_SEARCH", CapabilitySet::DAC_READ_SEARCH),
    ("FOWNER", CapabilitySet::FOWNER),
    // Ports below 1024.
    ("NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
];

/// What came of it, if the process was started as root.
static OUTCOME: OnceLock<io::Result<()>> = OnceLock::new();

/// Of a process that was started as root: drops what a server does not need, for good.
pub fn drop_unneeded() {
    if geteuid().is_root() {
        OUTCOME.get_or_init(reduce);
    }
}

/// One line in the log of a server.
pub fn say() {
    match OUTCOME.get() {
        None => {}
        Some(Ok(())) => {
            let names = KEPT.map(|(name, _)| name).join(", ");
            info!(
                "started as root: the capabilities {names} are kept, the others dropped. `ringmq print systemd` has a service with a user of its own"
            );
        }
        Some(Err(error)) => warn!("started as root, whose rights cannot be reduced: {error}"),
    }
}

fn reduce() -> io::Result<()> {
    let kept = KEPT
        .iter()
        .fold(CapabilitySet::empty(), |all, (_, one)| all | *one);
    let present = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: present.effective & kept,
            permitted: present.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(set_no_new_privs(true)?)
}
