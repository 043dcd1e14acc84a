//! `coco audit`.

use std::path::PathBuf;

use crypto::{Entropy, HpkeKey};
use types::Millis;

use crate::keyed::Keyed;
use crate::text;

const PARTIAL: &[&str] = &["audit", "partial"];
const OPEN: &[&str] = &["audit", "open"];

const FAR: Millis = Millis(1 << 50);

struct Auditor {
    keyed: Keyed,
    file: PathBuf,
}

/// Grant 1 is of epochs 3 and 4, grant 2 is over, grant 3 is another auditor's of epoch 2.
fn auditor() -> Auditor {
    let key = HpkeKey::generate(&mut Entropy::new(&[8; 32]));
    let other = HpkeKey::generate(&mut Entropy::new(&[9; 32]));
    let soon = Millis(51 * 86_400_000);
    let keyed = Keyed::granting(&[
        (3, 4, *key.public(), FAR),
        (4, 4, *key.public(), soon),
        (2, 2, *other.public(), FAR),
    ]);
    let file = keyed.path("auditor.pem");
    std::fs::write(&file, client::auditor_key_to_pem(&key).as_bytes()).expect("a file");
    Auditor { keyed, file }
}

#[test]
fn an_auditor_reads_the_granted_epochs_and_neither_neighbour() {
    let Auditor { keyed, file } = auditor();
    let parts = ["bob", "cat"].map(|actor| keyed.part(PARTIAL, actor, &["--grant", "1"]));
    let out = keyed.path("keys");
    let rest = [
        "--grant",
        "1",
        "--partials",
        text(&parts[0]),
        text(&parts[1]),
        "--auditor-key",
        text(&file),
        "--out",
        text(&out),
    ];
    let told = keyed.done(OPEN, &rest);
    assert!(told.contains("opened    epochs 3, 4\n"), "{told}");
    assert_eq!(keyed.read(&out), [3, 4]);

    // Nor by the links: a session key in the place of a history key opens none.
    let keys = client::SessionKeys::from_pem(&std::fs::read_to_string(&out).expect("written"));
    let keys = keys.expect("a file of keys");
    let (state, network) = (&keyed.writer.state, keyed.writer.constitution.network_id());
    for (epoch, key) in keys.iter() {
        let held = governance::EpochKeys::new(key, key);
        let walked = governance::walk_back(network, state.keys(), epoch, held);
        assert_eq!(walked.len(), 1, "epoch {epoch} opens nothing but itself");
    }
}

#[test]
fn parts_open_with_enough_actors_for_the_grant_and_the_auditor_alone() {
    let Auditor { keyed, file } = auditor();
    let [bob, cat] = ["bob", "cat"].map(|actor| keyed.part(PARTIAL, actor, &["--grant", "1"]));
    let theirs = ["bob", "cat"].map(|actor| keyed.part(PARTIAL, actor, &["--grant", "3"]));
    let out = keyed.path("keys");
    let refused = |grant: &str, parts: [&str; 2], key: &str| {
        let rest = [
            "--grant",
            grant,
            "--partials",
            parts[0],
            parts[1],
            "--auditor-key",
            key,
            "--out",
            text(&out),
        ];
        let (code, _, error) = keyed.run(OPEN, &rest);
        assert!(code != 0 && !out.exists(), "{grant}");
        error
    };
    // One actor's part twice is one actor.
    refused("1", [text(&bob), text(&bob)], text(&file));
    // Parts of another grant, and a part sealed to another auditor.
    let error = refused("1", [text(&bob), text(&theirs[1])], text(&file));
    assert!(error.contains("another grant"), "{error}");
    let error = refused("3", [text(&theirs[0]), text(&theirs[1])], text(&file));
    assert!(
        error.contains("not sealed to this auditor's key"),
        "{error}"
    );
    let other = keyed.path("other.pem");
    crate::done(&["audit", "keygen", "--out", text(&other)]);
    let error = refused("1", [text(&bob), text(&cat)], text(&other));
    assert!(
        error.contains("not sealed to this auditor's key"),
        "{error}"
    );
}

#[test]
fn nobody_gives_parts_without_a_grant_or_after_it_is_over() {
    let Auditor { keyed, .. } = auditor();
    let listed = keyed.done(&["audit", "grants"], &[]);
    assert!(
        listed.contains("3-4") && listed.lines().count() == 4,
        "{listed}"
    );
    let (key, out) = (keyed.path("ada.share"), keyed.path("part"));
    for (grant, why) in [("2", "is over"), ("7", "no audit grant 7 is open")] {
        let rest = [
            "--grant",
            grant,
            "--share-key",
            text(&key),
            "--out",
            text(&out),
        ];
        let (code, _, error) = keyed.run(PARTIAL, &rest);
        assert_eq!(code, 3);
        assert!(error.contains(why) && !out.exists(), "{error}");
    }
}
