//! A host process and the manager's end of its socket.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boundary::{
    Decoder, HostToManager, ManagerToHost, Opened, Start, encode, host_to_manager::Message as Told,
    manager_to_host::Message as Say,
};
use bytes::BytesMut;
use tempfile::TempDir;

#[derive(Default)]
pub struct Setup {
    /// Go on in the directory of an earlier host.
    pub directory: Option<TempDir>,
    /// No file may grow beyond this.
    pub file_bytes_max: Option<u64>,
    pub kv_port: Option<u16>,
    /// Room that the disk must have.
    pub disk_reserve_mib: Option<u64>,
}

pub struct Rig {
    host: Child,
    socket: UnixStream,
    decoder: Decoder,
    directory: TempDir,
    /// The host's first message.
    pub start: Start,
    pub node_port: u16,
    pub admin_port: u16,
    pub kv_port: u16,
    metrics_port: u16,
}

impl Rig {
    /// A host that is there: it has said what it was started with.
    pub fn start(setup: Setup) -> Self {
        let mut rig = Self::spawn(setup);
        match rig.wait_for(|_| true) {
            Told::Start(start) => rig.start = start,
            other => panic!("first came {other:?}"),
        }
        rig
    }

    pub fn spawn(setup: Setup) -> Self {
        let directory = setup
            .directory
            .unwrap_or_else(|| tempfile::tempdir().expect("temporary directory"));
        let [node_port, admin_port, kv_port, metrics_port] = free_ports();
        let kv_port = setup.kv_port.unwrap_or(kv_port);
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("constitution"), "constitution").expect("written");
        std::fs::write(at("genesis"), "genesis").expect("written");
        let chain = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
        std::fs::write(at("owner.pem"), chain).expect("written");
        let reserve = setup.disk_reserve_mib.unwrap_or(256);
        let config = format!(
            "owner = 'ada'\naddress = '127.0.0.1:7000'\ndirectory = 'data'\ncreate = true\n\
             disk_reserve_mib = {reserve}\n\
             constitution = 'constitution'\nowner_chain = 'owner.pem'\n\
             [listen]\nnode = '127.0.0.1:{node_port}'\nadmin = '127.0.0.1:{admin_port}'\n\
             metrics = '127.0.0.1:{metrics_port}'\n\
             [protocols.kv]\nlisten = '127.0.0.1:{kv_port}'\nsettings = 'genesis'\n\
             [agent]\nsocket = 'agent.socket'\n"
        );
        std::fs::write(at("host.toml"), config).expect("written");
        // Root's host becomes another user, who connects to the agent in this directory.
        open_directory(directory.path());
        let (socket, theirs) = UnixStream::pair().expect("sockets");
        let number = theirs.as_raw_fd();
        let mut command = Command::new(env!("CARGO_BIN_EXE_coco-host"));
        command
            .arg("--config")
            .arg(at("host.toml"))
            .args(["--manager-fd", &number.to_string()])
            .stderr(Stdio::piped());
        let limit = setup.file_bytes_max;
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::fcntl(number, libc::F_SETFD, 0);
                if let Some(bytes) = limit {
                    let limit = libc::rlimit {
                        rlim_cur: bytes,
                        rlim_max: bytes,
                    };
                    libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                }
                Ok(())
            });
        }
        let host = command.spawn().expect("the host starts");
        drop(theirs);
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a socket option");
        let decoder = Decoder::default();
        Self {
            host,
            socket,
            decoder,
            directory,
            start: Start::default(),
            node_port,
            admin_port,
            kv_port,
            metrics_port,
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn say(&mut self, message: Say) {
        let mut frame = BytesMut::new();
        encode(
            &ManagerToHost {
                message: Some(message),
            },
            &mut frame,
        );
        self.say_bytes(&frame);
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the host reads");
    }

    /// The first of the following messages that is looked for.
    pub fn wait_for(&mut self, wanted: impl Fn(&Told) -> bool) -> Told {
        loop {
            if let Some(message) = self.decoder.next::<HostToManager>().expect("well-formed") {
                assert!(message.now > 1_600_000_000_000, "milliseconds since 1970");
                match message.message {
                    Some(told) if wanted(&told) => return told,
                    _ => continue,
                }
            }
            let mut part = vec![0; 1 << 16];
            match self.socket.read(&mut part) {
                Ok(0) => panic!("the host ended"),
                Ok(bytes) => self.decoder.buffer().extend_from_slice(&part[..bytes]),
                // A child that ended elsewhere in this process interrupts a wait with a time limit.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub fn opened(&mut self) -> Opened {
        match self.wait_for(|told| matches!(told, Told::Opened(_))) {
            Told::Opened(opened) => opened,
            _ => unreachable!("waited for it"),
        }
    }

    pub fn persisted(&mut self, sequence: u64) {
        self.wait_for(|told| matches!(told, Told::Persisted(one) if one.sequence == sequence));
    }

    pub fn received(&mut self, connection: u64, bytes: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < bytes {
            match self.wait_for(|told| matches!(told, Told::Received(_))) {
                Told::Received(one) if one.connection == connection => got.extend(one.data),
                _ => {}
            }
        }
        got
    }

    pub fn get(&self, path: &str) -> String {
        let mut operator = TcpStream::connect(("127.0.0.1", self.metrics_port)).expect("listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        operator.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        operator.read_to_string(&mut answer).expect("answered");
        answer
    }

    pub fn terminate(&self) {
        let pid = i32::try_from(self.host.id()).expect("a process number");
        // SAFETY: a signal to our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    pub fn hang_up(&mut self) {
        self.socket
            .shutdown(std::net::Shutdown::Both)
            .expect("connected");
    }

    /// kill -9.
    pub fn kill(mut self) -> TempDir {
        self.host.kill().expect("own child");
        self.host.wait().expect("own child");
        self.directory
    }

    /// Waits for the end: exit status, log and directory.
    pub fn end(mut self) -> (i32, String, TempDir) {
        let mut log = String::new();
        self.host
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut log)
            .expect("text");
        let status = self.host.wait().expect("own child");
        (status.code().unwrap_or(-1), log, self.directory)
    }
}

fn open_directory(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).expect("own directory");
}

/// Ports that are free now. Another process might take one; that test would then say so.
fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}
