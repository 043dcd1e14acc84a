//! The ledger's files while nothing goes wrong: where chunks end, when they close, one run and two.

mod kit;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use boundary::{Append, Persisted};
use bytes::Bytes;
use host::disk::{Disk, Done, Job};
use host::metrics::Metrics;
use host::storage::{Extent, LedgerFailed, LedgerFiles, Medium, Options, Place};
use kit::{
    APPLICATION, SNAPSHOT, append, entries, entry_of, last, listing, names, open, read, tempdir,
    written,
};
use proptest::prelude::*;

#[test]
fn a_chunk_is_its_header_and_its_entries_with_their_lengths() {
    let directory = tempdir();
    let mut files = open(directory.path());
    let two = [entry_of(APPLICATION, 1, 3), entry_of(APPLICATION, 2, 0)];
    append(&mut files, 1, &two);
    let expected = [
        b"COCOLDG1\0\0\0\0\0\0\0\x01\0\0\0\x73",
        &two[0][..],
        b"\0\0\0\x70",
        &two[1][..],
    ]
    .concat();
    assert_eq!(
        listing(directory.path()),
        [("00000000000000000001-open".into(), expected)]
    );
    assert_eq!(files.size(), (16 + 4 + 115 + 4 + 112, 1));
}

#[test]
fn a_chunk_is_closed_only_when_all_of_it_is_committed() {
    let directory = tempdir();
    let mut files = open(directory.path());
    let three: Vec<Bytes> = (1..=3).map(|i| entry_of(APPLICATION, i, 200)).collect();
    append(&mut files, 1, &three);
    files.sync().expect("a disk");
    let both_open = ["00000000000000000001-open", "00000000000000000003-open"];
    assert_eq!(names(directory.path()), both_open);
    files.committed(1).expect("a disk");
    assert_eq!(names(directory.path()), both_open);
    files.committed(2).expect("a disk");
    let first_closed = [
        "00000000000000000001-00000000000000000002",
        "00000000000000000003-open",
    ];
    assert_eq!(names(directory.path()), first_closed);
    assert!(matches!(
        files.truncate(2),
        Err(LedgerFailed::RemovesCommitted { .. })
    ));
    files.truncate(3).expect("not committed");
    assert_eq!(names(directory.path()), first_closed[..1]);
    drop(files);
    assert_eq!(last(&open(directory.path())), 2);
}

#[test]
fn a_snapshot_entry_ends_its_chunk_whatever_its_size() {
    let directory = tempdir();
    let mut files = open(directory.path());
    let kinds = [APPLICATION, SNAPSHOT, APPLICATION, SNAPSHOT, SNAPSHOT];
    let one_by_one = (1..).zip(kinds).map(|(i, kind)| entry_of(kind, i, 8));
    append(&mut files, 1, &one_by_one.collect::<Vec<_>>());
    files.sync().expect("a disk");
    files.committed(4).expect("a disk");
    let cut = [
        "00000000000000000001-00000000000000000002",
        "00000000000000000003-00000000000000000004",
        "00000000000000000005-open",
    ];
    assert_eq!(names(directory.path()), cut);
    // The same after a restart, which counts the entries again.
    drop(files);
    let mut files = open(directory.path());
    assert_eq!((last(&files), files.findings()), (5, &[][..]));
    append(&mut files, 6, &[entry_of(APPLICATION, 6, 8)]);
    assert_eq!(
        names(directory.path())[2..],
        ["00000000000000000005-open", "00000000000000000006-open"]
    );
}

#[test]
fn what_cannot_be_appended_is_refused() {
    let directory = tempdir();
    let mut files = open(directory.path());
    let gap = files.append(2, &entries(2, 1), Place::Following);
    assert!(matches!(gap, Err(LedgerFailed::Gap { last: 0, .. })));
    for wrong in [0, 111] {
        let error = files.append(1, &[vec![0; wrong].into()], Place::Following);
        assert!(matches!(error, Err(LedgerFailed::Framing { index: 1, .. })));
    }
    let mut lies = entry_of(APPLICATION, 1, 50).to_vec();
    lies[95] += 1;
    let error = files.append(1, &[lies.into()], Place::Following);
    assert!(matches!(error, Err(LedgerFailed::Framing { index: 1, .. })));
}

#[test]
fn reading_gives_at_least_one_entry_and_no_more_than_asked() {
    let directory = tempdir();
    written(directory.path(), 200);
    let mut files = open(directory.path());
    let mut read = |first, last, bytes_max| read(&mut files, first, last, bytes_max);
    assert_eq!(read(1, 500, u64::MAX), entries(1, 200));
    assert_eq!(read(150, 160, u64::MAX), entries(150, 11));
    assert_eq!(read(7, 200, 0), entries(7, 1));
    assert_eq!(read(201, 300, 100), entries(0, 0));
    for bytes_max in 0..3_000 {
        let got = read(3, 200, bytes_max);
        let bytes: usize = got.iter().map(Bytes::len).sum();
        let next = kit::entry(3 + got.len() as u64).len() as u64;
        assert!(got.len() == 1 || bytes as u64 <= bytes_max);
        assert!(bytes as u64 + next > bytes_max, "could have given more");
        assert_eq!(got, entries(3, got.len() as u64));
    }
}

/// Keeps the names of the files whose cached bytes are given back.
#[derive(Debug, Default)]
struct Cached(Mutex<Vec<u64>>);

impl Medium for Cached {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn uncache(&self, file: &File) {
        let inode = file.metadata().expect("a file").ino();
        self.0.lock().expect("nobody panicked").push(inode);
    }
}

#[test]
fn of_closed_chunks_the_latest_64_stay_in_the_kernels_cache() {
    let directory = tempdir();
    let cached = Arc::new(Cached::default());
    let options = Options {
        medium: cached.clone(),
        ..kit::options()
    };
    let mut files = LedgerFiles::open(directory.path(), options).expect("good files");
    append(&mut files, 1, &entries(1, 400));
    files.sync().expect("a disk");
    files.committed(400).expect("a disk");
    let inode = |name: &String| {
        let file = fs::metadata(directory.path().join(name));
        file.expect("a file").ino()
    };
    let mut closed = names(directory.path());
    closed.retain(|name| !name.ends_with("-open"));
    let inodes: Vec<u64> = closed.iter().map(inode).collect();
    let closed = inodes.len();
    assert!(closed > 66, "{closed}");
    let given_back = || cached.0.lock().expect("nobody panicked").clone();
    assert_eq!(given_back(), inodes[..closed - 64]);
    // Who reads what is old takes the place of the oldest of them.
    read(&mut files, 1, 1, 0);
    assert_eq!(given_back(), inodes[..closed - 63]);
}

#[test]
fn appends_that_wait_share_one_sync_and_one_answer() {
    let directory = tempdir();
    let metrics = Arc::new(Metrics::default());
    let (answers, answered) = channel();
    // The disk is held at its first answer until all other appends wait.
    let (go, held) = channel();
    let held = Arc::new(Mutex::new(held));
    let disk = Disk::start(open(directory.path()), metrics.clone(), move |done| {
        answers.send(done).expect("the test listens");
        let held = held.lock().expect("nobody panicked");
        held.recv().expect("the test says go");
    })
    .expect("a thread");
    let append = |sequence: u64| {
        disk.ask(Job::Append(Append {
            detached: false,
            first: sequence,
            entries: entries(sequence, 1),
            sequence,
        }));
    };
    append(1);
    let persisted = |sequence| Done::Persisted(Persisted { sequence });
    assert_eq!(answered.recv().expect("an answer"), persisted(1));
    (2..=50).for_each(append);
    go.send(()).expect("the disk waits");
    assert_eq!(answered.recv().expect("an answer"), persisted(50));
    go.send(()).expect("the disk waits");
    disk.finish();
    let metrics = metrics.to_prometheus();
    let bytes: usize = listing(directory.path())
        .iter()
        .map(|(_, content)| content.len())
        .sum();
    for line in [
        "coco_host_sync_seconds_count 2".to_owned(),
        format!("coco_host_ledger_bytes {bytes}"),
        format!(
            "coco_host_ledger_chunks {}",
            listing(directory.path()).len()
        ),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    assert_eq!(last(&open(directory.path())), 50);
}

fn two_runs(files: &LedgerFiles) -> (u64, u64, u64) {
    let Extent { last, tail } = files.extent();
    let (tail_first, tail_last) = tail.unwrap_or_default();
    (last, tail_first, tail_last)
}

/// As a node that began with a snapshot of entry 20 has them: entries whose chunk ends there.
fn with_snapshot_at(at: u64, count: u64) -> Vec<Bytes> {
    let mut entries = entries(1, count);
    entries[at as usize - 1] = entry_of(SNAPSHOT, at, 5);
    entries
}

#[test]
fn a_tail_grows_apart_until_the_lower_run_reaches_it_and_the_files_are_as_ever() {
    let all = with_snapshot_at(20, 40);
    let straight = tempdir();
    let mut files = open(straight.path());
    append(&mut files, 1, &all);
    files.sync().expect("a disk");
    files.committed(38).expect("a disk");

    let apart = tempdir();
    let mut files = open(apart.path());
    let refused = files.append(21, &all[20..22], Place::Following);
    assert!(matches!(refused, Err(LedgerFailed::Gap { .. })));
    files
        .append(21, &all[20..30], Place::Detached)
        .expect("a gap is meant");
    append(&mut files, 1, &all[..7]);
    append(&mut files, 31, &all[30..]);
    files.sync().expect("a disk");
    files.committed(38).expect("a disk");
    assert_eq!(two_runs(&files), (7, 21, 40));
    // Both are there after a restart, and each is read for itself.
    drop(files);
    let mut files = open(apart.path());
    assert_eq!(two_runs(&files), (7, 21, 40));
    assert_eq!(files.findings(), []);
    assert_eq!(read(&mut files, 5, 40, u64::MAX), all[4..7]);
    assert_eq!(read(&mut files, 8, 40, u64::MAX), all[..0]);
    assert_eq!(read(&mut files, 20, 40, u64::MAX), all[..0]);
    assert_eq!(read(&mut files, 21, 50, u64::MAX), all[20..]);
    append(&mut files, 8, &all[7..19]);
    files.committed(38).expect("a disk");
    assert_eq!(two_runs(&files), (19, 21, 40));
    append(&mut files, 20, &all[19..20]);
    assert_eq!(two_runs(&files), (40, 0, 0));
    files.sync().expect("a disk");
    files.close_committed().expect("a disk");
    assert_eq!(read(&mut files, 1, 40, u64::MAX), all);
    assert_eq!(listing(apart.path()), listing(straight.path()));
}

#[test]
fn a_tail_of_an_earlier_process_gives_way_unless_the_manager_goes_on_with_it() {
    let all = with_snapshot_at(20, 40);
    let other: Vec<Bytes> = (21..=30).map(|i| entry_of(APPLICATION, i, 50)).collect();
    // At once, up to the seam and then on, and entry by entry.
    for cuts in [vec![16, 41], vec![16, 21, 41], (16..=41_u64).collect()] {
        let directory = tempdir();
        let mut files = open(directory.path());
        append(&mut files, 1, &all[..15]);
        files
            .append(21, &other, Place::Detached)
            .expect("a gap is meant");
        // This process has made the tail: nothing overwrites it.
        let overlaps = files.append(16, &all[15..25], Place::Following);
        assert!(matches!(overlaps, Err(LedgerFailed::Gap { .. })));
        drop(files);
        let mut files = open(directory.path());
        assert_eq!(two_runs(&files), (15, 21, 30));
        for cut in cuts.windows(2) {
            append(
                &mut files,
                cut[0],
                &all[cut[0] as usize - 1..cut[1] as usize - 1],
            );
        }
        assert_eq!(two_runs(&files), (40, 0, 0));
        assert_eq!(read(&mut files, 1, 40, u64::MAX), all);
    }
    // Gone on with, the tail stays.
    let directory = tempdir();
    let mut files = open(directory.path());
    files
        .append(21, &all[20..30], Place::Detached)
        .expect("a gap is meant");
    drop(files);
    let mut files = open(directory.path());
    append(&mut files, 31, &all[30..]);
    let overlaps = files.append(1, &all[..25], Place::Following);
    assert!(matches!(overlaps, Err(LedgerFailed::Gap { .. })));
    append(&mut files, 1, &all[..20]);
    assert_eq!(two_runs(&files), (40, 0, 0));
    let again = files.append(21, &all[20..21], Place::Following);
    assert!(matches!(again, Err(LedgerFailed::Gap { .. })));
}

#[test]
fn truncating_works_on_the_run_concerned_and_from_1_on_both() {
    let all = with_snapshot_at(20, 40);
    let make = || {
        let directory = tempdir();
        let mut files = open(directory.path());
        append(&mut files, 1, &all[..15]);
        files
            .append(21, &all[20..], Place::Detached)
            .expect("a gap is meant");
        files.sync().expect("a disk");
        (directory, files)
    };
    for (from, committed, left) in [
        (1, 40, (0, 0, 0)),
        (2, 0, (1, 21, 40)),
        // The manager may check old entries while it serves from the tail.
        (10, 40, (9, 21, 40)),
        (15, 0, (14, 21, 40)),
        (16, 0, (15, 0, 0)),
        (21, 0, (15, 0, 0)),
        (22, 0, (15, 21, 21)),
        (40, 39, (15, 21, 39)),
        (41, 0, (15, 21, 40)),
    ] {
        let (directory, mut files) = make();
        files.committed(committed).expect("a disk");
        files.truncate(from).expect("not committed");
        assert_eq!(two_runs(&files), left, "from {from}");
        drop(files);
        let mut files = open(directory.path());
        assert_eq!(two_runs(&files), left, "from {from}");
        let (lower, tail_first, tail_last) = left;
        assert_eq!(read(&mut files, 1, 20, u64::MAX), all[..lower as usize]);
        if tail_first > 0 {
            let tail = &all[tail_first as usize - 1..tail_last as usize];
            assert_eq!(read(&mut files, 21, 40, u64::MAX), tail);
        }
    }
    let (_directory, mut files) = make();
    files.committed(40).expect("a disk");
    assert!(matches!(
        files.truncate(40),
        Err(LedgerFailed::RemovesCommitted { .. })
    ));
}

#[test]
fn a_closed_chunk_is_never_deleted() {
    let directory = tempdir();
    let before = written(directory.path(), 20);
    let mut files = open(directory.path());
    let (name, content) = &before[1];
    assert!(!name.ends_with("-open"));
    let cut_at: u64 = name[..20].parse::<u64>().expect("an index") + 1;
    files
        .truncate(cut_at)
        .expect("this process knows no better");
    assert_eq!(last(&files), cut_at - 1);
    let after = listing(directory.path());
    let aside = (format!("{name}-removed"), content.clone());
    assert!(after.contains(&aside), "{:?}", names(directory.path()));
    // What follows gives the same files again, beside those that were kept.
    append(&mut files, cut_at, &entries(cut_at, 21 - cut_at));
    files.sync().expect("a disk");
    files.committed(20).expect("a disk");
    let in_service = |(name, _): &(String, Vec<u8>)| !name.ends_with("-removed");
    let after = listing(directory.path());
    let after: Vec<_> = after.into_iter().filter(in_service).collect();
    assert_eq!(after, before);
    drop(files);
    assert_eq!(last(&open(directory.path())), 20);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Backfill(u64),
    Truncate(u64),
    Commit(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..12_u64).prop_map(Step::Append),
        3 => (1..12_u64).prop_map(Step::Backfill),
        2 => (1..8_u64).prop_map(Step::Truncate),
        2 => (1..20_u64).prop_map(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The same entries give the same files, whatever was appended, cut and restarted on the way,
    /// and whether they came in one run or two.
    #[test]
    fn files_depend_on_the_entries_alone(
        begin in prop::sample::select(vec![1_u64, 21]),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let all = with_snapshot_at(20, 400);
        let some = |first: u64, count: u64| &all[first as usize - 1..(first + count) as usize - 1];
        let (a, b) = (tempdir(), tempdir());
        let mut files = open(a.path());
        let (mut lower, mut last, mut committed) = (begin - 1, begin - 1, begin - 1);
        if begin > 1 {
            files.append(begin, some(begin, 1), Place::Detached).expect("a gap is meant");
            (lower, last, committed) = (0, begin, begin);
        }
        for step in steps {
            match step {
                // What is cut later had other bytes than what replaces it.
                Step::Append(count) => {
                    let other: Vec<Bytes> = (last + 1..=last + count)
                        .map(|index| entry_of(APPLICATION, index + 1, index as usize % 40))
                        .collect();
                    append(&mut files, last + 1, &other);
                    files.truncate(last + 1).expect("not committed");
                    append(&mut files, last + 1, some(last + 1, count));
                    files.sync().expect("a disk");
                    last += count;
                }
                Step::Backfill(count) if begin > 1 && lower < begin - 1 => {
                    let count = count.min(begin - 1 - lower);
                    append(&mut files, lower + 1, some(lower + 1, count));
                    lower += count;
                }
                Step::Backfill(_) => {}
                Step::Truncate(back) => {
                    let from = (last + 1).saturating_sub(back).max(committed + 1);
                    files.truncate(from).expect("not committed");
                    last = from - 1;
                }
                Step::Commit(more) => {
                    committed = (committed + more).min(last);
                    files.committed(committed).expect("a disk");
                }
                Step::Restart => {
                    drop(files);
                    files = open(a.path());
                    prop_assert_eq!(files.findings(), []);
                }
            }
            let expected = if begin == 1 || lower == begin - 1 {
                (last, 0, 0)
            } else {
                (lower, begin, last)
            };
            prop_assert_eq!(two_runs(&files), expected);
            let got = read(&mut files, begin, u64::MAX, u64::MAX);
            prop_assert_eq!(&got[..], some(begin, last + 1 - begin));
        }
        if begin > 1 && lower < begin - 1 {
            append(&mut files, lower + 1, some(lower + 1, begin - 1 - lower));
        }
        files.sync().expect("a disk");
        files.committed(last).expect("a disk");
        let mut fresh = open(b.path());
        append(&mut fresh, 1, some(1, last));
        fresh.sync().expect("a disk");
        fresh.committed(last).expect("a disk");
        prop_assert_eq!(listing(a.path()), listing(b.path()));
    }
}
