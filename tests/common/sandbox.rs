//! A process to which the kernel refuses some system calls, as in a container with the usual seccomp profile (EPERM) or under gVisor (ENOSYS).

use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// A system call, and the error that it is answered with.
pub type Forbidden = (libc::c_long, i32);

pub const NO_URING: &[Forbidden] = &[(libc::SYS_io_uring_setup, libc::EPERM)];
pub const NO_URING_KNOWN: &[Forbidden] = &[(libc::SYS_io_uring_setup, libc::ENOSYS)];
/// Nor a write that is flushed with the same call.
pub const NO_URING_NO_DSYNC: &[Forbidden] = &[
    (libc::SYS_io_uring_setup, libc::EPERM),
    (libc::SYS_pwritev2, libc::EOPNOTSUPP),
];

/// The command is started with filters that refuse these calls, and with no new privileges.
pub fn forbid(command: &mut Command, calls: &[Forbidden]) {
    let programs: Vec<_> = calls.iter().map(program).collect();
    // So that `auto` is what this process may do.
    command.env_remove("RINGMQ_IO");
    // `apply_filter` sets no_new_privs first.
    let apply = move || {
        let mut programs = programs.iter();
        programs.try_for_each(|program| apply_filter(program).map_err(std::io::Error::other))
    };
    // SAFETY: between fork and exec it makes system calls and does not allocate, unless one of them fails.
    unsafe { command.pre_exec(apply) };
}

fn program((number, errno): &Forbidden) -> BpfProgram {
    let filter = SeccompFilter::new(
        [(*number, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(*errno as u32),
        std::env::consts::ARCH.try_into().expect("a known machine"),
    );
    let program = filter.and_then(BpfProgram::try_from);
    program.expect("a program for this machine")
}
