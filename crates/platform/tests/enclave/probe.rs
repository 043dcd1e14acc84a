//! The probes: enclaves that do what the test tells them over the ordinary sockets.

use boundary::{
    Exit, HostToManager, ManagerToHost, ManagerToPlatform, ManagerToWorker, PlatformToManager,
    Send, StartWorker, StreamData, WorkerToManager, host_to_manager, manager_to_host,
    manager_to_platform, manager_to_worker, platform_to_manager, worker_to_manager,
};
use bytes::Bytes;
use platform::{ManagerInput, ManagerOutput, ManagerProcess, WorkerProcess};
use types::Millis;

/// Connection on which the probe tells what the platform said.
pub const PLATFORM: u64 = 1;

pub fn manager() -> ! {
    platform::run_manager(|| Manager)
}

pub fn worker() -> ! {
    platform::run_worker_with_threads(|seed, threads| {
        assert_ne!(seed, [0; 32]);
        Worker(threads)
    })
}

/// A worker that never locks down: what an attacker meets in the window before.
pub fn window() -> ! {
    loop {
        std::thread::park();
    }
}

struct Manager;

fn say(connection: u64, data: impl Into<Bytes>) -> ManagerOutput {
    let send = Send {
        connection,
        data: data.into(),
    };
    ManagerOutput::Host(ManagerToHost {
        message: Some(manager_to_host::Message::Send(send)),
    })
}

fn platform(message: manager_to_platform::Message) -> ManagerOutput {
    ManagerOutput::Platform(ManagerToPlatform {
        message: Some(message),
    })
}

impl ManagerProcess for Manager {
    fn handle(&mut self, input: ManagerInput, out: &mut Vec<ManagerOutput>) {
        match input {
            ManagerInput::Host(message) => from_host(message, out),
            ManagerInput::Platform(message) => from_platform(message, out),
            ManagerInput::Worker(
                _,
                WorkerToManager {
                    message: Some(worker_to_manager::Message::Data(data)),
                },
            ) => {
                out.push(say(data.stream, data.data));
            }
            ManagerInput::Worker(..) | ManagerInput::Flush => {}
        }
    }
}

fn from_host(message: HostToManager, out: &mut Vec<ManagerOutput>) {
    let Some(host_to_manager::Message::Received(received)) = message.message else {
        return;
    };
    let number = received.connection;
    let Some(command) = received.data.strip_prefix(b"!") else {
        // To the worker of that number, or straight back.
        if number >= 1000 {
            let data = StreamData {
                stream: number,
                data: received.data,
            };
            let message = Some(manager_to_worker::Message::Data(data));
            let to = number / 1000;
            return out.push(ManagerOutput::Worker(
                to,
                ManagerToWorker {
                    now: message_now(),
                    message,
                },
            ));
        }
        return out.push(say(number, received.data));
    };
    let command = String::from_utf8_lossy(command).into_owned();
    match command.split_once(' ').unwrap_or((&command, "")) {
        ("start", protocol) => {
            let start = StartWorker {
                protocol: protocol.to_owned(),
            };
            out.push(platform(manager_to_platform::Message::StartWorker(start)));
        }
        ("stop", worker) => {
            out.push(ManagerOutput::StopWorker(worker.parse().expect("a number")));
        }
        ("evidence", _) => {
            let report_data = vec![7; 64].into();
            let request = boundary::EvidenceRequest {
                request: 5,
                report_data,
            };
            out.push(platform(manager_to_platform::Message::Evidence(request)));
        }
        ("exit", reason) => {
            let exit = Exit {
                code: 0,
                reason: reason.to_owned(),
            };
            let message = Some(manager_to_host::Message::Exit(exit));
            out.push(ManagerOutput::Host(ManagerToHost { message }));
        }
        ("panic", _) => panic!("the test asked for it"),
        ("burst", count) => {
            for _ in 0..count.parse().expect("a number") {
                out.push(say(number, vec![1; 64 << 10]));
            }
        }
        (attack, _) => {
            let result = crate::attacks::from_inside(attack);
            out.push(say(number, format!("{attack} returned {result}")));
        }
    }
}

fn message_now() -> u64 {
    1
}

fn from_platform(message: PlatformToManager, out: &mut Vec<ManagerOutput>) {
    out.push(match message.message {
        Some(platform_to_manager::Message::Evidence(evidence)) => {
            say(PLATFORM + 1, evidence.evidence)
        }
        Some(platform_to_manager::Message::Launched(launched)) => {
            assert!(launched.entropy.len() == 32 && launched.entropy[..] != [0; 32]);
            let (measured, missing) = (
                hex::encode(&launched.measurement),
                launched.missing.join(" "),
            );
            say(PLATFORM, format!("launched {measured} {missing}"))
        }
        Some(platform_to_manager::Message::WorkerStarted(one)) => {
            let measured = hex::encode(&one.measurement);
            say(
                PLATFORM,
                format!("started {} {} {measured}", one.worker, one.protocol),
            )
        }
        Some(platform_to_manager::Message::WorkerEnded(one)) => {
            say(PLATFORM, format!("ended {} {}", one.worker, one.reason))
        }
        None => panic!("the launcher says nothing empty"),
    });
}

struct Worker(platform::Threads);

impl WorkerProcess for Worker {
    fn handle(&mut self, now: Millis, message: ManagerToWorker, out: &mut Vec<WorkerToManager>) {
        assert_eq!(now, Millis(message_now()));
        let Some(manager_to_worker::Message::Data(data)) = message.message else {
            return;
        };
        match &data.data[..] {
            b"panic" => panic!("the test asked for it"),
            b"threads" => out.push(reply(data.stream, work(&self.0))),
            b"open-elsewhere" => self.0.each(2 * self.0.width(), &|_| {
                crate::attacks::from_inside("open");
            }),
            b"open" => drop(crate::attacks::from_inside("open")),
            // Ten times what it was given, so that its output fills up first.
            b"amplify" => {
                for _ in 0..1000 {
                    out.push(reply(data.stream, vec![2; 64 << 10]));
                }
            }
            _ => out.push(reply(data.stream, data.data)),
        }
    }

    fn flush(&mut self, _now: Millis, _out: &mut Vec<WorkerToManager>) {}
}

/// All threads at once allocate, keep and free.
fn work(threads: &platform::Threads) -> String {
    let barrier = std::sync::Barrier::new(threads.width());
    let sums: Vec<_> = (0..threads.width())
        .map(|_| std::sync::OnceLock::new())
        .collect();
    threads.each(threads.width(), &|piece| {
        barrier.wait();
        let mut sum = 0;
        for round in 0..200 {
            let blocks: Vec<Vec<u8>> = (1..100)
                .map(|size| vec![1; size * (round + 1) * (piece + 1)])
                .collect();
            sum += blocks.iter().map(|block| block.len()).sum::<usize>();
        }
        sums[piece].set(sum).expect("once");
    });
    let sum: usize = sums.iter().map(|sum| sum.get().expect("done")).sum();
    format!("{} threads {sum}", threads.width())
}

fn reply(stream: u64, data: impl Into<Bytes>) -> WorkerToManager {
    let data = StreamData {
        stream,
        data: data.into(),
    };
    WorkerToManager {
        message: Some(worker_to_manager::Message::Data(data)),
    }
}
