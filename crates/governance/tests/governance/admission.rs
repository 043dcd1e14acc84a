//! Who may join, as what, and who is asking.

use crypto::Extension;
use expect_test::{Expect, expect};
use governance::{
    AGENT_EXTENSION, Command, Departure, NodeTuple, Refused, SignedTuple, State, Status,
};
use tee::{CodeState, Purpose};
use types::{Digest, Millis, NetworkId, NodeId};

use crate::world::{DAY, MEASUREMENT, NOW, World, holder, key, lines, open_epoch, voters};

fn apply(state: &mut State, command: &Command) -> String {
    let index = state.applied().next();
    match state.apply(index, NOW, command) {
        Ok(facts) => lines(&facts),
        Err(refused) => format!("refused: {refused}\n"),
    }
}

fn roster(state: &State) -> String {
    let line = |n: &governance::Node| {
        format!(
            "{} {} {:?} since {} lease {} replaces {:?}\n",
            n.id,
            n.owner,
            n.status,
            n.since,
            n.lease.number,
            n.replaces.map(|id| id.0)
        )
    };
    state.nodes().map(line).collect()
}

#[test]
fn a_node_joins_votes_returns_and_leaves() {
    let world = World::new();
    let mut state = State::new();
    let mut transcript = String::new();
    let mut step = |state: &mut State, what: &str, command: Command| {
        transcript += &format!("{what}\n{}", apply(state, &command));
    };
    step(&mut state, "genesis", world.genesis());
    let admit = |state: &State, owner: &str, seed: u8| {
        world
            .admission(state, owner, key(seed).public())
            .expect("may join")
    };
    let command = admit(&state, "bob", 101);
    step(&mut state, "bob joins", command);
    step(&mut state, "and votes", Command::Configure(voters(&[1, 2])));
    let command = admit(&state, "bob", 102);
    step(&mut state, "bob restarts", command);
    let command = admit(&state, "bob", 103);
    step(&mut state, "and again before he caught up", command);
    let mut joint = voters(&[1, 2]);
    joint.incoming = Some([NodeId(1), NodeId(4)].into());
    step(&mut state, "joint", Command::Configure(joint));
    step(&mut state, "final", Command::Configure(voters(&[1, 4])));
    step(
        &mut state,
        "ada leaves",
        Command::RemoveNode {
            node: NodeId(1),
            departure: Departure::Left,
        },
    );
    step(&mut state, "and is out", Command::Configure(voters(&[4])));
    transcript += &roster(&state);
    mask(
        &world,
        expect![[r#"
            genesis
            Created { network: NETWORK }
            Constitution { version: 1, digest: DIGEST }
            Admitted { node: NodeId(1), replaces: None }
            Configured(Configuration { voters: {NodeId(1)}, incoming: None, learners: {} })
            Epoch(Epoch(1))
            bob joins
            Admitted { node: NodeId(2), replaces: None }
            and votes
            Configured(Configuration { voters: {NodeId(1), NodeId(2)}, incoming: None, learners: {} })
            bob restarts
            Admitted { node: NodeId(3), replaces: Some(NodeId(2)) }
            Returned { node: NodeId(3), rule: "listed-nodes-return" }
            Retiring { node: NodeId(2) }
            and again before he caught up
            Admitted { node: NodeId(4), replaces: Some(NodeId(3)) }
            Returned { node: NodeId(4), rule: "listed-nodes-return" }
            Retiring { node: NodeId(3) }
            Left { node: NodeId(3) }
            joint
            Configured(Configuration { voters: {NodeId(1), NodeId(2)}, incoming: Some({NodeId(1), NodeId(4)}), learners: {} })
            final
            Configured(Configuration { voters: {NodeId(1), NodeId(4)}, incoming: None, learners: {} })
            Left { node: NodeId(2) }
            ada leaves
            Retiring { node: NodeId(1) }
            EpochDue { cause: Membership }
            and is out
            Configured(Configuration { voters: {NodeId(4)}, incoming: None, learners: {} })
            Left { node: NodeId(1) }
            1 ada Former since 1 lease 1 replaces None
            2 bob Former since 2 lease 1 replaces None
            3 bob Former since 4 lease 1 replaces Some(2)
            4 bob Voter since 5 lease 1 replaces Some(3)
        "#]],
        &transcript,
    );
    assert_eq!(state.version(), 9);
    assert_eq!(state.next_node(), NodeId(5));
}

/// Keys are made anew for each run's certificates, and with them the digests.
fn mask(world: &World, expected: Expect, text: &str) {
    let network = format!("{:?}", world.constitution.network_id());
    let digest = format!("{:?}", world.constitution.digest());
    expected.assert_eq(&text.replace(&network, "NETWORK").replace(&digest, "DIGEST"));
}

fn refused(change: impl FnOnce(&mut NodeTuple)) -> Refused {
    let world = World::new();
    let mut tuple = world.tuple("bob", key(101).public());
    change(&mut tuple);
    let signer = world.owner(&tuple.owner);
    match world
        .signed(&tuple, signer)
        .and_then(|signed| world.state().admit(&signed))
    {
        Ok(admission) => panic!("admitted: {admission:?}"),
        Err(refused) => refused,
    }
}

#[test]
fn a_tuple_for_something_else_is_refused() {
    assert_eq!(
        refused(|t| t.network = NetworkId([1; 32])),
        Refused::WrongNetwork
    );
    assert!(matches!(
        refused(|t| t.constitution = Digest([1; 32])),
        Refused::WrongConstitution {
            approved: Digest([1, ..]),
            ..
        }
    ));
    assert_eq!(
        refused(|t| t.owner = "mallory".into()),
        Refused::UnknownOwner {
            owner: "mallory".into()
        }
    );
    assert_eq!(
        refused(|t| t.address = "bob.example:9001".into()),
        Refused::NotListed {
            owner: "bob".into(),
            address: "bob.example:9001".into()
        }
    );
    // Somebody else's slot: the address counts with its owner only.
    assert_eq!(
        refused(|t| t.address = "ada.example:9000".into()),
        Refused::NotListed {
            owner: "bob".into(),
            address: "ada.example:9000".into()
        }
    );
    assert_eq!(
        refused(|t| t.key = *key(100).public()),
        Refused::KeyUsed { node: NodeId(1) }
    );
}

#[test]
fn only_the_owner_or_its_agent_signs() {
    let world = World::new();
    let tuple = world.tuple("ada", key(101).public());
    let verify = |object: &[u8], chain: &[crypto::Certificate], now| {
        SignedTuple::verify(object, chain, &world.constitution, now)
    };
    let signer = |result: Result<SignedTuple, Refused>| match result {
        Err(Refused::TupleSigner { owner, reason }) => format!("{owner}: {reason}"),
        other => panic!("{other:?}"),
    };

    let agent_mark = vec![Extension {
        oid: AGENT_EXTENSION.to_vec(),
        value: vec![5, 0],
    }];
    let agent = holder("agent", 20, false, Some(&world.ada), agent_mark.clone());
    let object = tuple.sign(&agent.key);
    assert!(
        verify(&object, std::slice::from_ref(&agent.certificate), NOW).is_ok(),
        "an agent under ada's intermediate"
    );
    assert_eq!(
        signer(verify(
            &object,
            std::slice::from_ref(&agent.certificate),
            Millis(101 * DAY)
        )),
        "ada: the certificate is not valid at this time"
    );
    assert!(matches!(
        verify(&object, std::slice::from_ref(&world.ada.certificate), NOW),
        Err(Refused::TupleSignature(_))
    ));
    assert_eq!(verify(&object, &[], NOW), Err(Refused::TupleUnsigned));

    // Another member signs for ada.
    let object = tuple.sign(&world.bob.key);
    assert_eq!(
        signer(verify(
            &object,
            std::slice::from_ref(&world.bob.certificate),
            NOW
        )),
        "ada: the chain does not lead to a certificate that is listed"
    );

    // An agent may do nothing else, and under a leaf it does not exist.
    let caller = |h: &crate::world::Holder| {
        world
            .constitution
            .actor_of(std::slice::from_ref(&h.certificate), NOW)
    };
    assert_eq!(caller(&agent), Err(Refused::AgentOnly));
    let employee = holder("employee", 21, false, Some(&world.ada), vec![]);
    assert_eq!(caller(&employee).expect("ada's own").name, "ada");
    let stranger = holder("stranger", 22, false, None, vec![]);
    assert!(matches!(caller(&stranger), Err(Refused::UnknownActor(_))));
}

#[test]
fn callers_have_the_roles_of_their_actor() {
    let mut world = World::new();
    world.constitution.actors[2].auditor = true;
    let state = world.state();
    let caller = |name: &str| {
        let c = state
            .actor_of(std::slice::from_ref(&world.owner(name).certificate), NOW)
            .expect("listed");
        assert_eq!(c.actor, governance::actor_id(name));
        format!(
            "{} member={} participant={} auditor={}\n",
            c.name, c.member, c.participant, c.auditor
        )
    };
    expect![[r#"
        ada member=true participant=true auditor=false
        bob member=true participant=false auditor=false
        eve member=false participant=true auditor=true
    "#]]
    .assert_eq(&["ada", "bob", "eve"].map(caller).concat());
    let ada = world.ada.certificate.clone();
    assert!(
        matches!(
            state.actor_of(&[ada], Millis(0)),
            Err(Refused::UnknownActor(_))
        ),
        "not valid yet"
    );
    assert_eq!(State::new().actor_of(&[], NOW), Err(Refused::NotCreated));
}

#[test]
fn an_admission_is_good_for_the_state_it_was_made_for() {
    let world = World::new();
    let mut state = world.state();
    let bob = world
        .admission(&state, "bob", key(101).public())
        .expect("may join");
    let eve = world
        .admission(&state, "eve", key(102).public())
        .expect("may join");
    apply(&mut state, &bob);
    let before = state.version();
    // Eve's number was given to bob; she is told, and proposed again.
    assert_eq!(
        apply(&mut state, &eve),
        "refused: the admission was made for another state; make it again\n"
    );
    assert_eq!(
        apply(&mut state, &bob),
        "refused: the node's key was used by node 2 before; a node makes a new key at every start\n"
    );
    assert_eq!(state.version(), before);
    let eve = world
        .admission(&state, "eve", key(102).public())
        .expect("may join");
    assert!(apply(&mut state, &eve).starts_with("Admitted"));
}

#[test]
fn an_entry_is_applied_once() {
    let world = World::new();
    let mut state = world.state();
    let bob = world
        .admission(&state, "bob", key(101).public())
        .expect("may join");
    let stale = Err(Refused::Stale {
        index: state.applied(),
        applied: state.applied(),
    });
    assert_eq!(state.apply(state.applied(), NOW, &bob), stale);
    assert_eq!(
        state.apply_public(state.applied(), NOW, &bob.public()),
        stale
    );
    assert!(apply(&mut state, &bob).starts_with("Admitted"));
}

#[test]
fn a_changed_signature_is_caught_when_it_is_applied() {
    let world = World::new();
    let mut state = world.state();
    let Command::AdmitNode(good) = world
        .admission(&state, "bob", key(101).public())
        .expect("may join")
    else {
        panic!("an admission");
    };
    let mut forged = good.clone();
    *forged.tuple.last_mut().expect("not empty") ^= 1;
    let refused = apply(&mut state, &Command::AdmitNode(forged));
    assert!(
        refused.starts_with("refused: the node tuple is not signed"),
        "{refused}"
    );
    assert!(apply(&mut state, &Command::AdmitNode(good)).starts_with("Admitted"));
}

#[test]
fn the_standing_vote_covers_returns_and_the_list_covers_first_starts() {
    let mut world = World::new();
    world.constitution.standing.listed_nodes_return = false;
    let mut state = world.state();
    let bob = world
        .admission(&state, "bob", key(101).public())
        .expect("listed by the genesis");
    apply(&mut state, &bob);
    assert_eq!(
        world.admission(&state, "bob", key(102).public()),
        Err(Refused::NoStandingVote)
    );
    apply(
        &mut state,
        &Command::RemoveNode {
            node: NodeId(2),
            departure: Departure::Left,
        },
    );
    assert_eq!(
        world.admission(&state, "bob", key(102).public()),
        Err(Refused::NoStandingVote),
    );
}

#[test]
fn only_an_allowed_manager_joins_and_everybody_can_repeat_the_verdict() {
    let mut world = World::new();
    let state = world.state();
    let tuple = world.tuple("bob", key(101).public());
    let admission = || {
        state
            .admit(&world.signed(&tuple, &world.bob).expect("signed"))
            .expect("listed")
    };
    let attest = |measurement| {
        let evidence = world.evidence(&tuple, Purpose::Join, measurement);
        let expected =
            tee::report_data(&tuple.network, Purpose::Join, &tuple.key.fingerprint(), b"");
        let attested = tee::appraise(
            &evidence,
            &[],
            &world.constitution.tee,
            &world.constitution.code,
            &expected,
            NOW,
        )
        .expect("listed");
        (attested, evidence)
    };
    let (worker, evidence) = attest([4; 48]);
    let refused = admission()
        .command(&worker, evidence, vec![], vec![])
        .expect_err("a worker is no node");
    assert_eq!(
        refused.to_string(),
        "the evidence is of worker/kv 1; a node joins with a manager that the code manifest allows"
    );
    let (manager, evidence) = attest(MEASUREMENT);
    let admit = admission()
        .command(&manager, evidence, vec![], vec![])
        .expect("a manager");
    let verdict = |purpose| admit.appraise(&world.constitution, &tuple, purpose, NOW);
    assert_eq!(verdict(Purpose::Join), Ok(manager));
    assert_eq!(verdict(Purpose::Lease), Err(tee::Refused::ReportData));

    // The old image retires and a new one is allowed: who comes with the old one comes too late.
    let images = &mut world.constitution.code.images;
    images[0].state = CodeState::Retiring;
    images.push(tee::CodeIdentity {
        state: CodeState::Allowed,
        measurement: vec![5; 48],
        ..images[0].clone()
    });
    let state = world.state();
    assert!(matches!(
        world.admission(&state, "bob", key(101).public()),
        Err(Refused::WrongCode { .. })
    ));
}

#[test]
fn configurations_leases_and_epochs_follow_one_another() {
    let world = World::new();
    let mut state = world.state();
    let bob = world
        .admission(&state, "bob", key(101).public())
        .expect("may join");
    apply(&mut state, &bob);
    let lease = |number, expires| Command::RenewLease {
        node: NodeId(2),
        number,
        expires: Millis(expires),
    };
    let epoch = |epoch| open_epoch(epoch, governance::EpochCause::Timer);
    let remove = |node| Command::RemoveNode {
        node: NodeId(node),
        departure: Departure::Unreachable,
    };
    let mut incoming_empty = voters(&[1]);
    incoming_empty.incoming = Some(Default::default());
    let commands = [
        Command::Configure(voters(&[])),
        Command::Configure(incoming_empty),
        Command::Configure(voters(&[1, 7])),
        lease(1, 53 * DAY),
        lease(2, 51 * DAY),
        lease(2, 52 * DAY),
        lease(2, 53 * DAY),
        epoch(1),
        epoch(3),
        epoch(u64::MAX),
        epoch(2),
        remove(7),
        remove(2),
        remove(2),
        lease(3, 54 * DAY),
        Command::Configure(voters(&[1, 2])),
        world.genesis(),
    ];
    let transcript: String = commands.iter().map(|c| apply(&mut state, c)).collect();
    expect![[r#"
        refused: a configuration needs at least one voter
        refused: a configuration needs at least one voter
        refused: node 7 is not a node of this network
        refused: the lease of node 2 is number 1; the next is the following one and ends later
        refused: the lease of node 2 is number 1; the next is the following one and ends later
        Lease { node: NodeId(2), lease: Lease { number: 2, expires: Millis(4492800000) } }
        refused: the lease of node 2 is number 2; the next is the following one and ends later
        refused: epoch 1 does not follow epoch 1
        refused: epoch 3 does not follow epoch 1
        refused: epoch 18446744073709551615 does not follow epoch 1
        Epoch(Epoch(2))
        refused: node 7 is not a node of this network
        Retiring { node: NodeId(2) }
        Left { node: NodeId(2) }
        EpochDue { cause: Membership }
        refused: node 2 has left the network
        refused: node 2 has left the network
        refused: node 2 has left the network
        refused: the network exists already; there is one genesis
    "#]]
    .assert_eq(&transcript);
    assert_eq!(
        state.node(NodeId(2)).map(|n| n.status),
        Some(Status::Former)
    );
}

#[test]
fn nothing_happens_before_the_genesis_and_no_genesis_without_its_own_slot() {
    let world = World::new();
    let others = World {
        constitution: {
            let mut c = world.constitution.clone();
            c.nodes.remove(0);
            c.settings.key_threshold = 1;
            c
        },
        ..World::new()
    };
    let mut state = State::new();
    let seven = Command::RemoveNode {
        node: NodeId(7),
        departure: Departure::Left,
    };
    assert_eq!(
        apply(&mut state, &Command::Configure(voters(&[1]))),
        "refused: the network does not exist yet; the first entry must be its genesis\n"
    );
    assert_eq!(
        apply(&mut state, &seven),
        "refused: node 7 is not a node of this network\n"
    );
    let refused = apply(&mut state, &others.genesis());
    assert!(
        refused.contains("no node of \"ada\" is listed")
            || refused.contains("TupleSigner")
            || refused.contains("is not \"ada\""),
        "{refused}"
    );
    assert_eq!(state, State::new(), "a refusal leaves no trace");
    let mut invalid = World::new();
    invalid.constitution.voting.open_ms = 0;
    assert!(
        apply(&mut state, &invalid.genesis())
            .starts_with("refused: the constitution cannot be used")
    );
    assert_eq!(state, State::new(), "a refusal leaves no trace");
}

#[test]
fn who_left_may_return_and_who_was_ejected_may_not() {
    let world = World::new();
    for (departure, back) in [
        (Departure::Left, true),
        (Departure::Unreachable, true),
        (Departure::Ejected, false),
    ] {
        let mut state = world.state();
        let bob = world
            .admission(&state, "bob", key(101).public())
            .expect("may join");
        apply(&mut state, &bob);
        apply(
            &mut state,
            &Command::RemoveNode {
                node: NodeId(2),
                departure,
            },
        );
        match world.admission(&state, "bob", key(102).public()) {
            Ok(command) => assert!(
                back && apply(&mut state, &command).starts_with("Admitted"),
                "{departure:?}"
            ),
            Err(refused) => {
                assert!(!back, "{departure:?}");
                assert_eq!(
                    refused.to_string(),
                    "the node of \"bob\" at \"bob.example:9000\" was ejected as node 2; members must vote on its return"
                );
            }
        }
    }
}
