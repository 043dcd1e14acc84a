//! `coco recover`.

use crate::coco;
use crate::keyed::Keyed;
use crate::text;

const PARTIAL: &[&str] = &["recover", "partial"];
const OPEN: &[&str] = &["recover", "open"];

#[test]
fn any_two_of_three_actors_open_all_epochs_and_one_opens_none() {
    let keyed = Keyed::new();
    let parts = ["ada", "bob", "cat"].map(|actor| keyed.part(PARTIAL, actor, &[]));
    for (number, pair) in [[0, 1], [1, 2], [2, 0]].into_iter().enumerate() {
        let out = keyed.path(&format!("keys{number}"));
        let pair = pair.map(|place| text(&parts[place]));
        let rest = ["--partials", pair[0], pair[1], "--out", text(&out)];
        let told = keyed.done(OPEN, &rest);
        assert!(told.contains("epochs        1-5"), "{told}");
        assert_eq!(keyed.read(&out), [1, 2, 3, 4, 5]);
    }
    let out = keyed.path("alone");
    let (code, _, error) = keyed.run(OPEN, &["--partials", text(&parts[0]), "--out", text(&out)]);
    assert_eq!(code, 2);
    assert!(
        error.contains("1 good parts of epoch 5, 2 are needed"),
        "{error}"
    );
    assert!(!out.exists());
    // The same actor twice is one actor.
    let twice = [
        "--partials",
        text(&parts[0]),
        text(&parts[0]),
        "--out",
        text(&out),
    ];
    assert_eq!(keyed.run(OPEN, &twice).0, 2);
}

#[test]
fn what_is_proven_is_told_and_the_next_network_cites_it() {
    use std::os::unix::fs::PermissionsExt;
    let keyed = Keyed::new();
    let parts = ["ada", "cat"].map(|actor| keyed.part(PARTIAL, actor, &[]));
    let (out, cite) = (keyed.path("keys"), keyed.path("cite.toml"));
    let rest = [
        "--partials",
        text(&parts[0]),
        text(&parts[1]),
        "--out",
        text(&out),
        "--cite",
        text(&cite),
    ];
    let told = keyed.done(OPEN, &rest);
    let last = keyed.writer.last();
    for line in [
        "opened by     ada, cat".to_owned(),
        format!("proven        entries 1-{}: root ", last.0 - 2),
        format!(
            "signed in entry {} by node 1 (ada at ada.example:9000)",
            last.0 - 1
        ),
        format!(
            "not proven    entries {}-{last}: no signed root covers them",
            last.0 - 1
        ),
        "not known     what other copies have".to_owned(),
        "WARNING: whoever has that file reads all of these epochs".to_owned(),
    ] {
        assert!(told.contains(&line), "{line}\n{told}");
    }
    let mode = std::fs::metadata(&out)
        .expect("written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0);

    // With the keys, an audit checks contents too, and finds nothing sealed.
    let node = keyed.node();
    let (code, verdict, _) = coco(&[
        "ledger",
        "verify",
        text(&node),
        "--constitution",
        text(&node),
        "--keys",
        text(&out),
    ]);
    assert_eq!(code, 0, "{verdict}");
    assert!(!verdict.contains("not checked   contents"), "{verdict}");

    // The citation is a constitution's.
    let cited = std::fs::read_to_string(&cite).expect("written");
    let mut next = keyed.writer.constitution.clone();
    next.network = "the-next-one".into();
    let toml = next.to_toml() + &cited;
    let next = governance::Constitution::from_toml(&toml).expect("a constitution");
    let succeeds = next.succeeds.expect("cited");
    assert_eq!(succeeds.network, keyed.writer.constitution.network_id());
    assert_eq!(succeeds.index.0, last.0 - 1);
    let path = keyed.path("next.toml");
    std::fs::write(&path, toml).expect("a file");
    let shown = crate::done(&["constitution", "show", text(&path)]);
    assert!(shown.contains("succeeds    "), "{shown}");
}

#[test]
fn a_part_that_was_changed_is_named_and_two_good_ones_still_open() {
    let keyed = Keyed::new();
    let parts = ["ada", "bob", "cat"].map(|actor| keyed.part(PARTIAL, actor, &[]));
    let mut bad =
        client::RecoveryPart::from_pem(&std::fs::read_to_string(&parts[1]).expect("written"))
            .expect("a part");
    // The right part of the other key.
    bad.session = bad.history.clone();
    std::fs::write(&parts[1], bad.to_pem()).expect("a file");
    let out = keyed.path("keys");
    let all = [text(&parts[0]), text(&parts[1]), text(&parts[2])];
    let (code, _, error) = keyed.run(OPEN, &["--partials", all[0], all[1], "--out", text(&out)]);
    assert_eq!(code, 2);
    assert!(
        error.contains("a partial decryption of bob is wrong"),
        "{error}"
    );
    let (code, told, error) = keyed.run(
        OPEN,
        &["--partials", all[0], all[1], all[2], "--out", text(&out)],
    );
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("of bob is wrong") && told.contains("opened by     ada, cat"),
        "{told}"
    );
}

#[test]
fn an_earlier_epoch_opens_what_was_before_it_and_not_what_came_after() {
    let keyed = Keyed::new();
    let parts = ["ada", "bob"].map(|actor| keyed.part(PARTIAL, actor, &["--epoch", "3"]));
    let out = keyed.path("keys");
    let told = keyed.done(
        OPEN,
        &[
            "--partials",
            text(&parts[0]),
            text(&parts[1]),
            "--out",
            text(&out),
        ],
    );
    assert!(told.contains("sealed        epochs 4-5"), "{told}");
    assert_eq!(keyed.read(&out), [1, 2, 3]);
}

#[test]
fn strangers_unsealed_epochs_and_damaged_copies_are_refused() {
    let keyed = Keyed::new();
    let out = keyed.path("part");
    let stranger = keyed.path("stranger.share");
    let key = threshold::TransportKey::generate(&mut crypto::Entropy::new(&[77; 32]));
    std::fs::write(&stranger, client::share_key_to_pem(&key).as_bytes()).expect("a file");
    let refused = |share: &str, rest: &[&str]| {
        let own = ["--share-key", share, "--out", text(&out)];
        let (code, _, error) = keyed.run(PARTIAL, &[&own, rest].concat());
        assert!(code != 0 && !out.exists());
        error
    };
    let error = refused(text(&stranger), &[]);
    assert!(
        error.contains("holds no share of epoch 5") && error.contains("ada, bob, cat"),
        "{error}"
    );
    let ada = keyed.path("ada.share");
    let error = refused(text(&ada), &["--epoch", "1"]);
    assert!(
        error.contains("not sealed to the actors") && error.contains("2, 3, 4, 5"),
        "{error}"
    );
    // One changed byte before the record: no part of a key for that copy.
    let ledger = keyed.node().join("ledger");
    let mut files = std::fs::read_dir(&ledger).expect("a directory");
    let file = files.next().expect("a chunk").expect("readable").path();
    let mut bytes = std::fs::read(&file).expect("a chunk");
    bytes[2000] ^= 1;
    std::fs::write(&file, bytes).expect("a file");
    let error = refused(text(&ada), &[]);
    assert!(
        error.contains("use another copy") || error.contains("use a whole copy"),
        "{error}"
    );
}
