//! A process for which the kernel has no io_uring, as in a container with the usual seccomp profile (EPERM) or under gVisor (ENOSYS).

use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// The command is started with a filter that answers `io_uring_setup` with this error, and with no new privileges.
pub fn forbid_uring(command: &mut Command, errno: i32) {
    let number = libc::SYS_io_uring_setup;
    let filter = SeccompFilter::new(
        [(number, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().expect("a known machine"),
    );
    let filter = filter.and_then(BpfProgram::try_from);
    let program = filter.expect("a program for this machine");
    // `apply_filter` sets no_new_privs first.
    let apply = move || apply_filter(&program).map_err(std::io::Error::other);
    // SAFETY: between fork and exec it makes two system calls and does not allocate, unless one of them fails.
    unsafe { command.pre_exec(apply) };
}
