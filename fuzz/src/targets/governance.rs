//! Administrative commands, constitutions and node tuples.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use crypto::{Entropy, PublicKey, SigningKey};
use governance::{
    AdmitNode, AuditGrant, AuditTerms, Ballot, Choice, Command, Constitution, Departure, Draft,
    EpochCause, EpochOpening, EpochSeal, Genesis, KeyRelease, KeyStep, Listed, NetworkIdentity,
    NetworkRestart, NodeTuple, Presented, SignedMessage, SignedTuple, State, Window, Withdrawal,
    admission_from_public, facts_from_public, sign_key_message,
};
use sim::parts::{Consortium, START, address};
use types::{Digest, Epoch, Index, Millis, NodeId, Term};

use crate::{Pieces, pieces};

/// A consortium, and the genesis of its network in two parts.
struct Known {
    consortium: Consortium,
    genesis: Command,
    key: PublicKey,
    node_key: SigningKey,
}

thread_local! {
    static KNOWN: OnceCell<Known> = const { OnceCell::new() };
}

fn with<R>(f: impl FnOnce(&Known) -> R) -> R {
    KNOWN.with(|known| f(known.get_or_init(known_network)))
}

fn known_network() -> Known {
    let mut entropy = Entropy::new(&[2; 32]);
    let consortium = Consortium::new(3, &mut entropy);
    let network_key = SigningKey::generate(&mut entropy);
    let certificate =
        channel::network_certificate(&network_key, "sim", Millis(0), START.plus(1 << 40), [1; 16]);
    let node_key = SigningKey::generate(&mut entropy);
    let key = *node_key.public();
    let tuple = NodeTuple {
        network: consortium.constitution.network_id(),
        owner: consortium.members[0].name.clone(),
        address: address(0),
        key,
        constitution: consortium.constitution.digest(),
    };
    let node = AdmitNode {
        id: State::FIRST_NODE,
        replaces: None,
        tuple: tuple.sign(&consortium.members[0].key),
        chain: Listed::all(std::slice::from_ref(&consortium.members[0].certificate)),
        evidence: b"evidence".to_vec(),
        endorsements: Vec::new(),
        challenge: Vec::new(),
    };
    let genesis = Command::Genesis(Box::new(Genesis {
        constitution: consortium.constitution.clone(),
        identity: NetworkIdentity::new(certificate, &network_key).expect("its own key"),
        node,
    }));
    Known {
        consortium,
        genesis,
        key,
        node_key,
    }
}

/// The beginning of an epoch that is not sealed to the actors.
fn opening(epoch: u64) -> EpochOpening {
    EpochOpening {
        epoch: Epoch(epoch),
        cause: EpochCause::Timer,
        link: vec![1; 80],
        check: Digest([2; 32]),
        seal: None,
        dealt: None,
    }
}

/// A grant to an auditor with this key.
pub fn grant(key: [u8; 32]) -> AuditGrant {
    with(|known| AuditGrant {
        number: 1,
        terms: AuditTerms {
            auditor: Listed(known.consortium.members[0].certificate.clone()),
            key,
            from: Epoch(2),
            to: Epoch(3),
            expires: START.plus(1_000),
        },
        entry: Index(2),
        consents: BTreeMap::new(),
    })
}

fn sealed_opening() -> EpochOpening {
    let (key, ciphertext) = super::threshold::ciphertext();
    EpochOpening {
        seal: Some(EpochSeal {
            key: key.session(),
            session_key: ciphertext.clone(),
            history_key: ciphertext,
        }),
        ..opening(2)
    }
}

fn restart() -> NetworkRestart {
    NetworkRestart {
        restarts: 1,
        by: State::FIRST_NODE,
        node: None,
        learners: [NodeId(2)].into(),
        present: vec![Presented {
            owner: "contoso".into(),
            address: address(0),
            term: Term(2),
            index: Index(3),
            digest: Digest([4; 32]),
        }],
        granted_by: vec!["contoso".into()],
        opening: opening(2),
        ordered_by: vec![],
        orders: None,
    }
}

/// One encoding of one command; what is applied or refused leaves a state that can go on.
pub fn command(data: &[u8]) {
    let mut pieces = Pieces(data);
    let public = pieces.piece();
    let private = pieces.0;
    if let Ok(command) = Command::from_parts(public, private) {
        assert!(command.public() == public && command.private().as_slice() == private);
    }
    let _ = admission_from_public(public);
    let _ = facts_from_public(public);
    let mut fresh = State::new();
    let _ = fresh.apply_public(Index(1), START, public);
    with(|known| {
        let mut state = State::new();
        state
            .apply(Index(1), START, &known.genesis)
            .expect("a genesis");
        if state.apply_public(Index(2), START, public).is_err() {
            state
                .apply(Index(2), START, &Command::OpenEpoch(Box::new(opening(2))))
                .expect("a refused command left no trace");
        }
        if let Some(node) = state.node_by_key(&known.key) {
            assert_eq!(node.id, State::FIRST_NODE);
        }
    });
}

pub fn commands() -> Vec<Vec<u8>> {
    with(|known| {
        let Command::Genesis(genesis) = &known.genesis else {
            unreachable!("made as one");
        };
        let mut second = genesis.node.clone();
        second.id = NodeId(2);
        let others = [
            Command::AdmitNode(Box::new(second)),
            Command::RemoveNode {
                node: State::FIRST_NODE,
                departure: Departure::Ejected,
            },
            Command::Configure(governance::Configuration::default()),
            Command::RenewLease {
                node: State::FIRST_NODE,
                number: 2,
                expires: START.plus(5),
            },
            Command::OpenEpoch(Box::new(opening(2))),
            Command::OpenEpoch(Box::new(sealed_opening())),
            Command::KeyStep(KeyStep::Begin),
            Command::KeyStep(KeyStep::CloseRound),
            Command::KeyStep(KeyStep::Message {
                node: State::FIRST_NODE,
                signed: sign_key_message(&known.node_key, &super::threshold::deal()),
            }),
            Command::KeyRelease(KeyRelease {
                node: State::FIRST_NODE,
                epoch: Epoch(1),
                refused: Some("why".into()),
            }),
            Command::NetworkRestart(Box::new(restart())),
        ];
        std::iter::once(&known.genesis)
            .chain(&others)
            .map(|command| [&pieces(&[&command.public()])[..], &command.private()].concat())
            .collect()
    })
}

/// One encoding of one constitution; whatever it says, it can be judged and named.
pub fn constitution(data: &[u8]) {
    if let Ok(read) = Constitution::from_cbor(data) {
        assert!(read.to_cbor() == data, "two encodings of one constitution");
        judge(&read);
    }
}

fn judge(constitution: &Constitution) {
    let valid = constitution.validate();
    let _ = (constitution.digest(), constitution.network_id());
    let _ = constitution.summary();
    if valid.is_ok() {
        let text = constitution.to_toml();
        let again = Constitution::from_toml(&text).expect("own text");
        assert_eq!(
            again.digest(),
            constitution.digest(),
            "the text says another"
        );
    }
}

pub fn constitutions() -> Vec<Vec<u8>> {
    with(|known| vec![known.consortium.constitution.to_cbor()])
}

pub fn toml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(read) = Constitution::from_toml(text)
    {
        judge(&read);
    }
}

pub fn tomls() -> Vec<Vec<u8>> {
    with(|known| vec![known.consortium.constitution.to_toml().into_bytes()])
}

/// A tuple has one encoding, and is an owner's only with the owner's signature.
pub fn tuple(data: &[u8]) {
    if let Ok(read) = NodeTuple::from_cbor(data) {
        assert!(read.to_cbor() == data, "two encodings of one tuple");
    }
    with(|known| {
        let member = &known.consortium.members[0];
        let chain = std::slice::from_ref(&member.certificate);
        if let Ok(signed) = SignedTuple::verify(data, chain, &known.consortium.constitution, START)
        {
            assert_eq!(signed.tuple().owner, member.name);
            assert_eq!(signed.tuple().key, known.key, "nobody signed another key");
        }
    });
}

pub fn tuples() -> Vec<Vec<u8>> {
    with(|known| {
        let Command::Genesis(genesis) = &known.genesis else {
            unreachable!("made as one");
        };
        let member = &known.consortium.members[0];
        let chain = std::slice::from_ref(&member.certificate);
        let signed = SignedTuple::verify(
            &genesis.node.tuple,
            chain,
            &known.consortium.constitution,
            START,
        )
        .expect("signed by its owner");
        vec![genesis.node.tuple.clone(), signed.tuple().to_cbor()]
    })
}

fn created(known: &Known) -> State {
    let mut state = State::new();
    state
        .apply(Index(1), START, &known.genesis)
        .expect("a genesis");
    state
}

/// A signed message has one encoding, and counts only if a member signed it; a draft is read as text.
pub fn message(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Draft::from_toml(text);
    }
    let Ok(read) = SignedMessage::from_cbor(data) else {
        return;
    };
    assert!(read.to_cbor() == data, "two encodings of one message");
    with(|known| {
        let mut state = created(known);
        let commands = [
            state.propose(&read, START),
            state.ballot(&read, START),
            state.withdraw(&read, START),
        ];
        // It is of one kind at most.
        if let Some(command) = commands.into_iter().flatten().next() {
            state
                .apply(Index(2), START, &command)
                .expect("checked just now");
        }
    });
}

pub fn messages() -> Vec<Vec<u8>> {
    with(|known| {
        let member = &known.consortium.members[0];
        let window = Window {
            from: START,
            until: START.plus(1_000),
        };
        let text = "title = \"t\"\nchanges = []\n";
        let draft = Draft::from_toml(text).expect("a draft");
        let network = known.consortium.constitution.network_id();
        let proposed = draft.proposed(network, 1, &member.name, window, [1; 16]);
        let ballot = Ballot {
            network,
            proposal: proposed.id(),
            voter: member.name.clone(),
            choice: Choice::For,
            window,
            number: 1,
        };
        let withdrawal = Withdrawal {
            network,
            proposal: proposed.id(),
            proposer: member.name.clone(),
            window,
        };
        let chain = std::slice::from_ref(&member.certificate);
        let signed = [
            proposed.sign(&member.key),
            ballot.sign(&member.key),
            withdrawal.sign(&member.key),
        ];
        let mut seeds: Vec<_> = signed
            .into_iter()
            .map(|object| SignedMessage::new(object, chain).to_cbor())
            .collect();
        seeds.push(text.as_bytes().to_vec());
        seeds
    })
}

/// One encoding of one state: what a snapshot holds of governance.
pub fn state(data: &[u8]) {
    if let Ok(read) = State::from_cbor(data) {
        assert!(*read.to_cbor() == data, "two encodings of one state");
        let _ = (
            read.constitution_digest(),
            read.nodes().count(),
            read.next_node(),
        );
    }
}

pub fn states() -> Vec<Vec<u8>> {
    with(|known| {
        vec![
            State::new().to_cbor().to_vec(),
            created(known).to_cbor().to_vec(),
        ]
    })
}
