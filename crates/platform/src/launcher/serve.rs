//! The launcher's life: manager first, then workers as the manager asks, until the manager ends.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use boundary::{
    Evidence, Launched, ManagerToPlatform, PlatformToManager, StartWorker, WorkerEnded,
    WorkerStarted, encode, manager_to_platform, platform_to_manager::Message as ToManager,
};
use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;
use types::Millis;

use super::evidence::{PlatformIdentity, SHARED_USER};
use super::image::Image;
use super::options::Options;
use super::start::{Enclave, start};
use crate::link::{Link, READ_BYTES, Reading, pair};
use crate::syscalls;

/// Most workers running at once: one for each protocol, and some that are just ending.
const WORKERS_MAX: usize = 16;

/// How long a worker may take to end after its manager hung up.
const GRACE_MS: u64 = 2_000;

/// How the launcher's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The manager ended the validating node in good order.
    Done(String),
    /// Something failed; the text says what.
    Failed(String),
}

/// Runs the launcher until the manager ends.
pub fn run(options: &Options) -> Ending {
    match Launcher::start(options) {
        Ok(launcher) => launcher.serve(),
        Err(reason) => Ending::Failed(reason),
    }
}

struct Launcher {
    identity: PlatformIdentity,
    manager_image: Image,
    worker_images: BTreeMap<String, Image>,
    launch_data: Vec<u8>,
    manager: Enclave,
    link: Link,
    workers: BTreeMap<u64, Worker>,
    workers_started: u64,
    missing: Vec<String>,
    /// What a worker is told of how many threads it has.
    threads: Option<String>,
}

struct Worker {
    enclave: Enclave,
    /// The worker's end of its socket. It shows when the manager hangs up.
    socket: OwnedFd,
    hung_up_at: Option<u64>,
}

impl Launcher {
    fn start(options: &Options) -> Result<Self, String> {
        // A terminal's Ctrl-C is for the host, which stops the manager in good order. This fails
        // for the leader of a process group, which the terminal then knows apart already.
        let _ = rustix::process::setsid();
        // Children inherit this until they execute their image, which is never readable.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| format!("cannot protect the platform key in memory: {errno}"))?;
        let host = syscalls::inherited(options.host_fd).map_err(|error| {
            format!(
                "--host-fd {}: {error}; the parent must leave a socket open",
                options.host_fd
            )
        })?;
        let identity = PlatformIdentity::load(
            &options.platform_key,
            &options.platform_certificates,
            options.svn,
        )?;
        let manager_image = Image::load(&options.manager).map_err(|error| error.to_string())?;
        let mut worker_images = BTreeMap::new();
        for (protocol, path) in &options.workers {
            let image = Image::load(path).map_err(|error| error.to_string())?;
            worker_images.insert(protocol.clone(), image);
        }
        let mut missing = become_enclave_user(options)?;
        let (ours, theirs) = pair().map_err(|error| format!("no socket pair: {error}"))?;
        let sockets = [host.as_fd(), theirs.as_fd()];
        let mut manager = start("coco-manager", None, &manager_image, &sockets)
            .map_err(|error| format!("cannot start the manager: {error}"))?;
        for name in manager.locked_down()? {
            if !missing.contains(&name) {
                missing.push(name);
            }
        }
        say(&format!(
            "manager started: process {}, measurement {}, sandbox lacks {}",
            manager.pid().as_raw_nonzero(),
            hex::encode(manager_image.measurement()),
            if missing.is_empty() {
                "nothing".into()
            } else {
                missing.join(" ")
            },
        ));
        let launch_data = launch_data(&worker_images);
        let mut launcher = Self {
            identity,
            manager_image,
            worker_images,
            launch_data,
            manager,
            link: Link::new(ours),
            workers: BTreeMap::new(),
            workers_started: 0,
            missing,
            threads: options.threads.map(|threads| threads.to_string()),
        };
        launcher.introduce()?;
        Ok(launcher)
    }

    fn introduce(&mut self) -> Result<(), String> {
        let mut entropy = [0; 32];
        rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| format!("no random numbers: {errno}"))?;
        self.push(ToManager::Launched(Launched {
            entropy: entropy.to_vec().into(),
            measurement: self.manager_image.measurement().to_vec().into(),
            missing: self.missing.clone(),
        }));
        Ok(())
    }

    fn serve(mut self) -> Ending {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.link.write();
            self.wait();
            if let Some(ending) = self.see_manager(&mut buffer) {
                return ending;
            }
            self.see_workers();
        }
    }

    fn wait(&self) {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.link.is_waiting());
        let mut polled = vec![PollFd::from_borrowed_fd(
            self.manager.process(),
            PollFlags::IN,
        )];
        if !self.link.is_ended() {
            polled.push(PollFd::from_borrowed_fd(self.link.socket(), flags));
        }
        for worker in self.workers.values() {
            polled.push(PollFd::from_borrowed_fd(
                worker.enclave.process(),
                PollFlags::IN,
            ));
            if worker.hung_up_at.is_none() {
                polled.push(PollFd::new(&worker.socket, PollFlags::RDHUP));
            }
        }
        let leaving = self
            .workers
            .values()
            .any(|worker| worker.hung_up_at.is_some());
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        // An interruption only looks again sooner.
        let _ = rustix::event::poll(&mut polled, leaving.then_some(&second));
    }

    fn see_manager(&mut self, buffer: &mut [u8]) -> Option<Ending> {
        while !self.link.is_ended() {
            let reading = self.link.read(buffer);
            loop {
                match self.link.next::<ManagerToPlatform>() {
                    Ok(Some(message)) => self.serve_one(message),
                    Ok(None) => break,
                    Err(broken) => {
                        let end = self.manager.kill();
                        return Some(Ending::Failed(format!("from the manager: {broken}; {end}")));
                    }
                }
            }
            if reading != Reading::More {
                break;
            }
        }
        if !is_readable(PollFd::from_borrowed_fd(
            self.manager.process(),
            PollFlags::IN,
        )) {
            return None;
        }
        let reason = self.manager.ended();
        for worker in self.workers.values_mut() {
            worker.enclave.kill();
        }
        let good = reason.contains("(exit status 0)");
        Some(if good {
            Ending::Done(reason)
        } else {
            Ending::Failed(reason)
        })
    }

    fn serve_one(&mut self, message: ManagerToPlatform) {
        match message.message {
            Some(manager_to_platform::Message::Evidence(request)) => {
                let evidence = self.identity.evidence(
                    self.manager_image.measurement(),
                    &self.launch_data,
                    &request.report_data,
                    &self.missing,
                    Millis(now_ms()),
                );
                let (evidence, failure) = match evidence {
                    Ok(evidence) => (evidence, String::new()),
                    Err(failure) => (Vec::new(), failure),
                };
                self.push(ToManager::Evidence(Evidence {
                    request: request.request,
                    evidence: evidence.into(),
                    endorsements: Bytes::new(), // the chain travels with the evidence
                    failure,
                }));
            }
            Some(manager_to_platform::Message::StartWorker(start)) => self.start_worker(&start),
            None => {}
        }
    }

    fn start_worker(&mut self, wanted: &StartWorker) {
        self.workers_started += 1;
        let number = self.workers_started;
        if let Err(reason) = self.try_start_worker(number, &wanted.protocol) {
            say(&format!(
                "worker {number} for {:?}: {reason}",
                wanted.protocol
            ));
            self.push(ToManager::WorkerEnded(WorkerEnded {
                worker: number,
                reason,
            }));
        }
    }

    fn try_start_worker(&mut self, number: u64, protocol: &str) -> Result<(), String> {
        if self.workers.len() >= WORKERS_MAX {
            return Err(format!("{WORKERS_MAX} workers are running already"));
        }
        let image = self.worker_images.get(protocol).ok_or_else(|| {
            format!("no image for {protocol:?}; start the launcher with --worker {protocol}=IMAGE")
        })?;
        let (above, below) = pair().map_err(|error| format!("no socket pair: {error}"))?;
        let name = format!("coco-worker-{protocol}");
        let mut enclave = start(&name, self.threads.as_deref(), image, &[below.as_fd()])
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        for missing in enclave.locked_down()? {
            if !self.missing.contains(&missing) {
                self.missing.push(missing); // evidence speaks of the weakest of a VN's enclaves
            }
        }
        say(&format!(
            "worker {number} for {protocol} started: process {}, measurement {}",
            enclave.pid().as_raw_nonzero(),
            hex::encode(image.measurement()),
        ));
        let started = PlatformToManager {
            message: Some(ToManager::WorkerStarted(WorkerStarted {
                protocol: protocol.to_owned(),
                worker: number,
                measurement: image.measurement().to_vec().into(),
            })),
        };
        self.link.write_out();
        let mut frame = BytesMut::new();
        encode(&started, &mut frame);
        super::send_with_descriptor(self.link.socket(), &frame, above.as_fd())
            .map_err(|error| format!("the manager does not take its socket: {error}"))?;
        self.workers.insert(
            number,
            Worker {
                enclave,
                socket: below,
                hung_up_at: None,
            },
        );
        Ok(())
    }

    fn see_workers(&mut self) {
        let mut gone = Vec::new();
        for (number, worker) in &mut self.workers {
            let now = now_ms();
            let ended = PollFd::from_borrowed_fd(worker.enclave.process(), PollFlags::IN);
            if is_readable(ended) {
                gone.push((*number, worker.enclave.ended()));
            } else if let Some(since) = worker.hung_up_at {
                if now.saturating_sub(since) > GRACE_MS || now < since {
                    gone.push((*number, worker.enclave.kill()));
                }
            } else if is_readable(PollFd::new(&worker.socket, PollFlags::RDHUP)) {
                worker.hung_up_at = Some(now);
            }
        }
        for (worker, reason) in gone {
            self.workers.remove(&worker);
            say(&format!("worker {worker}: {reason}"));
            self.push(ToManager::WorkerEnded(WorkerEnded { worker, reason }));
        }
    }

    fn push(&mut self, message: ToManager) {
        self.link.push(&PlatformToManager {
            message: Some(message),
        });
    }
}

/// Becomes the enclaves' user if root started this, and says what that lacks otherwise.
fn become_enclave_user(options: &Options) -> Result<Vec<String>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(vec!["pid-namespace".into(), SHARED_USER.into()]);
    }
    let mut missing = Vec::new();
    // Takes effect for the enclaves: the first of them, the manager, becomes its process 1, and
    // when it ends the kernel ends every worker.
    if syscalls::unshare(UnshareFlags::NEWPID).is_err() {
        missing.push("pid-namespace".to_owned());
    }
    syscalls::become_user(options.uid, options.gid)
        .map_err(|error| format!("cannot become user {}: {error}", options.uid))?;
    // Changing the user made the process dumpable or not as the kernel is configured.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| format!("cannot protect the platform key in memory: {errno}"))?;
    Ok(missing)
}

/// Which workers this manager can start: a digest over protocols and measurements.
fn launch_data(images: &BTreeMap<String, Image>) -> Vec<u8> {
    let mut hasher = crypto::Hasher::new();
    for (protocol, image) in images {
        hasher = hasher.part(protocol.as_bytes()).part(image.measurement());
    }
    hasher.finish().0.to_vec()
}

fn is_readable(mut polled: PollFd<'_>) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = rustix::event::poll(std::slice::from_mut(&mut polled), Some(&at_once));
    ready.is_ok_and(|count| count > 0)
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn say(line: &str) {
    eprintln!("coco-launcher: {line}");
}
