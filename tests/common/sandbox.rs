//! A process to which the kernel refuses some system calls, as in a container with the usual seccomp profile (EPERM) or under gVisor (ENOSYS), or with
//! the profile that `ringmq print seccomp` prints.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter, compile_from_json};
use serde_json::{Value, json};

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
    under(command, calls.iter().map(program).collect());
}

/// The command is started with the filters of a profile in Docker's format, as a container would be.
pub fn confine(command: &mut Command, profile: &Value) {
    under(command, programs(profile));
}

fn under(command: &mut Command, programs: Vec<BpfProgram>) {
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

/// The command is started with these limits; if one is of locked memory, without the capability to lock more than that.
pub fn limit(command: &mut Command, limits: &'static [(Resource, u64)]) {
    const CAP_IPC_LOCK: libc::c_ulong = 14;
    let apply = move || {
        for (resource, most) in limits {
            let limit = Rlimit {
                current: Some(*most),
                maximum: Some(*most),
            };
            setrlimit(*resource, limit)?;
        }
        if limits
            .iter()
            .any(|(resource, _)| *resource == Resource::Memlock)
        {
            // SAFETY: integers only. Who may not do it does not have the capability either.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls and does not allocate.
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

/// The kernel asks all filters and takes the strictest answer: first those for which a rule has an error of its own, then the one for what no rule names.
fn programs(profile: &Value) -> Vec<BpfProgram> {
    let rules = profile["syscalls"].as_array().expect("rules");
    let mut programs = Vec::new();
    let mut named = Vec::new();
    for rule in rules {
        let names = rule["names"].as_array().expect("names");
        let calls = names.iter().map(|name| call(name, &rule["args"]));
        let calls: Vec<_> = calls.filter(is_known).collect();
        match rule["action"].as_str() {
            Some("SCMP_ACT_ALLOW") => {}
            Some("SCMP_ACT_ERRNO") => {
                let error = json!({"errno": rule["errnoRet"]});
                programs.push(compiled(&calls, &json!("allow"), &error).expect("a filter"));
            }
            other => panic!("no such action: {other:?}"),
        }
        named.extend(calls);
    }
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let error = json!({"errno": profile["defaultErrnoRet"]});
    programs.insert(
        0,
        compiled(&named, &error, &json!("allow")).expect("a filter"),
    );
    programs
}

/// One system call as the compiler of filters reads it.
fn call(name: &Value, conditions: &Value) -> Value {
    let conditions = conditions.as_array().into_iter().flatten();
    let conditions = conditions.map(|condition| {
        let value = condition["value"].clone();
        let (op, value) = match condition["op"].as_str() {
            Some("SCMP_CMP_EQ") => (json!("eq"), value),
            Some("SCMP_CMP_LT") => (json!("lt"), value),
            Some("SCMP_CMP_GT") => (json!("gt"), value),
            Some("SCMP_CMP_MASKED_EQ") => (json!({"masked_eq": value}), json!(0)),
            other => panic!("no such comparison: {other:?}"),
        };
        json!({"index": condition["index"], "type": "qword", "op": op, "val": value})
    });
    let conditions: Vec<_> = conditions.collect();
    match conditions.is_empty() {
        true => json!({"syscall": name}),
        false => json!({"syscall": name, "args": conditions}),
    }
}

/// A profile names system calls of all machines.
fn is_known(call: &Value) -> bool {
    compiled(std::slice::from_ref(call), &json!("log"), &json!("allow")).is_some()
}

fn compiled(calls: &[Value], otherwise: &Value, matched: &Value) -> Option<BpfProgram> {
    let filter = json!({"mismatch_action": otherwise, "match_action": matched, "filter": calls});
    let text = json!({"all": filter}).to_string();
    let machine = std::env::consts::ARCH.try_into().expect("a known machine");
    compile_from_json(text.as_bytes(), machine)
        .ok()?
        .remove("all")
}
