//! Backups go on while a node writes, send nothing twice, and come back as they were.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{Plan, Writer};
use super::{coco, copy, names, text, verify};

struct Place {
    kept: TempDir,
    node: PathBuf,
    url: String,
}

impl Place {
    fn new() -> Self {
        let kept = tempfile::tempdir().expect("a directory of the test");
        let url = format!("file://{}", text(&kept.path().join("store")));
        let node = kept.path().join("node");
        Self { kept, node, url }
    }

    fn backup_of(&self, node: &Path) -> (i32, Value, String) {
        let (code, out, error) = coco(&["backup", text(node), "--to", &self.url, "--json"]);
        (code, serde_json::from_str(&out).unwrap_or_default(), error)
    }

    fn backup(&self) -> Value {
        let (code, done, error) = self.backup_of(&self.node);
        assert_eq!(code, 0, "{error}");
        done
    }

    fn restore(&self, name: &str) -> (i32, PathBuf, String) {
        let to = self.kept.path().join(name);
        let (code, out, error) = coco(&["restore", "--from", &self.url, text(&to)]);
        (code, to, out + &error)
    }

    fn store(&self) -> PathBuf {
        self.kept.path().join("store")
    }

    fn write(&self, plan: &Plan) -> Writer {
        let mut writer = Writer::new(&self.node, plan.visibility);
        writer.run(plan);
        writer
    }
}

#[test]
fn a_backup_sends_what_is_new_and_comes_back_as_it_was() {
    let place = Place::new();
    let plan = Plan::default();
    let mut writer = place.write(&plan);
    let first = place.backup();
    let files = names(&place.node.join("ledger")).len();
    assert_eq!(
        (&first["files"], &first["sent_files"]),
        (&json!(files), &json!(files))
    );
    assert_eq!(place.backup()["sent_files"], 0);

    writer.run(&plan);
    let then = place.backup();
    let more = names(&place.node.join("ledger")).len();
    // The former open chunk is sent again, and those behind it.
    assert_eq!(then["sent_files"], json!(more - files + 1));
    assert_eq!(
        names(&place.store().join("ledger")).len(),
        more,
        "no former open chunk is left"
    );

    let (code, restored, said) = place.restore("restored");
    assert!(code == 0 && said.contains("coco ledger verify"), "{said}");
    for name in names(&place.node.join("ledger")) {
        let read = |directory: &Path| fs::read(directory.join(&name)).expect("there");
        assert_eq!(read(&restored), read(&place.node.join("ledger")), "{name}");
    }
    assert_eq!(
        verify(&restored, &place.node.join("constitution.cbor")).0,
        0
    );
    let (code, _, said) = place.restore("restored");
    assert!(code == 2 && said.contains("not empty"), "{said}");
}

#[test]
fn an_entry_that_is_being_written_is_left_out() {
    let place = Place::new();
    place.write(&Plan::default());
    let ledger = place.node.join("ledger");
    let last = ledger.join(names(&ledger).pop().expect("files"));
    let bytes = fs::read(&last).expect("there");
    fs::write(&last, &bytes[..bytes.len() - 3]).expect("a file of the test");
    fs::write(ledger.join("00000000000000009999-open"), b"COCO").expect("a file just begun");
    place.backup();
    let (code, restored, said) = place.restore("restored");
    assert_eq!(code, 0, "{said}");
    let (code, verdict) = verify(&restored, &place.node.join("constitution.cbor"));
    assert_eq!(code, 0, "{verdict:#}");
}

#[test]
fn a_backup_is_not_mixed_with_another_ledger_and_does_not_go_back() {
    let place = Place::new();
    let plan = Plan::default();
    let mut writer = place.write(&plan);
    place.backup();
    let former = place.kept.path().join("former");
    copy(&place.node, &former);
    writer.run(&plan);
    place.backup();
    let saved = fs::read(place.store().join("manifest.json")).expect("there");

    let (code, _, error) = place.backup_of(&former);
    assert!(code == 1 && error.contains("only"), "{error}");
    let other = place.kept.path().join("other");
    let visibility = governance::Visibility::Sealed;
    Writer::new(&other, visibility).run(&Plan {
        transactions: 900,
        visibility,
        ..plan
    });
    let (code, _, error) = place.backup_of(&other);
    assert!(code == 5 && error.contains("another ledger"), "{error}");
    let now = fs::read(place.store().join("manifest.json")).expect("there");
    assert_eq!(now, saved);
}

#[test]
fn a_damaged_backup_is_sent_again_and_never_restored() {
    let place = Place::new();
    place.write(&Plan::default());
    place.backup();
    let objects = place.store().join("ledger");
    let object = objects.join(&names(&objects)[0]);
    let whole = fs::read(&object).expect("there");
    let mut changed = whole.clone();
    changed[100] ^= 1;
    fs::write(&object, &changed).expect("a file of the test");
    let (code, restored, said) = place.restore("restored");
    assert!(code == 5 && said.contains("not what was saved"), "{said}");
    assert!(!restored.exists());
    assert_eq!(
        place.backup()["sent_files"],
        1,
        "the store tells that it changed"
    );
    assert_eq!(place.restore("restored").0, 0);

    // A manifest that leads elsewhere is refused.
    let manifest = place.store().join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("there");
    let name = names(&objects).remove(0);
    let evil = text.replacen(
        &format!("\"object\": \"{name}\""),
        "\"object\": \"../../passwd\"",
        1,
    );
    assert_ne!(evil, text);
    fs::write(&manifest, evil).expect("a file of the test");
    let (code, _, said) = place.restore("elsewhere");
    assert!(
        code == 5 && said.contains("no manifest of a backup"),
        "{said}"
    );
}

#[test]
fn a_place_that_is_none_is_told() {
    let place = Place::new();
    place.write(&Plan::default());
    for url in ["store", "ftp://host/x", "file://host/x", "s3:///x"] {
        let (code, _, error) = coco(&["backup", text(&place.node), "--to", url]);
        assert!(
            code == 2 && error.contains("s3://bucket/path"),
            "{url}: {error}"
        );
    }
    let (code, _, error) = {
        let to = place.kept.path().join("nothing");
        coco(&["restore", "--from", &place.url, text(&to)])
    };
    assert!(code == 2 && error.contains("no backup"), "{error}");
}
