//! Share-transport keys in a constitution: who holds shares, and how a lost key is replaced.

use crypto::Entropy;
use expect_test::{Expect, expect};
use governance::{BadConstitution, Change, Constitution, Role};
use threshold::{Element, TransportKey};

use crate::script::{Script, slot_at};
use crate::world::World;

pub fn share_key(seed: u8) -> Element {
    TransportKey::generate(&mut Entropy::new(&[seed; 32])).public()
}

/// All three actors of the world own a node.
fn give(constitution: &mut Constitution, keys: &[(&str, u8)]) {
    for (name, seed) in keys {
        let mut actors = constitution.actors.iter_mut();
        let actor = actors.find(|a| a.name == *name).expect("an actor");
        actor.share_key = Some(share_key(*seed));
    }
}

fn set(actor: &str, share_key: Option<Element>) -> Change {
    Change::SetShareKey {
        actor: actor.into(),
        share_key,
    }
}

fn invalid(change: impl FnOnce(&mut Constitution), expected: Expect) {
    let mut constitution = World::new().constitution;
    change(&mut constitution);
    let problems = constitution.validate().expect_err("it is not valid");
    expected.assert_eq(&problems.to_string());
}

#[test]
fn an_actor_without_a_share_key_is_encoded_as_before() {
    let without = World::new().constitution;
    let mut with = without.clone();
    give(&mut with, &[("ada", 1)]);
    let actor = |c: &Constitution| minicbor::to_vec(&c.actors[0]).expect("a vector takes all");
    let (old, new) = (actor(&without), actor(&with));
    assert_eq!((old[0], new[0]), (0x84, 0x85));
    assert_eq!(new[1..old.len()], old[1..]);
    assert_eq!(new[old.len()..old.len() + 2], [0x58, 32]);
    assert_eq!(new[old.len() + 2..], *share_key(1).bytes());
    let explicit = [&[0x85], &old[1..], &[0xf6]].concat();
    let whole = without.to_cbor();
    let at = whole
        .windows(old.len())
        .position(|w| w == old)
        .expect("it is in there");
    let spoilt = [&whole[..at], &explicit, &whole[at + old.len()..]].concat();
    assert_eq!(Constitution::from_cbor(&spoilt), Err(BadConstitution::Cbor));
    assert_eq!(Constitution::from_toml(&with.to_toml()), Ok(with.clone()));
    assert_eq!(Constitution::from_cbor(&with.to_cbor()), Ok(with));
}

#[test]
fn what_is_no_element_of_the_group_is_refused_in_text_and_in_bytes() {
    let mut with = World::new().constitution;
    give(&mut with, &[("ada", 1)]);
    let good = hex::encode(share_key(1).bytes());
    let read = |key: &str| Constitution::from_toml(&with.to_toml().replace(&good, key));
    assert!(read(&good).is_ok());
    for bad in [
        "0".repeat(64), // the identity
        "f".repeat(64), // not canonical
        good[..62].to_owned(),
        good.replace(|c: char| c.is_ascii_digit(), "x"),
    ] {
        let told = read(&bad).expect_err("no element").to_string();
        assert!(told.contains("coco member share-key"), "{told}");
    }
    let bytes = with.to_cbor();
    let key = share_key(1);
    let at = bytes
        .windows(32)
        .position(|w| w == key.bytes())
        .expect("it is in there");
    for bad in [[0; 32], [0xff; 32]] {
        let mut spoilt = bytes.clone();
        spoilt[at..at + 32].copy_from_slice(&bad);
        assert_eq!(Constitution::from_cbor(&spoilt), Err(BadConstitution::Cbor));
    }
}

#[test]
fn enough_owners_have_keys_of_their_own() {
    invalid(
        |c| give(c, &[("ada", 1), ("bob", 1)]),
        expect![[
            r#"actors.bob.share_key: is the share key of "ada", too, who could take the place of this actor; each actor makes its own (`coco member share-key`)"#
        ]],
    );
    invalid(
        |c| {
            c.settings.key_threshold = 2;
            give(c, &[("ada", 1), ("eve", 3)]);
            c.nodes.retain(|n| n.owner != "eve");
        },
        expect![
            "settings.key_threshold: 2 actors must cooperate, but only 1 have both a share key and a node, so that nobody could open a session key; give more owners a share_key, or lower the threshold"
        ],
    );
    let mut fits = World::new().constitution;
    fits.settings.key_threshold = 3;
    assert_eq!(
        (fits.validate(), fits.seals_session_keys()),
        (Ok(()), false)
    );
    give(&mut fits, &[("eve", 3), ("ada", 1), ("bob", 2)]);
    assert_eq!((fits.validate(), fits.seals_session_keys()), (Ok(()), true));
    let holders: Vec<_> = fits.key_holders().map(|(name, _)| name).collect();
    assert_eq!(holders, ["ada", "bob", "eve"]);
}

#[test]
fn the_summary_says_who_opens_what_is_sealed() {
    let keys = |c: &Constitution| {
        let summary = c.summary();
        let (_, rest) = summary.split_once("Session keys\n").expect("a section");
        let (section, _) = rest.split_once("Validating nodes").expect("another");
        format!("Session keys\n{section}")
    };
    let mut c = World::new().constitution;
    expect![[r#"
        Session keys
          not sealed: no actor has a share key. They are in the memory of the nodes alone,
          so if all nodes are lost, everything in the ledger is lost for good
    "#]]
    .assert_eq(&keys(&c));
    c.settings.key_threshold = 2;
    give(&mut c, &[("ada", 1), ("bob", 2), ("eve", 3)]);
    c.nodes.retain(|n| n.owner != "eve");
    expect![[r#"
        Session keys
          sealed: any 2 of these 2 actors open them together, and fewer cannot
          ada                  share key 3e561da9a97f0a0edade736c911baefd1327738b4c04508ad57ccd908b8ae865
          bob                  share key b47cfb91db1fa2c5329546a55b829c489a5474fd8d62d70054a4408fb8a27e26
          eve                  share key 283242c3be1e918d155f475f84ac7cb43427d9c21ae5097f03c454f620d53466, but no node, so it gets no share
    "#]].assert_eq(&keys(&c));
}

#[test]
fn a_lost_share_key_is_replaced_by_vote() {
    let mut script = Script::new(2, |c| {
        give(c, &[("ada", 1), ("bob", 2), ("eve", 3)]);
        c.settings.key_threshold = 2;
    });
    let number = script
        .propose("bob", &[set("bob", Some(share_key(4)))])
        .expect("a new key");
    script.votes(number, "ada=for bob=for");
    // Nothing stays as it is, and nobody gets a key who is no actor.
    let _ = script.propose("bob", &[set("bob", Some(share_key(4)))]);
    let _ = script.propose("bob", &[set("zoe", Some(share_key(5)))]);
    // One holder may go, as two are left; not a second one.
    let number = script
        .propose("ada", &[set("eve", None)])
        .expect("two are left");
    script.votes(number, "ada=for bob=for");
    let _ = script.propose("ada", &[set("bob", None)]);
    expect![[r#"
        bob proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            EpochDue { cause: Threshold }
        bob proposes
            refused: the changes cannot be made: share key of bob stays as it is; leave the change out
        bob proposes
            refused: the changes cannot be made: there is no actor zoe
        ada proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 2: Accepted { rules: [] }
            constitution 3
            EpochDue { cause: Threshold }
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        settings.key_threshold: 2 actors must cooperate, but only 1 have both a share key and a node, so that nobody could open a session key; give more owners a share_key, or lower the threshold
    "#]].assert_eq(&script.transcript);
    let mut before = World::new().constitution;
    give(&mut before, &[("ada", 1), ("bob", 2)]);
    let mut after = before.clone();
    give(&mut after, &[("bob", 4), ("eve", 3)]);
    after.actors[0].share_key = None;
    expect![[r#"
        - share key of ada: 3e561da9a97f0a0edade736c911baefd1327738b4c04508ad57ccd908b8ae865
        ~ share key of bob: b47cfb91db1fa2c5329546a55b829c489a5474fd8d62d70054a4408fb8a27e26 -> d64a15261bc0c3a4a01336e64d3eaa61ef20050c0e986197f3b7c24cd7fe803f
        + share key of eve: 283242c3be1e918d155f475f84ac7cb43427d9c21ae5097f03c454f620d53466"#]].assert_eq(&before.diff(&after).join("\n"));
}

#[test]
fn an_epoch_is_due_when_the_holders_change() {
    // An actor that has a key, but no node yet, holds no share.
    let mut script = Script::new(2, |c| {
        give(c, &[("ada", 1), ("bob", 2), ("eve", 3)]);
        c.nodes.retain(|n| n.owner != "eve");
    });
    for change in [
        set("eve", Some(share_key(6))),
        Change::AddNode(slot_at("eve", "eve.example:9000")),
        Change::AddNode(slot_at("eve", "eve.example:9001")),
        Change::SetRoles {
            actor: "eve".into(),
            roles: [Role::Member, Role::Participant].into(),
            auditor: false,
        },
    ] {
        let number = script.propose("ada", &[change]).expect("possible");
        script.votes(number, "ada=for bob=for");
    }
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
        ada proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 2: Accepted { rules: [] }
            constitution 3
            EpochDue { cause: Threshold }
        ada proposes 3
        ada=for on 3: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 3: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 3: Accepted { rules: [] }
            constitution 4
        ada proposes 4
        ada=for on 4: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 4: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 4: Accepted { rules: [] }
            constitution 5
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_vote_on_a_share_key_is_void_once_the_key_is_another() {
    let mut script = Script::new(2, |c| give(c, &[("ada", 1), ("bob", 2)]));
    let slow = script
        .propose("ada", &[set("bob", Some(share_key(5)))])
        .expect("possible");
    let fast = script
        .propose("bob", &[set("bob", Some(share_key(6)))])
        .expect("possible");
    script.votes(fast, "ada=for bob=for");
    let _ = slow;
    expect![[r#"
        ada proposes 1
        bob proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 2: Accepted { rules: [] }
            constitution 2
            EpochDue { cause: Threshold }
            proposal 1: Void { why: "share key of bob has changed meanwhile" }
    "#]]
    .assert_eq(&script.transcript);
}
