//! Signed messages: whoever may not, too late, twice, changed or for something else is refused, by
//! the node that it is handed to and by every node that applies it, and leaves no trace.

use crypto::Context;
use expect_test::expect;
use governance::{
    Ballot, Change, Choice, Command, Proposed, Recorded, Refused, SignedMessage, Visibility,
    Window, Withdrawal,
};
use types::{Digest, Millis, NetworkId};

use crate::script::{HOUR, Script, harmless};
use crate::world::{DAY, holder};

struct Tried {
    script: Script,
    lines: String,
}

impl Tried {
    /// Handed in, and applied as if a faulty leader had not looked.
    fn refused(&mut self, what: &str, message: &SignedMessage, kind: Kind) {
        let recorded = Box::new(Recorded {
            visibility: Visibility::Public,
            message: message.clone(),
        });
        let (state, now) = (&self.script.state, self.script.now);
        let (early, command) = match kind {
            Kind::Propose => (state.propose(message, now), Command::Propose(recorded)),
            Kind::Vote => (state.ballot(message, now), Command::Vote(recorded)),
            Kind::Withdraw => (state.withdraw(message, now), Command::Withdraw(recorded)),
        };
        let early = early.expect_err(what);
        let before = state.to_cbor();
        let late = self.script.apply(&command).expect_err(what);
        assert_eq!(early, late, "{what}");
        assert_eq!(*self.script.state.to_cbor(), *before, "{what}");
        self.lines += &format!("{what}\n    {early}\n");
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Propose,
    Vote,
    Withdraw,
}

#[test]
fn proposals_that_may_not_be() {
    let mut script = Script::new(3, |_| ());
    let good = script.proposed("ada", &[harmless()]);
    let mut tried = Tried {
        script,
        lines: String::new(),
    };
    let with = |change: &dyn Fn(&mut Proposed)| {
        let mut proposed = good.clone();
        change(&mut proposed);
        proposed.to_cbor()
    };
    let payloads: Vec<(&str, Vec<u8>)> = vec![
        ("another network", with(&|p| p.network = NetworkId([1; 32]))),
        ("another version", with(&|p| p.constitution = 2)),
        (
            "not yet",
            with(&|p| p.window.from = p.window.from.plus(2 * HOUR)),
        ),
        (
            "too late",
            with(&|p| p.window.until = Millis(p.window.from.0 + 1)),
        ),
        ("no time", with(&|p| p.window.until = p.window.from)),
        ("time turned round", with(&|p| p.window.until = Millis(1))),
        ("for ever", with(&|p| p.window.until = Millis(u64::MAX))),
        ("in another's name", with(&|p| p.proposer = "bob".into())),
        ("without title", with(&|p| p.title.clear())),
        ("a title of two lines", with(&|p| p.title = "a\nb".into())),
        ("a long title", with(&|p| p.title = "a".repeat(201))),
        ("something after it", [with(&|_| ()), vec![0]].concat()),
        ("not CBOR", b"hello".to_vec()),
        ("nothing", vec![]),
    ];
    for (what, payload) in payloads {
        let message = tried.script.sign("ada", Context::Proposal, &payload);
        tried.refused(what, &message, Kind::Propose);
    }
    let payload = good.to_cbor();
    let message = tried.script.sign("ada", Context::Ballot, &payload);
    tried.refused("signed as a ballot", &message, Kind::Propose);
    let object = crypto::sign1(&tried.script.holder("bob").key, Context::Proposal, &payload);
    let message = tried.script.message("ada", object);
    tried.refused("with another's certificate", &message, Kind::Propose);
    let eve = with(&|p| p.proposer = "eve".into());
    let message = tried.script.sign("eve", Context::Proposal, &eve);
    tried.refused("of a participant", &message, Kind::Propose);
    let message = tried.script.sign("dan", Context::Proposal, &payload);
    tried.refused("of a stranger", &message, Kind::Propose);
    let message = SignedMessage::new(vec![], &[]);
    tried.refused("without a certificate", &message, Kind::Propose);
    let long = vec![0; 60 << 10];
    let certificate = tried.script.holder("ada").certificate.clone();
    let message = SignedMessage::new(long, std::slice::from_ref(&certificate));
    tried.refused("too long", &message, Kind::Propose);
    // An agent signs tuples and nothing else.
    let extension = crypto::Extension {
        oid: governance::AGENT_EXTENSION.to_vec(),
        value: vec![5, 0],
    };
    let agent = holder(
        "agent",
        60,
        false,
        Some(tried.script.holder("ada")),
        vec![extension],
    );
    let object = crypto::sign1(&agent.key, Context::Proposal, &payload);
    let message = SignedMessage::new(object, std::slice::from_ref(&agent.certificate));
    tried.refused("of an agent", &message, Kind::Propose);
    // The good one, once.
    let message = tried.script.sign("ada", Context::Proposal, &payload);
    let command = tried
        .script
        .state
        .propose(&message, tried.script.now)
        .expect("good");
    tried.script.apply(&command).expect("good");
    tried.refused("again", &message, Kind::Propose);
    tried.script.withdraw("ada", 1).expect("its own");
    tried.refused("again after it was withdrawn", &message, Kind::Propose);
    tried.script.now = Millis(101 * DAY);
    let mut late = good.clone();
    late.window = tried.script.window();
    let message = tried.script.sign("ada", Context::Proposal, &late.to_cbor());
    tried.refused("with a certificate that expired", &message, Kind::Propose);
    expect![[r#"
        another network
            the message is for another network
        another version
            the proposal is for version 2 of the constitution, but 1 is in force; look at that and sign it anew
        not yet
            the message counts from 4323600000 ms of ledger time; hand it in later
        too late
            the message counted until 4316400001 ms of ledger time; sign it anew
        no time
            a message counts for a time of at most 31 days that ends after it begins
        time turned round
            a message counts for a time of at most 31 days that ends after it begins
        for ever
            a message counts for a time of at most 31 days that ends after it begins
        in another's name
            the message says that it is from "bob", but "ada" signed it
        without title
            a proposal has a title of one line with at most 200 bytes
        a title of two lines
            a proposal has a title of one line with at most 200 bytes
        a long title
            a proposal has a title of one line with at most 200 bytes
        something after it
            the message cannot be read: it is not what this version signs, in canonical CBOR
        not CBOR
            the message cannot be read: it is not what this version signs, in canonical CBOR
        nothing
            the message cannot be read: it is not what this version signs, in canonical CBOR
        signed as a ballot
            the message is not signed by its certificate for this purpose: the COSE signature does not match the key, the context or the content
        with another's certificate
            the message is not signed by its certificate for this purpose: the COSE signature does not match the key, the context or the content
        of a participant
            "eve" is no member, and participants may not propose changes of kind settings; ask a member
        of a stranger
            the certificate belongs to no actor of the constitution: the chain does not lead to a certificate that is listed
        without a certificate
            the certificate belongs to no actor of the constitution: not an X.509 certificate in DER with a P-256 key
        too long
            a message has at most 61440 bytes with its certificates; propose in several parts
        of an agent
            the certificate is an agent's: it may sign node tuples and do nothing else
        again
            the message was handed in before and recorded; a new proposal has a new nonce, a new ballot a greater number
        again after it was withdrawn
            the message was handed in before and recorded; a new proposal has a new nonce, a new ballot a greater number
        with a certificate that expired
            the certificate belongs to no actor of the constitution: the certificate is not valid at this time
    "#]].assert_eq(&tried.lines);
    assert_eq!(
        SignedMessage::from_cbor(&vec![0; 70 << 10]),
        Err(Refused::MessageTooLong)
    );
    assert_eq!(
        SignedMessage::from_cbor(b"\x80"),
        Err(Refused::MessageShape)
    );
}

#[test]
fn ballots_and_withdrawals_that_may_not_be() {
    let mut script = Script::new(3, |_| ());
    let number = script.propose("ada", &[harmless()]).expect("a poll");
    let id = script.state.proposal(number).expect("open").id;
    let good = script.ballot("bob", id, Choice::For, 10);
    let mut tried = Tried {
        script,
        lines: String::new(),
    };
    let with = |change: &dyn Fn(&mut Ballot)| {
        let mut ballot = good.clone();
        change(&mut ballot);
        ballot.to_cbor()
    };
    let payloads: Vec<(&str, &str, Vec<u8>)> = vec![
        (
            "another network",
            "bob",
            with(&|b| b.network = NetworkId([1; 32])),
        ),
        (
            "another proposal",
            "bob",
            with(&|b| b.proposal = Digest([1; 32])),
        ),
        (
            "too late",
            "bob",
            with(&|b| b.window.until = Millis(b.window.from.0 + 1)),
        ),
        (
            "in another's name",
            "bob",
            with(&|b| b.voter = "ada".into()),
        ),
        ("of a participant", "eve", with(&|b| b.voter = "eve".into())),
        ("of a stranger", "dan", with(&|b| b.voter = "dan".into())),
        ("shortened", "bob", with(&|_| ())[..20].to_vec()),
    ];
    for (what, signer, payload) in payloads {
        let message = tried.script.sign(signer, Context::Ballot, &payload);
        tried.refused(what, &message, Kind::Vote);
    }
    let message = tried.script.sign("bob", Context::Proposal, &good.to_cbor());
    tried.refused("signed as a proposal", &message, Kind::Vote);
    // Ballot 10 counts; what is older or the same says nothing new.
    let sign = |script: &Script, choice, number| {
        let ballot = script.ballot("bob", id, choice, number);
        script.sign("bob", Context::Ballot, &ballot.to_cbor())
    };
    let first = sign(&tried.script, Choice::For, 10);
    let command = tried
        .script
        .state
        .ballot(&first, tried.script.now)
        .expect("good");
    tried.script.apply(&command).expect("good");
    tried.refused("again", &first, Kind::Vote);
    let other = sign(&tried.script, Choice::Against, 10);
    tried.refused("contradictory", &other, Kind::Vote);
    let older = sign(&tried.script, Choice::Against, 9);
    tried.refused("older", &older, Kind::Vote);
    let withdrawal = |script: &Script, proposer: &str, until: u64| Withdrawal {
        network: script.state.network().expect("created"),
        proposal: id,
        proposer: proposer.into(),
        window: Window {
            from: Millis(script.now.0 - HOUR),
            until: Millis(until),
        },
    };
    let late = tried.script.now.0;
    let message = withdrawal(&tried.script, "ada", late).to_cbor();
    let message = tried.script.sign("ada", Context::Withdrawal, &message);
    tried.refused("withdrawn too late", &message, Kind::Withdraw);
    let message = withdrawal(&tried.script, "bob", late + 1).to_cbor();
    let message = tried.script.sign("bob", Context::Withdrawal, &message);
    tried.refused("withdrawn by another", &message, Kind::Withdraw);
    expect![[r#"
        another network
            the message is for another network
        another proposal
            no open or recent proposal has this digest
        too late
            the message counted until 4316400001 ms of ledger time; sign it anew
        in another's name
            the message says that it is from "ada", but "bob" signed it
        of a participant
            "eve" is no member, and members vote
        of a stranger
            the certificate belongs to no actor of the constitution: the chain does not lead to a certificate that is listed
        shortened
            the message cannot be read: it is not what this version signs, in canonical CBOR
        signed as a proposal
            the message is not signed by its certificate for this purpose: the COSE signature does not match the key, the context or the content
        again
            the message was handed in before and recorded; a new proposal has a new nonce, a new ballot a greater number
        contradictory
            "bob" signed two different ballots of number 10; the first counts
        older
            "bob" cast ballot 10 already, and 9 is not later; sign it with a greater number
        withdrawn too late
            the message counted until 4320000000 ms of ledger time; sign it anew
        withdrawn by another
            only "ada" can withdraw its proposal
    "#]].assert_eq(&tried.lines);
}

#[test]
fn in_a_sealed_network_messages_are_sealed() {
    let mut script = Script::new(2, |c| c.visibility = Visibility::Sealed);
    let number = script.propose("ada", &[harmless()]).expect("a poll");
    script.votes(number, "ada=for bob=for");
    assert_eq!(script.state.constitution_version(), 2);
    for (_, _, public, private) in &script.entries[4..] {
        assert_eq!((public.len(), private.is_empty()), (3, false));
    }
    // Nor does a message stand in the open by mistake.
    let proposed = script.proposed(
        "ada",
        &[Change::RevokeSessions {
            actor: "eve".into(),
        }],
    );
    let message = script.sign("ada", Context::Proposal, &proposed.to_cbor());
    let shown = Command::Propose(Box::new(Recorded {
        visibility: Visibility::Public,
        message,
    }));
    assert_eq!(script.apply(&shown), Err(Refused::Visibility));
}

#[test]
fn messages_are_as_drawn_in_the_formats() {
    let window = Window {
        from: Millis(1),
        until: Millis(2),
    };
    let proposed = Proposed {
        network: NetworkId([1; 32]),
        constitution: 1,
        proposer: "ada".into(),
        window,
        nonce: [7; 16],
        title: "t".into(),
        changes: vec![harmless()],
    };
    let ballot = Ballot {
        network: NetworkId([1; 32]),
        proposal: proposed.id(),
        voter: "bob".into(),
        choice: Choice::Abstain,
        window,
        number: 3,
    };
    let withdrawal = Withdrawal {
        network: NetworkId([1; 32]),
        proposal: proposed.id(),
        proposer: "ada".into(),
        window,
    };
    let lines = [proposed.to_cbor(), ballot.to_cbor(), withdrawal.to_cbor()]
        .map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n");
    expect![[r#"
        8758200101010101010101010101010101010101010101010101010101010101010101016361646182010250070707070707070707070707070707076174818213826f62617463685f756e6974735f6d61781864
        86582001010101010101010101010101010101010101010101010101010101010101015820761db02e48d80e8b517f08ddb635c9a5a9966f453618ce220c2b7a2d933c6f1063626f620282010203
        84582001010101010101010101010101010101010101010101010101010101010101015820761db02e48d80e8b517f08ddb635c9a5a9966f453618ce220c2b7a2d933c6f1063616461820102
    "#]].assert_eq(&lines.concat());
}
