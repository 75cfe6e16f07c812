//! Whether io_uring can be used here, and if not, what forbids it.

use super::finding::{Fault, Finding};
use crate::ring::Unsupported;

pub struct UringFacts {
    /// Why not; `None`: it works.
    pub refused: Option<Unsupported>,
    /// A seccomp filter is in force for this process.
    pub is_filtered: bool,
    /// `ioBackend` asks for the other implementation.
    pub is_unwanted: bool,
}

pub fn findings(facts: &UringFacts) -> Vec<Finding> {
    let Some(refused) = facts.refused.as_ref().filter(|_| !facts.is_unwanted) else {
        return Vec::new();
    };
    let filter = match facts.is_filtered {
        true => "a seccomp filter is in force",
        false => "no seccomp filter is in force",
    };
    let (fault, seen, todo) = match refused {
        Unsupported::SwitchedOff { why } => (
            Fault::UringOff,
            why.clone(),
            "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        ),
        Unsupported::Forbidden { error } if is_unknown(error) && !facts.is_filtered => (
            Fault::UringMissing,
            format!("io_uring_setup: {error}; {filter}, so the kernel itself does not know it"),
            NEWER_KERNEL.to_owned(),
        ),
        Unsupported::Forbidden { error } => (
            Fault::UringForbidden,
            format!("{error}; {filter}"),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile (docker, podman: --security-opt \
             seccomp=FILE; Kubernetes: seccompProfile of type Localhost), or set ioBackend=portable to stay without"
                .to_owned(),
        ),
        Unsupported::OldKernel { kernel } => (
            Fault::UringMissing,
            format!("Linux {kernel}"),
            NEWER_KERNEL.to_owned(),
        ),
        Unsupported::NoMemory { error } => (
            Fault::UringFails,
            format!("no memory for a small ring: {error}"),
            "raise the memlock limit (ulimit -l unlimited; systemd: LimitMEMLOCK=infinity)".to_owned(),
        ),
        Unsupported::Failed { kernel, error } => (
            Fault::UringFails,
            format!("on Linux {kernel}: {error}"),
            "set ioBackend=portable, which does without".to_owned(),
        ),
    };
    vec![Finding::new(fault, "this process", seen, todo)]
}

const NEWER_KERNEL: &str = "run it on Linux 6.1 or newer";

fn is_unknown(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    fn fault(refused: Option<Unsupported>, is_filtered: bool) -> Option<Fault> {
        let facts = UringFacts {
            refused,
            is_filtered,
            is_unwanted: false,
        };
        findings(&facts).first().map(|finding| finding.fault)
    }

    #[test]
    fn what_forbids_it_is_named() {
        let denied = |errno| {
            let error = Error::from_raw_os_error(errno);
            Some(Unsupported::Forbidden { error })
        };
        assert_eq!(fault(None, true), None);
        assert_eq!(
            fault(denied(libc::EPERM), true),
            Some(Fault::UringForbidden)
        );
        assert_eq!(
            fault(denied(libc::ENOSYS), true),
            Some(Fault::UringForbidden)
        );
        assert_eq!(
            fault(denied(libc::ENOSYS), false),
            Some(Fault::UringMissing)
        );
        let why = "kernel.io_uring_disabled is 2".to_owned();
        let off = Unsupported::SwitchedOff { why };
        assert_eq!(fault(Some(off), false), Some(Fault::UringOff));
        let kernel = || "5.4.0".to_owned();
        let old = Unsupported::OldKernel { kernel: kernel() };
        assert_eq!(fault(Some(old), false), Some(Fault::UringMissing));
        let error = Error::from_raw_os_error(libc::EINVAL);
        let kernel = kernel();
        let fails = Unsupported::Failed { kernel, error };
        assert_eq!(fault(Some(fails), false), Some(Fault::UringFails));
    }

    #[test]
    fn who_asked_for_the_other_one_misses_nothing() {
        let facts = UringFacts {
            refused: Some(Unsupported::OldKernel {
                kernel: "5.4.0".into(),
            }),
            is_filtered: false,
            is_unwanted: true,
        };
        assert_eq!(findings(&facts), []);
    }
}
