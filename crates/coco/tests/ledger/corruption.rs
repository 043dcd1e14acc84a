//! One changed byte, a thousand times: found by `verify`, with the place, whatever byte it is.

use std::fs;
use std::path::{Path, PathBuf};

use super::world::{Plan, generate};
use super::{coco, text, verify};

/// Changed bytes that are tried.
const TRIES: u64 = 1000;

/// Numbers from a seed (splitmix64): the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a directory of the test")
        .map(|file| file.expect("as above").path())
        .map(|path| {
            let bytes = fs::metadata(&path).expect("as above").len();
            (path, bytes)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_thousand_changed_bytes_are_found_with_their_place() {
    let kept = tempfile::tempdir().expect("a directory of the test");
    let directory = kept.path().join("node");
    generate(&directory, &Plan::default());
    fs::remove_dir_all(directory.join("snapshots")).expect("they have a test of their own");
    let constitution = directory.join("constitution.cbor");
    assert_eq!(verify(&directory, &constitution).0, 0);
    let files = files(&directory.join("ledger"));
    // Nothing but the keys or a next entry attests the seal of the last entry, its last 20 bytes.
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum::<u64>() - 20;
    let mut numbers = Numbers(1);
    for try_ in 0..TRIES {
        let mut at = numbers.below(bytes);
        let flips = 1 + numbers.below(255) as u8; // below 256
        let (path, _) = files
            .iter()
            .find(|(_, bytes)| {
                let here = at < *bytes;
                at -= if here { 0 } else { *bytes };
                here
            })
            .expect("below the sum");
        let whole = fs::read(path).expect("there");
        let mut changed = whole.clone();
        changed[at as usize] ^= flips; // below the length of the file
        fs::write(path, &changed).expect("a file of the test");
        let (code, verdict) = verify(&directory, &constitution);
        fs::write(path, &whole).expect("as above");
        let name = path.file_name().expect("a file").to_str().expect("text");
        let at = format!("try {try_}, byte {at} of {name}: {verdict:#}");
        let problems = verdict["problems"].as_array().expect("a list");
        // A length that reaches beyond the last file looks like a torn tail: told, and not 0 either.
        assert!(code == 5 || code == 6, "{code}: {at}");
        assert!(!problems.is_empty(), "{at}");
        let first = &problems[0];
        let named = |field: &str| first[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(named("file") && named("what"), "{at}");
    }
    assert_eq!(
        verify(&directory, &constitution).0,
        0,
        "every byte is as it was"
    );
    println!("corruptions tried: {TRIES} in ledger files, all detected");
}

#[test]
fn a_changed_byte_in_the_framing_of_a_snapshot_file_is_found() {
    let kept = tempfile::tempdir().expect("a directory of the test");
    let directory = kept.path().join("node");
    generate(&directory, &Plan::default());
    let constitution = directory.join("constitution.cbor");
    let (path, bytes) = files(&directory.join("snapshots")).remove(0);
    let whole = fs::read(&path).expect("there");
    // The beginning, the length and the header of the first chunk: all but epoch and key, which only the seal attests alone.
    for at in (0..16 + 4 + 18).chain(bytes as usize - 1..bytes as usize) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        if at + 1 == bytes as usize {
            changed.pop();
        }
        fs::write(&path, &changed).expect("a file of the test");
        let (code, verdict) = verify(&directory, &constitution);
        assert_eq!(code, 5, "byte {at}: {verdict:#}");
        let file = verdict["problems"][0]["file"].as_str().expect("a text");
        assert!(file.starts_with("snapshots/"), "{file}");
    }
    fs::write(&path, &whole).expect("a file of the test");
    let stranger = path.with_file_name(format!("{:020}", 3));
    let mut other = whole;
    other[15] = 3;
    fs::write(stranger, other).expect("a file of the test");
    let (code, out, _) = coco(&["verify", text(&directory)]);
    assert!(
        code == 5 && out.contains("snapshots/00000000000000000003"),
        "{out}"
    );
}
