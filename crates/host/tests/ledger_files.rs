//! The ledger's files through crashes: what is cut, what is kept, what is refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use boundary::{Append, Persisted};
use bytes::Bytes;
use host::disk::{Disk, Done, Job};
use host::ledger_files::{LedgerFailed, LedgerFiles};
use host::metrics::Metrics;
use proptest::prelude::*;

const CHUNK_BYTES: u64 = 64;

/// Names and contents of files.
type Listing = Vec<(String, Vec<u8>)>;

/// Something that happened to them.
type Damage = fn(&Path, &Listing);

fn entry(index: u64) -> Bytes {
    vec![index as u8; 1 + (index as usize * 7) % 30].into()
}

fn entries(first: u64, count: u64) -> Vec<Bytes> {
    (first..first + count).map(entry).collect()
}

fn open(directory: &Path) -> LedgerFiles {
    LedgerFiles::open_with(directory, CHUNK_BYTES).expect("good files")
}

/// Names and contents, in order.
fn listing(directory: &Path) -> Listing {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|file| {
            let file = file.expect("a file");
            let content = fs::read(file.path()).expect("readable");
            (file.file_name().into_string().expect("text"), content)
        })
        .collect();
    files.sort();
    files
}

fn written(directory: &Path, count: u64) -> Listing {
    let mut files = open(directory);
    files.append(1, &entries(1, count)).expect("room");
    files.sync().expect("a disk");
    files.committed(count).expect("a disk");
    listing(directory)
}

#[test]
fn a_chunk_is_its_header_and_its_entries_with_their_lengths() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut files = open(directory.path());
    files.append(1, &["abc".into(), "de".into()]).expect("room");
    let expected = b"COCOLDG1\0\0\0\0\0\0\0\x01\0\0\0\x03abc\0\0\0\x02de".to_vec();
    assert_eq!(
        listing(directory.path()),
        [("00000000000000000001-open".into(), expected)]
    );
}

#[test]
fn a_chunk_is_closed_only_when_all_of_it_is_committed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut files = open(directory.path());
    let names = || {
        listing(directory.path())
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    files
        .append(
            1,
            &[vec![1; 30].into(), vec![2; 30].into(), vec![3; 30].into()],
        )
        .expect("room");
    files.sync().expect("a disk");
    let both_open = ["00000000000000000001-open", "00000000000000000003-open"];
    assert_eq!(names(), both_open);
    files.committed(1).expect("a disk");
    assert_eq!(names(), both_open);
    files.committed(2).expect("a disk");
    let first_closed = [
        "00000000000000000001-00000000000000000002",
        "00000000000000000003-open",
    ];
    assert_eq!(names(), first_closed);
    assert!(matches!(
        files.truncate(2),
        Err(LedgerFailed::RemovesCommitted { .. })
    ));
    files.truncate(3).expect("not committed");
    assert_eq!(names(), first_closed[..1]);
    drop(files);
    assert_eq!(open(directory.path()).last(), 2);
}

#[test]
fn a_torn_end_is_dropped_wherever_it_was_torn() {
    let whole = tempfile::tempdir().expect("temporary directory");
    let before = written(whole.path(), 20);
    let (open_chunk, content) = before.last().expect("chunks");
    assert!(open_chunk.ends_with("-open"));
    for cut in 0..content.len() {
        let torn = tempfile::tempdir().expect("temporary directory");
        for (name, content) in &before {
            fs::write(torn.path().join(name), content).expect("written");
        }
        fs::write(torn.path().join(open_chunk), &content[..cut]).expect("written");
        let mut files = open(torn.path());
        let last = files.last();
        assert!(last < 20, "cut at {cut}");
        // Appending what was lost gives the same bytes again.
        files
            .append(last + 1, &entries(last + 1, 20 - last))
            .expect("room");
        files.sync().expect("a disk");
        files.committed(20).expect("a disk");
        assert_eq!(listing(torn.path()), before, "cut at {cut}");
    }
}

#[test]
fn zeros_after_the_last_entry_are_no_entries() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let before = written(directory.path(), 20);
    let path = directory.path().join(&before.last().expect("chunks").0);
    let mut file = OpenOptions::new().append(true).open(path).expect("a file");
    file.write_all(&[0; 100]).expect("written");
    assert_eq!(open(directory.path()).last(), 20);
    assert_eq!(listing(directory.path()), before);
}

#[test]
fn damage_that_no_crash_explains_is_refused_and_left_alone() {
    let damage: [(&str, Damage); 5] = [
        ("is missing before it", |directory, files| {
            fs::remove_file(directory.join(&files[1].0)).expect("removed");
        }),
        ("a chunk's header", |directory, files| {
            let file = OpenOptions::new()
                .write(true)
                .open(directory.join(&files[1].0));
            file.expect("a file")
                .write_all_at(b"X", 0)
                .expect("written");
        }),
        ("incomplete entry", |directory, files| {
            let path = directory.join(&files[0].0);
            fs::write(path, &files[0].1[..files[0].1.len() - 1]).expect("written");
        }),
        ("not a chunk's name", |directory, _| {
            fs::write(directory.join("notes.txt"), "x").expect("written");
        }),
        ("its last entry is", |directory, files| {
            let name = files[0].0.replace(&files[0].0[40..], "9");
            fs::rename(directory.join(&files[0].0), directory.join(name)).expect("renamed");
        }),
    ];
    for (reason, damage) in damage {
        let directory = tempfile::tempdir().expect("temporary directory");
        let files = written(directory.path(), 20);
        damage(directory.path(), &files);
        let before = listing(directory.path());
        let error = LedgerFiles::open_with(directory.path(), CHUNK_BYTES).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(listing(directory.path()), before);
    }
}

#[test]
fn what_cannot_be_appended_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut files = open(directory.path());
    assert!(matches!(
        files.append(2, &entries(2, 1)),
        Err(LedgerFailed::Gap { last: 0, found: 2 })
    ));
    assert!(matches!(
        files.append(1, &[Bytes::new()]),
        Err(LedgerFailed::Length { .. })
    ));
}

#[test]
fn reading_gives_at_least_one_entry_and_no_more_than_asked() {
    let directory = tempfile::tempdir().expect("temporary directory");
    written(directory.path(), 200);
    let files = open(directory.path());
    assert_eq!(
        files.read(1, 500, u64::MAX).expect("readable"),
        entries(1, 200)
    );
    assert_eq!(
        files.read(150, 160, u64::MAX).expect("readable"),
        entries(150, 11)
    );
    assert_eq!(files.read(7, 200, 0).expect("readable"), entries(7, 1));
    assert_eq!(files.read(201, 300, 100).expect("readable"), entries(0, 0));
}

#[test]
fn appends_that_wait_share_one_sync_and_one_answer() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let metrics = Arc::new(Metrics::default());
    let (answers, answered) = channel();
    // The disk is held at its first answer until all other appends wait.
    let (go, held) = channel();
    let disk = Disk::start(open(directory.path()), metrics.clone(), move |done| {
        answers.send(done).expect("the test listens");
        held.recv().expect("the test says go");
    })
    .expect("a thread");
    let append = |sequence: u64| {
        let entries = entries(sequence, 1);
        disk.ask(Job::Append(Append {
            detached: false,
            first: sequence,
            entries,
            sequence,
        }));
    };
    append(1);
    assert_eq!(
        answered.recv().expect("an answer"),
        Done::Persisted(Persisted { sequence: 1 })
    );
    (2..=50).for_each(append);
    go.send(()).expect("the disk waits");
    assert_eq!(
        answered.recv().expect("an answer"),
        Done::Persisted(Persisted { sequence: 50 })
    );
    go.send(()).expect("the disk waits");
    disk.finish();
    assert!(
        metrics
            .to_prometheus()
            .contains("coco_host_sync_seconds_count 2\n")
    );
    assert_eq!(open(directory.path()).last(), 50);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Truncate(u64),
    Commit(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..12_u64).prop_map(Step::Append),
        2 => (1..8_u64).prop_map(Step::Truncate),
        2 => (1..20_u64).prop_map(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// The same entries give the same files, whatever was appended, cut and restarted on the way.
    #[test]
    fn files_depend_on_the_entries_alone(steps in prop::collection::vec(step(), 1..25)) {
        let (a, b) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        let mut files = open(a.path());
        let mut committed = 0;
        for step in steps {
            let last = files.last();
            match step {
                // What is cut later had other bytes than what replaces it.
                Step::Append(count) => {
                    let other = (last + 1..=last + count).map(|index| vec![0xff; index as usize % 40 + 1].into());
                    files.append(last + 1, &other.collect::<Vec<Bytes>>()).expect("room");
                    files.truncate(last + 1).expect("not committed");
                    files.append(last + 1, &entries(last + 1, count)).expect("room");
                    files.sync().expect("a disk");
                }
                Step::Truncate(back) => {
                    let from = (last + 1).saturating_sub(back).max(committed + 1);
                    files.truncate(from).expect("not committed");
                }
                Step::Commit(more) => {
                    committed = (committed + more).min(last);
                    files.committed(committed).expect("a disk");
                }
                Step::Restart => {
                    drop(files);
                    files = open(a.path());
                    prop_assert_eq!(files.last(), last);
                }
            }
            prop_assert_eq!(files.read(1, u64::MAX, u64::MAX).expect("readable"), entries(1, files.last()));
        }
        let last = files.last();
        files.committed(last).expect("a disk");
        let mut fresh = open(b.path());
        fresh.append(1, &entries(1, last)).expect("room");
        fresh.sync().expect("a disk");
        fresh.committed(last).expect("a disk");
        prop_assert_eq!(listing(a.path()), listing(b.path()));
    }
}
