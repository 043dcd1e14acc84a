//! Files that are not as they were left: torn by a crash, or changed by whatever else. Each case has
//! its outcome: dropped, or set aside with place and reason; and always healed by what is fetched.

mod kit;

use std::fs;
use std::path::Path;

use host::storage::{Extent, Finding, LedgerFiles, Place};
use kit::{Listing, append, copied, entries, last, listing, open, tempdir, written};

const COUNT: u64 = 42;

/// Opens what is there, appends what is missing, as the manager does with what it fetched, and gives
/// what was found. The files in service are as if nothing had happened.
fn heal(directory: &Path, before: &Listing) -> (Extent, Vec<Finding>) {
    let mut files = open(directory);
    let findings = files.findings().to_vec();
    let extent = files.extent();
    let missing = extent.tail.map_or(COUNT, |(first, _)| first - 1);
    append(
        &mut files,
        extent.last + 1,
        &entries(extent.last + 1, missing - extent.last),
    );
    let now = last(&files);
    append(&mut files, now + 1, &entries(now + 1, COUNT - now));
    files.sync().expect("a disk");
    files.committed(COUNT).expect("a disk");
    let in_service = |(name, _): &(String, Vec<u8>)| {
        !name.contains("-damaged") && !name.ends_with("-removed") && name.contains('-')
    };
    let after: Listing = listing(directory).into_iter().filter(in_service).collect();
    assert!(after == *before, "{:?}", kit::names(directory));
    drop(files);
    assert_eq!(open(directory).findings(), []);
    (extent, findings)
}

#[test]
fn a_torn_end_is_dropped_wherever_it_was_torn() {
    let before = written(tempdir().path(), COUNT);
    let (open_chunk, content) = before.last().expect("chunks");
    assert!(open_chunk.ends_with("-open"));
    for cut in 0..content.len() {
        let torn = copied(&before);
        fs::write(torn.path().join(open_chunk), &content[..cut]).expect("written");
        let (extent, findings) = heal(torn.path(), &before);
        assert!(extent.last < COUNT && extent.tail.is_none(), "cut at {cut}");
        // No entry is cut in halves: then there is nothing to say.
        assert!(findings.len() <= 1, "{findings:?}");
        assert!(
            findings.iter().all(|one| one.aside.is_none()),
            "{findings:?}"
        );
    }
}

#[test]
fn zeros_from_any_byte_of_the_last_entry_on_lose_no_other_entry() {
    let before = written(tempdir().path(), COUNT);
    let (open_chunk, content) = before.last().expect("chunks");
    let bytes = kit::entry(COUNT).len() + 4;
    let begin = content.len() - bytes;
    for at in begin..content.len() {
        let torn = copied(&before);
        let mut zeroed = content.clone();
        zeroed[at..].fill(0);
        fs::write(torn.path().join(open_chunk), zeroed).expect("written");
        let files = open(torn.path());
        // Once the frame is whole, only the manager sees that the content is not.
        let whole = at - begin >= 4 + 96;
        assert_eq!(
            last(&files),
            COUNT - 1 + u64::from(whole),
            "zeros from {at}"
        );
        assert_eq!(files.findings().is_empty(), whole);
        if at == begin {
            assert_eq!(files.findings()[0].aside, None);
        }
    }
    // Zeros after the last entry are what some file systems leave of an append.
    let torn = copied(&before);
    let longer = [&content[..], &[0; 100]].concat();
    fs::write(torn.path().join(open_chunk), longer).expect("written");
    let (extent, findings) = heal(torn.path(), &before);
    assert_eq!((extent.last, findings[0].aside.as_ref()), (COUNT, None));
}

#[test]
fn every_flipped_bit_of_a_length_is_found_at_its_place_and_kept_as_evidence() {
    let before = written(tempdir().path(), COUNT);
    for (number, (name, content)) in before.iter().enumerate() {
        let first: u64 = name[..20].parse().expect("an index");
        let mut at = 16;
        let mut index = first;
        while at < content.len() {
            let length = kit::entry(index).len();
            // The frame's length, and the two in the entry's header.
            for place in (0..4).chain(4 + 88..4 + 96) {
                let bit = (at + place) % 8;
                let directory = copied(&before);
                let mut flipped = content.clone();
                flipped[at + place] ^= 1 << bit;
                fs::write(directory.path().join(name), &flipped).expect("written");
                let (extent, findings) = heal(directory.path(), &before);
                let [finding] = &findings[..] else {
                    panic!("{findings:?}")
                };
                assert_eq!(extent.last, index - 1, "{finding}");
                let next = (number + 1 < before.len()).then(|| extent.tail.expect("a tail").0);
                let named = before.get(number + 1).map(|(name, _)| name[..20].parse());
                assert_eq!(next, named.map(|first| first.expect("an index")));
                assert_eq!((finding.index, finding.at), (index, at as u64));
                let aside = finding.aside.as_ref().expect("kept");
                assert_eq!(fs::read(aside).expect("kept"), flipped);
                let text = finding.to_string();
                assert!(text.contains(name) && text.contains("-damaged"), "{text}");
            }
            at += 4 + length;
            index += 1;
        }
    }
}

/// Something that happened to the files.
type Damage = fn(&Path, &Listing);

fn path(directory: &Path, files: &Listing, number: usize) -> std::path::PathBuf {
    directory.join(&files[number].0)
}

#[test]
fn what_no_crash_explains_is_set_aside_with_place_and_reason_and_fetched_again() {
    let damage: [(&str, Option<&str>, Damage); 13] = [
        ("a missing chunk", None, |directory, files| {
            fs::remove_file(path(directory, files, 2)).expect("removed");
        }),
        ("two missing chunks", None, |directory, files| {
            fs::remove_file(path(directory, files, 2)).expect("removed");
            fs::remove_file(path(directory, files, 4)).expect("removed");
        }),
        ("the first chunk missing", None, |directory, files| {
            fs::remove_file(path(directory, files, 0)).expect("removed");
        }),
        ("no file left", None, |directory, files| {
            for (name, _) in files {
                fs::remove_file(directory.join(name)).expect("removed");
            }
        }),
        (
            "cut within an entry",
            Some("incomplete entry in a closed chunk"),
            |directory, files| {
                let content = &files[1].1;
                fs::write(path(directory, files, 1), &content[..content.len() - 1])
                    .expect("written");
            },
        ),
        (
            "cut between entries",
            Some("its last entry is"),
            |directory, files| {
                let (name, content) = &files[1];
                let last: u64 = name[21..].parse().expect("an index");
                let cut = content.len() - 4 - kit::entry(last).len();
                fs::write(directory.join(name), &content[..cut]).expect("written");
            },
        ),
        ("emptied", Some("incomplete entry"), |directory, files| {
            fs::write(path(directory, files, 1), "").expect("written");
        }),
        (
            "another beginning",
            Some("header of this chunk"),
            |directory, files| {
                let mut content = files[1].1.clone();
                content[0] ^= 1;
                fs::write(path(directory, files, 1), content).expect("written");
            },
        ),
        (
            "two chunks swapped",
            Some("header of this chunk"),
            |directory, files| {
                fs::write(path(directory, files, 1), &files[2].1).expect("written");
                fs::write(path(directory, files, 2), &files[1].1).expect("written");
            },
        ),
        (
            "bytes after the end",
            Some("bytes follow"),
            |directory, files| {
                let content = [&files[1].1[..], b"more"].concat();
                fs::write(path(directory, files, 1), content).expect("written");
            },
        ),
        (
            "a chunk under another name",
            Some("its last entry is"),
            |directory, files| {
                let other = files[1].0[..21].to_owned() + "00000000000000000099";
                fs::rename(path(directory, files, 1), directory.join(other)).expect("renamed");
            },
        ),
        (
            "an older copy beside it",
            Some("holds the same entries"),
            |directory, files| {
                let (name, content) = &files[1];
                let older = name[..21].to_owned() + "open";
                let first: u64 = name[..20].parse().expect("an index");
                let one = 16 + 4 + kit::entry(first).len();
                fs::write(directory.join(older), &content[..one]).expect("written");
            },
        ),
        ("no chunk's name", None, |directory, _| {
            fs::write(directory.join("notes.txt"), "x").expect("written");
        }),
    ];
    for (case, reason, damage) in damage {
        let before = written(tempdir().path(), COUNT);
        assert!(before.len() > 6, "enough chunks");
        let directory = copied(&before);
        damage(directory.path(), &before);
        eprintln!("{case}");
        let (_, findings) = heal(directory.path(), &before);
        let found = |reason| findings.iter().any(|one| one.what.contains(reason));
        assert!(reason.map_or(findings.is_empty(), found), "{findings:?}");
        assert!(findings.iter().all(|one| one.aside.is_some()));
    }
}

#[test]
fn what_was_not_finished_goes_and_what_was_kept_stays() {
    let before = written(tempdir().path(), COUNT);
    let directory = copied(&before);
    let at = |name: &str| directory.path().join(name);
    fs::write(at("00000000000000000041-part"), "x").expect("written");
    let kept = "00000000000000000001-00000000000000000003-damaged";
    fs::write(at(kept), "evidence").expect("written");
    assert_eq!(open(directory.path()).findings(), []);
    assert!(!at("00000000000000000041-part").exists());
    // A second damage of the same file leaves the first one's evidence.
    fs::write(at(&before[0].0), "short").expect("written");
    let aside = before[0].0.clone() + "-damaged";
    fs::write(at(&aside), "earlier").expect("written");
    let (_, findings) = heal(directory.path(), &before);
    assert!(findings[0].to_string().contains(&(aside.clone() + "-2")));
    assert_eq!(fs::read(at(&aside)).expect("kept"), b"earlier");
    assert_eq!(fs::read(at(kept)).expect("kept"), b"evidence");
}

#[test]
fn a_link_in_a_chunks_place_is_refused_by_name() {
    let before = written(tempdir().path(), COUNT);
    let directory = copied(&before);
    let link = path(directory.path(), &before, 1);
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
    let error = LedgerFiles::open(directory.path(), kit::options()).expect_err("a link");
    let text = error.to_string();
    assert!(
        text.contains(&before[1].0) && text.contains("remove it"),
        "{text}"
    );
}

/// What has the right frames is offered; that it is another network's, or older, only the manager
/// can tell, and then nothing of it is lost.
#[test]
fn foreign_older_and_future_chunks_are_offered_and_kept_when_the_manager_does_not_want_them() {
    let before = written(tempdir().path(), COUNT);
    let (name, content) = &before[1];
    let first: u64 = name[..20].parse().expect("an index");

    let directory = copied(&before);
    let mut foreign = content.clone();
    let at = 16 + 4 + 96;
    foreign[at] ^= 0xff;
    fs::write(directory.path().join(name), &foreign).expect("written");
    let mut files = open(directory.path());
    assert_eq!((last(&files), files.findings()), (COUNT, &[][..]));
    assert_ne!(kit::read(&mut files, first, first, 0), entries(first, 1));
    files.truncate(first).expect("the manager found it");
    drop(files);
    heal(directory.path(), &before);
    let aside = directory.path().join(name.clone() + "-removed");
    assert_eq!(fs::read(aside).expect("kept"), foreign);

    // An older copy of the whole directory merely ends earlier.
    let older = copied(&before[..3].to_vec());
    let (extent, findings) = heal(older.path(), &before);
    assert!(extent.last < COUNT && extent.tail.is_none() && findings.is_empty());

    // A chunk from far ahead is a run of its own, until the manager says otherwise.
    let directory = copied(&before);
    let ahead = tempdir();
    let mut files = open(ahead.path());
    let far = entries(1_000, 2);
    files
        .append(1_000, &far, Place::Detached)
        .expect("a gap is meant");
    drop(files);
    let (name, content) = &listing(ahead.path())[0];
    fs::write(directory.path().join(name), content).expect("written");
    let mut files = open(directory.path());
    assert_eq!(files.extent().tail, Some((1_000, 1_001)));
    files.truncate(1_000).expect("not committed");
    drop(files);
    heal(directory.path(), &before);
}

/// Single-byte corruptions: the host finds it, or offers entries of which one has another byte, which
/// its seal does not survive. Never does it offer fewer entries in silence, or one in another's place.
#[test]
fn a_thousand_corrupted_bytes_are_found_or_lie_within_one_entry() {
    let before = written(tempdir().path(), COUNT);
    let bytes: usize = before.iter().map(|(_, content)| content.len()).sum();
    let (mut found, mut within) = (0, 0);
    // A step that shares no factor with the bytes visits each before any comes again.
    let step = (bytes / 3..)
        .find(|step| gcd(*step, bytes) == 1)
        .expect("there is one");
    for number in 0..1_000 {
        let mut at = number * step % bytes;
        let file = before.iter().position(|(_, content)| {
            let here = at < content.len();
            at -= if here { 0 } else { content.len() };
            here
        });
        let (name, content) = &before[file.expect("within some file")];
        let mut corrupted = content.clone();
        corrupted[at] ^= 1 << (number % 8);
        let directory = copied(&before);
        fs::write(directory.path().join(name), corrupted).expect("written");
        let mut files = open(directory.path());
        if files.findings().is_empty() {
            assert_eq!(last(&files), COUNT);
            let offered = kit::read(&mut files, 1, COUNT, u64::MAX);
            let differ = offered
                .iter()
                .zip(entries(1, COUNT))
                .filter(|(a, b)| *a != b);
            assert_eq!((offered.len() as u64, differ.count()), (COUNT, 1));
            within += 1;
        } else {
            assert_eq!(files.findings().len(), 1);
            drop(files);
            heal(directory.path(), &before);
            found += 1;
        }
    }
    println!("corruptions tried: 1000; found by the host: {found}; within one entry: {within}");
    assert!(found > 100 && within > 500);
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
