//! A disk that is full, fails to sync, or is somebody else's playground while the node runs. What was
//! not durable is acknowledged to nobody, and the reason says where and what to do.

mod kit;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, channel};

use boundary::{Append, Committed, ReadEntries};
use host::disk::{Disk, Done, Job};
use host::metrics::Metrics;
use host::storage::{LedgerFailed, LedgerFiles, Medium, Options, Place, SnapshotFiles, Space};
use kit::faulty::Faulty;
use kit::{append, entries, entry, last, open, read, tempdir};

fn options(medium: &Arc<Faulty>) -> Options {
    Options {
        medium: medium.clone(),
        ..kit::options()
    }
}

fn on(medium: &Arc<Faulty>, directory: &Path) -> LedgerFiles {
    LedgerFiles::open(directory, options(medium)).expect("good files")
}

fn start(files: LedgerFiles) -> (Disk, Receiver<Done>) {
    let (answers, answered) = channel();
    let disk = Disk::start(files, Arc::new(Metrics::default()), move |done| {
        // A test may have seen enough.
        let _ = answers.send(done);
    });
    (disk.expect("threads"), answered)
}

fn appending(sequence: u64) -> Job {
    Job::Append(Append {
        detached: false,
        first: sequence,
        entries: entries(sequence, 1),
        sequence,
    })
}

/// The reason with which the disk ended, after which it said nothing.
fn ending(disk: Disk, answered: &Receiver<Done>) -> String {
    let said = answered.recv();
    // Whatever is asked now finds nobody.
    disk.ask(appending(3));
    disk.finish();
    assert_eq!(answered.iter().collect::<Vec<_>>(), []);
    match said {
        Ok(Done::Failed(failed)) => failed.reason,
        _ => panic!("{said:?}"),
    }
}

#[test]
fn a_write_that_breaks_off_at_any_byte_loses_only_what_nobody_was_told_of() {
    let bytes = 4 + entry(6).len() as u64;
    for written in 0..bytes {
        let directory = tempdir();
        let medium = Faulty::new();
        let mut files = on(&medium, directory.path());
        append(&mut files, 1, &entries(1, 5));
        files.sync().expect("a disk");
        medium.write_bytes.store(written, SeqCst);
        let error = files.append(6, &entries(6, 1), Place::Following);
        let text = error.expect_err("full").to_string();
        assert!(
            text.contains("append to") && text.contains("-open") && text.contains("make room"),
            "{text}"
        );
        drop(files);
        let mut files = open(directory.path());
        assert_eq!(last(&files), 5, "{written} bytes were written");
        assert_eq!(read(&mut files, 1, 9, u64::MAX), entries(1, 5));
        assert!(files.findings().iter().all(|one| one.aside.is_none()));
        append(&mut files, 6, &entries(6, 1));
    }
}

#[test]
fn a_full_disk_acknowledges_nothing_more() {
    let directory = tempdir();
    let medium = Faulty::new();
    let (disk, answered) = start(on(&medium, directory.path()));
    disk.ask(appending(1));
    assert!(matches!(answered.recv(), Ok(Done::Persisted(_))));
    medium.write_bytes.store(50, SeqCst);
    disk.ask(appending(2));
    let reason = ending(disk, &answered);
    assert!(reason.contains("No space left on device"), "{reason}");
    assert!(reason.contains("start the node again"), "{reason}");
    assert_eq!(last(&open(directory.path())), 1);
}

#[test]
fn after_a_failed_sync_nothing_more_is_acknowledged() {
    let directory = tempdir();
    let medium = Faulty::new();
    let (disk, answered) = start(on(&medium, directory.path()));
    disk.ask(appending(1));
    assert!(matches!(answered.recv(), Ok(Done::Persisted(_))));
    medium.syncs.store(0, SeqCst);
    disk.ask(appending(2));
    let reason = ending(disk, &answered);
    for part in [
        "sync ",
        "-open",
        "error 5",
        "nothing further",
        "Check the device",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
}

#[test]
fn below_the_reserve_nothing_is_written_and_the_node_says_why() {
    const RESERVE: u64 = 1 << 20;
    let directory = tempdir();
    let medium = Faulty::new();
    let options = Options {
        reserve_bytes: RESERVE,
        ..options(&medium)
    };
    let files = LedgerFiles::open(directory.path(), options.clone()).expect("good files");
    let space = files.space();
    let (disk, answered) = start(files);
    medium.free_bytes.store(RESERVE + 1_000, SeqCst);
    disk.ask(appending(1));
    assert!(matches!(answered.recv(), Ok(Done::Persisted(_))));
    // Snapshots are refused earlier: they are larger, and can be made again.
    assert!(space.has_room_for_snapshots().is_err());
    let before = kit::listing(directory.path());
    medium.free_bytes.store(RESERVE + 50, SeqCst);
    // The kernel is asked again at the latest when this much was written.
    let large = vec![kit::entry_of(kit::APPLICATION, 2, 1_000)];
    disk.ask(Job::Append(Append {
        first: 2,
        entries: large,
        sequence: 2,
        detached: false,
    }));
    let reason = ending(disk, &answered);
    for part in ["bytes are free", "reserve of 1048576", "disk_reserve_mib"] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
    assert_eq!(kit::listing(directory.path()), before);
    // It does not begin either: a node that joins only to end again costs the network a change.
    medium.free_bytes.store(RESERVE - 1, SeqCst);
    let files = LedgerFiles::open(directory.path(), options).expect("good files");
    assert!(matches!(files.check_room(), Err(LedgerFailed::Full { .. })));
}

/// What somebody does to the open chunk behind the node's back.
type Meddling = fn(&Path);

#[test]
fn an_open_chunk_that_is_replaced_deleted_or_cut_ends_the_node_before_it_acknowledges() {
    let meddling: [(&str, Meddling); 5] = [
        ("disappeared", |path| {
            fs::remove_file(path).expect("removed");
        }),
        ("disappeared", |path| {
            fs::rename(path, path.with_extension("bak")).expect("renamed");
        }),
        ("was replaced by another file", |path| {
            let content = fs::read(path).expect("readable");
            fs::remove_file(path).expect("removed");
            fs::write(path, content).expect("written");
        }),
        ("bytes instead of", |path| {
            let file = fs::File::options().write(true).open(path);
            file.expect("a file").set_len(30).expect("cut");
        }),
        ("bytes instead of", |path| {
            let mut content = fs::read(path).expect("readable");
            content.push(1);
            fs::write(path, content).expect("written");
        }),
    ];
    for (what, meddle) in meddling {
        let directory = tempdir();
        let path = directory.path().join("00000000000000000001-open");
        let changed = |error: Result<(), LedgerFailed>| {
            let text = error.expect_err(what).to_string();
            assert!(matches!(text, ref text if text.contains(what)), "{text}");
            assert!(text.contains("00000000000000000001-open"), "{text}");
            assert!(text.contains("Find out who changes"), "{text}");
        };
        // Before an append,
        let mut files = open(directory.path());
        append(&mut files, 1, &entries(1, 2));
        files.sync().expect("a disk");
        meddle(&path);
        changed(files.append(3, &entries(3, 1), Place::Following));
        // between an append and its acknowledgement,
        let directory = tempdir();
        let path = directory.path().join("00000000000000000001-open");
        let mut files = open(directory.path());
        append(&mut files, 1, &entries(1, 2));
        meddle(&path);
        changed(files.sync());
        // and before the chunk is closed.
        let directory = tempdir();
        let path = directory.path().join("00000000000000000001-open");
        let mut files = open(directory.path());
        append(&mut files, 1, &entries(1, 6));
        files.sync().expect("a disk");
        meddle(&path);
        changed(files.committed(6));
    }
}

#[test]
fn a_closed_chunk_that_is_changed_is_an_answer_and_no_end() {
    let directory = tempdir();
    let before = kit::written(directory.path(), 30);
    let (disk, answered) = start(open(directory.path()));
    let ask = |request, first| {
        disk.ask(Job::Read(ReadEntries {
            request,
            first,
            last: first,
            bytes_max: 1 << 20,
        }));
        match answered.recv() {
            Ok(Done::Entries(entries)) => entries,
            other => panic!("{other:?}"),
        }
    };
    // Not open for reading yet: another file in its place is noticed.
    let path = directory.path().join(&before[1].0);
    let first: u64 = before[1].0[..20].parse().expect("an index");
    fs::remove_file(&path).expect("removed");
    fs::write(&path, &before[1].1[..40]).expect("written");
    let answer = ask(1, first);
    assert!(answer.failure.contains(&before[1].0), "{}", answer.failure);
    assert_eq!(answer.entries.len(), 0);
    // Open already, and its lengths change.
    assert_eq!(ask(2, 1).entries, entries(1, 1));
    let path = directory.path().join(&before[0].0);
    let mut content = before[0].1.clone();
    content[16..20].copy_from_slice(&[0xff; 4]);
    fs::write(&path, content).expect("written");
    let answer = ask(3, 1);
    assert!(
        answer.failure.contains("the length at byte 16 has changed"),
        "{}",
        answer.failure
    );
    // The node goes on.
    disk.ask(Job::Append(Append {
        first: 31,
        entries: entries(31, 1),
        sequence: 7,
        detached: false,
    }));
    assert!(matches!(answered.recv(), Ok(Done::Persisted(_))));
    disk.ask(Job::Committed(Committed { upto: 31 }));
    disk.finish();
    assert_eq!(answered.iter().count(), 0);
}

#[test]
fn a_snapshot_that_waits_for_the_disk_does_not_delay_the_ledger() {
    let directory = tempdir();
    let slow = Faulty::new();
    let go = slow.hold_syncs();
    let space = Space::new(slow.clone(), directory.path(), 0);
    let at = directory.path().join("snapshots");
    let snapshots = SnapshotFiles::open(&at, slow.clone() as Arc<dyn Medium>, Arc::new(space));
    let (answers, snapshot_answered) = channel();
    let metrics = Arc::new(Metrics::default());
    let snapshots = host::snapshots::Snapshots::start(
        snapshots.expect("a directory"),
        metrics.clone(),
        move |done| answers.send(done).expect("the test listens"),
    )
    .expect("a thread");
    let (disk, answered) = start(open(&directory.path().join("ledger")));
    snapshots.ask(host::snapshots::Job::Store(boundary::StoreSnapshot {
        index: 5,
        sequence: 0,
        chunk: b"\x01\x01 a sealed chunk".to_vec().into(),
        last: true,
    }));
    for sequence in 1..=20 {
        disk.ask(appending(sequence));
        assert!(matches!(answered.recv(), Ok(Done::Persisted(_))));
    }
    assert!(snapshot_answered.try_recv().is_err(), "it still waits");
    go.send(()).expect("it waits");
    assert!(snapshot_answered.recv().is_ok());
    snapshots.finish();
    disk.finish();
    let text = metrics.to_prometheus();
    for line in [
        "coco_host_snapshots 1",
        "coco_host_snapshot_bytes 37",
        "coco_host_snapshot_age_seconds ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
