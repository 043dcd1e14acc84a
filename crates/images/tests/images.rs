//! The real images, locked down, with the test on the other end of their sockets.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boundary::{
    Decoder, Hello, HostToManager, Launched, ManagerToHost, ManagerToWorker, Message,
    PlatformToManager, Start, WorkerToManager, encode, host_to_manager, manager_to_host,
    manager_to_worker, platform_to_manager, worker_to_manager,
};
use bytes::BytesMut;

/// An image with sockets at descriptors 3, 4, ...
struct Image {
    process: Child,
    sockets: Vec<UnixStream>,
    decoder: Decoder,
}

impl Image {
    fn start(path: &str, sockets: usize) -> Self {
        let pairs: Vec<_> = (0..sockets)
            .map(|_| UnixStream::pair().expect("sockets"))
            .collect();
        let theirs: Vec<RawFd> = pairs.iter().map(|(_, theirs)| theirs.as_raw_fd()).collect();
        let mut command = Command::new(path);
        command.env_clear().stderr(Stdio::piped());
        // SAFETY: only fcntl and dup2 between fork and exec, on numbers copied before; the sources
        // are moved above all wanted numbers first.
        unsafe {
            command.pre_exec(move || {
                let mut moved = [-1; 4];
                for (to, from) in moved.iter_mut().zip(&theirs) {
                    *to = libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, 100);
                }
                for (number, from) in (3..).zip(&moved[..theirs.len()]) {
                    if libc::dup2(*from, number) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let process = command.spawn().expect("the image starts");
        let sockets: Vec<UnixStream> = pairs.into_iter().map(|(ours, _)| ours).collect();
        for socket in &sockets {
            socket
                .set_read_timeout(Some(Duration::from_secs(60)))
                .expect("a socket option");
        }
        Self {
            process,
            sockets,
            decoder: Decoder::default(),
        }
    }

    fn send<M: Message>(&mut self, socket: usize, message: &M) {
        let mut frame = BytesMut::new();
        encode(message, &mut frame);
        self.sockets[socket]
            .write_all(&frame)
            .expect("the image reads");
    }

    /// The next message on the first socket.
    fn next<M: Message + Default>(&mut self) -> M {
        loop {
            if let Some(message) = self.decoder.next().expect("well-formed") {
                return message;
            }
            let mut part = vec![0; 1 << 16];
            match self.sockets[0].read(&mut part) {
                Ok(0) => panic!("ended: {}", self.words()),
                Ok(bytes) => self.decoder.buffer().extend_from_slice(&part[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Hangs up, and gives what the image said on its standard error.
    fn words(&mut self) -> String {
        self.sockets.clear();
        let mut text = String::new();
        let stderr = self.process.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut text).expect("text");
        self.process.wait().expect("own child");
        text
    }
}

#[test]
fn a_worker_answers_inside_its_sandbox_and_ends_with_its_manager() {
    let images = [
        (env!("CARGO_BIN_EXE_coco-worker-kv"), "kv", ""),
        (env!("CARGO_BIN_EXE_coco-worker-ethereum"), "ethereum", "{}"),
    ];
    for (path, protocol, settings) in images {
        let mut worker = Image::start(path, 1);
        let hello = Hello {
            restore: false,
            network: vec![1; 32].into(),
            protocol: protocol.into(),
            settings: settings.into(),
            worker_key: vec![2; 32].into(),
            batch_units_max: 100,
            batch_bytes_max: 1 << 20,
            genesis_time: 1_000,
            verify_forwarded: false,
            format: 1,
        };
        let message = Some(manager_to_worker::Message::Hello(hello));
        worker.send(
            0,
            &ManagerToWorker {
                now: 1_000,
                message,
            },
        );
        let ready = loop {
            if let Some(worker_to_manager::Message::Ready(ready)) =
                worker.next::<WorkerToManager>().message
            {
                break ready;
            }
        };
        assert_eq!(ready.protocol, protocol);
        let words = worker.words();
        assert!(words.starts_with("locked "), "{words}");
        assert!(
            words.ends_with("ended: the manager closed its socket\n"),
            "{words}"
        );
    }
}

#[test]
fn a_manager_refuses_a_constitution_that_is_none_and_says_so() {
    let mut manager = Image::start(env!("CARGO_BIN_EXE_coco-manager"), 2);
    let launched = Launched {
        entropy: vec![7; 32].into(),
        measurement: vec![8; 48].into(),
        missing: vec![],
    };
    let launched = Some(platform_to_manager::Message::Launched(launched));
    manager.send(1, &PlatformToManager { message: launched });
    let start = Start {
        constitution: "none".into(),
        create: true,
        ..Start::default()
    };
    let start = Some(host_to_manager::Message::Start(start));
    manager.send(
        0,
        &HostToManager {
            now: 1_000,
            message: start,
        },
    );
    let exit = loop {
        if let Some(manager_to_host::Message::Exit(exit)) = manager.next::<ManagerToHost>().message
        {
            break exit;
        }
    };
    assert_ne!(exit.code, 0);
    let words = manager.words();
    assert!(words.starts_with("locked "), "{words}");
    assert!(
        words.contains(&format!("ended: {}", exit.reason)),
        "{words}"
    );
}

#[test]
fn an_image_that_nobody_launched_says_what_starts_it() {
    for path in [
        env!("CARGO_BIN_EXE_coco-manager"),
        env!("CARGO_BIN_EXE_coco-worker-kv"),
    ] {
        let output = Command::new(path).output().expect("runs");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("started by coco-launcher"));
    }
}

/// What is measured is what runs: no library is loaded from elsewhere where the machine has the
/// archives to link with (see `build.rs`, which warns otherwise).
#[test]
fn an_image_names_no_interpreter() {
    let image = std::fs::read(env!("CARGO_BIN_EXE_coco-manager")).expect("readable");
    let interpreter = image.windows(14).any(|window| window == b"/ld-linux-x86-");
    let archive = Command::new("cc").arg("-print-file-name=libc.a").output();
    let has_archive = archive.is_ok_and(|output| output.stdout.starts_with(b"/"));
    if !has_archive {
        println!("skipped: the C library's archive (libc.a) is not installed");
        return;
    }
    assert!(!interpreter);
}
