//! Snapshot files: whole or not there, read in any order, and never a reason for the node to end.

mod kit;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use host::storage::{SNAPSHOT_BYTES_MAX, SnapshotFiles, Space};
use kit::faulty::Faulty;
use kit::{listing, names, tempdir};

const NAME: &str = "00000000000000000421";

fn on(medium: &Arc<Faulty>, directory: &Path) -> SnapshotFiles {
    let space = Arc::new(Space::new(medium.clone(), directory, 1_000));
    SnapshotFiles::open(directory, medium.clone(), space).expect("a directory")
}

fn open(directory: &Path) -> SnapshotFiles {
    on(&Faulty::new(), directory)
}

/// A sealed chunk as the host sees it: the second byte says whether it is the last one.
fn chunk(size: usize, last: bool) -> Bytes {
    let mut chunk = vec![size.to_le_bytes()[0]; size];
    chunk[..2].copy_from_slice(&[1, u8::from(last)]);
    chunk.into()
}

fn chunks() -> Vec<Bytes> {
    vec![
        chunk(27, false),
        chunk(21, false),
        chunk(300, false),
        chunk(20, true),
    ]
}

fn one() -> Bytes {
    chunk(30, false)
}

fn only() -> Bytes {
    chunk(31, true)
}

fn store(files: &mut SnapshotFiles, index: u64) -> Result<(), String> {
    let chunks = chunks();
    for (sequence, chunk) in (0..).zip(&chunks) {
        files.store(index, sequence, chunk, sequence == 3)?;
    }
    Ok(())
}

#[test]
fn a_snapshot_is_in_place_when_its_last_chunk_is_answered_and_reads_in_any_order() {
    let directory = tempdir();
    let mut files = open(directory.path());
    let chunks = chunks();
    for (sequence, chunk) in (0..).zip(&chunks) {
        assert_eq!(files.indices(), [0; 0]);
        assert!(files.read(421, 0).is_err(), "not while it is written");
        files
            .store(421, sequence, chunk, sequence == 3)
            .expect("room");
    }
    assert_eq!(
        (files.indices(), names(directory.path())),
        (vec![421], vec![NAME.to_owned()])
    );
    for mut files in [files, open(directory.path())] {
        assert_eq!(files.indices(), [421]);
        for sequence in [2, 0, 3, 1, 3] {
            let expected = (chunks[sequence].clone(), sequence == 3);
            assert_eq!(files.read(421, sequence as u64), Ok(expected));
        }
        let beyond = files.read(421, 4).expect_err("there are four");
        assert!(beyond.contains("it has 4 chunks"), "{beyond}");
        assert!(files.read(420, 0).is_err());
        let kept = files.kept();
        assert_eq!((kept.count, kept.bytes), (1, 16 + 4 * 4 + 368));
    }
}

#[test]
fn the_file_is_the_documented_one() {
    let directory = tempdir();
    let mut files = open(directory.path());
    files.store(421, 0, &one(), false).expect("room");
    files.store(421, 1, &only(), true).expect("room");
    let expected = [
        b"COCOSNP1\0\0\0\0\0\0\x01\xa5\0\0\0\x1e",
        &one()[..],
        b"\0\0\0\x1f",
        &only()[..],
    ];
    assert_eq!(
        listing(directory.path()),
        [(NAME.to_owned(), expected.concat())]
    );
}

#[test]
fn a_crash_at_any_write_leaves_a_whole_snapshot_or_none() {
    let whole = tempdir();
    store(&mut open(whole.path()), 421).expect("room");
    let bytes = listing(whole.path())[0].1.len() as u64;
    for written in 0..=bytes {
        let directory = tempdir();
        let medium = Faulty::new();
        let mut files = on(&medium, directory.path());
        medium.write_bytes.store(written, SeqCst);
        let stored = store(&mut files, 421);
        assert_eq!(stored.is_ok(), written == bytes, "{written}");
        if let Err(failure) = &stored {
            assert!(failure.contains("421-part: No space left"), "{failure}");
            // Nothing is left to take up room, and the next attempt is not misled.
            assert_eq!(names(directory.path()), [""; 0]);
            assert!(files.store(421, 1, &only(), true).is_err());
            medium.write_bytes.store(u64::MAX, SeqCst);
            store(&mut files, 421).expect("room again");
        }
        assert_eq!(listing(directory.path()), listing(whole.path()));
    }
    // A crash leaves the part, which the next start removes.
    let directory = tempdir();
    let mut files = open(directory.path());
    files.store(7, 0, &one(), false).expect("room");
    drop(files);
    assert_eq!(names(directory.path()), ["00000000000000000007-part"]);
    assert_eq!(open(directory.path()).indices(), [0; 0]);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn a_snapshot_that_was_not_synced_is_not_kept() {
    let directory = tempdir();
    let medium = Faulty::new();
    let mut files = on(&medium, directory.path());
    store(&mut files, 421).expect("room");
    let before = listing(directory.path());
    medium.syncs.store(0, SeqCst);
    let failure = store(&mut files, 422).expect_err("not synced");
    assert!(failure.contains("422-part"), "{failure}");
    assert_eq!(files.indices(), [421]);
    assert_eq!(listing(directory.path()), before);
}

#[test]
fn a_disk_that_fills_up_refuses_snapshots_before_entries() {
    let directory = tempdir();
    let medium = Faulty::new();
    let mut files = on(&medium, directory.path());
    medium.free_bytes.store(1_999, SeqCst);
    let failure = files.store(421, 0, &one(), false).expect_err("full");
    assert!(failure.contains("twice the reserve of 1000"), "{failure}");
    medium.free_bytes.store(2_000, SeqCst);
    files.store(421, 0, &one(), false).expect("room");
}

#[test]
fn what_is_out_of_order_or_out_of_bounds_is_refused() {
    let directory = tempdir();
    let mut files = open(directory.path());
    assert!(files.store(1, 1, &one(), false).is_err(), "not begun");
    files.store(1, 0, &one(), false).expect("room");
    assert!(files.store(1, 2, &one(), false).is_err(), "one is missing");
    files.store(1, 0, &one(), false).expect("room");
    assert!(files.store(1, 1, &Bytes::new(), false).is_err());
    files.store(1, 0, &one(), false).expect("room");
    let large = Bytes::from(vec![0; SNAPSHOT_BYTES_MAX + 1]);
    assert!(files.store(1, 1, &large, true).is_err());
    // Many at once: the oldest give way, and each is whole or not there.
    for index in 1..=9 {
        files.store(index, 0, &one(), false).expect("room");
    }
    assert_eq!(names(directory.path()).len(), 4);
    files.store(9, 1, &only(), true).expect("room");
    assert!(files.store(1, 1, &one(), true).is_err());
    assert_eq!(files.indices(), [9]);
}

#[test]
fn a_snapshot_is_replaced_and_removed() {
    let directory = tempdir();
    let mut files = open(directory.path());
    store(&mut files, 421).expect("room");
    assert_eq!(files.read(421, 0), Ok((chunks()[0].clone(), false)));
    files.store(421, 0, &only(), true).expect("room");
    assert_eq!(files.read(421, 0), Ok((only(), true)));
    store(&mut files, 500).expect("room");
    files.store(421, 0, &one(), false).expect("room");
    files.remove(421).expect("a disk");
    files.remove(421).expect("nothing to do");
    assert_eq!(files.indices(), [500]);
    assert_eq!(names(directory.path()), ["00000000000000000500"]);
    assert!(files.read(421, 0).is_err());
}

#[test]
fn every_cut_and_every_changed_length_is_noticed() {
    let whole = tempdir();
    store(&mut open(whole.path()), 421).expect("room");
    let content = listing(whole.path())[0].1.clone();
    for cut in 0..content.len() {
        let directory = tempdir();
        fs::write(directory.path().join(NAME), &content[..cut]).expect("written");
        assert_eq!(open(directory.path()).indices(), [0; 0], "cut at {cut}");
        assert_eq!(names(directory.path()), [NAME.to_owned() + "-damaged"]);
    }
    let mut found = 0;
    for at in 0..content.len() {
        let directory = tempdir();
        let mut flipped = content.clone();
        flipped[at] ^= 0x10;
        fs::write(directory.path().join(NAME), flipped).expect("written");
        let mut files = open(directory.path());
        let read: Result<Vec<Bytes>, String> = (0..4)
            .map(|sequence| Ok(files.read(421, sequence)?.0))
            .collect();
        match read {
            Err(_) => found += 1,
            // The manager opens each chunk: a byte of its content is not the host's to judge.
            Ok(read) => {
                let differ = read.iter().zip(chunks()).filter(|(a, b)| **a != *b).count();
                assert_eq!(differ, 1, "byte {at}");
            }
        }
    }
    assert!(found >= 16 + 4 * 4, "header and lengths: {found}");
}
