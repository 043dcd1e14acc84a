//! The two parts of an administrative entry, and what an auditor sees in the first.

use expect_test::expect;
use governance::{
    BadCommand, Command, Constitution, Departure, EpochCause, KeyRelease, KeyStep, NodeTuple,
    PublicFact, SignedMessage, State, Visibility, facts_from_public,
};
use proptest::prelude::*;
use types::{Epoch, Index, Millis, NodeId};

use crate::world::{NOW, World, key, open_epoch, voters};

fn commands(world: &World) -> Vec<Command> {
    let state = world.state();
    vec![
        world.genesis(),
        world
            .admission(&state, "bob", key(101).public())
            .expect("may join"),
        Command::RemoveNode {
            node: NodeId(2),
            departure: Departure::Ejected,
        },
        Command::Configure(voters(&[1, 2])),
        Command::RenewLease {
            node: NodeId(1),
            number: 2,
            expires: Millis(7),
        },
        open_epoch(2, EpochCause::Membership),
        Command::KeyStep(KeyStep::Begin),
        Command::KeyStep(KeyStep::Message {
            node: NodeId(1),
            signed: vec![1, 2, 3],
        }),
        Command::KeyStep(KeyStep::CloseRound),
        Command::KeyRelease(KeyRelease {
            node: NodeId(1),
            epoch: Epoch(1),
            refused: Some("why".into()),
        }),
        Command::Expire {
            proposals: vec![1, 300],
        },
    ]
}

fn sealed_world() -> World {
    let mut world = World::new();
    world.constitution.visibility = Visibility::Sealed;
    world
}

#[test]
fn commands_survive_their_two_parts() {
    for world in [World::new(), sealed_world()] {
        for command in commands(&world) {
            let (public, private) = (command.public(), command.private());
            assert_eq!(
                Command::from_parts(&public, &private).as_ref(),
                Ok(&command)
            );
            let is_genesis = matches!(command, Command::Genesis(_));
            assert_eq!(
                private.is_empty(),
                !is_genesis,
                "only a genesis has a secret"
            );
            // Parts of different commands do not fit together.
            let other: &[u8] = if is_genesis { b"" } else { b"\x81\x40" };
            assert_eq!(
                Command::from_parts(&public, other),
                Err(BadCommand::Private)
            );
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[test]
fn what_is_private_is_not_in_the_public_part() {
    for (world, shown) in [(World::new(), true), (sealed_world(), false)] {
        let genesis = world.genesis();
        let (public, private) = (genesis.public(), genesis.private());
        let secret = world.network.key.to_scalar();
        assert!(!contains(&public, &*secret) && contains(&private, &*secret));
        let text = world.constitution.to_cbor();
        assert_eq!(
            (contains(&public, &text), contains(&private, &text)),
            (shown, !shown)
        );
        assert!(!format!("{genesis:?}").contains(&hex(&*secret)[..16]));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_network_key_that_is_not_the_certificates_is_refused() {
    let world = World::new();
    let genesis = world.genesis();
    let mut private = genesis.private().to_vec();
    private[10] ^= 1;
    assert_eq!(
        Command::from_parts(&genesis.public(), &private),
        Err(BadCommand::Private)
    );
}

#[test]
fn an_auditor_learns_nodes_and_identity_from_files_alone() {
    // Both show the same, but for the text of the constitution.
    let expected = expect![[r#"
            node 1 ada ada.example:9000 653925a120de214c8f7b0c46395d175e69adc22fdff8b82901670e71889c6cd8 None
            node 2 bob bob.example:9000 bf24809e150417ecc9ac8b1d4dd0d4d53f8a5292f1c343efb3a5a6d9c0528688 None
            NodeLeft { id: NodeId(2), departure: Ejected }
            Configuration(Configuration { voters: {NodeId(1), NodeId(2)}, incoming: None, learners: {} })
            Epoch(Epoch(2))
        "#]];
    for (world, text) in [(World::new(), true), (sealed_world(), false)] {
        let all: Vec<_> = commands(&world)
            .iter()
            .flat_map(|c| facts_from_public(&c.public()).expect("own"))
            .collect();
        let digest = world.constitution.digest();
        assert_eq!(
            all[0],
            PublicFact::NetworkCertificate(world.network.certificate.clone())
        );
        assert_eq!(
            all[1],
            PublicFact::Constitution {
                digest,
                text: text.then(|| Box::new(world.constitution.clone()))
            }
        );
        let line = |fact: &PublicFact| match fact {
            PublicFact::Node {
                id,
                owner,
                address,
                key,
                replaces,
            } => format!(
                "node {id} {owner} {address} {} {replaces:?}\n",
                key.fingerprint()
            ),
            other => format!("{other:?}\n"),
        };
        expected.assert_eq(&all[2..].iter().map(line).collect::<String>());
    }
}

#[test]
fn a_sealed_constitution_must_be_opened_before_a_replay() {
    let mut state = State::new();
    let sealed = sealed_world().genesis();
    assert_eq!(
        state.apply_public(Index(1), NOW, &sealed.public()),
        Err(governance::Refused::Sealed)
    );
    assert_eq!(state, State::new());
    assert!(
        state
            .apply_public(Index(1), NOW, &World::new().genesis().public())
            .is_ok()
    );
}

#[test]
fn the_tuple_that_owners_sign_is_as_drawn_in_the_formats() {
    let tuple = NodeTuple {
        network: types::NetworkId([1; 32]),
        owner: "ada".into(),
        address: "a:1".into(),
        key: *key(100).public(),
        constitution: types::Digest([2; 32]),
    };
    let mut drawn = vec![0x85, 0x58, 0x20];
    drawn.extend_from_slice(&[1; 32]);
    drawn.extend_from_slice(b"\x63ada\x63a:1\x58\x41");
    drawn.extend_from_slice(tuple.key.as_sec1());
    drawn.extend_from_slice(&[0x58, 0x20]);
    drawn.extend_from_slice(&[2; 32]);
    assert_eq!(tuple.to_cbor(), drawn);
    assert_eq!(NodeTuple::from_cbor(&drawn), Ok(tuple));
    drawn.push(0);
    assert!(NodeTuple::from_cbor(&drawn).is_err(), "nothing may follow");
}

#[test]
fn small_commands_are_as_drawn_in_the_formats() {
    let mut joint = voters(&[1, 2]);
    joint.learners = [NodeId(3)].into();
    let mut transcript = String::new();
    for command in commands(&World::new())
        .into_iter()
        .skip(2)
        .chain([Command::Configure(joint)])
    {
        transcript += &format!("{}\n", hex(&command.public()));
    }
    expect![[r#"
        8202820201
        82038183820102f680
        820483010207
        8205818402015850070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070758200909090909090909090909090909090909090909090909090909090909090909
        820a81820080
        820a818201820143010203
        820a81820280
        820b8183010163776879
        820981820119012c
        82038183820102f68103
    "#]]
    .assert_eq(&transcript);
    // A public genesis starts with its digest and shows its constitution at the end; a sealed one ends early.
    for (world, fields) in [(World::new(), 4), (sealed_world(), 3)] {
        let public = world.genesis().public();
        assert_eq!(public[..5], [0x82, 0x00, 0x80 + fields, 0x58, 0x20]);
        assert_eq!(public[5..37], world.constitution.digest().0);
    }
}

#[test]
fn too_long_is_refused_before_it_is_read() {
    let long = vec![0; (4 << 20) + 1];
    assert_eq!(Command::from_parts(&long, b""), Err(BadCommand::TooLong));
    assert_eq!(facts_from_public(&long), Err(BadCommand::TooLong));
    assert!(Constitution::from_cbor(&long).is_err());
}

/// Reads hostile bytes in every way; whatever is accepted must be what it was written as.
fn read(public: &[u8], private: &[u8]) {
    if let Ok(command) = Command::from_parts(public, private) {
        assert_eq!(
            (command.public().as_slice(), command.private().as_slice()),
            (public, private)
        );
        let _ = State::new().apply(Index(1), NOW, &command);
    }
    let _ = facts_from_public(public);
    let _ = State::new().apply_public(Index(1), NOW, public);
    if let Ok(constitution) = Constitution::from_cbor(public) {
        assert_eq!(constitution.to_cbor(), public);
    }
    let _ = NodeTuple::from_cbor(public);
    let _ = State::from_cbor(public);
    if let Ok(message) = SignedMessage::from_cbor(public) {
        assert_eq!(message.to_cbor(), public);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hostile_bytes_never_panic(public in proptest::collection::vec(any::<u8>(), 0..200), private in proptest::collection::vec(any::<u8>(), 0..80)) {
        read(&public, &private);
    }

    #[test]
    fn damaged_commands_never_panic_and_are_never_taken_for_the_original(
        which in 0usize..7,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local!(static WORLD: World = World::new());
        WORLD.with(|world| {
            let command = &commands(world)[which];
            let (mut public, private) = (command.public(), command.private());
            let original = public.clone();
            for (at, flip) in &damage {
                let at = at.index(public.len());
                public[at] ^= flip;
            }
            if let Some(cut) = cut {
                public.truncate(cut.index(public.len()));
            }
            read(&public, &private);
            if public != original {
                let read = Command::from_parts(&public, &private);
 prop_assert_ne!(read.as_ref(), Ok(command));
            }
            Ok(())
        })?;
    }

    #[test]
    fn damaged_text_never_panics(at in any::<prop::sample::Index>(), bytes in 0usize..40, with in "[\\PC\n]{0,12}") {
        let text = include_str!("../../../../docs/constitution.example.toml");
        let at = at.index(text.len());
        let until = (at + bytes).min(text.len());
        let text = format!("{}{with}{}", &text[..at], &text[until..]);
        if let Ok(constitution) = Constitution::from_toml(&text) {
            prop_assert_eq!(Constitution::from_cbor(&constitution.to_cbor()), Ok(constitution));
        }
    }
}
