//! The run loop: lock down, then feed messages to the enclave until one side ends.
//!
//! One thread. Each turn reads what is there, hands over each message, says that this was all, and
//! writes what came out with few system calls. Flow control: *above* is where work comes from (the
//! host, the launcher; for a worker its manager), *below* is where it goes. A process stops reading
//! from above while anyone who should read its output lags behind, and always reads from below.
//! So the lowest process always drains, and with it each one above: no cycle can wait for itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use boundary::{
    HostToManager, ManagerToWorker, Message, PlatformToManager, WorkerToManager, manager_to_host,
    platform_to_manager, worker_to_manager,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use types::Millis;

use crate::link::{Link, READ_BYTES, Reading};
use crate::process::{ManagerInput, ManagerOutput, ManagerProcess, WorkerProcess};
use crate::threads::Threads;
use crate::{sandbox, syscalls, threads, words};

/// Descriptors that the launcher leaves to an image.
pub(crate) const MANAGER_HOST: i32 = 3;
pub(crate) const MANAGER_PLATFORM: i32 = 4;
pub(crate) const WORKER_MANAGER: i32 = 3;

/// Most reads from one socket in one turn, so that the others get theirs: 4 MiB.
const READS_PER_TURN_MAX: usize = 16;

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Runs a manager image. Its first message is `Launched`, with 32 bytes of entropy that this process
/// and the launcher drew together.
pub fn run_manager<P: ManagerProcess>(make: impl FnOnce() -> P) -> ! {
    words::report_panics();
    let host = inherit(MANAGER_HOST);
    let platform = inherit(MANAGER_PLATFORM);
    let (missing, _) = sandbox::lock_down(MANAGER_PLATFORM + 1, 1);
    words::locked(&missing);
    let mut manager = ManagerLoop::new(host, platform);
    let mut first = manager.wait_for_launch();
    mix_entropy(&mut first);
    manager.run(&mut make(), first)
}

/// Runs a worker image of one thread. `make` is given 32 random bytes of this start.
pub fn run_worker<P: WorkerProcess>(make: impl FnOnce([u8; 32]) -> P) -> ! {
    work(1, |seed, _| make(seed))
}

/// Runs a worker image with more threads for its own use: as many as the launcher says, or what suits this
/// machine.
pub fn run_worker_with_threads<P: WorkerProcess>(make: impl FnOnce([u8; 32], Threads) -> P) -> ! {
    let told = std::env::args().nth(1);
    let told = told.and_then(|threads| threads.parse().ok());
    work(told.unwrap_or_else(threads::for_this_machine), make)
}

fn work<P: WorkerProcess>(threads: usize, make: impl FnOnce([u8; 32], Threads) -> P) -> ! {
    words::report_panics();
    let manager = inherit(WORKER_MANAGER);
    let (missing, threads) = sandbox::lock_down(WORKER_MANAGER + 1, threads);
    words::locked(&missing);
    run_worker_loop(Link::new(manager), &mut make(draw(), threads))
}

fn inherit(number: i32) -> OwnedFd {
    syscalls::inherited(number).unwrap_or_else(|_| {
        let reason = "started without its sockets: enclave images are started by coco-launcher";
        words::end(reason, words::EXPLAINED)
    })
}

/// Mixes what the launcher drew with what this process draws, so that neither alone knows what the
/// manager's secrets come from.
fn mix_entropy(first: &mut PlatformToManager) {
    let mut seed = crypto::Zeroizing::new(draw());
    if let Some(platform_to_manager::Message::Launched(launched)) = &mut first.message {
        for (ours, theirs) in seed.iter_mut().zip(&launched.entropy) {
            *ours ^= theirs;
        }
        launched.entropy = seed.to_vec().into();
    }
}

fn draw() -> [u8; 32] {
    let mut seed = [0; 32];
    let drawn = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    assert_eq!(
        drawn,
        Ok(seed.len()),
        "32 bytes come at once from a seeded pool"
    );
    seed
}

struct ManagerLoop {
    host: Link,
    platform: Link,
    workers: BTreeMap<u64, Link>,
    buffer: Vec<u8>,
    out: Vec<ManagerOutput>,
    /// The manager has said its last word: exit status and reason.
    exit: Option<(i32, String)>,
}

impl ManagerLoop {
    fn new(host: OwnedFd, platform: OwnedFd) -> Self {
        Self {
            host: Link::new(host),
            platform: Link::new(platform),
            workers: BTreeMap::new(),
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            exit: None,
        }
    }

    fn wait_for_launch(&mut self) -> PlatformToManager {
        loop {
            wait(
                &mut [PollFd::new(&self.platform.socket(), PollFlags::IN)],
                None,
            );
            let reading = self.platform.read_with_descriptors(&mut self.buffer);
            match self.platform.next() {
                Ok(Some(message)) => return message,
                Ok(None) if reading != Reading::Ended => {}
                _ => words::end(
                    "the launcher ended before it said anything",
                    words::EXPLAINED,
                ),
            }
        }
    }

    fn run<P: ManagerProcess>(&mut self, process: &mut P, first: PlatformToManager) -> ! {
        process.handle(ManagerInput::Platform(first), &mut self.out);
        loop {
            self.hear_platform(process);
            self.hear_workers(process);
            if !self.is_congested() {
                self.hear_host(process);
            }
            process.handle(ManagerInput::Flush, &mut self.out);
            self.send();
            if let Some((code, reason)) = self.exit.take() {
                self.end(code, &reason);
            }
            self.wait();
        }
    }

    fn is_congested(&self) -> bool {
        self.host.is_congested()
            || self.platform.is_congested()
            || self.workers.values().any(Link::is_congested)
    }

    fn hear_host<P: ManagerProcess>(&mut self, process: &mut P) {
        let reading = drain(
            &mut self.host,
            &mut self.buffer,
            |message: HostToManager| {
                process.handle(ManagerInput::Host(message), &mut self.out);
            },
        );
        match reading {
            Ok(Reading::Ended) => words::end("the host closed its socket", words::EXPLAINED),
            Ok(_) => {}
            Err(broken) => words::end(&format!("from the host: {broken}"), words::EXPLAINED),
        }
    }

    fn hear_platform<P: ManagerProcess>(&mut self, process: &mut P) {
        while self.platform.is_ready() {
            let reading = self.platform.read_with_descriptors(&mut self.buffer);
            loop {
                match self.platform.next::<PlatformToManager>() {
                    Ok(Some(message)) => {
                        if let Some(platform_to_manager::Message::WorkerStarted(started)) =
                            &message.message
                        {
                            let socket = self.platform.descriptor();
                            let socket =
                                socket.expect("the launcher sends a worker's socket along");
                            self.workers.insert(started.worker, Link::new(socket));
                        }
                        if let Some(platform_to_manager::Message::WorkerEnded(ended)) =
                            &message.message
                        {
                            self.workers.remove(&ended.worker);
                        }
                        process.handle(ManagerInput::Platform(message), &mut self.out);
                    }
                    Ok(None) => break,
                    Err(broken) => {
                        words::end(&format!("from the launcher: {broken}"), words::EXPLAINED)
                    }
                }
            }
            match reading {
                Reading::Drained => return,
                Reading::More => {}
                Reading::Ended => words::end("the launcher ended", words::EXPLAINED),
            }
        }
    }

    fn hear_workers<P: ManagerProcess>(&mut self, process: &mut P) {
        for (number, link) in &mut self.workers {
            let reading = drain(link, &mut self.buffer, |message: WorkerToManager| {
                process.handle(ManagerInput::Worker(*number, message), &mut self.out);
            });
            if reading.is_err() {
                link.give_up(); // the launcher ends it, and says so
            }
        }
    }

    fn send(&mut self) {
        let mut snapshot_done = false;
        for output in self.out.drain(..) {
            match output {
                ManagerOutput::Host(message) => {
                    if let Some(manager_to_host::Message::StoreSnapshot(chunk)) = &message.message {
                        snapshot_done |= chunk.last;
                    }
                    if let Some(manager_to_host::Message::Exit(exit)) = &message.message {
                        let code = exit.code.min(u32::from(u8::MAX)) as i32; // at most 255
                        self.exit = Some((code, exit.reason.clone()));
                    }
                    self.host.push(&message);
                }
                ManagerOutput::Platform(message) => self.platform.push(&message),
                ManagerOutput::Worker(number, message) => {
                    if let Some(link) = self.workers.get_mut(&number) {
                        link.push(&message);
                    }
                }
                ManagerOutput::StopWorker(number) => {
                    if let Some(link) = self.workers.get_mut(&number) {
                        link.give_up();
                    }
                }
            }
        }
        self.host.write();
        self.platform.write();
        self.workers.values_mut().for_each(Link::write);
        if snapshot_done {
            // Its buffers were large and are gone.
            syscalls::give_memory_back();
        }
    }

    /// Waits until something can be done, and notes which links have something to read: the others
    /// are not asked.
    fn wait(&mut self) {
        let congested = self.is_congested();
        let mut polled = Vec::with_capacity(2 + self.workers.len());
        polled.push(interest(&self.host, !congested));
        polled.push(interest(&self.platform, true));
        let open = self.workers.values().filter(|link| !link.is_ended());
        polled.extend(open.map(|link| interest(link, true)));
        wait(&mut polled, None);
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let mut ready: Vec<bool> = polled
            .iter()
            .map(|one| one.revents().intersects(readable))
            .collect();
        let mut ready = ready.drain(..);
        let links = [&mut self.host, &mut self.platform].into_iter();
        let open = (self.workers.values_mut()).filter(|link| !link.is_ended());
        for link in links.chain(open) {
            link.set_ready(ready.next().unwrap_or(true));
        }
    }

    /// The last word reaches the host before the process ends.
    fn end(&mut self, code: i32, reason: &str) -> ! {
        self.host.write_out();
        words::end(reason, code)
    }
}

fn run_worker_loop<P: WorkerProcess>(mut manager: Link, process: &mut P) -> ! {
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    let mut now = Millis::ZERO;
    loop {
        if !manager.is_congested() {
            let reading = drain(&mut manager, &mut buffer, |message: ManagerToWorker| {
                now = Millis(message.now);
                process.handle(now, message, &mut out);
            });
            match reading {
                Ok(Reading::Ended) => words::end("the manager closed its socket", 0),
                Ok(_) => {}
                Err(broken) => words::end(&format!("from the manager: {broken}"), words::EXPLAINED),
            }
        }
        process.flush(now, &mut out);
        let mut snapshot_done = false;
        for message in out.drain(..) {
            if let Some(worker_to_manager::Message::SnapshotChunk(chunk)) = &message.message {
                snapshot_done |= chunk.last;
            }
            manager.push(&message);
        }
        manager.write();
        if snapshot_done {
            syscalls::give_memory_back();
        }
        if !manager.is_waiting() && !process.has_work() {
            manager.wait_in_read();
            continue;
        }
        let congested = manager.is_congested();
        // Work of its own goes on between messages, as long as the manager reads what comes of it.
        let at_once = (process.has_work() && !congested).then_some(&NO_TIME);
        wait(&mut [interest(&manager, !congested)], at_once);
    }
}

/// Reads what is there, within a turn's share, and hands over each message.
fn drain<M: Message + Default>(
    link: &mut Link,
    buffer: &mut [u8],
    mut each: impl FnMut(M),
) -> Result<Reading, boundary::Broken> {
    if link.is_ended() {
        return Ok(Reading::Ended);
    }
    if !link.is_ready() {
        return Ok(Reading::Drained);
    }
    let mut reading = Reading::More;
    for _ in 0..READS_PER_TURN_MAX {
        reading = link.read(buffer);
        while let Some(message) = link.next()? {
            each(message);
        }
        if reading != Reading::More {
            break;
        }
    }
    Ok(reading)
}

fn interest(link: &Link, read: bool) -> PollFd<'_> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, read);
    flags.set(PollFlags::OUT, link.is_waiting());
    PollFd::from_borrowed_fd(link.socket(), flags)
}

fn wait(polled: &mut [PollFd<'_>], at_most: Option<&Timespec>) {
    match rustix::event::poll(polled, at_most) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => words::end(&format!("poll failed: {errno}"), words::EXPLAINED),
    }
}
