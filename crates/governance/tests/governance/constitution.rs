//! The constitution's forms and what it must satisfy.

use crypto::sha256;
use expect_test::{Expect, expect};
use governance::{BadConstitution, ChangeKind, Constitution, Listed, Policy, Role};

use crate::world::World;

const EXAMPLE: &str = include_str!("../../../../docs/constitution.example.toml");

#[test]
fn the_documented_example_is_a_constitution_and_its_digest_is_stable() {
    let example = Constitution::from_toml(EXAMPLE).expect("docs/constitution.example.toml");
    // The test vector of docs/formats.md. If it changes, every network's identity changed.
    expect![[r#"
        7717ac0a6a7223aceef52a6712c92f1f4f3f6a25fb09e460885163754160a622
        30bc761313e00af9b308a549f9f85e733325e6d6e781fe27b532efb02eb3d6e1
    "#]]
    .assert_eq(&format!("{}\n{}\n", example.digest(), example.network_id()));
    assert_eq!(example.digest(), sha256(&example.to_cbor()));
    // The same without what later versions appended: the digest that the first version computed.
    let mut first = example.clone();
    first.standing.rules.clear();
    for actor in &mut first.actors {
        actor.share_key = None;
    }
    let settings = &mut first.protocols[0].settings;
    settings.insert("gas-limit".into(), "30000000".into());
    expect!["a8f2a51041c0d89105e66a8cbd3e11e6be8fd5ccb1f0b592a8efa909cc4ddea6"]
        .assert_eq(&first.digest().to_string());
    expect![[r#"
        Constitution of trade.example
          digest      7717ac0a6a7223aceef52a6712c92f1f4f3f6a25fb09e460885163754160a622
          network     30bc761313e00af9b308a549f9f85e733325e6d6e781fe27b532efb02eb3d6e1 (if it is the first)
        Actors
          contoso              member, participant
            issuer "contoso issuing intermediate" b2bec969bd0c94d01eb54946a2e699399b4fe3b5d13722051b15c829a89e60da
          fabrikam             member
            issuer "fabrikam issuing intermediate" ebe23697a7706dda3c3fd9089c678205b589d0a65b09e86cd0a45872bbca4485
          northwind            participant
            leaf "northwind" 6104822f1919bfbd992037b7b8408d041cc2c6f1fc51b6af19f92273be298afa
        Session keys
          sealed: any 2 of these 2 actors open them together, and fewer cannot
          contoso              share key 3056875c438fe78aba0d675375a12d5b25d0a1e9157df798fe0e9dab4004e043
          fabrikam             share key e867abc754e0cb26a6d7dad91b854073283d43a1bb4ca0f20ded212e13e85c78
        Validating nodes
          contoso              coco.contoso.example:9000
          fabrikam             coco.fabrikam.example:9000
          northwind            [2001:db8::7]:9000
        Protocols
          ethereum             version 1, Transparent access, settings 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
        Code
          manager              0.1.0 on software, Allowed
            0300f04de8446334e084d7cd0a728c1bd46f218eae5aca0989a3b31835e4cf39a7596a0f751fcfea11bfd3109a3ead62
          worker/ethereum      0.1.0 on software, Allowed
            9b9fd07877deb89e5460d8c470661e76bbc7bdae667d0ceb0ed7c329b49739fbfdfd4dba296eb153e302bca436dd3fe5
        Platforms, software or stronger
          software             certificates accepted: 1
        Voting, 2 members
          all changes          majority: 2 in favour
          but member           unanimous: 2 in favour
          but voting           unanimous: 2 in favour
          but leadership       one: 1 in favour
          restarted nodes      return without a ballot
          second-node          accepts add-node when proposer.member and proposer.owns and owner.nodes <= 2 and code.endorsements >= majority
          leader-verifies-signatures no
        Settings
          epoch                1 d
          session keys kept    1 h
          lease                1 d
          batch                1024 units, 2097152 bytes, 4 in flight
          snapshot             each 20000 entries or 1 h, 2 kept
          restart              when 3 of 3 nodes are present
    "#]].assert_eq(&example.summary());
}

#[test]
fn all_forms_give_the_same_constitution_back() {
    for constitution in [
        World::new().constitution,
        Constitution::from_toml(EXAMPLE).expect("the example"),
    ] {
        assert_eq!(constitution.validate(), Ok(()));
        let again = Constitution::from_toml(&constitution.to_toml()).expect("own text");
        assert_eq!(again, constitution);
        let again = Constitution::from_cbor(&constitution.to_cbor()).expect("own bytes");
        assert_eq!(again, constitution);
        let json = serde_json::to_string(&constitution).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Constitution>(&json).expect("own JSON"),
            constitution
        );
    }
}

#[test]
fn appended_settings_are_left_out_while_they_have_their_default() {
    let base = governance::Settings::default();
    let bytes = |change: fn(&mut governance::Settings)| {
        let mut settings = base.clone();
        change(&mut settings);
        let bytes = minicbor::to_vec(&settings).expect("a vector takes every byte");
        let again: governance::Settings = minicbor::decode(&bytes).expect("own bytes");
        assert_eq!(again, settings);
        bytes
    };
    let plain = bytes(|_| ());
    assert_eq!(plain[0], 0x88);
    assert_eq!(bytes(|s| s.snapshot_entries = 10)[0], 0x89);
    let kept = bytes(|s| s.snapshots_kept = 3);
    assert_eq!((kept[0], &kept[1..plain.len()]), (0x8b, &plain[1..]));
    assert_eq!(kept[plain.len()..], [0xf6, 0xf6, 3]);
}

#[test]
fn the_order_of_the_text_does_not_change_the_digest() {
    let sorted = World::new().constitution;
    let mut shuffled = sorted.clone();
    shuffled.actors.reverse();
    shuffled.nodes.reverse();
    assert_ne!(shuffled.to_cbor(), sorted.to_cbor());
    let read = Constitution::from_toml(&shuffled.to_toml()).expect("any order is allowed in text");
    assert_eq!(read.digest(), sorted.digest());
    // In bytes there is one order, or one constitution would have two digests.
    let refused = Constitution::from_cbor(&shuffled.to_cbor()).expect_err("not canonical");
    assert!(matches!(refused, BadConstitution::Invalid(_)), "{refused}");
}

#[test]
fn every_field_counts_in_the_digest() {
    let base = World::new().constitution;
    let changes: Vec<fn(&mut Constitution)> = vec![
        |c| c.network = "other".into(),
        |c| c.genesis_time_ms.0 += 1,
        |c| c.visibility = governance::Visibility::Sealed,
        |c| c.settings.epoch_length_ms += 1,
        |c| c.settings.restart_faults_max += 1,
        |c| c.settings.snapshot_entries = 60,
        |c| c.settings.snapshot_minutes = 2,
        |c| c.settings.snapshots_kept = 3,
        |c| c.voting.policy = Policy::Unanimous,
        |c| c.voting.policies.extend([(ChangeKind::Code, Policy::One)]),
        |c| c.standing.listed_nodes_return = false,
        |c| {
            drop(
                c.policies
                    .insert("leader-verifies-signatures".into(), "yes".into()),
            )
        },
        |c| c.actors[0].auditor = true,
        |c| c.actors[2].roles.extend([Role::Member]),
        |c| c.actors[0].share_key = Some(crate::share_keys::share_key(1)),
        |c| c.nodes[0].address = "ada.example:9001".into(),
        |c| c.protocols[0].version = 2,
        |c| c.code.images[0].measurement[0] ^= 1,
        |c| c.tee.evidence_age_max_ms += 1,
    ];
    let mut digests = std::collections::BTreeSet::from([base.digest()]);
    for (place, change) in changes.iter().enumerate() {
        let mut changed = base.clone();
        change(&mut changed);
        assert_eq!(changed.validate(), Ok(()), "change {place}");
        assert!(digests.insert(changed.digest()), "change {place}");
    }
}

fn invalid(change: impl FnOnce(&mut Constitution), expected: Expect) {
    let mut constitution = World::new().constitution;
    change(&mut constitution);
    expected.assert_eq(&constitution.validate().expect_err("invalid").to_string());
}

#[test]
fn nobody_to_govern_or_to_run() {
    invalid(
        |c| {
            c.actors[0].roles = [Role::Participant].into();
            c.actors[1].roles.clear();
            c.nodes.clear();
        },
        expect![[r#"
            actors: no actor is a member, so nobody could govern; give at least one actor the role "member"
            actors.bob.roles: is empty; give "member", "participant" or both
            nodes: no validating node is listed; list at least the one that starts the network"#]],
    );
}

#[test]
fn names_and_addresses() {
    invalid(
        |c| {
            c.network = "Test Network".into();
            c.actors[1].name = "ada".into();
            c.actors[2].name = "eve-".into();
            c.nodes[1].address = c.nodes[0].address.clone();
            c.nodes[2].address = "example".into();
        },
        expect![[r#"
            network: "Test Network" is not a name; use 1 to 64 lower-case letters, digits, '-' and '.', with a letter or digit at both ends
            actors.ada: is listed twice; give each actor a name of its own, and one actor both roles if it has both
            actors.eve-.name: "eve-" is not a name; use 1 to 64 lower-case letters, digits, '-' and '.', with a letter or digit at both ends
            nodes.ada.example:9000: its owner "bob" is not listed among the actors; add the actor or correct the name
            nodes.ada.example:9000: is listed twice; each node has an address of its own
            nodes.example: is not an address; give `host:port` with a port from 1 to 65535, and an IPv6 address in brackets
            nodes.example: its owner "eve" is not listed among the actors; add the actor or correct the name"#]],
    );
}

#[test]
fn certificates() {
    let world = World::new();
    invalid(
        |c| {
            c.actors[0].certificates.clear();
            c.actors[1]
                .certificates
                .push(Listed(world.bob.certificate.clone()));
            c.actors[2].certificates = vec![Listed(world.bob.certificate.clone()); 9];
        },
        expect![[r#"
            actors.ada.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.bob.certificates: the key of certificate "bob" is listed twice; list it once
            actors.eve.certificates: 9 certificates are listed; at most 8 are supported: list an intermediate instead
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor
            actors.eve.certificates: the key of certificate "bob" is already listed for "bob"; each key belongs to one actor"#]],
    );
}

#[test]
fn thresholds_and_policies() {
    invalid(
        |c| {
            c.voting.policy = Policy::AtLeast(3);
            c.voting
                .policies
                .insert(ChangeKind::Code, Policy::AtLeast(0));
            c.voting.open_ms = 1;
            c.settings.key_threshold = 4;
            c.policies
                .insert("leader-verifies-signatures".into(), "perhaps".into());
            c.policies.insert("quantum".into(), "yes".into());
        },
        expect![[r#"
            voting.policy: "at least 3" cannot decide among 2 members; give a number from 1 to 2
            voting.policies.code: "at least 0" cannot decide among 2 members; give a number from 1 to 2
            voting.open_ms: 1 is out of range; give a number from 60000 to 31622400000
            settings.key_threshold: 4 of 3 actors that own a node is impossible; give a number from 1 to 3, or list more nodes
            policies.leader-verifies-signatures: "perhaps" is not one of its values: yes, no
            policies.quantum: this version does not support the policy; it supports leader-verifies-signatures"#]],
    );
}

#[test]
fn numbers_out_of_range() {
    invalid(
        |c| {
            let s = &mut c.settings;
            s.epoch_length_ms = 0;
            s.session_key_ttl_ms = 0;
            s.lease_length_ms = u64::MAX;
            s.batch_units_max = 5000;
            s.batch_bytes_max = 1;
            s.batches_in_flight_max = 0;
            s.restart_faults_max = 65;
            s.snapshot_entries = 9;
            s.snapshot_minutes = 1 << 60;
            s.snapshots_kept = 17;
            c.genesis_time_ms.0 = 0;
        },
        expect![[r#"
            genesis_time_ms: 0 is out of range; give a number from 1 to 9007199254740992
            settings.epoch_length_ms: 0 is out of range; give a number from 60000 to 316224000000
            settings.session_key_ttl_ms: 0 is out of range; give a number from 1000 to 316224000000
            settings.lease_length_ms: 18446744073709551615 is out of range; give a number from 10000 to 316224000000
            settings.batch_units_max: 5000 is out of range; give a number from 1 to 4096
            settings.batch_bytes_max: 1 is out of range; give a number from 524288 to 4194304
            settings.batches_in_flight_max: 0 is out of range; give a number from 1 to 8
            settings.restart_faults_max: 65 is out of range; give a number from 0 to 64
            settings.snapshot_entries: 9 is out of range; give a number from 10 to 4294967296
            settings.snapshot_minutes: 1152921504606846976 is out of range; give a number from 0 to 527040
            settings.snapshots_kept: 17 is out of range; give a number from 1 to 16"#]],
    );
}

#[test]
fn too_many() {
    invalid(
        |c| {
            let (actor, node, protocol) = (
                c.actors[2].clone(),
                c.nodes[2].clone(),
                c.protocols[0].clone(),
            );
            for i in 0..62 {
                // Each of them lacks something else, too; the message stays readable.
                c.actors.push(governance::Actor {
                    name: format!("more{i}"),
                    certificates: vec![],
                    ..actor.clone()
                });
                c.nodes.push(governance::NodeSlot {
                    address: format!("more{i}:1"),
                    ..node.clone()
                });
                c.protocols.push(governance::Protocol {
                    name: format!("more{i}"),
                    ..protocol.clone()
                });
            }
        },
        expect![[r#"
            actors: 65 actors are listed; at most 64 are supported
            actors.more0.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more1.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more2.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more3.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more4.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more5.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more6.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more7.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more8.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more9.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more10.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more11.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more12.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more13.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more14.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more15.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more16.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more17.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            actors.more18.certificates: is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM
            and 107 more"#]],
    );
}

#[test]
fn owners_protocols_and_manifests() {
    invalid(
        |c| {
            c.nodes[0].owner = "mallory".into();
            let mut admin = c.protocols[0].clone();
            admin.name = "admin".into();
            c.protocols.push(admin);
            c.protocols.push(c.protocols[0].clone());
            c.protocols[0].settings = (0..2).map(|i| (i.to_string(), String::new())).collect();
            c.code.images.clear();
            c.tee.accepted.clear();
        },
        expect![[r#"
            nodes.ada.example:9000: its owner "mallory" is not listed among the actors; add the actor or correct the name
            protocols.kv.settings: "0" cannot be set: this version's adapters have no setting that a vote may change, and what the genesis settings say (rules, chain id) stays for the life of the network
            protocols.admin: is a name of Coco's own channels; give the protocol another one
            protocols.kv: is listed twice; a network runs a protocol once
            tee: the TEE manifest accepts no platform, so no VN could join
            code.images: no image "manager" is allowed, so no node could run it; add its measurement
            code.images: no image "worker/kv" is allowed, so no node could run it; add its measurement
            code.images: no image "worker/admin" is allowed, so no node could run it; add its measurement
            code.images: no image "worker/kv" is allowed, so no node could run it; add its measurement"#]],
    );
}

#[test]
fn a_protocol_may_serve_clients_without_a_certificate_if_its_network_says_so() {
    let with = |value: &str| {
        let mut constitution = World::new().constitution;
        let name = "clients-without-certificate".to_owned();
        constitution.protocols[0].settings = [(name, value.to_owned())].into();
        let serves = constitution.protocols[0].serves_without_certificate();
        constitution
            .validate()
            .map(|()| serves)
            .map_err(|invalid| invalid.to_string())
    };
    assert!(!World::new().constitution.protocols[0].serves_without_certificate());
    assert_eq!((with("allowed"), with("refused")), (Ok(true), Ok(false)));
    assert!(
        with("yes")
            .expect_err("no such value")
            .contains("is allowed or refused")
    );
}

#[test]
fn text_that_is_no_constitution_is_told_where() {
    let with = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        Constitution::from_toml(&EXAMPLE.replacen(from, to, 1))
            .expect_err("refused")
            .to_string()
    };
    let unknown = with("key_threshold", "key_treshold");
    expect![[r#"
        read the constitution: TOML parse error at line 23, column 1
           |
        23 | key_treshold = 2
           | ^^^^^^^^^^^^
        unknown field `key_treshold`, expected one of `epoch_length_ms`, `key_threshold`, `session_key_ttl_ms`, `lease_length_ms`, `batch_units_max`, `batch_bytes_max`, `batches_in_flight_max`, `restart_faults_max`, `snapshot_entries`, `snapshot_minutes`, `snapshots_kept`"#]].assert_eq(&unknown);
    expect![[r#"
        read the constitution: TOML parse error at line 41, column 10
           |
        41 | policy = "most"
           |          ^^^^^^
        expected "unanimous", "majority", "one" or "at least M" with a number M"#]]
    .assert_eq(&with("policy = \"majority\"", "policy = \"most\""));
    expect![[r#"
        read the constitution: TOML parse error at line 1, column 1
          |
        1 | # A constitution: what the members of a network agree on before it starts, and change by votes later.
          | ^
        missing field `network`"#]].assert_eq(&with("network = ", "# network = "));
    let pem = with("MII", "XII");
    assert!(pem.contains("expected exactly one PEM block"), "{pem}");
    let long = " ".repeat(3 << 20);
    expect!["a constitution has at most 1048576 bytes, found 3145728"].assert_eq(
        &Constitution::from_toml(&long)
            .expect_err("refused")
            .to_string(),
    );
}

#[test]
fn a_restart_needs_enough_nodes_to_outweigh_lying_hosts() {
    let mut constitution = World::new().constitution;
    let mut table = String::new();
    for faults in 0..3 {
        constitution.settings.restart_faults_max = faults;
        let row: Vec<_> = (1..=7)
            .map(|n| {
                constitution
                    .restart_quorum(n)
                    .map_or("-".into(), |p| p.to_string())
            })
            .collect();
        table += &format!("r={faults}: {}\n", row.join(" "));
    }
    // DESIGN section 6 with r = 1: 3 of 3, 4 of 5.
    expect![[r#"
        r=0: 1 1 2 2 3 3 4
        r=1: - 2 3 3 4 4 5
        r=2: - - - 4 5 5 6
    "#]]
    .assert_eq(&table);
}
