//! The test's side: plays `coco node start` and the host at once.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boundary::{
    Decoder, HostToManager, ManagerToHost, Received, encode, host_to_manager, manager_to_host,
};
use bytes::{Bytes, BytesMut};
use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, issue};
use types::Millis;

use super::probe::PLATFORM;

pub const DAY_MS: u64 = 86_400_000;

/// One launched enclave and the host's end of its socket.
pub struct Rig {
    pub launcher: Child,
    pub socket: UnixStream,
    decoder: Decoder,
    pub platform_root: Certificate,
    _directory: tempfile::TempDir,
}

/// How the launcher is to be started.
#[derive(Default)]
pub struct Setup {
    /// Run the launcher as this user, without root.
    pub user: Option<u32>,
    pub key_mode: Option<u32>,
    pub manager: Option<PathBuf>,
    pub threads: Option<usize>,
}

impl Rig {
    pub fn start() -> Self {
        let mut rig = Self::start_with(&Setup::default());
        let launched = rig.text(PLATFORM);
        assert!(launched.starts_with("launched "), "{launched}");
        rig
    }

    pub fn start_with(setup: &Setup) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (root, chain, key) = platform_identity();
        let own = std::env::current_exe().expect("this executable");
        let key_file = directory.path().join("platform.key");
        let chain_file = directory.path().join("platform.pem");
        std::fs::write(&key_file, key).expect("written");
        std::fs::write(&chain_file, chain.to_pem()).expect("written");
        set_mode(&key_file, setup.key_mode.unwrap_or(0o600));
        if let Some(user) = setup.user {
            set_mode(directory.path(), 0o755);
            std::os::unix::fs::chown(&key_file, Some(user), Some(user)).expect("root may");
        }
        let (socket, theirs) = UnixStream::pair().expect("sockets");
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).expect("inheritable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coco-launcher"));
        command
            .args(["--host-fd", &theirs.as_raw_fd().to_string()])
            .arg("--manager")
            .arg(setup.manager.as_ref().unwrap_or(&own))
            .arg("--worker")
            .arg(format!("probe={}", own.display()))
            .arg("--worker")
            .arg(format!("window={}", own.display()))
            .arg("--platform-key")
            .arg(&key_file)
            .arg("--platform-certificates")
            .arg(&chain_file)
            .stderr(Stdio::piped());
        if let Some(threads) = setup.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(user) = setup.user {
            command.uid(user).gid(user);
        }
        let launcher = command.spawn().expect("the launcher starts");
        drop(theirs);
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a socket option");
        Self {
            launcher,
            socket,
            decoder: Decoder::default(),
            platform_root: root,
            _directory: directory,
        }
    }

    pub fn send(&mut self, connection: u64, data: impl Into<Bytes>) {
        let mut frame = BytesMut::new();
        encode(&received(connection, data.into()), &mut frame);
        self.socket.write_all(&frame).expect("the manager reads");
    }

    /// The next message, `None` at the end.
    pub fn next(&mut self) -> Option<ManagerToHost> {
        loop {
            if let Some(message) = self.decoder.next().expect("well-formed") {
                return Some(message);
            }
            let mut part = vec![0; 1 << 16];
            match self.socket.read(&mut part) {
                Ok(0) => return None,
                Ok(bytes) => self.decoder.buffer().extend_from_slice(&part[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// What is sent next on this connection.
    pub fn data(&mut self, connection: u64) -> Bytes {
        loop {
            let message = self
                .next()
                .unwrap_or_else(|| panic!("ended; {}", self.last_words()));
            if let Some(manager_to_host::Message::Send(send)) = message.message
                && send.connection == connection
            {
                return send.data;
            }
        }
    }

    pub fn text(&mut self, connection: u64) -> String {
        String::from_utf8_lossy(&self.data(connection)).into_owned()
    }

    /// Waits for the launcher's end: its exit status and the last line of its log.
    pub fn end(mut self) -> (i32, String) {
        let words = self.last_words();
        let status = self.launcher.wait().expect("a child");
        (
            status.code().unwrap_or(-1),
            words.lines().last().unwrap_or_default().to_owned(),
        )
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.launcher.stderr {
            stderr.read_to_string(&mut text).expect("text");
        }
        text
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

fn received(connection: u64, data: Bytes) -> HostToManager {
    let received = Received { connection, data };
    HostToManager {
        now: 1,
        message: Some(host_to_manager::Message::Received(received)),
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
}

fn now() -> Millis {
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970");
    Millis(since.as_millis() as u64)
}

/// A platform root, a platform certificate below it, and its key as PEM.
fn platform_identity() -> (Certificate, Certificate, String) {
    let mut entropy = Entropy::new(&[3; 32]);
    let (root_key, key) = (
        SigningKey::generate(&mut entropy),
        SigningKey::generate(&mut entropy),
    );
    let request = |name, authority, serial: u8| CertificateRequest {
        common_name: name,
        dns_names: vec![],
        not_before: Millis(now().0 - DAY_MS),
        not_after: Millis(now().0 + DAY_MS),
        authority,
        extensions: vec![],
        serial: [serial; 16],
    };
    let root = issue(
        root_key.public(),
        &request("platform root", true, 1),
        &root_key,
        None,
    );
    let leaf = issue(
        key.public(),
        &request("platform", false, 2),
        &root_key,
        Some(&root),
    );
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", key.to_pkcs8().to_vec()));
    (root, leaf, pem)
}

fn own_measurement() -> [u8; 48] {
    let own = std::fs::read(std::env::current_exe().expect("this executable")).expect("readable");
    crypto::sha384(&own)
}

// ---------------------------------------------------------------- tests

pub fn messages_go_through_manager_and_worker() {
    let mut rig = Rig::start();
    rig.send(8, "to the manager");
    assert_eq!(rig.text(8), "to the manager");
    rig.send(8, "!start probe");
    let started = rig.text(PLATFORM);
    assert_eq!(
        started,
        format!("started 1 probe {}", hex::encode(own_measurement()))
    );
    rig.send(1000, "to the worker");
    assert_eq!(rig.text(1000), "to the worker");
    let large = vec![9; 5 << 20];
    rig.send(1002, large.clone());
    assert_eq!(rig.data(1002), large);
    rig.send(8, "!exit all is well");
    assert!(matches!(
        rig.next().and_then(|message| message.message),
        Some(manager_to_host::Message::Exit(_))
    ));
    let (status, words) = rig.end();
    assert_eq!(status, 0, "{words}");
    assert!(words.contains("all is well"), "{words}");
}

pub fn evidence_is_appraised_and_bound_to_the_image() {
    use tee::{
        Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Root, Strength,
    };
    let mut rig = Rig::start();
    rig.send(8, "!evidence");
    let evidence = rig.data(PLATFORM + 1);
    let root = Root(rig.platform_root.der().to_vec());
    let mut accepted = Accepted::strict(Platform::Software, vec![root]);
    accepted.admit_shared_user = true;
    accepted.missing_allowed = ALL_FEATURES.iter().map(|name| (*name).into()).collect();
    let manifest = Manifest {
        strength_min: Strength::Software,
        accepted: vec![accepted],
        evidence_age_max_ms: 60_000,
    };
    let code = |measurement: [u8; 48]| CodeManifest {
        images: vec![CodeIdentity {
            name: "manager".into(),
            version: "1".into(),
            platform: Platform::Software,
            measurement: measurement.to_vec(),
            state: CodeState::Allowed,
        }],
    };
    let appraise = |code: &CodeManifest, report_data: u8| {
        tee::appraise(&evidence, &[], &manifest, code, &[report_data; 64], now())
    };
    assert!(appraise(&code(own_measurement()), 7).is_ok());
    assert!(appraise(&code([0; 48]), 7).is_err(), "another image");
    assert!(
        appraise(&code(own_measurement()), 8).is_err(),
        "other report data"
    );
}

/// Every feature that the sandbox may report as missing: this test is about the signature.
const ALL_FEATURES: [&str; 16] = [
    "non-dumpable",
    "core-limit",
    "descriptors",
    "user-namespace",
    "mount-namespace",
    "network-namespace",
    "ipc-namespace",
    "uts-namespace",
    "cgroup-namespace",
    "no-new-privileges",
    "landlock",
    "memory-deny-write-execute",
    "capabilities",
    "parent-death-signal",
    "seccomp",
    "pid-namespace",
];

pub fn a_worker_that_ends_is_reported_and_started_again() {
    let mut rig = Rig::start();
    rig.send(8, "!start nothing");
    assert!(rig.text(PLATFORM).contains("--worker nothing=IMAGE"));
    rig.send(8, "!start probe");
    assert!(rig.text(PLATFORM).starts_with("started 2 probe"));
    rig.send(2000, "panic");
    let ended = rig.text(PLATFORM);
    assert!(
        ended.starts_with("ended 2 coco-worker-probe ended (exit status 101): panic at "),
        "{ended}"
    );
    rig.send(8, "!start probe");
    assert!(rig.text(PLATFORM).starts_with("started 3 probe"));
    rig.send(3000, "open");
    let ended = rig.text(PLATFORM);
    assert!(
        ended.contains("killed for a system call that the sandbox refuses"),
        "{ended}"
    );
    rig.send(8, "!start probe");
    assert!(rig.text(PLATFORM).starts_with("started 4 probe"));
    rig.send(8, "!stop 4");
    assert!(
        rig.text(PLATFORM)
            .starts_with("ended 4 coco-worker-probe ended (exit status 0)")
    );
    rig.send(8, "still there");
    assert_eq!(rig.text(8), "still there");
}

pub fn threads_work_behind_the_same_walls() {
    let mut rig = Rig::start_with(&Setup {
        threads: Some(4),
        ..Setup::default()
    });
    let launched = rig.text(PLATFORM);
    rig.send(8, "!start probe");
    assert!(rig.text(PLATFORM).starts_with("started 1 probe"));
    for _ in 0..5 {
        rig.send(1000, "threads");
        assert_eq!(rig.text(1000), "4 threads 994950000");
    }
    rig.send(1000, "open-elsewhere");
    let ended = rig.text(PLATFORM);
    assert!(
        ended.contains("killed for a system call that the sandbox refuses"),
        "{ended}"
    );
    // More threads lack nothing that one has.
    rig.send(8, "!evidence");
    let evidence = rig.data(PLATFORM + 1);
    let lacks_filter = evidence.windows(7).any(|part| part == b"seccomp");
    assert_eq!(lacks_filter, launched.contains("seccomp"));
}

pub fn a_panic_ends_the_node_and_tells_its_place() {
    let mut rig = Rig::start();
    rig.send(8, "!start probe");
    rig.text(PLATFORM);
    rig.send(8, "!panic");
    assert_eq!(rig.next(), None);
    let (status, words) = rig.end();
    assert_eq!(status, 1);
    assert!(
        words.contains("panic at") && words.contains("probe.rs:"),
        "{words}"
    );
}

/// The host writes without reading until nothing moves, while the worker amplifies; then it reads.
pub fn no_cycle_of_full_sockets_stands_still() {
    let mut rig = Rig::start();
    rig.send(8, "!start probe");
    rig.text(PLATFORM);
    let mut writer = rig.socket.try_clone().expect("a descriptor");
    let mut frames = BytesMut::new();
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        encode(&received(1000, "amplify".into()), &mut frames);
        encode(&received(10, "!burst 100".into()), &mut frames);
        encode(&received(12, vec![0; 1 << 20].into()), &mut frames);
    }
    let writer = std::thread::spawn(move || writer.write_all(&frames).expect("all is taken"));
    let (mut worker, mut burst, mut echo) = (0, 0, 0);
    while (worker, burst, echo) != (ROUNDS * 1000, ROUNDS * 100, ROUNDS) {
        let message = rig.next().expect("goes on");
        if let Some(manager_to_host::Message::Send(send)) = message.message {
            match send.connection {
                1000 => worker += 1,
                10 => burst += 1,
                12 => echo += 1,
                other => panic!("connection {other}"),
            }
        }
    }
    writer.join().expect("written");
}

pub fn the_platform_key_must_be_private() {
    let rig = Rig::start_with(&Setup {
        key_mode: Some(0o640),
        ..Setup::default()
    });
    let (status, words) = rig.end();
    assert_eq!(status, 1);
    assert!(
        words.contains("can be read by others; run chmod 600"),
        "{words}"
    );
}

/// Prints how long a message takes through all processes and back. Not a test: nothing is asserted.
pub fn measure() {
    let mut rig = Rig::start();
    rig.send(8, "!start probe");
    rig.text(PLATFORM);
    for bytes in [64, 20_000] {
        let data = vec![3; bytes];
        let mut took: Vec<u128> = (0..2_000)
            .map(|_| {
                let began = std::time::Instant::now();
                rig.send(1000, data.clone());
                rig.data(1000);
                began.elapsed().as_nanos() / 1_000
            })
            .collect();
        took.sort_unstable();
        println!(
            "{bytes} bytes to the worker and back: p50 {} us, p99 {} us",
            took[1000], took[1980]
        );
    }
    let began = std::time::Instant::now();
    let mut writer = rig.socket.try_clone().expect("a descriptor");
    let mut frame = BytesMut::new();
    encode(&received(1000, vec![0; 256 << 10].into()), &mut frame);
    let writer = std::thread::spawn(move || {
        (0..1_000).for_each(|_| writer.write_all(&frame).expect("taken"))
    });
    (0..1_000).for_each(|_| drop(rig.data(1000)));
    writer.join().expect("written");
    let mb = 1_000.0 * 0.262_144;
    println!(
        "{:.0} MB/s to the worker and back",
        mb / began.elapsed().as_secs_f64()
    );
}
