//! Messages of key generations, ciphertexts and partial decryptions, and the files that hold parts of keys.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use client::{
    RecoveryPart, SessionKeys, WrappedShareKey, audit_part_from_cbor, audit_part_from_pem,
    audit_part_to_pem, auditor_key_from_pem, auditor_key_to_pem,
};
use crypto::{Entropy, HpkeKey, SigningKey};
use governance::AuditPart;
use threshold::{
    Ciphertext, Combiner, Deal, Message, Partial, Session, Setup, ThresholdKey, TransportKey, Wire,
};
use types::{Epoch, NetworkId};

/// A finished generation of one actor, and one under way.
struct Known {
    messages: Vec<Message>,
    key: ThresholdKey,
    ciphertext: Ciphertext,
    partial: Partial,
    setup: Setup,
}

thread_local! {
    static KNOWN: OnceCell<Known> = const { OnceCell::new() };
}

fn with<R>(f: impl FnOnce(&Known) -> R) -> R {
    KNOWN.with(|known| f(known.get_or_init(make)))
}

fn make() -> Known {
    let entropy = &mut Entropy::new(&[3; 32]);
    let actor = TransportKey::generate(entropy);
    let setup = Setup::new(NetworkId([1; 32]), 2, 1, vec![actor.public()]).expect("one of one");
    let mut session = Session::new(setup.clone());
    let mut messages = Vec::new();
    let only = setup.actors().next().expect("one");
    let (deal, secret) = Deal::make(&setup, only, entropy);
    let mut say = |session: &mut Session, message: Message| {
        session.apply(message.sender(), &message).expect("honest");
        messages.push(message);
    };
    say(&mut session, Message::Deal(deal));
    session.close_dealing().expect("dealt");
    for answer in session.answer(&actor, entropy).expect("round 2") {
        say(&mut session, answer);
    }
    session.close_answers().expect("answered");
    let part = session.key_part(&secret, entropy).expect("round 3");
    say(&mut session, part);
    let key = session.key().expect("done").clone();
    let ciphertext = key.encrypt(&[4; 32], b"label", entropy);
    let partial = {
        let verified = ciphertext.verify(&key, b"label").expect("its own");
        session
            .share(&actor)
            .expect("its own")
            .decrypt(&verified, entropy)
    };
    Known {
        messages,
        key,
        ciphertext,
        partial,
        setup,
    }
}

/// A real deal.
pub fn deal() -> Message {
    with(|known| known.messages[0].clone())
}

/// A real ciphertext and its key.
pub fn ciphertext() -> (ThresholdKey, Ciphertext) {
    with(|known| (known.key.clone(), known.ciphertext.clone()))
}

/// One encoding of each message; whatever it says, a session can go on, and nothing opens but with a
/// partial decryption that its holder made.
pub fn message(data: &[u8]) {
    with(|known| {
        if let Ok(read) = Message::from_bytes(data) {
            assert!(read.to_bytes() == data, "two encodings of one message");
            let mut session = Session::new(known.setup.clone());
            let _ = session.apply(read.sender(), &read);
            let _ = (session.awaiting(), session.close_dealing());
        }
        if let Ok(key) = ThresholdKey::from_bytes(data) {
            assert!(key.to_bytes() == data, "two encodings of one key");
            let _ = known.ciphertext.verify(&key, b"label");
        }
        if let Ok(read) = Ciphertext::from_bytes(data) {
            assert!(read.to_bytes() == data, "two encodings of one ciphertext");
            let good = read.verify(&known.key, b"label").is_ok();
            assert!(!good || read == known.ciphertext, "a ciphertext was forged");
        }
        if let Ok(read) = Partial::from_bytes(data) {
            assert!(read.to_bytes() == data, "two encodings of one partial");
            let verified = known.ciphertext.verify(&known.key, b"label");
            let mut combiner = Combiner::new(verified.expect("its own"));
            let good = combiner.add(&read).is_ok();
            assert!(!good || read == known.partial, "a partial was forged");
        }
    });
}

pub fn messages() -> Vec<Vec<u8>> {
    with(|known| {
        let mut seeds: Vec<_> = known.messages.iter().map(Wire::to_bytes).collect();
        seeds.extend([
            known.key.to_bytes(),
            known.ciphertext.to_bytes(),
            known.partial.to_bytes(),
        ]);
        seeds
    })
}

/// Files that actors and auditors hand to one another: what is read is written back the same.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(read) = RecoveryPart::from_pem(text) {
        assert!(RecoveryPart::from_pem(&read.to_pem()).as_ref() == Ok(&read));
    }
    if let Ok(read) = audit_part_from_pem(text) {
        assert!(audit_part_from_pem(&audit_part_to_pem(&read)).as_ref() == Ok(&read));
    }
    let _ = audit_part_from_cbor(data);
    if let Ok(read) = SessionKeys::from_pem(text) {
        let again = SessionKeys::from_pem(&read.to_pem()).expect("own text");
        assert!(read.iter().eq(again.iter()) && read.network == again.network);
    }
    let _ = auditor_key_from_pem(text);
}

pub fn files() -> Vec<Vec<u8>> {
    with(|known| {
        let entropy = &mut Entropy::new(&[5; 32]);
        let key = HpkeKey::generate(entropy);
        let network = NetworkId([1; 32]);
        let part = RecoveryPart {
            network,
            epoch: Epoch(2),
            key: known.key.session(),
            session: known.partial.clone(),
            history: known.partial.clone(),
        };
        let grant = super::governance::grant(*key.public());
        let parts = BTreeMap::from([(Epoch(2), known.partial.clone())]);
        let audit = AuditPart::seal(network, &grant, &parts, entropy).expect("a key");
        let mut keys = SessionKeys::new(network);
        keys.insert(Epoch(2), &[6; 32]);
        let texts = [part.to_pem(), audit_part_to_pem(&audit)];
        let secret = [keys.to_pem(), auditor_key_to_pem(&key)].map(|text| text.as_bytes().to_vec());
        texts
            .map(String::into_bytes)
            .into_iter()
            .chain(secret)
            .collect()
    })
}

/// An actor's share-transport key, as a module's key wraps it.
pub fn share_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(read) = WrappedShareKey::from_pem(text) {
        assert!(WrappedShareKey::from_pem(&read.to_pem()).as_ref() == Ok(&read));
    }
}

pub fn share_keys() -> Vec<Vec<u8>> {
    let entropy = &mut Entropy::new(&[7; 32]);
    let (key, token) = (
        TransportKey::generate(entropy),
        SigningKey::generate(entropy),
    );
    let wrapped = WrappedShareKey::wrap(&key, token.public(), entropy);
    vec![wrapped.to_pem().into_bytes()]
}
