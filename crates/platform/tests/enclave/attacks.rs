//! Attacks: from inside an enclave at the outside, and from the host's user at an enclave.

use std::fs;
use std::process::{Command, Stdio};

use super::probe::PLATFORM;
use super::rig::{Rig, Setup};

/// System calls that an enclave must not make, by name.
const FROM_INSIDE: [&str; 12] = [
    "open",
    "socket",
    "connect",
    "exec",
    "ptrace",
    "kill",
    "fork",
    "read-other-memory",
    "executable-memory",
    "unshare",
    "raw-file-descriptor-dup",
    "set-dumpable",
];

/// Makes one forbidden system call; its result, if there is one.
pub fn from_inside(attack: &str) -> i64 {
    let path = c"/etc/passwd".as_ptr();
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: pointers are to static strings or null, and each call is expected to be refused.
    unsafe {
        match attack {
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY),
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "connect" => libc::syscall(libc::SYS_connect, 3, null, 0),
            "exec" => libc::syscall(libc::SYS_execve, path, null, null),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0),
            "kill" => libc::syscall(libc::SYS_kill, 1, 0),
            "fork" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "read-other-memory" => {
                libc::syscall(libc::SYS_process_vm_readv, 1, null, 0, null, 0, 0)
            }
            "executable-memory" => libc::syscall(
                libc::SYS_mmap,
                null,
                4096,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            ),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "raw-file-descriptor-dup" => libc::syscall(libc::SYS_dup, 3),
            "set-dumpable" => libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            other => panic!("no attack {other}"),
        }
    }
}

pub fn what_an_enclave_must_not_do_kills_it() {
    for attack in FROM_INSIDE {
        let mut rig = Rig::start();
        rig.send(8, format!("!{attack}"));
        let answer = rig.next();
        assert_eq!(answer, None, "{attack} was not refused");
        let (status, words) = rig.end();
        assert_eq!(status, 1);
        let refused = "killed for a system call that the sandbox refuses";
        assert!(words.contains(refused), "{attack}: {words}");
    }
}

/// What a process of another user tries on an enclave.
const FROM_OUTSIDE: [&str; 7] = [
    "ptrace",
    "memory",
    "mem",
    "maps",
    "environ",
    "descriptors",
    "signal",
];

/// Runs as the attacker: `attacker PID`. Prints a line for each attack.
pub fn attacker(mut arguments: std::env::Args) {
    let pid: i32 = arguments
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a process");
    for attack in FROM_OUTSIDE {
        println!(
            "{attack} {}",
            if attack_from_outside(attack, pid) {
                "possible"
            } else {
                "refused"
            }
        );
    }
}

fn attack_from_outside(attack: &str, pid: i32) -> bool {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).is_ok();
    match attack {
        // SAFETY: attaches, and detaches again if that was possible.
        "ptrace" => unsafe {
            let attached = libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0) == 0;
            if attached {
                libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
                libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
            }
            attached
        },
        "memory" => {
            let mut byte = 0_u8;
            let local = libc::iovec {
                iov_base: (&raw mut byte).cast(),
                iov_len: 1,
            };
            // Nothing is mapped at 8: who may look gets EFAULT, who may not gets EPERM before that.
            let remote = libc::iovec {
                iov_base: 8 as *mut libc::c_void,
                iov_len: 1,
            };
            // SAFETY: `local` is one live byte, and nothing is written to the other process.
            let got = unsafe {
                libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0)
            };
            got >= 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
        }
        "mem" => fs::File::open(format!("/proc/{pid}/mem")).is_ok(),
        "maps" => read("maps"),
        "environ" => read("environ"),
        "descriptors" => fs::read_dir(format!("/proc/{pid}/fd")).is_ok(),
        // SAFETY: signal 0 only asks whether one could be sent.
        "signal" => unsafe { libc::kill(pid, 0) == 0 },
        other => panic!("no attack {other}"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The attacker's report about a process, as this user.
fn attack_as(user: u32, pid: u32) -> Vec<(String, bool)> {
    use std::os::unix::process::CommandExt;
    let output = Command::new(std::env::current_exe().expect("this executable"))
        .arg0("attacker")
        .arg(pid.to_string())
        .uid(user)
        .gid(user)
        .stderr(Stdio::inherit())
        .output()
        .expect("the attacker runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let report: Vec<(String, bool)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(attack, result)| (attack.to_owned(), result == "possible"))
        .collect();
    assert_eq!(report.len(), FROM_OUTSIDE.len(), "{text}");
    report
}

/// Children of a process, by their numbers outside.
fn children(parent: u32) -> Vec<u32> {
    let of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let processes = fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|pid| of(*pid) == Some(parent)).collect()
}

const HOST_USER: u32 = 64101;
const NOBODY: u32 = 65534;

pub fn the_hosts_user_cannot_look_inside() {
    if !is_root() {
        println!("skipped: only root can set up two users; run this test as root");
        return;
    }
    // The attacks work on a process that is not protected, or they would prove nothing.
    let mut victim = spawn_victim(HOST_USER);
    for (attack, possible) in attack_as(HOST_USER, victim.id()) {
        assert!(possible, "{attack} is no attack");
    }
    victim.kill().expect("own child");
    victim.wait().expect("own child");

    let mut rig = Rig::start();
    let launcher = rig.launcher.id();
    let manager = children(launcher);
    assert_eq!(manager.len(), 1);
    // This worker never locks down: the launcher waits for it, so the window stays open.
    rig.send(8, "!start window");
    let window = loop {
        let found = children(launcher)
            .into_iter()
            .find(|pid| !manager.contains(pid) && has_executed(*pid));
        if let Some(pid) = found {
            break pid;
        }
        std::thread::yield_now();
    };
    for (who, pid) in [
        ("launcher", launcher),
        ("manager", manager[0]),
        ("window", window),
    ] {
        for (attack, possible) in attack_as(HOST_USER, pid) {
            assert!(!possible, "{attack} on the {who}");
        }
    }
}

/// True once the process runs its image and no longer the launcher's copy.
fn has_executed(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.to_string_lossy().contains("coco-image"))
}

fn spawn_victim(user: u32) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut victim = Command::new("cat");
    victim
        .uid(user)
        .gid(user)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cat runs")
}

pub fn an_ordinary_user_gets_a_sandbox_that_says_shared_user() {
    let user = is_root().then_some(NOBODY);
    let mut rig = Rig::start_with(&Setup {
        user,
        ..Setup::default()
    });
    let launched = rig.text(PLATFORM);
    assert!(
        launched.ends_with("pid-namespace shared-user") || launched.contains("shared-user"),
        "{launched}"
    );
    rig.send(8, "!start probe");
    assert!(rig.text(PLATFORM).starts_with("started 1 probe"));
    rig.send(1000, "hello");
    assert_eq!(rig.text(1000), "hello");
    if let Some(user) = user {
        // Even its own user does not get in, before or after the lock-down.
        let enclaves = children(rig.launcher.id());
        assert_eq!(enclaves.len(), 2);
        rig.send(8, "!start window");
        let window = loop {
            let more = children(rig.launcher.id());
            match more
                .into_iter()
                .find(|pid| !enclaves.contains(pid) && has_executed(*pid))
            {
                Some(pid) => break pid,
                None => std::thread::yield_now(),
            }
        };
        for pid in enclaves.into_iter().chain([window]) {
            for (attack, possible) in attack_as(user, pid) {
                assert!(!possible || attack == "signal", "{attack} on process {pid}");
            }
        }
    }
    rig.send(8, "!open");
    rig.launcher.kill().expect("own child");
}
