//! The lock-down of an enclave process, done by the process itself before it reads a message.
//!
//! Order (design/tee.md): the image was executed first, so that its memory belongs to the user
//! namespace of the launcher; then namespaces are left, then the doors are shut, the filter last.
//! Executing in a new user namespace instead would let that namespace's owner look inside.
//!
//! What the kernel lacks is returned by name. It goes to the log and into the evidence, and the TEE
//! manifest decides whether such a VN is admitted. The names:
//! `non-dumpable core-limit descriptors user-namespace mount-namespace network-namespace
//! ipc-namespace uts-namespace cgroup-namespace no-new-privileges landlock memory-deny-write-execute
//! capabilities parent-death-signal seccomp`; the launcher adds `pid-namespace` and `shared-user`.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::RawFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare,
    SeccompCondition as Condition, SeccompFilter, SeccompRule,
};

use crate::syscalls;
use crate::threads::Threads;

/// The newest Landlock version whose every right is denied. Older kernels know fewer.
const LANDLOCK_ABI: ABI = ABI::V6;

/// Shuts this process in. Descriptors from `descriptors` on are closed. There will be `threads` threads, this
/// one among them.
///
/// Returns the names of what could not be done.
pub(crate) fn lock_down(descriptors: RawFd, threads: usize) -> (Vec<String>, Threads) {
    let mut missing = Missing::default();
    missing.unless(
        "non-dumpable",
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    missing.unless(
        "core-limit",
        rustix::process::setrlimit(Resource::Core, none),
    );
    missing.unless("descriptors", syscalls::close_from(descriptors));
    wake_random_source();
    leave_namespaces(&mut missing);
    missing.unless("no-new-privileges", rustix::thread::set_no_new_privs(true));
    missing.unless("landlock", landlock());
    missing.unless("memory-deny-write-execute", syscalls::deny_write_execute());
    let nothing = CapabilitySet::empty();
    let nothing = CapabilitySets {
        effective: nothing,
        permitted: nothing,
        inheritable: nothing,
    };
    missing.unless(
        "capabilities",
        rustix::thread::set_capabilities(None, nothing),
    );
    // A change of credentials, such as a new user namespace, has cleared both.
    missing.unless(
        "parent-death-signal",
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)),
    );
    missing.unless(
        "non-dumpable",
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    // A new thread is behind all walls of the one that started it. The filter is put around all.
    let threads = Threads::start(threads);
    missing.unless("seccomp", filter());
    (missing.0, threads)
}

#[derive(Default)]
struct Missing(Vec<String>);

impl Missing {
    fn unless<T, E>(&mut self, name: &str, done: Result<T, E>) {
        if done.is_err() && !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }
}

/// The crypto library opens its random source when it is first used, and then needs system calls
/// that the filter refuses.
fn wake_random_source() {
    let key = crypto::SigningKey::generate(&mut crypto::Entropy::new(&[0; 32]));
    std::hint::black_box(key.sign(b"wakes the random source"));
}

fn leave_namespaces(missing: &mut Missing) {
    // The user namespace first: its capabilities allow the others.
    missing.unless("user-namespace", syscalls::unshare(UnshareFlags::NEWUSER));
    for (name, flag) in [
        ("mount-namespace", UnshareFlags::NEWNS),
        ("network-namespace", UnshareFlags::NEWNET),
        ("ipc-namespace", UnshareFlags::NEWIPC),
        ("uts-namespace", UnshareFlags::NEWUTS),
        ("cgroup-namespace", UnshareFlags::NEWCGROUP),
    ] {
        missing.unless(name, syscalls::unshare(flag));
    }
}

/// No file, no network, no signal and no abstract socket outside: nothing is allowed.
fn landlock() -> Result<(), Unavailable> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK_ABI)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK_ABI)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self())
        .map_err(|_| Unavailable)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(Unavailable),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// System calls that the run loop, the allocator and the crypto library make. Everything else
/// kills the process.
const ALLOWED: &[i64] = &[
    // the run loop: its sockets and its standard error
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_shutdown,
    // the allocator
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // the crypto library and the standard library's locks
    libc::SYS_getrandom,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    // ending
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
];

fn filter() -> Result<(), Unavailable> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let never_executable = |argument, more: Option<Condition>| {
        let exec = u64::try_from(libc::PROT_EXEC).expect("a positive constant");
        let clear = Condition::new(argument, Length::Dword, Compare::MaskedEq(exec), 0)?;
        SeccompRule::new([clear].into_iter().chain(more).collect())
    };
    let anonymous = u64::try_from(libc::MAP_ANONYMOUS).expect("a positive constant");
    let fresh = Condition::new(3, Length::Dword, Compare::MaskedEq(anonymous), anonymous)?;
    rules.insert(libc::SYS_mmap, vec![never_executable(2, Some(fresh))?]);
    rules.insert(libc::SYS_mprotect, vec![never_executable(2, None)?]);
    // The standard library's check before a close, in a debug build.
    let getfd = u64::try_from(libc::F_GETFD).expect("a positive constant");
    let getfd = Condition::new(1, Length::Dword, Compare::Eq, getfd)?;
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![getfd])?]);
    let architecture = std::env::consts::ARCH.try_into().map_err(|_| Unavailable)?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        architecture,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program).map_err(|_| Unavailable)
}

/// The kernel does not have it.
#[derive(Debug)]
struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not available on this kernel")
    }
}

impl From<seccompiler::BackendError> for Unavailable {
    fn from(_: seccompiler::BackendError) -> Self {
        Self
    }
}
