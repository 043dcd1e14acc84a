//! What `verify` says about files that are right, cut, missing or out of place; and `export`.

use std::fs;
use std::path::PathBuf;

use governance::Visibility;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{Plan, Writer, generate};
use super::{coco, copy, names, text, verify};

struct Node {
    _kept: TempDir,
    directory: PathBuf,
    writer: Writer,
}

impl Node {
    fn new(plan: &Plan) -> Self {
        let kept = tempfile::tempdir().expect("a directory of the test");
        let directory = kept.path().join("node");
        let writer = generate(&directory, plan);
        Self {
            _kept: kept,
            directory,
            writer,
        }
    }

    fn verify(&self) -> (i32, Value) {
        verify(&self.directory, &self.directory.join("constitution.cbor"))
    }

    fn chunks(&self) -> Vec<String> {
        names(&self.directory.join("ledger"))
    }

    fn chunk(&self, number: usize) -> PathBuf {
        self.directory.join("ledger").join(&self.chunks()[number])
    }
}

#[test]
fn a_sound_ledger_is_sound_and_what_was_not_checked_is_said() {
    let node = Node::new(&Plan::default());
    let (code, verdict) = node.verify();
    assert_eq!(code, 0, "{verdict:#}");
    assert_eq!(verdict["transactions"], 200);
    assert_eq!(verdict["last"], json!(node.writer.last()));
    let snapshots = verdict["snapshots"].as_array().expect("a list").len();
    assert!(snapshots > 1 && snapshots == node.writer.snapshots.len());
    assert_eq!(
        node.chunks().len(),
        snapshots + 1,
        "a file ends with each snapshot"
    );
    assert_eq!(verdict["problems"], json!([]));
    let said = verdict["unchecked"].to_string();
    assert!(said.contains("no session keys"), "{said}");
    assert!(said.contains("snapshot files"), "{said}");

    let (code, out, _) = coco(&["verify", text(&node.directory)]);
    assert!(code == 0 && out.contains("give its constitution"), "{out}");
}

#[test]
fn a_sealed_constitution_is_given_or_it_is_said_that_nobody_endorsed_the_keys() {
    let node = Node::new(&Plan {
        visibility: Visibility::Sealed,
        ..Plan::default()
    });
    assert_eq!(node.verify().0, 0);
    let (code, out, _) = coco(&["verify", text(&node.directory)]);
    assert!(
        code == 0 && out.contains("whether the members admitted"),
        "{out}"
    );
}

#[test]
fn missing_files_are_told_from_those_that_a_snapshot_stands_for() {
    let node = Node::new(&Plan::default());
    let snapshot = node.writer.snapshots[1].0;
    // The second chunk ends with the second snapshot; the third one holds the digest.
    fs::remove_file(node.chunk(1)).expect("there");
    let (code, verdict) = node.verify();
    let first = node.writer.snapshots[0].0 + 1;
    assert_eq!(
        (code, &verdict["missing"]),
        (6, &json!([[first, snapshot]]))
    );
    assert_eq!(verdict["problems"], json!([]));

    let other = Node::new(&Plan {
        bytes: 50_000,
        snapshot_every: 0,
        ..Plan::default()
    });
    assert!(other.chunks().len() == 2);
    let whole = Node::new(&Plan {
        transactions: 400,
        bytes: 50_000,
        snapshot_every: 0,
        ..Plan::default()
    });
    fs::remove_file(whole.chunk(1)).expect("there");
    let (code, verdict) = whole.verify();
    assert_eq!(code, 5, "{verdict:#}");
    let what = verdict["problems"][0]["what"].as_str().expect("a text");
    assert!(what.contains("are missing before this file"), "{what}");
}

#[test]
fn a_torn_tail_is_incomplete_and_a_torn_closed_file_is_wrong() {
    let node = Node::new(&Plan::default());
    let last = node.chunk(node.chunks().len() - 1);
    let bytes = fs::read(&last).expect("there");
    fs::write(&last, &bytes[..bytes.len() - 7]).expect("a file of the test");
    let (code, verdict) = node.verify();
    assert_eq!(code, 6, "{verdict:#}");
    assert_eq!(
        fs::read(&last).expect("there").len(),
        bytes.len() - 7,
        "nothing is cut"
    );

    let closed = node.chunk(0);
    let bytes = fs::read(&closed).expect("there");
    fs::write(&closed, &bytes[..bytes.len() - 7]).expect("a file of the test");
    assert_eq!(node.verify().0, 5);
}

#[test]
fn files_of_no_use_are_passed_over_and_named() {
    let node = Node::new(&Plan::default());
    let ledger = node.directory.join("ledger");
    let damaged = format!("{}-damaged", node.chunks()[0]);
    fs::write(ledger.join(&damaged), b"anything").expect("a file of the test");
    fs::write(ledger.join("notes.txt"), b"anything").expect("as above");
    let (code, verdict) = node.verify();
    assert_eq!(code, 0);
    let said = verdict["unchecked"].to_string();
    assert!(
        said.contains(&damaged) && said.contains("notes.txt"),
        "{said}"
    );

    // A chunk of an impossible size is not read.
    let huge = fs::File::create(ledger.join("00000000000000099999-open")).expect("as above");
    huge.set_len(1 << 40).expect("a sparse file");
    let (code, verdict) = node.verify();
    let what = verdict["problems"][0]["what"].as_str().expect("a text");
    assert!(code == 5 && what.contains("is impossible"), "{what}");
}

#[test]
fn the_ledger_of_another_constitution_is_refused() {
    let node = Node::new(&Plan::default());
    let sealed = Node::new(&Plan {
        visibility: Visibility::Sealed,
        ..Plan::default()
    });
    let (code, verdict) = verify(&node.directory, &sealed.directory.join("constitution.cbor"));
    assert_eq!(code, 5);
    assert_eq!(verdict["problems"][0]["entry"], 1);
}

#[test]
fn an_export_has_a_line_for_each_entry_and_each_transaction() {
    let node = Node::new(&Plan::default());
    let (code, out, _) = coco(&["export", text(&node.directory)]);
    assert_eq!(code, 0);
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let of = |record: &'static str| lines.iter().filter(move |line| line["record"] == record);
    assert_eq!(of("entry").count() as u64, node.writer.last().0);
    let numbers: Vec<u64> = of("transaction")
        .map(|line| line["number"].as_u64().expect("all entries are there"))
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let genesis = lines[0]["public"].to_string();
    assert!(genesis.contains("\"owner\":\"ada\""), "{genesis}");
    let mut chain = of("entry").zip(of("entry").skip(1));
    assert!(chain.all(|(one, next)| next["previous"] == one["digest"]));

    let out = node.directory.join("lines");
    let arguments = [
        "export",
        text(&node.directory),
        "--from",
        "5",
        "--to",
        "6",
        "--output",
        text(&out),
    ];
    assert_eq!(coco(&arguments).0, 0);
    assert_eq!(
        fs::read_to_string(&out).expect("written").lines().count(),
        2 + 5
    );
    assert_eq!(coco(&arguments).0, 1, "a file is never overwritten");
}

#[test]
fn shown_entries_are_those_of_the_files() {
    let node = Node::new(&Plan::default());
    let copied = node.directory.join("copied");
    copy(&node.directory.join("ledger"), &copied);
    let (code, out, _) = coco(&[
        "show",
        text(&copied),
        "--json",
        "--from",
        "3",
        "--count",
        "2",
    ]);
    assert!(code == 0 && out.lines().count() == 2, "{out}");
}
